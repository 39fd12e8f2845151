// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/routing"
	"outrigger.dev/outrigger/routing/controller"
	"outrigger.dev/outrigger/webhook"
)

// table prints a report as a user sees it, without the spaces at the ends of lines.
func (s *liveStage) table(view tableView, all bool, services ...string) string {
	s.t.Helper()
	report, err := s.status(context.Background(), all, services...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.out.Reset()
	if err := printStatus(report, view, &s.out); err != nil {
		s.t.Fatal(err)
	}
	return "\n" + s.out.String()
}

func TestStatusOfAHeldExposure(t *testing.T) {
	s := shop(t, ingressGateway()...)
	s.annotate("app", "outrigger.dev/expose=true", "outrigger.dev/hosts=app.example.com")
	s.reconcile("app")
	s.annotate("app", "outrigger.dev/expose=flase", "outrigger.dev/hosts=other.example.com")
	s.reconcile("app")
	got := s.table(tableView{}, false, "app")
	for _, want := range []string{"app       still-exposed   v1", "app.example.com", "StillExposed: Service demo/app, metadata.annotations[outrigger.dev/expose]", "kubectl annotate service -n demo app outrigger.dev/expose-"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}

func TestStatusOfAShopAtWork(t *testing.T) {
	without := podOf("old", map[string]string{"app": "batch"}, true)
	without.Spec.Containers = without.Spec.Containers[:1]
	s := shop(t, append(ingressGateway(), without)...)
	s.annotate("app", "outrigger.dev/weights=v1=90,v2=10", "outrigger.dev/match=v2=header:end-user:jason", "outrigger.dev/expose=true", "outrigger.dev/path=/hello", "outrigger.dev/wegihts=x")
	s.reconcile("app", "app-internal")
	s.annotate("app-internal", "outrigger.dev/default-version=v2") // the controller has yet to look
	want := `
NAMESPACE   INJECTION   ROUTING   SERVICES
demo        enabled     -         3

SERVICE        STATE      VERSION   READY   WEIGHT   MATCH
app            routed     v1        2/2     90       -
app            routed     v2        9/10    10       end-user=jason
app-internal   routed     v1        2/2     100      -
app-internal   routed     v2        9/10    0        -
other          no route   -         0/0     -        -

SERVICE   GATEWAY    HOSTS   PORT   ADDRESS   NODE-PORT   URL
app       demo/app   *       80     -         31380       http://192.0.2.7:31380/hello

OLDER THAN THE LABEL   PODS   TO GIVE THEM A SIDECAR
Pod/old                1      kubectl get pod old -n demo -o yaml | kubectl replace --force -f -

UnknownAnnotation: Service demo/app, metadata.annotations[outrigger.dev/wegihts] = "x": Outrigger does not read this annotation.
    Did you mean outrigger.dev/weights?
Service demo/app-internal: not written yet: apply VirtualService app-internal.
    If this does not change, Outrigger is not running: kubectl get pods -A -l app.kubernetes.io/name=outrigger
`
	if diff := cmp.Diff(want, s.table(tableView{}, false)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestStatusWideAndOfEveryNamespace(t *testing.T) {
	elsewhere := demo()
	elsewhere.Name = "quiet"
	s := shop(t, elsewhere)
	want := `
NAMESPACE   INJECTION   ROUTING   SERVICES
demo        enabled     -         3

NAMESPACE   SERVICE        STATE      VERSION   READY   WEIGHT   MATCH   DEFAULT   SUBSET   MIRROR   WORKLOADS
demo        app            routed     v1        2/2     100      -       v1        v1       -        Deployment/app-v1
demo        app            routed     v2        9/10    0        -       v1        v2       -        Deployment/app-v2
demo        app-internal   routed     v1        2/2     100      -       v1        v1       -        Deployment/app-v1
demo        app-internal   routed     v2        9/10    0        -       v1        v2       -        Deployment/app-v2
demo        other          no route   -         0/0     -        -       -         -        -        -
`
	if diff := cmp.Diff(want, s.table(tableView{wide: true, namespaces: true}, true)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestStatusSaysWhatStateAServiceIsIn(t *testing.T) {
	for name, c := range map[string]struct {
		stage func() *liveStage
		want  string
	}{
		"routed": {func() *liveStage { return shop(t) }, diagnose.StateRouted},
		"off": {func() *liveStage {
			return newLiveStage(t, append(runningPods("app", "v1", 1, 1), demo(), serviceOf("app", "app"))...)
		}, diagnose.StateOff},
		"disabled": {func() *liveStage {
			return newLiveStage(t, demo("outrigger.dev/routing=disabled"), serviceOf("app", "app"))
		}, diagnose.StateDisabled},
		"observed": {func() *liveStage {
			return newLiveStage(t, append(runningPods("app", "v1", 1, 1), demo("outrigger.dev/routing=observe"), serviceOf("app", "app"))...)
		}, diagnose.StateObserved},
		"subsets alone": {func() *liveStage {
			s := newLiveStage(t, append(runningPods("app", "v1", 1, 1), demo("outrigger.dev/routing=subsets-only"), serviceOf("app", "app"))...)
			s.reconcile("app")
			return s
		}, diagnose.StateSubsets},
		"wanted, without pods": {func() *liveStage {
			return newLiveStage(t, demo("outrigger.dev/routing=enabled"), serviceOf("app", "app"))
		},
			diagnose.StateWaiting},
		"split": {func() *liveStage {
			objects := append(runningPods("app", "v1", 1, 1), runningPods("app", "v2", 1, 1)...)
			s := newLiveStage(t, append(objects, demo("istio-injection=enabled"), serviceOf("app", "app"))...)
			s.config.Routing.SplitAge = 0 // all of it is old
			s.reconcile("app")
			return s
		}, diagnose.StateSplit},
		"a route by hand": {func() *liveStage {
			s := newLiveStage(t, append(runningPods("app", "v1", 1, 1), demo("istio-injection=enabled"), serviceOf("app", "app"), byHand("theirs", "app"))...)
			s.reconcile("app")
			return s
		}, diagnose.StateOther},
	} {
		t.Run(name, func(t *testing.T) {
			report, err := c.stage().status(context.Background(), false, "app")
			if err != nil {
				t.Fatal(err)
			}
			if got := report.Namespaces[0].Services[0].State; got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestStatusAsData(t *testing.T) {
	s := shop(t)
	report, err := s.status(context.Background(), false, "app")
	if err != nil {
		t.Fatal(err)
	}
	print, err := statusPrinter("yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := print(report, tableView{}, &s.out); err != nil {
		t.Fatal(err)
	}
	want := `namespaces:
- injection: enabled
  name: demo
  services:
  - default: v1
    name: app
    state: routed
    versions:
    - pods: 2
      ready: 2
      subset: v1
      version: v1
      weight: 100
      workloads:
      - Deployment/app-v1
    - pods: 10
      ready: 9
      subset: v2
      version: v2
      weight: 0
      workloads:
      - Deployment/app-v2
`
	if diff := cmp.Diff(want, s.out.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if _, err := statusPrinter("table"); err == nil {
		t.Error("-o table is accepted")
	}
}

func TestPodsWithoutSidecar(t *testing.T) {
	plain := func(name string, change func(*corev1.Pod)) corev1.Pod {
		pod := podOf(name, map[string]string{}, true)
		pod.Spec.Containers = pod.Spec.Containers[:1]
		change(pod)
		return *pod
	}
	owner := func(kind, name string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			yes := true
			p.OwnerReferences = []metav1.OwnerReference{{Kind: kind, Name: name, Controller: &yes}}
		}
	}
	pods := []corev1.Pod{
		plain("a-0", owner("StatefulSet", "a")), plain("a-1", owner("StatefulSet", "a")),
		plain("job", owner("Job", "job")),
		plain("injected", func(p *corev1.Pod) { p.Spec.InitContainers = []corev1.Container{{Name: "istio-proxy"}} }),
		plain("out", func(p *corev1.Pod) { p.Labels["sidecar.istio.io/inject"] = "false" }),
		plain("host", func(p *corev1.Pod) { p.Spec.HostNetwork = true }),
		plain("done", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }),
	}
	want := []diagnose.RestartStatus{{Workload: "StatefulSet/a", Pods: 2, Command: "kubectl rollout restart statefulset/a -n demo"}}
	for _, label := range []string{"istio-injection=enabled", "istio.io/rev=1-31"} {
		if diff := cmp.Diff(want, diagnose.PodsWithoutSidecar(demo(label), pods)); diff != "" {
			t.Errorf("%s, -want +got:\n%s", label, diff)
		}
	}
	for _, label := range []string{"istio-injection=disabled", "outrigger.dev/routing=enabled"} {
		if got := diagnose.PodsWithoutSidecar(demo(label), pods); got != nil {
			t.Errorf("%s: %v", label, got)
		}
	}
}

func TestExplainServiceTellsTheStory(t *testing.T) {
	s := shop(t)
	s.annotate("app", "outrigger.dev/weights=v1=90,v2=10")
	s.reconcile("app")
	observed := s.look("app")
	var out bytes.Buffer
	if err := printExplanation(diagnose.ExplainService(observed, nil, diagnose.Surroundings{}, noon).Paragraphs(), &out); err != nil {
		t.Fatal(err)
	}
	want := `Service demo/app
  State      routed: Outrigger's VirtualService routes its requests
  Routing    on, since namespace demo is labeled for injection (enabled)
  Versions   the values of the pods' label version
  Default    v1, because it was the first version when the default was recorded

Settings
  Service   outrigger.dev/weights   v1=90,v2=10

Workloads
  Deployment/app-v1   v1   2 of 2 pods ready    fixed: its selector contains the version
  Deployment/app-v2   v2   9 of 10 pods ready   fixed: its selector contains the version

Where requests go
  all requests   ->   v1=90 v2=10

Objects
  DestinationRule app   subsets v1,v2
  VirtualService app    hosts app.demo.svc.cluster.local
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Every kind of rule is printed, and what a dry run would write.
func TestExplainServiceTellsEveryRule(t *testing.T) {
	s := shop(t)
	s.annotate("app", "outrigger.dev/weights=v1=90,v2=10")
	s.annotate("app", "outrigger.dev/match=v2=cookie:beta:1;v1=source:v1")
	s.annotate("app", "outrigger.dev/mirror=v2=5")
	s.annotate("app", "outrigger.dev/sticky=cookie:ver:1h")
	s.reconcile("app")
	s.annotate("app", "outrigger.dev/weights=v2=100")
	observed := s.look("app")
	observed.Service.Labels = map[string]string{api.LabelRouting: string(api.RoutingObserve)}
	observed.Intent, _ = api.RouteIntentOf(observed.Service, observed.Namespace)
	var out bytes.Buffer
	if err := printExplanation(diagnose.ExplainService(observed, nil, diagnose.Surroundings{}, noon).Paragraphs(), &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`
  Routing    observe, by label outrigger.dev/routing on the Service
`, `
Where requests go
  cookie beta=1        ->   v2
  source version=v1    ->   v1
  cookie ver=v1        ->   v1   copied to v2=5%
  cookie ver=v2        ->   v2
  all other requests   ->   v1=90 v2=10   copied to v2=5%
`, `
Would be written (routing=observe)
  apply VirtualService app
`, `
  ObservedOnly`, "Outrigger would change VirtualService app (cookie beta=1: v2=100; source version=v1: v1=100; cookie ver=v1: v1=100 (copied to v2=5%); "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

// The advice about a workload's end, from the request to the warning.
func TestAdviceAboutTraffic(t *testing.T) {
	third := runningPods("app", "v3", 1, 1)
	s := shop(t, third...)
	handlers := routingAdviceFrom(s.client, webhook.NamespacesFrom(s.client), api.DefaultConfig())
	for _, c := range []struct {
		name      string
		operation admissionv1.Operation
		sub       string
		want      []string
	}{
		{"app-v1", admissionv1.Update, "scale", []string{
			"Deployment app-v1 is scaled to 0, and holds traffic of Service app (v1=100, to v1); nothing else will receive it: outrigger promote app v3 -n demo",
			"Deployment app-v1 is scaled to 0, and holds traffic of Service app-internal (v1=100, to v1); nothing else will receive it: outrigger promote app-internal v3 -n demo",
		}},
		{"app-v2", admissionv1.Delete, "", nil},
	} {
		request := &admissionv1.AdmissionRequest{
			UID: "1", Operation: c.operation, Namespace: "demo", Name: c.name, SubResource: c.sub,
			Resource:  metav1.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"},
			OldObject: runtime.RawExtension{Raw: []byte(`{"spec":{"replicas":2}}`)}, Object: runtime.RawExtension{Raw: []byte(`{"spec":{}}`)},
		}
		body, err := json.Marshal(admissionv1.AdmissionReview{TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: request})
		if err != nil {
			t.Fatal(err)
		}
		call, answer := httptest.NewRequest(http.MethodPost, webhook.TrafficPath, bytes.NewReader(body)), httptest.NewRecorder()
		call.Header.Set("Content-Type", "application/json")
		handlers[webhook.TrafficPath].ServeHTTP(answer, call)
		var review admissionv1.AdmissionReview
		if err := json.Unmarshal(answer.Body.Bytes(), &review); err != nil || review.Response == nil {
			t.Fatalf("HTTP %d: %v: %s", answer.Code, err, answer.Body)
		}
		if diff := cmp.Diff(c.want, review.Response.Warnings); diff != "" || !review.Response.Allowed {
			t.Errorf("%s, allowed %v, -want +got:\n%s", c.name, review.Response.Allowed, diff)
		}
	}
}

// A version whose workload is scaled to 0 is no unknown one.
func TestAdviceKnowsWorkloadsWithoutPods(t *testing.T) {
	s := shop(t)
	var pods corev1.PodList
	if err := s.client.List(t.Context(), &pods, client.InNamespace("demo"), client.MatchingLabels{"version": "v1"}); err != nil || len(pods.Items) == 0 {
		t.Fatalf("no pods of v1: %v", err)
	}
	for i := range pods.Items {
		if err := s.client.Delete(t.Context(), &pods.Items[i]); err != nil {
			t.Fatal(err)
		}
	}
	versions := traffic{s.client, webhook.NamespacesFrom(s.client), controller.Options{Settings: api.DefaultConfig().RoutingSettings()}}
	service := s.look("app").Service
	if diff := cmp.Diff("v1 v2", strings.Join(versions.Versions(t.Context(), service, "version"), " ")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestKnownVersionsAreThoseOfPodsAndOfWorkloadsToCome(t *testing.T) {
	s := shop(t, runningPods("app", "v10", 0, 0)...)
	if diff := cmp.Diff("v1 v2 v10", strings.Join(routing.KnownVersions(s.look("app")), " ")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
