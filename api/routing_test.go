// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// objects makes a Service and its Namespace of pairs: "weights=v1=1" is the Service's annotation, "ns:…" the
// Namespace's, "label:…" and "nslabel:…" are labels with their whole keys.
func objects(pairs ...string) (*corev1.Service, *corev1.Namespace) {
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "app", Annotations: map[string]string{}, Labels: map[string]string{}},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "web", Port: 8080}}},
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "demo", Annotations: map[string]string{}, Labels: map[string]string{}}}
	for _, pair := range pairs {
		place, rest, placed := strings.Cut(pair, ":")
		at, prefix := service.Annotations, Domain+"/"
		switch {
		case placed && place == "ns":
			at = namespace.Annotations
		case placed && place == "label":
			at, prefix = service.Labels, ""
		case placed && place == "nslabel":
			at, prefix = namespace.Labels, ""
		default:
			rest = pair
		}
		key, value, _ := strings.Cut(rest, "=")
		at[prefix+key] = value
	}
	return service, namespace
}

func TestRouteIntentOf(t *testing.T) {
	plain := func(change func(*RouteIntent)) RouteIntent {
		intent := RouteIntent{VersionLabel: "version", Default: DefaultIntent{Policy: DefaultFirst}}
		change(&intent)
		return intent
	}
	exposed := func(change func(*Exposure)) RouteIntent {
		x := &Exposure{Hosts: []string{"*"}, GatewaySelector: map[string]string{"istio": "ingressgateway"}, GatewayPort: 80, Path: "/"}
		change(x)
		return RouteIntent{VersionLabel: "version", Default: DefaultIntent{Policy: DefaultFirst}, Expose: x}
	}
	for _, test := range []struct {
		name string
		in   []string
		want RouteIntent
	}{
		{"nothing asks", nil, plain(func(*RouteIntent) {})},
		{"the injection label starts", []string{"nslabel:istio-injection=enabled"}, plain(func(i *RouteIntent) { i.Wanted = true })},
		{"so does a revision", []string{"nslabel:istio.io/rev=canary"}, plain(func(i *RouteIntent) { i.Wanted = true })},
		{"not where injection is off", []string{"nslabel:istio-injection=disabled", "nslabel:istio.io/rev=canary"}, plain(func(*RouteIntent) {})},
		{"the routing label alone", []string{"label:outrigger.dev/routing=enabled"}, plain(func(i *RouteIntent) { i.Wanted = true })},
		{"the Namespace's", []string{"nslabel:outrigger.dev/routing=enabled"}, plain(func(i *RouteIntent) { i.Wanted = true })},
		{"disabled wins over injection", []string{"nslabel:istio-injection=enabled", "label:outrigger.dev/routing=disabled"}, plain(func(i *RouteIntent) { i.Disabled = true })},
		{"subsets alone", []string{"nslabel:outrigger.dev/routing=subsets-only"}, plain(func(i *RouteIntent) { i.Wanted, i.SubsetsOnly = true, true })},
		{"a dry run", []string{"label:outrigger.dev/routing=observe", "nslabel:outrigger.dev/routing=disabled"}, plain(func(i *RouteIntent) { i.Wanted, i.Observe = true, true })},
		{"the Service's own wins", []string{"label:outrigger.dev/routing=enabled", "nslabel:outrigger.dev/routing=disabled"}, plain(func(i *RouteIntent) { i.Wanted = true })},
		{"a literal default on the Service", []string{"default-version=v1"}, plain(func(i *RouteIntent) { i.Default = DefaultIntent{Version: "v1", OnService: true} })},
		{"a policy on the Namespace", []string{"ns:default-version=@highest"}, plain(func(i *RouteIntent) { i.Default.Policy = DefaultHighest })},
		{"weights as written", []string{"weights= v2=10, v1=0 "}, plain(func(i *RouteIntent) { i.Weights = []Weight{{"v2", 10}, {"v1", 0}} })},
		{"headers", []string{"match=v2=header:End-User:a:b%3B%25;v1=header:x:=;"}, plain(func(i *RouteIntent) {
			i.Match = []Match{{"v2", MatchHeader, "end-user", "a:b;%"}, {"v1", MatchHeader, "x", "="}}
		})},
		{"all kinds of match", []string{"match=v2=header-prefix:X-C:can; v2=cookie:be%25ta:1%25;v3=query:v%3B:a:b;v2=source:v2"}, plain(func(i *RouteIntent) {
			i.Match = []Match{{"v2", MatchHeaderPrefix, "x-c", "can"}, {"v2", MatchCookie, "be%ta", "1%"}, {"v3", MatchQuery, "v;", "a:b"}, {"v2", MatchSource, "", "v2"}}
		})},
		{"mirror", []string{"mirror=v2=10, v3=0"}, plain(func(i *RouteIntent) { i.Mirror = []Weight{{"v2", 10}, {"v3", 0}} })},
		{"sticky", []string{"sticky=cookie:a_b-c.d:90m"}, plain(func(i *RouteIntent) { i.Sticky = &Sticky{"a_b-c.d", 90 * time.Minute} })},
		{"times and what follows", []string{"ns:subset-retention=5m", "default-gone-after=90s", "ns:default-gone=all", "default-gone=next"}, plain(func(i *RouteIntent) {
			i.SubsetRetention, i.UnreadyAfter, i.Unready = 5*time.Minute, 90*time.Second, UnreadyNext
		})},
		{"the Service holds", []string{"ns:default-gone=all", "default-gone=hold"}, plain(func(i *RouteIntent) { i.Unready = UnreadyHold })},
		{"when it was decided", []string{"decided-at=2026-01-02T03:04:05Z"}, plain(func(i *RouteIntent) { i.DecidedAt = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) })},
		{"another version label", []string{"ns:version-label=app.kubernetes.io/version"}, plain(func(i *RouteIntent) { i.VersionLabel = "app.kubernetes.io/version" })},
		{"unversioned", []string{"unversioned=ignore"}, plain(func(i *RouteIntent) { i.IgnoreUnversioned = true })},
		{"exposed by default values", []string{"expose=true"}, exposed(func(*Exposure) {})},
		{"companions without exposure", []string{"expose=false", "hosts=a.example.com"}, plain(func(*RouteIntent) {})},
		{"hosts, sorted", []string{"expose=true", "hosts=B.example.com, a.example.com,a.example.com"}, exposed(func(x *Exposure) { x.Hosts = []string{"a.example.com", "b.example.com"} })},
		{"every host includes all", []string{"expose=true", "hosts=a.example.com,*"}, exposed(func(*Exposure) {})},
		{"companions", []string{"expose=true", "gateway=istio-system/gw", "ns:gateway-port=8066", "gateway-selector=istio=ingress,app=gw", "path=/hello"}, exposed(func(x *Exposure) {
			x.Gateway, x.GatewayPort, x.GatewaySelector, x.Path = "istio-system/gw", 8066, map[string]string{"istio": "ingress", "app": "gw"}, "/hello"
		})},
		{"another path and port", []string{"expose=true", "path-rewrite=/", "service-port=web"}, exposed(func(x *Exposure) { x.PathRewrite, x.ServicePort = "/", "web" })},
		{"a port by its number", []string{"expose=true", "service-port=8080"}, exposed(func(x *Exposure) { x.ServicePort = "8080" })},
		{"HTTPS on its own port", []string{"expose=true", "tls-credential=web-tls"}, exposed(func(x *Exposure) { x.TLSCredential, x.GatewayPort = "web-tls", 443 })},
		{"HTTPS on another port, with a redirect", []string{"expose=true", "tls-credential=web-tls", "gateway-port=8443", "https-redirect=true"}, exposed(func(x *Exposure) {
			x.TLSCredential, x.GatewayPort, x.HTTPSRedirect = "web-tls", 8443, true
		})},
		{"HTTPS on the Namespace's port", []string{"expose=true", "tls-credential=web-tls", "ns:gateway-port=8443", "https-redirect=false"}, exposed(func(x *Exposure) { x.TLSCredential, x.GatewayPort = "web-tls", 8443 })},
		{"HTTPS on port 443 with a redirect", []string{"expose=true", "tls-credential=web-tls", "https-redirect=true"}, exposed(func(x *Exposure) {
			x.TLSCredential, x.GatewayPort, x.HTTPSRedirect = "web-tls", 443, true
		})},
		{"allowed hosts", []string{"expose=true", "ns:allowed-hosts=*.b.example.com, a.example.com"}, exposed(func(x *Exposure) { x.AllowedHosts = []string{"*.b.example.com", "a.example.com"} })},
		{"an empty list allows nothing", []string{"expose=true", "ns:allowed-hosts="}, exposed(func(x *Exposure) { x.AllowedHosts = []string{} })},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, problems := RouteIntentOf(objects(test.in...))
			if len(problems) > 0 {
				t.Errorf("problems: %v", problems)
			}
			got.Texts, got.Bad = nil, nil
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestWhatDoesNotParseIsAProblem(t *testing.T) {
	for _, in := range []string{
		"version-label=a b", "version-label=", "version-label=pod-template-hash", "version-label=controller-revision-hash", "version-label=statefulset.kubernetes.io/pod-name",
		"default-version=", "default-version=@newest", "default-version=v1,v2",
		"weights=", "weights=v1", "weights=v1=-1", "weights=v1=0", "weights=v1=1,v1=2", "weights==1", "weights=v1=1.5", "weights=v1:50;v2:50", "weights=v1=99999999",
		"match=", "match=v2", "match=v2=header:end-user", "match=v2=header::x", "match=v2=header:a b:x", "match=v2=header:a:", "match=v2=header:a:%", "match=v2=header:a:b;;", "match=v2=header:a:b\nc",
		"match=v2=cookies:a:b", "match=v2=cookie:a", "match=v2=cookie:a b:c", "match=v2=cookie::c", "match=v2=cookie:a:b%3Bc", "match=v2=cookie:a:" + strings.Repeat("b", 1024), "match=v2=cookie:a:" + strings.Repeat(".", 512),
		"match=v2=header-prefix:a:", "match=v2=header-prefix:a b:c", "match=v2=query:v", "match=v2=query:v:", "match=v2=query::1", "match=v2=query:v:a&b", "match=v2=query:v=:a",
		"match=v2=source:", "match=v2=source", "match=v2=source:a:b", "match=v2=:a:b", "decided-at=now",
		"subset-retention=", "subset-retention=60", "subset-retention=9s", "default-gone-after=0s", "default-gone-after=soon", "default-gone=", "default-gone=v2",
		"path-rewrite=", "path-rewrite=api", "path-rewrite=/a?b", "service-port=", "service-port=a b", "service-port=0", "service-port=grpc", "service-port=9999",
		"sticky=", "sticky=true", "sticky=ver:1h", "sticky=cookie:ver", "sticky=cookie::1h", "sticky=cookie:a b:1h", "sticky=cookie:a%25:1h", "sticky=cookie:__Host-v:1h", "sticky=cookie:ver:3600",
		"sticky=cookie:ver:0s", "sticky=cookie:ver:500ms", "sticky=cookie:ver:1500ms", "sticky=cookie:ver:-1h", "sticky=cookie:ver:10000h", "sticky=header:ver:1h",
		"mirror=", "mirror=v2", "mirror=v2=101", "mirror=v2=-1", "mirror=v2=0.5", "mirror=v2=10%", "mirror=v2=1,v2=2",
		"expose=yes", "hosts=", "hosts=a,,b", "hosts=-a", "hosts=*.*", "hosts=a*b", "hosts=10.0.0.1",
		"gateway=gw", "gateway=a/b/c", "gateway=a/b.c", "gateway-selector=istio", "gateway-selector=", "gateway-port=0", "gateway-port=65536", "gateway-port=http",
		"path=hello", "path=/a b", "path=/a?b", "unversioned=none",
	} {
		t.Run(in, func(t *testing.T) {
			intent, problems := RouteIntentOf(objects("expose=true", in))
			key, text, _ := strings.Cut(in, "=")
			if len(problems) != 1 || problems[0].Reason != RouteInvalidAnnotation || problems[0].Field != AnnotationField(Domain+"/"+key) || problems[0].Value != text {
				t.Fatalf("problems: %v", problems)
			}
			if problems[0].Message == "" || problems[0].Advice == "" {
				t.Errorf("no message or advice: %v", problems[0])
			}
			if !intent.Bad[Domain+"/"+key] || intent.Texts[Domain+"/"+key] != "" {
				t.Errorf("bad %v, texts %v", intent.Bad, intent.Texts)
			}
			without, _ := RouteIntentOf(objects("expose=true"))
			if key == "expose" {
				without.Expose = nil
			}
			intent.Bad, without.Bad, intent.Texts, without.Texts = nil, nil, nil, nil
			if diff := cmp.Diff(without, intent); diff != "" {
				t.Errorf("it is not as if unwritten:\n%s", diff)
			}
		})
	}
}

func TestExportToIsReadAsIstioReadsIt(t *testing.T) {
	for _, test := range []struct {
		text string
		want []string
		told bool
	}{
		{"*", []string{"*"}, false}, {".", []string{"."}, false}, {"~", []string{"."}, false},
		{"b, a,demo,.", []string{".", "a", "b"}, false}, {"a,*", []string{"*"}, false}, {"", nil, false}, {"a,B", []string{"a"}, true}, {"B", nil, true}, {" ", nil, true},
	} {
		service, namespace := objects()
		service.Annotations[AnnotationExportTo] = test.text
		intent, problems := RouteIntentOf(service, namespace)
		if diff := cmp.Diff(test.want, intent.ExportTo); diff != "" || len(problems) > 0 != test.told {
			t.Errorf("%q: %v, -want +got:\n%s", test.text, problems, diff)
		}
	}
}

func TestStrangersAreTold(t *testing.T) {
	for _, test := range []struct {
		in     string
		reason RouteReason
		says   string
	}{
		{"weight=v1=1", RouteUnknownAnnotation, "Did you mean outrigger.dev/weights?"},
		{"ns:weights=v1=1", RouteUnknownAnnotation, "Set it on the Service."},
		{"allowed-hosts=*", RouteUnknownAnnotation, "Set it on the Namespace."},
		{"routing=disabled", RouteUnknownAnnotation, "kubectl label service -n demo app outrigger.dev/routing=disabled"},
		{"ns:routing=disabled", RouteUnknownAnnotation, "kubectl label namespace demo outrigger.dev/routing=disabled"},
		{"label:outrigger.dev/routing=off", RouteInvalidAnnotation, "Example: kubectl label service -n demo app outrigger.dev/routing=disabled --overwrite."},
		{"ns:allowed-hosts=a b", RouteInvalidAnnotation, "separated by commas"},
	} {
		_, problems := RouteIntentOf(objects(test.in))
		if len(problems) != 1 || problems[0].Reason != test.reason || !strings.Contains(problems[0].Advice, test.says) {
			t.Errorf("%s: %v", test.in, problems)
		}
	}
}

// A Service with thousands of unread keys has a few Problems, the last of which counts the rest.
func TestManyStrangersAreCounted(t *testing.T) {
	for _, count := range []int{10, 11, 5000} {
		service, namespace := objects("weights=v1=1")
		for i := range count {
			service.Annotations[fmt.Sprintf("%s/typo-%04d", Domain, i)] = "x"
			namespace.Annotations[fmt.Sprintf("%s/typo-%04d", Domain, i)] = "x"
		}
		_, problems := RouteIntentOf(service, namespace)
		if want := 2 * min(count, 11); len(problems) != want {
			t.Errorf("%d keys: %d Problems, want %d", count, len(problems), want)
			continue
		}
		for _, last := range []RouteProblem{problems[min(count, 11)-1], problems[len(problems)-1]} {
			want := fmt.Sprintf("has %d more annotations", count-10)
			if got := strings.Contains(last.Message, want) && last.Field == AnnotationField(Domain+"/typo-0010"); got != (count > 10) {
				t.Errorf("%d keys: %v", count, last)
			}
		}
	}
}

func TestALongExportToIsBad(t *testing.T) {
	service, namespace := objects()
	service.Annotations[AnnotationExportTo] = strings.Repeat("a,", DefaultRouteLimits().AnnotationBytes) + "*"
	intent, problems := RouteIntentOf(service, namespace)
	if len(problems) != 1 || !intent.Bad[AnnotationExportTo] || intent.ExportTo != nil || len(problems[0].Value) > 600 {
		t.Errorf("%v %v %v", problems, intent.Bad, intent.ExportTo)
	}
}

func TestNoNamespaceIsAnEmptyOne(t *testing.T) {
	service, _ := objects("label:outrigger.dev/routing=enabled")
	if intent, problems := RouteIntentOf(service, nil); !intent.Wanted || len(problems) > 0 {
		t.Errorf("%+v %v", intent, problems)
	}
}

// Every constant of the closed set has its sentence, once.
func TestEveryRouteReasonHasItsSentence(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "routing_reasons.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	declared := map[string]bool{}
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if kind, is := specType(spec, ok); is && kind == "RouteReason" {
			value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			declared[value] = true
		}
		return true
	})
	if len(declared) == 0 {
		t.Fatal("no reasons found")
	}
	listed := map[string]bool{}
	for _, doc := range RouteReasons() {
		if listed[string(doc.Reason)] || !declared[string(doc.Reason)] || !strings.HasSuffix(doc.Doc, ".") {
			t.Errorf("reason %s: listed twice, not declared, or without a sentence: %q", doc.Reason, doc.Doc)
		}
		listed[string(doc.Reason)] = true
	}
	if diff := cmp.Diff(declared, listed); diff != "" {
		t.Errorf("-declared +listed:\n%s", diff)
	}
}

func specType(spec *ast.ValueSpec, ok bool) (string, bool) {
	if !ok {
		return "", false
	}
	name, is := spec.Type.(*ast.Ident)
	if !is {
		return "", false
	}
	return name.Name, true
}

func TestEveryRoutingKeyIsDocumented(t *testing.T) {
	seen := map[string]bool{}
	for _, key := range RoutingKeys() {
		if seen[key.Key] || !strings.HasPrefix(key.Key, Domain+"/") || len(key.On) == 0 || key.Values == "" || !strings.HasSuffix(key.Doc, ".") {
			t.Errorf("key %+v", key)
		}
		seen[key.Key] = true
	}
}
