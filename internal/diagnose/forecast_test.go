// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// serviceWith returns a Service in a labeled Namespace, with two ready pods of v1 and one of v2, after it was reconciled.
func serviceWith(t *testing.T, annotations map[string]string, change ...func(*routing.Observed)) routing.Observed {
	t.Helper()
	old := metav1.NewTime(noon.Add(-time.Minute))
	observed := routing.Observed{
		Service: &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "app", UID: "uid", CreationTimestamp: old, Annotations: annotations},
			Spec:       corev1.ServiceSpec{ClusterIP: "10.0.0.1", Selector: map[string]string{"app": "app"}, Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
		},
		Namespace: namespaceOf(api.LabelInjection, "enabled"),
		Settings:  api.DefaultConfig().RoutingSettings(),
	}
	for version, pods := range map[string]int{"v1": 2, "v2": 1} {
		ref := routing.WorkloadRef{Kind: "Deployment", Name: "app-" + version}
		labels := map[string]string{"app": "app", "version": version}
		observed.Pods = append(observed.Pods, routing.PodGroup{Workload: ref, Version: version, Pods: pods, Ready: pods, Created: old.Time})
		observed.Workloads = append(observed.Workloads, routing.Workload{WorkloadRef: ref, Labels: labels, Selector: labels, Replicas: int32(pods), Created: old.Time})
	}
	if annotations == nil {
		observed.Service.Annotations = map[string]string{}
	}
	settle(&observed)
	for _, one := range change {
		one(&observed)
	}
	return observed
}

// settle does what the controller does until nothing changes.
func settle(observed *routing.Observed) {
	observed.Intent, _ = observed.Settings.Limits.IntentOf(observed.Service, observed.Namespace, nil)
	for range 3 {
		observed.Existing = routing.Plan(WithoutDelays(*observed), noon).Objects
	}
}

func shiftTo(weights string, versions ...string) Decision {
	return Decision{Service: "app", Annotations: map[string]string{api.AnnotationWeights: weights}, Versions: versions}
}

func promotionOf(version string) Decision {
	return Decision{Service: "app", Annotations: map[string]string{api.AnnotationDefaultVersion: version, api.AnnotationWeights: ""}, Versions: []string{version}}
}

func pending(d Decision) Decision {
	d.AllowPending = true
	return d
}

func losePods(version string) func(*routing.Observed) {
	return func(o *routing.Observed) {
		for i := range o.Pods {
			if o.Pods[i].Version == version {
				o.Pods[i].Pods, o.Pods[i].Ready = 1, 0
			}
		}
	}
}

func managedBy(labels map[string]string, annotations map[string]string) func(*routing.Observed) {
	return func(o *routing.Observed) {
		o.Service.Labels = labels
		for key, value := range annotations {
			o.Service.Annotations[key] = value
		}
	}
}

const decidedAt = "outrigger.dev/decided-at=2026-01-02T12:00:00Z"

func TestForecastDecision(t *testing.T) {
	hidden := Gaps{}
	hidden.AddKind("VirtualService", "demo")
	for name, c := range map[string]struct {
		annotations map[string]string
		change      func(*routing.Observed)
		decision    Decision
		gaps        Gaps
		want        []string // lines, or parts of the error
		err         bool
	}{
		"shift": {decision: shiftTo("v1=90,v2=10", "v1", "v2"), want: []string{
			"service/app: v1=100 -> v1=90 v2=10",
			"kubectl annotate service -n demo app " + decidedAt + " outrigger.dev/weights=v1=90,v2=10 --overwrite",
		}},
		"promote after a shift": {annotations: map[string]string{api.AnnotationWeights: "v1=90,v2=10"}, decision: promotionOf("v2"), want: []string{
			"service/app: v1=90 v2=10 -> v2=100",
			"    removes outrigger.dev/weights (was v1=90,v2=10)",
			"kubectl annotate service -n demo app " + decidedAt + " outrigger.dev/default-version=v2 outrigger.dev/weights- --overwrite",
		}},
		"the current decision": {annotations: map[string]string{api.AnnotationWeights: "v1=90,v2=10"}, decision: shiftTo("v1=90,v2=10"), want: []string{
			"service/app: v1=90 v2=10 (unchanged)",
			"    The annotations already have these values; nothing is written.",
		}},
		"promote a version without pods": {decision: pending(promotionOf("v9")), want: []string{
			"service/app: v1=100 -> v9=100 when v9 has a ready pod",
			"    version v9 has no pods; until some are ready, the current route is unchanged",
			"kubectl annotate service -n demo app " + decidedAt + " outrigger.dev/default-version=v9 outrigger.dev/weights- --overwrite",
		}},
		"shift to a version without ready pods": {change: losePods("v2"), decision: shiftTo("v1=50,v2=50", "v1", "v2"), want: []string{
			"service/app: v1=100 -> v1=50 v2=50 when v2 has a ready pod",
			"    version v2: 0 of 1 pods ready; until some are, a greater share of it is pending",
			"kubectl annotate service -n demo app " + decidedAt + " outrigger.dev/weights=v1=50,v2=50 --overwrite",
		}},
		"a version in the route that lost its pods": {change: losePods("v1"), decision: shiftTo("v1=50,v2=50", "v1", "v2"), want: []string{
			"service/app: v1=100 -> v1=50 v2=50",
			"    version v1: 0 of 1 pods ready; its share of the requests fails until one is",
			"    DefaultVersionGone: The default, v1, has no ready pod. Its route is kept, so requests fail until a pod is ready.",
			"kubectl annotate service -n demo app " + decidedAt + " outrigger.dev/weights=v1=50,v2=50 --overwrite",
		}},
		"an unknown version": {decision: shiftTo("v1=1,v3=1", "v1", "v3"), err: true, want: []string{
			`service demo/app has no version v3; it has v1, v2. --pending writes the name anyway; it takes effect when its pods are ready`,
		}},
		"a near miss": {decision: promotionOf("V1"), err: true, want: []string{`service demo/app has no version V1; did you mean "v1"? It has v1, v2.`, "Example: outrigger promote app v1 -n demo"}},
		"no permission to read the route": {decision: shiftTo("v1=1,v2=1", "v1", "v2"), gaps: hidden, want: []string{
			"service/app: its current route is unknown",
			"kubectl annotate service -n demo app " + decidedAt + " outrigger.dev/weights=v1=1,v2=1 --overwrite",
		}},
		"routing is not enabled": {change: func(o *routing.Observed) {
			o.Namespace.Labels = nil
			o.Existing = routing.Objects{}
			settle(o)
		}, decision: shiftTo("v1=1,v2=1", "v1", "v2"), want: []string{
			"service/app: no route (unchanged)",
			"    No route is written: routing is not enabled for it. To change that: outrigger enable demo",
			"kubectl annotate service -n demo app " + decidedAt + " outrigger.dev/weights=v1=1,v2=1 --overwrite",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			observed := serviceWith(t, c.annotations)
			if c.change != nil {
				c.change(&observed)
			}
			forecast, err := ForecastDecision(observed, c.decision, c.gaps, noon)
			if c.err {
				for _, part := range c.want {
					if err == nil || !strings.Contains(err.Error(), part) {
						t.Errorf("error %v, want %q", err, part)
					}
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, forecast.Lines()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// A GitOps tool restores the annotations that it manages.
func TestForecastNamesTheGitOpsTool(t *testing.T) {
	declared := map[string]string{corev1.LastAppliedConfigAnnotation: `{"metadata":{"annotations":{"outrigger.dev/weights":"v1=1"}}}`}
	for _, c := range []struct {
		labels, annotations map[string]string
		want                string // empty: no note
	}{
		{nil, map[string]string{"argocd.argoproj.io/tracking-id": "shop:/Service:demo/app"}, "Argo CD shop manages this Service. If its source sets outrigger.dev/weights, the next sync restores the value of the source. Change the source, too."},
		{map[string]string{"argocd.argoproj.io/instance": "shop"}, declared, "Argo CD shop manages this Service, and its source sets outrigger.dev/weights. The next sync restores the value of the source. Change the source, too."},
		{map[string]string{"kustomize.toolkit.fluxcd.io/name": "apps"}, nil, "Flux (Kustomization) apps manages this Service. If its"},
		{map[string]string{"helm.toolkit.fluxcd.io/name": "shop"}, nil, "Flux (HelmRelease) shop manages"},
		{map[string]string{"app.kubernetes.io/managed-by": "argocd"}, nil, "Argo CD manages"},
		{map[string]string{"app.kubernetes.io/managed-by": "Helm"}, nil, ""},
	} {
		forecast, err := ForecastDecision(serviceWith(t, nil, managedBy(c.labels, c.annotations)), shiftTo("v1=1,v2=1", "v1", "v2"), nil, noon)
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(forecast.Lines(), "\n")
		if c.want == "" && strings.Contains(got, "manages this Service") || !strings.Contains(got, c.want) {
			t.Errorf("%v %v: %s; want %q", c.labels, c.annotations, got, c.want)
		}
	}
}

func TestForecastMode(t *testing.T) {
	unlabeled := serviceWith(t, nil, func(o *routing.Observed) {
		o.Namespace.Labels = nil
		o.Existing = routing.Objects{}
		settle(o)
	})
	for name, c := range map[string]struct {
		observed routing.Observed
		mode     api.RoutingMode
		want     []string
	}{
		"enable": {unlabeled, api.RoutingEnabled, []string{
			"service/app: no route -> v1=100",
			"service/app: v2 stops receiving requests (1 of 1 pods ready)",
		}},
		"disable": {serviceWith(t, nil), api.RoutingDisabled, []string{
			"service/app: v1=100 -> by pods",
			"service/app: begins to receive traffic: v2 (1 of 1 pods ready) (now v1=100)",
		}},
		"its own label decides": {serviceWith(t, nil, managedBy(map[string]string{api.LabelRouting: "enabled"}, nil)), api.RoutingEnabled, []string{
			"service/app: nothing changes; its own label says outrigger.dev/routing=enabled",
		}},
		"nothing changes": {serviceWith(t, nil), api.RoutingEnabled, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, ForecastMode(c.observed, c.mode, nil, noon)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// A match and an exposure end with the routes.
func TestForecastRemoval(t *testing.T) {
	observed := serviceWith(t, map[string]string{api.AnnotationWeights: "v1=90,v2=10", api.AnnotationMatch: "v2=header:x-user:test"})
	want := []string{
		"service/app: v1=90 v2=10 -> by pods",
		"service/app: no version begins to receive traffic",
		"service/app: x-user=test goes to every pod, no longer to v2",
	}
	if diff := cmp.Diff(want, ForecastRemoval(observed, noon)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	observed.Existing = routing.Objects{}
	if got := ForecastRemoval(observed, noon); got != nil {
		t.Errorf("without routes: %v", got)
	}
}

func TestWhyNotApplied(t *testing.T) {
	decided := serviceWith(t, nil)
	decided.Service.Annotations = map[string]string{api.AnnotationWeights: "v1=50,v2=50"}
	decided.Intent, _ = decided.Settings.Limits.IntentOf(decided.Service, decided.Namespace, nil)
	settled := serviceWith(t, map[string]string{api.AnnotationWeights: "v1=50,v2=50"})
	waits := serviceWith(t, map[string]string{api.AnnotationWeights: "v1=50,v9=50"})
	disabled := serviceWith(t, nil)
	disabled.Intent.Disabled = true
	for name, c := range map[string]struct {
		observed routing.Observed
		want     string
	}{
		"applied":             {settled, ""},
		"not written yet":     {decided, "the current route is v1=100 and will be v1=50 v2=50; VirtualService app is not written yet. If this does not change, Outrigger is not running"},
		"a version is absent": {waits, "v9 (no pods)"},
		"disabled":            {disabled, "no route is written: routing is disabled for it"},
	} {
		if got := WhyNotApplied(c.observed, nil, noon).String(); c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestReplacedDecision(t *testing.T) {
	wanted := map[string]string{api.AnnotationWeights: "v1=1", api.AnnotationDecidedAt: "2026-01-02T12:00:00Z"}
	for value, want := range map[string]string{"v1=1": "", "": "another client removed the annotation outrigger.dev/weights", "v2=1": "another client set the annotation outrigger.dev/weights=v2=1"} {
		if got := ReplacedDecision(map[string]string{api.AnnotationWeights: value}, wanted); got != want {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
}
