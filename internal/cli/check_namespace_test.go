// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/diagnose"
)

// It names the label, or the exclusion, that keeps the API server from calling, and the command that changes it.
func TestCheckSaysWhyOutriggerIsNotAsked(t *testing.T) {
	var objects []admissionregistrationv1.MutatingWebhookConfiguration
	if err := yaml.Unmarshal([]byte(`
- metadata: {name: outrigger-sidecar-injector}
  webhooks:
  - name: namespace.sidecar-injector.outrigger.dev
    rules: &pods [{operations: [CREATE], apiGroups: [""], apiVersions: [v1], resources: [pods], scope: Namespaced}]
    failurePolicy: Ignore
    namespaceSelector: {matchExpressions: [{key: istio-injection, operator: In, values: [enabled]}, &excluded {key: kubernetes.io/metadata.name, operator: NotIn, values: [cert-manager]}]}
  - name: object.sidecar-injector.outrigger.dev
    rules: *pods
    failurePolicy: Ignore
    namespaceSelector: {matchExpressions: [{key: istio-injection, operator: DoesNotExist}, {key: istio.io/rev, operator: DoesNotExist}, *excluded]}
    objectSelector: {matchLabels: {sidecar.istio.io/inject: "true"}}
`), &objects); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ namespace, label, value, want string }{
		{"demo", api.LabelInjection, "disabled", "Namespace demo has the label istio-injection=disabled, and no entry of MutatingWebhookConfiguration outrigger-sidecar-injector matches it. Example: kubectl label namespace demo istio-injection=enabled --overwrite"},
		{"demo", api.LabelRevision, "canary", "Namespace demo has the label istio.io/rev=canary"},
		{"cert-manager", "", "", "excludes namespace cert-manager by name (chart value webhook.excludedNamespaces)"},
		{"cert-manager", api.LabelInjection, "enabled", "excludes namespace cert-manager by name"},
		{"demo", "", "", "The webhook does not answer, and its failurePolicy is Ignore"},
		{"unknown", "", "", "Either the namespace is excluded or labeled"},
	} {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: c.namespace, Labels: map[string]string{corev1.LabelMetadataName: c.namespace}}}
		if c.label != "" {
			namespace.Labels[c.label] = c.value
		}
		builder := fake.NewClientBuilder().WithObjects(&objects[0])
		if c.namespace != "unknown" {
			builder = builder.WithObjects(namespace)
		}
		ch := &checker{config: api.DefaultConfig(), namespace: c.namespace, client: builder.Build()}
		if got := ch.whyNotAsked(t.Context()); !strings.Contains(got, c.want) {
			t.Errorf("namespace %s %s=%s: %s; want %q", c.namespace, c.label, c.value, got, c.want)
		}
		objects[0].ResourceVersion = ""
	}
}

// A pod that the user may not create says nothing about Outrigger. One that admission refuses does, and so does one that the
// chart's own account may not create.
func TestCheckWithoutThePermissionToCreatePods(t *testing.T) {
	for what, c := range map[string]struct {
		mayCreate, direct bool
		state, says       string
	}{
		"no permission":                        {state: diagnose.CheckNote, says: "a pod in namespace demo with the label sidecar.istio.io/inject=true was not checked: you have no permission to create pods in namespace demo; the ClusterRole edit, bound there, grants it"},
		"refused by admission":                 {mayCreate: true, state: diagnose.CheckFailed, says: "is refused: "},
		"no permission of the chart's account": {direct: true, state: diagnose.CheckFailed, says: "is refused: "},
	} {
		ch := &checker{config: api.DefaultConfig(), namespace: "demo", create: true, direct: c.direct}
		ch.client = fake.NewClientBuilder().WithInterceptorFuncs(interceptor.Funcs{
			Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
				return forbidden
			},
			Create: func(_ context.Context, _ client.WithWatch, object client.Object, _ ...client.CreateOption) error {
				if review, is := object.(*authorizationv1.SelfSubjectAccessReview); is {
					review.Status.Allowed = c.mayCreate
					return nil
				}
				return forbidden
			},
		}).Build()
		if got := ch.created(t.Context()); got.State != c.state || !strings.Contains(got.Text, c.says) {
			t.Errorf("%s: %s: %s; want %s with %q", what, got.State, got.Text, c.state, c.says)
		}
		if c.direct {
			continue // it may not read the webhook object, either, which fails first
		}
		var out strings.Builder
		err := ch.untilWell(t.Context(), &out)
		if want := map[string]string{diagnose.CheckNote: "", diagnose.CheckFailed: "1 of 1 checks failed"}[c.state]; err == nil && want != "" || err != nil && err.Error() != want {
			t.Errorf("%s: %v, want %q\n%s", what, err, want, out.String())
		}
	}
}
