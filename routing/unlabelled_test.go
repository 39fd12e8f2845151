// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

// A Service whose pods have no version label gets no route. The problem names the version label that its pods have.
func TestPodsWithoutTheVersionLabelAreReported(t *testing.T) {
	c := newCluster(t)
	c.rolling("app", "", 2)
	c.ready()
	observed := c.observe()
	if got := UntriedVersionLabels(observed); len(got) != 1 || got[0] != "app.kubernetes.io/version" {
		t.Fatalf("untried: %v", got)
	}
	told := func() api.RouteProblem {
		t.Helper()
		result := Plan(observed, c.now)
		if !result.Objects.IsEmpty() || len(result.Problems) != 1 || result.Problems[0].Reason != api.RouteVersionLabelMissing {
			t.Fatalf("%v, %v", result.Objects, result.Problems)
		}
		return result.Problems[0]
	}
	if p := told(); !strings.Contains(p.Advice, `kubectl patch deployment -n demo app -p '{"spec":{"template":{"metadata":{"labels":{"version":"v1"}}}}}'`) {
		t.Errorf("advice %q", p.Advice)
	}
	NoteVersionLabel(&observed, "app.kubernetes.io/version", []PodGroup{{Version: ""}})
	if observed.OtherVersionLabel != "" {
		t.Errorf("noted %q, which no pod has", observed.OtherVersionLabel)
	}
	NoteVersionLabel(&observed, "app.kubernetes.io/version", []PodGroup{{Version: "1.2"}})
	if p := told(); !strings.Contains(p.Message, "pods have the label app.kubernetes.io/version") ||
		!strings.Contains(p.Advice, "kubectl annotate service -n demo app outrigger.dev/version-label=app.kubernetes.io/version --overwrite") {
		t.Errorf("%q %q", p.Message, p.Advice)
	}

	observed.Service = observed.Service.DeepCopy()
	observed.Service.Spec.Selector["app.kubernetes.io/version"] = "1.2"
	if got := UntriedVersionLabels(observed); len(got) > 0 {
		t.Errorf("untried: %v, although the Service selects one version by it", got)
	}
	observed.Pods = nil
	if problems := Plan(observed, c.now).Problems; len(problems) > 0 {
		t.Errorf("without pods: %v", problems)
	}
}

// A StatefulSet needs a headless Service, which needs no routes.
func TestTheHeadlessServiceOfAStatefulSetIsNoProblem(t *testing.T) {
	c := newCluster(t)
	c.fixed("app-v1", "v1", 2)
	c.ready()
	observed := c.observe()
	observed.Service = observed.Service.DeepCopy()
	observed.Service.Spec.ClusterIP = corev1.ClusterIPNone
	if problems := Plan(observed, c.now).Problems; len(problems) != 1 || problems[0].Reason != api.RouteServiceSkipped {
		t.Errorf("of a Deployment: %v", problems)
	}
	for i := range observed.Pods {
		observed.Pods[i].Workload.Kind = "StatefulSet"
	}
	if problems := Plan(observed, c.now).Problems; len(problems) > 0 {
		t.Errorf("of a StatefulSet: %v", problems)
	}
	if why, _ := Unroutable(observed); !strings.HasPrefix(why, "A headless Service") {
		t.Errorf("why: %q", why)
	}
	observed.Service.Annotations = map[string]string{"outrigger.dev/weights": "v1=1"}
	observed.Intent, _ = api.RouteIntentOf(observed.Service, observed.Namespace)
	if problems := Plan(observed, c.now).Problems; len(problems) != 1 || problems[0].Reason != api.RouteServiceSkipped {
		t.Errorf("with weights: %v", problems)
	}
}
