// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// Two injectors as their charts install them, cut down to what decides.
const webhookObjects = `
- metadata: {name: outrigger-sidecar-injector}
  webhooks:
  - &entry
    name: namespace.sidecar-injector.outrigger.dev
    rules: &pods [{operations: [CREATE], apiGroups: [""], apiVersions: [v1], resources: [pods], scope: Namespaced}]
    namespaceSelector: {matchExpressions: [{key: istio-injection, operator: In, values: [enabled]}, {key: kubernetes.io/metadata.name, operator: NotIn, values: [kube-system]}]}
    objectSelector: {matchExpressions: [{key: sidecar.istio.io/inject, operator: NotIn, values: ["false"]}]}
    matchConditions:
    - {name: not-host-network, expression: "!(has(object.spec.hostNetwork) && object.spec.hostNetwork)"}
    - {name: of-a-name, expression: "object.metadata.labels['app'] != ''"}
    failurePolicy: Fail
- metadata: {name: istio-sidecar-injector}
  webhooks:
  - {name: rev.namespace.sidecar-injector.istio.io, rules: *pods, failurePolicy: Ignore, namespaceSelector: {matchLabels: {istio.io/rev: canary}}}
- metadata: {name: other}
  webhooks:
  - {name: pods.example.com, rules: *pods}
- metadata: {name: outrigger-z}
  webhooks:
  - {name: late.sidecar-injector.outrigger.dev, rules: [{operations: [UPDATE], apiGroups: [""], apiVersions: [v1], resources: [pods]}]}
`

func TestEntriesAreJudgedAsTheAPIServerDoes(t *testing.T) {
	var objects []admissionregistrationv1.MutatingWebhookConfiguration
	if err := yaml.UnmarshalStrict([]byte(webhookObjects), &objects); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what, namespace, pod string
		want                 []string
	}{
		{"a labeled namespace", `{istio-injection: enabled}`, `{metadata: {labels: {app: web}}}`, []string{
			"istiod rev.namespace no: the Namespace has no label istio.io/rev, required: canary",
			"Outrigger namespace yes: failurePolicy Fail: pods are refused while it does not answer",
		}},
		{"no label", `{}`, `{metadata: {labels: {app: web}}}`, []string{
			"istiod rev.namespace no: the Namespace has no label istio.io/rev, required: canary",
			"Outrigger namespace no: the Namespace has no label istio-injection, required: enabled",
		}},
		{"another value, an excluded name", `{istio-injection: enabled, kubernetes.io/metadata.name: kube-system, istio.io/rev: canary}`, `{metadata: {labels: {app: web}}}`, []string{
			"istiod rev.namespace yes: failurePolicy Ignore: pods are created without a sidecar while it does not answer",
			"Outrigger namespace no: the Namespace has the label kubernetes.io/metadata.name=kube-system, required: a value other than kube-system",
		}},
		{"a pod that is opted out", `{istio-injection: enabled}`, `{metadata: {labels: {app: web, sidecar.istio.io/inject: "false"}}}`, []string{
			"istiod rev.namespace no: the Namespace has no label istio.io/rev, required: canary",
			"Outrigger namespace no: the pod has the label sidecar.istio.io/inject=false, required: a value other than false",
		}},
		{"a pod on the host network", `{istio-injection: enabled}`, `{metadata: {labels: {app: web}}, spec: {hostNetwork: true}}`, []string{
			"istiod rev.namespace no: the Namespace has no label istio.io/rev, required: canary",
			"Outrigger namespace no: its matchCondition not-host-network is false",
		}},
		{"a condition that fails", `{istio-injection: enabled}`, `{}`, []string{
			"istiod rev.namespace no: the Namespace has no label istio.io/rev, required: canary",
			"Outrigger namespace broken: its matchConditions fail, so failurePolicy Fail refuses the pod",
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			namespace, pod := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, &corev1.Pod{}
			if err := yaml.UnmarshalStrict([]byte(c.namespace), &namespace.Labels); err != nil {
				t.Fatal(err)
			}
			if err := yaml.UnmarshalStrict([]byte(c.pod), pod); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, v := range MatchingEntries(t.Context(), InjectorEntries(objects), pod, namespace) {
				is := map[bool]string{true: "yes", false: "no"}[v.Matches]
				if v.broken {
					is = "broken"
				}
				why := v.Why
				if v.broken {
					why, _, _ = strings.Cut(why, ": ") // what the API server's code says of it follows
				}
				got = append(got, string(v.Injector)+" "+strings.Split(v.Name, ".sidecar-injector")[0]+" "+is+": "+why)
			}
			want := append(c.want, "Outrigger late no: none of its rules matches the creation of pods")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A release whose webhook object has a name of its own is found by its label.
func TestRevisionOfAnInjector(t *testing.T) {
	for _, c := range []struct {
		whose  Injector
		name   string
		labels map[string]string
		want   string
	}{
		{Outrigger, "outrigger-sidecar-injector", nil, ""},
		{Outrigger, "outrigger-sidecar-injector-canary", nil, "canary"},
		{Outrigger, "00-sidecars", map[string]string{"outrigger.dev/revision": "canary"}, "canary"},
		{Outrigger, "00-sidecars", map[string]string{"outrigger.dev/revision": ""}, ""},
		{Istiod, "istio-sidecar-injector-canary", map[string]string{"istio.io/rev": "canary"}, "canary"},
		{Istiod, "istio-sidecar-injector", map[string]string{"istio.io/rev": "default"}, ""},
	} {
		object := &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: c.name, Labels: c.labels}}
		if got := revisionOf(c.whose, object); got != c.want {
			t.Errorf("%s with %v: revision %q, want %q", c.name, c.labels, got, c.want)
		}
	}
}
