// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/internal/manifest"
)

// status says of every Service without routes why it has none.
func TestStatusSaysWhyThereAreNoRoutes(t *testing.T) {
	external, headless, bare := serviceOf("external", "x"), serviceOf("headless", "web"), serviceOf("bare", "")
	external.Spec.Type, external.Spec.ExternalName, external.Spec.Selector = corev1.ServiceTypeExternalName, "db.example.com", nil
	headless.Spec.ClusterIP = corev1.ClusterIPNone
	bare.Spec.Selector = nil
	labeled := podOf("helm", map[string]string{"app": "helm", "app.kubernetes.io/version": "1.2"}, true)
	s := newLiveStage(t, demo("istio-injection=enabled"), external, headless, bare, serviceOf("web", "web"), serviceOf("helm", "helm"),
		podOf("web", map[string]string{"app": "web"}, true), labeled)
	got := squeeze(s.table(tableView{}, false))
	for _, want := range []string{
		"external skipped - 0/0 - -", "headless skipped <none> 1/1 by pods -", "bare skipped - 0/0 - -", "web no route <none> 1/1 by pods -",
		"Service demo/external gets no routes: An ExternalName Service has no pods.",
		"Service demo/headless gets no routes: A headless Service",
		"Service demo/bare gets no routes: A Service without a selector",
		"VersionLabelMissing: Service demo/web: No pod of the Service has the label version. No route is created.",
		"VersionLabelMissing: Service demo/helm: No pod of the Service has the label version, but pods have the label app.kubernetes.io/version.",
		"To route by app.kubernetes.io/version: kubectl annotate service -n demo helm outrigger.dev/version-label=app.kubernetes.io/version --overwrite.",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	var out strings.Builder
	if err := printExplanation(diagnose.ExplainService(s.look("helm"), nil, diagnose.Surroundings{}, noon).Paragraphs(), &out); err != nil || !strings.Contains(out.String(), "outrigger.dev/version-label=app.kubernetes.io/version") {
		t.Errorf("%v, explain:\n%s", err, out.String())
	}

	// The command that is named makes the route.
	s.annotate("helm", "outrigger.dev/version-label=app.kubernetes.io/version")
	s.reconcile("helm")
	if got := squeeze(s.table(tableView{}, false, "helm")); !strings.Contains(got, "helm routed 1.2 1/1") {
		t.Errorf("got\n%s", got)
	}

	// Where nobody asked for routes there is nothing to say.
	s = newLiveStage(t, demo(), serviceOf("web", "web"), external, podOf("web", map[string]string{"app": "web"}, true))
	if got := s.table(tableView{}, false); strings.Contains(got, "gets no routes") || strings.Contains(got, string(api.RouteVersionLabelMissing)) {
		t.Errorf("got\n%s", got)
	}
}

func TestRoutesSaysThatPodsHaveNoVersion(t *testing.T) {
	stream, err := manifest.Read(strings.NewReader(`
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.0.0.1, selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web, app.kubernetes.io/version: "2"}}, spec: {containers: [{name: app, image: app}]}}}
`))
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := clusterOf(stream.Objects(), "demo", assumedTime)
	if err != nil {
		t.Fatal(err)
	}
	var notes strings.Builder
	if _, err := cluster.plan(t.Context(), api.DefaultConfig().RoutingSettings(), &notes); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(notes.String(), "outrigger.dev/version-label=app.kubernetes.io/version") {
		t.Errorf("notes %q", notes.String())
	}
}

// outrigger routes reports what the controller reports of a Service that has no routes: the Service's own mistakes, and not those
// of its Namespace, which concern others.
func TestRoutesReportsMistakesOfAServiceWithoutRoutes(t *testing.T) {
	stream, err := manifest.Read(strings.NewReader(`
apiVersion: v1
kind: Namespace
metadata: {name: demo, annotations: {outrigger.dev/drift: maybe}}
---
apiVersion: v1
kind: Service
metadata: {name: web, annotations: {outrigger.dev/weights: "v1=many"}}
spec: {clusterIP: 10.0.0.1, selector: {app: web}, ports: [{port: 80}]}
`))
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := clusterOf(stream.Objects(), "demo", assumedTime)
	if err != nil {
		t.Fatal(err)
	}
	var notes strings.Builder
	made, err := cluster.plan(t.Context(), api.DefaultConfig().RoutingSettings(), &notes)
	if err != nil || len(made) > 0 || !strings.Contains(notes.String(), "v1=many") || strings.Contains(notes.String(), "drift") {
		t.Errorf("%d objects, %v, notes %q", len(made), err, notes.String())
	}
}

// A mistyped label switches nothing on, and explain quotes it.
func TestExplainOfAMistypedRoutingLabel(t *testing.T) {
	for _, label := range []string{"outrigger.dev/routing=on", "outrigger.dev/routing=Enabled"} {
		s := newLiveStage(t, append(runningPods("app", "v1", 1, 1), demo(label, "istio-injection=enabled"), serviceOf("app", "app"))...)
		var out strings.Builder
		observed := s.look("app")
		_, problems := api.RouteIntentOf(observed.Service, observed.Namespace)
		if err := printExplanation(diagnose.ExplainService(observed, problems, diagnose.Surroundings{}, noon).Paragraphs(), &out); err != nil {
			t.Fatal(err)
		}
		got := squeeze(out.String())
		for _, want := range []string{"State observed", "Routing observe, since the label " + label + " on namespace demo is invalid", "kubectl label namespace demo outrigger.dev/routing=enabled --overwrite", "ObservedOnly: Namespace demo, metadata.labels[outrigger.dev/routing]"} {
			if !strings.Contains(got, want) {
				t.Errorf("%q is not in\n%s", want, got)
			}
		}
	}
}

// What fixes two problems is printed once.
func TestAFixOfTwoProblemsIsPrintedOnce(t *testing.T) {
	got := diagnose.ProblemLines([]diagnose.ProblemStatus{{Reason: "A", Object: "Service demo/app", Message: "one.", Advice: "Fix it."}, {Reason: "B", Object: "Service demo/app", Message: "two.", Advice: "Fix it."}, {Reason: "C", Object: "Service demo/app", Message: "three."}})
	want := "A: Service demo/app: one.\nB: Service demo/app: two.\n    Fix it.\nC: Service demo/app: three."
	if strings.Join(got, "\n") != want {
		t.Errorf("%q", got)
	}
}
