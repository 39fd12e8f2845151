// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"outrigger.dev/outrigger/api"
)

// excludingObject is the chart's webhook object, cut down to the selectors of namespaces. It excludes cert-manager by name.
func excludingObject() Selectors {
	notIn := metav1.LabelSelectorRequirement{Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpNotIn, Values: []string{"kube-system", "cert-manager"}}
	entry := func(name string, requirements ...metav1.LabelSelectorRequirement) admissionregistrationv1.MutatingWebhook {
		return admissionregistrationv1.MutatingWebhook{Name: name, NamespaceSelector: &metav1.LabelSelector{MatchExpressions: append(requirements, notIn)}}
	}
	in := func(key, value string) metav1.LabelSelectorRequirement {
		return metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpIn, Values: []string{value}}
	}
	absent := func(key string) metav1.LabelSelectorRequirement {
		return metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpDoesNotExist}
	}
	object := &admissionregistrationv1.MutatingWebhookConfiguration{Webhooks: []admissionregistrationv1.MutatingWebhook{
		entry("namespace.", in(api.LabelInjection, "enabled")),
		entry("object.", absent(api.LabelInjection), absent(api.LabelRevision)),
		entry("rev.namespace.", in(api.LabelRevision, "default"), absent(api.LabelInjection)),
	}}
	object.Name = "outrigger-sidecar-injector"
	return EntriesFrom(fake.NewClientBuilder().WithObjects(object).Build(), object.Name)
}

func TestALabelOnAnExcludedNamespaceIsWarnedAbout(t *testing.T) {
	encode := func(name string, labels map[string]string) []byte {
		object := &corev1.Namespace{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}}
		object.Name, object.Labels = name, map[string]string{corev1.LabelMetadataName: name}
		for key, value := range labels {
			object.Labels[key] = value
		}
		text, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	enabled := map[string]string{api.LabelInjection: "enabled"}
	for _, c := range []struct {
		what, name  string
		before, now map[string]string
		want        string
	}{
		{"labeled", "cert-manager", nil, enabled, `IgnoredNamespace: Namespace cert-manager: metadata.labels[istio-injection] = "enabled" has no effect`},
		{"labeled with a revision", "kube-system", nil, map[string]string{api.LabelRevision: "default"}, `metadata.labels[istio.io/rev] = "default" has no effect`},
		{"labeled before", "cert-manager", enabled, enabled, ""},
		{"disabled", "cert-manager", nil, map[string]string{api.LabelInjection: "disabled"}, ""},
		{"another release's revision", "cert-manager", nil, map[string]string{api.LabelRevision: "canary"}, ""},
		{"not excluded", "demo", nil, enabled, ""},
		{"not labeled", "cert-manager", nil, map[string]string{"team": "a"}, ""},
	} {
		status, allowed, warnings := adviceOn(t, NamespaceAdvice(nil, excludingObject()), admissionv1.AdmissionRequest{
			Operation: admissionv1.Update, Name: c.name, Object: raw(string(encode(c.name, c.now))), OldObject: raw(string(encode(c.name, c.before))),
			Kind: metav1.GroupVersionKind{Version: "v1", Kind: "Namespace"},
		})
		if status != http.StatusOK || !allowed {
			t.Fatalf("%s: HTTP %d, allowed: %v", c.what, status, allowed)
		}
		if got := strings.Join(warnings, "\n"); c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}
