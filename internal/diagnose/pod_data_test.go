// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
)

func TestExplanationOfPodsAsData(t *testing.T) {
	matching := entryOf(Outrigger, "outrigger-sidecar-injector", true, "the Namespace is labeled")
	bare := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web-2"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}}}
	injected := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web-1"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}, {Name: "istio-proxy"}}}}
	s := PodFacts{
		Kind: "Deployment", Name: "web", Namespace: namespaceOf(api.LabelInjection, "enabled"),
		Pod:     &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"inject.istio.io/templates": "sidecar"}}},
		Entries: []Entry{matching}, Endpoints: map[string]int{"system/outrigger": 1}, Pods: []corev1.Pod{injected, bare},
		Report: inject.Report{Result: inject.Injected, Reason: api.InjectPolicyEnabled, Templates: []string{"sidecar"}},
	}
	unknown := PodFacts{
		Kind: "Pod", Name: "alone", Namespace: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}},
		Pod: &corev1.Pod{}, Unknown: "no Istio configuration",
	}
	want := `- change:
  - Nothing.
  decision:
    reason: PolicyEnabled
    result: injected
    templates:
    - sidecar
  entries:
  - entry: namespace.sidecar-injector.example
    injector: Outrigger
    matches: true
    object: outrigger-sidecar-injector
    why: the Namespace is labeled
  kind: Deployment
  name: web
  namespace: shop
  pods: 2
  settings:
  - key: istio-injection
    "on": Namespace
    value: enabled
  - key: inject.istio.io/templates
    "on": pod
    value: sidecar
  sidecar: injected into new pods
  withSidecar: 1
- change:
  - 'Install Outrigger: helm install outrigger charts/outrigger -n outrigger-system
    --create-namespace'
  kind: Pod
  name: alone
  namespace: shop
  notKnown:
  - no Istio configuration
  pods: 0
  sidecar: 'not injected into new pods: no webhook matches them'
  withSidecar: 0
`
	got, err := yaml.Marshal([]InjectionExplanation{s.Data(), unknown.Data()})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
