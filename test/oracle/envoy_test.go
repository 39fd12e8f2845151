// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// tenant is a Service with two versions, of which its user controls the annotations.
func tenant(annotations map[string]string) routing.Observed {
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "app", UID: "1", Annotations: annotations, Labels: map[string]string{api.LabelRouting: "enabled"}},
		Spec: corev1.ServiceSpec{ClusterIP: "10.0.0.1", Selector: map[string]string{"app": "app"}, Ports: []corev1.ServicePort{
			{Name: "http", Port: 8080}, {Name: "http-admin", Port: 9090}, {Name: "tcp-db", Port: 5432},
		}},
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "demo"}}
	observed := routing.Observed{Service: service, Namespace: namespace, RootNamespace: "istio-system", Settings: api.DefaultConfig().RoutingSettings()}
	observed.Settings.GatewayPorts = []string{"1-65535"} // the gateway's own Service is not among what is observed
	observed.Intent, _ = observed.Settings.Limits.IntentOf(service, namespace, nil)
	for _, version := range []string{"v1", "v2"} {
		ref := routing.WorkloadRef{Kind: "Deployment", Name: "app-" + version}
		labels := map[string]string{"app": "app", observed.Intent.VersionLabel: version}
		observed.Workloads = append(observed.Workloads, routing.Workload{WorkloadRef: ref, Selector: labels, Labels: labels})
		observed.Pods = append(observed.Pods, routing.PodGroup{Workload: ref, Version: version, Pods: 1, Ready: 1})
	}
	return observed
}

// judge returns what Istio and Envoy say about the objects that were made for a tenant's annotations, and others beside them.
func judge(t testing.TB, istio *Oracle, observed routing.Observed, made routing.Objects, others ...any) Validity {
	t.Helper()
	documents, err := newAddressBook().running(observed.Service, observed.Intent.VersionLabel, observed.Pods)
	if err != nil {
		t.Fatal(err)
	}
	var objects []json.RawMessage
	add := func(object any) {
		raw, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		if most := observed.Settings.MaxObjectBytes; len(raw) > most+4096 { // its labels and owner are not counted
			t.Errorf("an object has %d bytes, more than %d", len(raw), most)
		}
		objects = append(objects, raw)
	}
	for _, rule := range made.DestinationRules {
		add(rule)
	}
	for _, vs := range made.VirtualServices {
		add(vs)
	}
	for _, gateway := range made.Gateways {
		add(gateway)
	}
	for _, other := range others {
		add(other)
	}
	validity, err := istio.Envoy(strings.Join(append([]string{surroundings}, documents...), "---\n"), objects, []Caller{beside, ingress})
	if err != nil {
		t.Fatal(err)
	}
	return validity
}

// eachState runs a test with each state of Istio's code.
func eachState(t *testing.T, test func(*testing.T, *Oracle)) {
	for _, state := range []State{April, August} {
		t.Run(state.Folder, func(t *testing.T) { test(t, state.Start(t)) })
	}
}

// badFilter adds an HTTP filter that Envoy rejects, since its name for statistics is empty, to every listener of sidecars.
const badFilter = `{
	"apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter", "metadata": {"name": "bad", "namespace": "istio-system"},
	"spec": {"configPatches": [{
		"applyTo": "HTTP_FILTER",
		"match": {"context": "SIDECAR_OUTBOUND", "listener": {"filterChain": {"filter": {"name": "envoy.filters.network.http_connection_manager"}}}},
		"patch": {"operation": "INSERT_FIRST", "value": {"name": "bad", "typed_config": {
			"@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit", "stat_prefix": ""
		}}}
	}]}
}`

// Each rule is seen to fail: objects that are written by hand break it, and the answer names it.
func TestInvalidRoutesAreFound(t *testing.T) {
	match := func(m *networkingapi.HTTPMatchRequest) func(routing.Objects) {
		return func(made routing.Objects) {
			made.VirtualServices[0].Spec.Http[0].Match = []*networkingapi.HTTPMatchRequest{m}
		}
	}
	exact := func(text string) *networkingapi.StringMatch {
		return &networkingapi.StringMatch{MatchType: &networkingapi.StringMatch_Exact{Exact: text}}
	}
	https := map[string]string{"expose": "true", "hosts": "a.example.com", "tls-credential": "app-tls", "https-redirect": "true"}
	cases := []struct {
		what         string
		change       func(routing.Objects)
		others       []any
		istio, envoy string // what is reported; empty: nothing
		annotations  map[string]string
	}{
		{what: "nothing is wrong"},
		{what: "a long query parameter name", change: match(&networkingapi.HTTPMatchRequest{QueryParams: map[string]*networkingapi.StringMatch{strings.Repeat("q", 1025): exact("1")}}), envoy: "1024"},
		{what: "a control character in a path", change: match(&networkingapi.HTTPMatchRequest{Uri: exact("/a\x01b")}), envoy: "not printable"},
		{what: "a line break in a rewrite", change: func(made routing.Objects) {
			made.VirtualServices[0].Spec.Http[0].Rewrite = &networkingapi.HTTPRewrite{Uri: "/a\nb"}
		}, envoy: "PrefixRewrite"},
		{what: "a percent sign in an added header", change: func(made routing.Objects) {
			made.VirtualServices[0].Spec.Http[0].Headers = &networkingapi.Headers{Response: &networkingapi.Headers_HeaderOperations{Add: map[string]string{"x-share": "50% off"}}}
		}, istio: "Un-terminated variable", envoy: "not a format that Envoy can substitute"},
		{what: "an invalid header name", change: match(&networkingapi.HTTPMatchRequest{Headers: map[string]*networkingapi.StringMatch{"a b": exact("1")}}), istio: "not a valid header name"},
		{what: "hosts that overlap", change: func(made routing.Objects) {
			made.VirtualServices[0].Spec.Hosts = []string{"*.local", "app.demo.svc.cluster.local"}
		}, istio: "duplicate hosts"},
		{what: "a percentage over 100 in a cluster", change: func(made routing.Objects) {
			made.DestinationRules[0].Spec.TrafficPolicy = &networkingapi.TrafficPolicy{OutlierDetection: &networkingapi.OutlierDetection{MaxEjectionPercent: 200}}
		}, istio: "percentage 200 is not in range", envoy: "MaxEjectionPercent"},
		{what: "nothing is wrong with HTTPS and a redirect", annotations: https},
		{what: "two servers of one name", annotations: https, change: func(made routing.Objects) {
			made.Gateways[0].Spec.Servers[1].Port.Name = "https"
		}, istio: "port names in servers must be unique"},
		{what: "a certificate on plain HTTP", annotations: https, change: func(made routing.Objects) {
			made.Gateways[0].Spec.Servers[1].Tls = made.Gateways[0].Spec.Servers[0].Tls
		}, istio: "server cannot have TLS settings for plain text HTTP ports"},
		{what: "HTTPS without a certificate", annotations: https, change: func(made routing.Objects) {
			made.Gateways[0].Spec.Servers[0].Tls.CredentialName = ""
		}, istio: "SIMPLE TLS requires a server certificate"},
		{what: "an invalid filter in a listener", others: []any{json.RawMessage(badFilter)}, envoy: "StatPrefix"},
	}
	eachState(t, func(t *testing.T, istio *Oracle) {
		for _, c := range cases {
			t.Run(c.what, func(t *testing.T) {
				observed := tenant(domained(c.annotations))
				made := routing.PlanOffline(observed, time.Now()).Objects
				if c.change != nil {
					c.change(made)
				}
				validity := judge(t, istio, observed, made, c.others...)
				if validity.Routes == 0 || validity.Clusters == 0 || validity.Listeners == 0 {
					t.Errorf("checked %d route configurations, %d clusters, %d listeners", validity.Routes, validity.Clusters, validity.Listeners)
				}
				for _, said := range []struct {
					by   string
					got  []string
					want string
				}{{"Istio", validity.Istio, c.istio}, {"Envoy", validity.Envoy, c.envoy}} {
					if text := strings.Join(said.got, "\n"); (said.want == "") != (text == "") || !strings.Contains(text, said.want) {
						t.Errorf("%s says %.2000q, want %q", said.by, text, said.want)
					}
				}
			})
		}
	})
}

// extremes are annotations at the limits, which are accepted, and beyond them, of which nothing is generated.
var extremes = []map[string]string{
	{"match": repeated(";", 100, "v2=header:x-%d:"+strings.Repeat("v", 100)), "expose": "true"},
	{"match": "v2=query:" + strings.Repeat("q", 1024) + ":" + strings.Repeat("v", 8000)},
	{"match": "v2=header:" + strings.Repeat("h", 1024) + ":" + strings.Repeat("v", 8000) + ";v1=header-prefix:" + strings.Repeat("h", 1024) + ":x"},
	{"match": "v2=cookie:" + strings.Repeat("c", 500) + ":" + strings.Repeat("v", 480)},
	{"match": "v2=header:x:ü€😀%25START_TIME%25;v2=query:ü:😀;v2=cookie:a:\\Q(.*"},
	{"match": "v2=query:" + strings.Repeat("q", 1025) + ":1"},
	{"match": "v2=header:method:GET"}, {"match": "v2=header::authority:x"}, {"match": "v2=header:@request.auth.claims.x:y"},
	{"match": repeated(";", 101, "v2=header:a:%d")},
	{"weights": "v1=16777215,v2=1"}, {"weights": "v1=1,v2=16777215", "sticky": "cookie:" + strings.Repeat("c", 64) + ":9600h", "expose": "true"},
	{"expose": "true", "hosts": repeated(",", 50, "h%d.example.com")}, {"expose": "true", "hosts": repeated(",", 51, "h%d.example.com")},
	{"expose": "true", "hosts": "*"}, {"expose": "true", "hosts": "*.example.com,a.example.com"}, {"expose": "true", "hosts": "app"}, {"expose": "true", "hosts": "*.local"},
	{"expose": "true", "path": "/ü/%00/😀", "path-rewrite": "/%0a"}, {"expose": "true", "path": "/a\x01b"}, {"expose": "true", "path": "/a", "path-rewrite": "/\n"},
	{"expose": "true", "path": "/" + strings.Repeat("p", 16000), "path-rewrite": "/" + strings.Repeat("r", 16000)},
	{"expose": "true", "tls-credential": strings.Repeat("s", 63), "https-redirect": "true", "hosts": repeated(",", 50, "h%d.example.com")},
	{"expose": "true", "tls-credential": "app-tls"}, {"expose": "true", "tls-credential": "app-tls", "gateway-port": "65535", "https-redirect": "true"},
	{"expose": "true", "tls-credential": "kubernetes-gateway://other/app-tls"}, {"expose": "true", "tls-credential": "builtin://"}, {"expose": "true", "tls-credential": "app-tls-cacert"},
	{"expose": "true", "gateway-selector": "a.b/" + strings.Repeat("c", 63) + "=" + strings.Repeat("d", 63)},
	{"version-label": strings.Repeat("a", 63) + "." + strings.Repeat("b", 63) + "/" + strings.Repeat("c", 63), "match": "v2=source:v1"},
	{"mirror": "v2=100", "match": "v1=source:v2", "weights": "v1=1"},
}

func repeated(separator string, count int, form string) string {
	out := make([]string, count)
	for i := range out {
		out[i] = fmt.Sprintf(form, i)
	}
	return strings.Join(out, separator)
}

// Whatever a tenant writes at, or beyond, the limits: Istio and Envoy accept what is generated.
func TestRoutesAtTheLimitsAreValid(t *testing.T) {
	eachState(t, func(t *testing.T, istio *Oracle) {
		checked, exposed := 0, 0
		for _, annotations := range extremes {
			observed := tenant(domained(annotations))
			made := routing.PlanOffline(observed, time.Now()).Objects
			validity := judge(t, istio, observed, made)
			checked += validity.Routes
			exposed += len(made.Gateways)
			for _, fault := range validity.Faults() {
				t.Errorf("%.300v: %.600s", annotations, fault)
			}
		}
		if checked < 2*len(extremes) || exposed < 6 {
			t.Errorf("only %d route configurations and %d Gateways were checked", checked, exposed)
		}
	})
}

func domained(annotations map[string]string) map[string]string {
	out := map[string]string{}
	for key, value := range annotations {
		out[api.Domain+"/"+key] = value
	}
	return out
}

// Istio and Envoy accept every golden output of package routing.
func TestGoldensAreValidForEnvoy(t *testing.T) {
	eachState(t, func(t *testing.T, istio *Oracle) {
		for _, g := range goldens(t) {
			c := g.settled(t)
			observed := routing.Observed{Service: c.service, Pods: c.pods, Settings: api.DefaultConfig().RoutingSettings()}
			observed.Intent.VersionLabel = c.versionLabel
			validity := judge(t, istio, observed, c.made)
			for _, fault := range validity.Faults() {
				t.Errorf("%s: %s", g.name, fault)
			}
			if validity.Routes == 0 {
				t.Errorf("%s: no route configurations were checked", g.name)
			}
		}
	})
}

// FuzzAnnotations looks for annotations from which an object is generated that Istio or Envoy rejects.
func FuzzAnnotations(f *testing.F) {
	istio := Start(f)
	keys := slices.DeleteFunc(api.RoutingKeys(), func(doc api.KeyDoc) bool { return doc.Label || !slices.Contains(doc.On, "Service") })
	index := func(name string) byte {
		return byte(slices.IndexFunc(keys, func(doc api.KeyDoc) bool { return doc.Key == api.Domain+"/"+name }))
	}
	for _, annotations := range extremes {
		var names []string
		for name := range annotations {
			names = append(names, name)
		}
		slices.Sort(names)
		for len(names) < 3 {
			names = append(names, names[0])
		}
		f.Add(index(names[0]), annotations[names[0]], index(names[1]), annotations[names[1]], index(names[2]), annotations[names[2]])
	}
	valid := map[[sha256.Size]byte]bool{} // by the objects, which are the same for most annotations that are refused
	f.Fuzz(func(t *testing.T, key1 byte, value1 string, key2 byte, value2 string, key3 byte, value3 string) {
		annotations := map[string]string{api.AnnotationExpose: "true"}
		for _, pair := range []struct {
			key   byte
			value string
		}{{key1, value1}, {key2, value2}, {key3, value3}} {
			annotations[keys[int(pair.key)%len(keys)].Key] = pair.value
		}
		observed := tenant(annotations)
		made := routing.PlanOffline(observed, time.Unix(1767323045, 0)).Objects
		text, err := json.Marshal(made)
		if err != nil {
			t.Fatal(err)
		}
		hash := sha256.Sum256(text)
		if valid[hash] {
			return
		}
		faults := judge(t, istio, observed, made).Faults()
		valid[hash] = len(faults) == 0
		for _, fault := range faults {
			t.Errorf("%q: %s", annotations, fault)
		}
	})
}
