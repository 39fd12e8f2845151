// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"net/http"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s.io/utils/ptr"

	"outrigger.dev/outrigger/api"
)

// running is a VersionReader that counts how often it was asked.
type running struct {
	versions []string
	asked    int
}

func (r *running) Versions(context.Context, *corev1.Service, string) []string {
	r.asked++
	return r.versions
}

func TestServiceAdviceNamesTheVersionThatWasMeant(t *testing.T) {
	versions := &running{versions: []string{"v1", "v2"}}
	ask := func(operation admissionv1.Operation, old, now string) []string {
		t.Helper()
		request := admissionv1.AdmissionRequest{Operation: operation, Namespace: "demo", Name: "app", Object: serviceWith(now), Kind: metav1.GroupVersionKind{Version: "v1", Kind: "Service"}}
		if old != "" {
			request.OldObject = serviceWith(old)
		}
		status, allowed, warnings := adviceOn(t, ServiceAdvice(namesOnly{}, api.DefaultRouteLimits(), versions), request)
		if status != http.StatusOK || !allowed {
			t.Fatalf("HTTP %d, allowed: %v", status, allowed)
		}
		return warnings
	}
	typo := `"annotations":{"outrigger.dev/weights":"V1=95,v2=5"}`
	warnings := ask(admissionv1.Update, `"annotations":{}`, typo)
	if len(warnings) != 1 || !strings.Contains(warnings[0], `unknown version "V1"; did you mean "v1"?`) || !strings.Contains(warnings[0], "outrigger.dev/weights=v1=95,v2=5") {
		t.Errorf("%q", warnings)
	}
	if warnings := ask(admissionv1.Update, `"annotations":{}`, `"annotations":{"outrigger.dev/weights":"v1=95,v2=5"}`); len(warnings) > 0 {
		t.Errorf("%q", warnings)
	}
	invalid := ask(admissionv1.Update, `"annotations":{}`, `"annotations":{"outrigger.dev/weights":"V1"}`)
	if len(invalid) != 1 || !strings.HasSuffix(invalid[0], "Example: kubectl annotate service -n demo app outrigger.dev/weights=v1=90,v2=10 --overwrite.") {
		t.Errorf("%q", invalid)
	}
	versions.asked = 0
	if warnings := ask(admissionv1.Update, typo, typo); len(warnings) > 0 || versions.asked > 0 {
		t.Errorf("what was there before is warned of again: %q, %d reads", warnings, versions.asked)
	}
	versions.versions = nil // a Service before its pods
	if warnings := ask(admissionv1.Create, "", typo); len(warnings) > 0 {
		t.Errorf("%q", warnings)
	}
}

func TestNamespaceAdvice(t *testing.T) {
	ask := func(old, now string) []string {
		t.Helper()
		object := func(metadata string) string {
			return `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"demo",` + metadata + `}}`
		}
		status, allowed, warnings := adviceOn(t, NamespaceAdvice(ptr.To(api.DefaultRouteLimits()), excludingObject()), admissionv1.AdmissionRequest{
			Operation: admissionv1.Update, Name: "demo", Object: raw(object(now)), OldObject: raw(object(old)), Kind: metav1.GroupVersionKind{Version: "v1", Kind: "Namespace"},
		})
		if status != http.StatusOK || !allowed {
			t.Fatalf("HTTP %d, allowed: %v", status, allowed)
		}
		return warnings
	}
	for now, want := range map[string]string{
		`"labels":{"outrigger.dev/routing":"dry-run"}`:                  "It behaves as observe",
		`"labels":{"outrigger.dev/routng":"enabled"}`:                   "Did you mean the label outrigger.dev/routing?",
		`"annotations":{"outrigger.dev/default-version":"@newest"}`:     "InvalidAnnotation",
		`"annotations":{"outrigger.dev/weights":"v1=1"}`:                "It has no effect on a Namespace.",
		`"labels":{"outrigger.dev/routing":"observe","team":"a"}`:       "",
		`"annotations":{"outrigger.dev/allowed-hosts":"*.example.com"}`: "",
	} {
		warnings := ask(`"labels":{}`, now)
		if want == "" && len(warnings) > 0 || want != "" && (len(warnings) != 1 || !strings.Contains(warnings[0], want)) {
			t.Errorf("%s: %q, want %q", now, warnings, want)
		}
		if again := ask(now, now); len(again) > 0 {
			t.Errorf("%s: what was there before is warned of again: %q", now, again)
		}
	}
}

func TestRoutingAnnotationsOnWorkloadsAreReported(t *testing.T) {
	w := &workload{}
	w.Kind, w.Namespace, w.Name = "Deployment", "demo", "app"
	w.Annotations = map[string]string{api.AnnotationWeights: "v1=1"}
	w.Spec.Template = []byte(`{"metadata":{"annotations":{"outrigger.dev/expose":"true"},"labels":{"outrigger.dev/routing":"enabled"}}}`)
	var got []string
	for _, p := range w.misplacedRouting() {
		got = append(got, p.String())
	}
	want := []string{
		`Deployment demo/app: metadata.annotations[outrigger.dev/weights] = "v1=1": It has no effect on a Deployment or its pods. Set it on the Service.`,
		`Deployment demo/app: spec.template.metadata.annotations[outrigger.dev/expose] = "true": It has no effect on a Deployment or its pods. Set it on the Service.`,
		`Deployment demo/app: spec.template.metadata.labels[outrigger.dev/routing] = "enabled": It has no effect on a Deployment or its pods. Set it on the Namespace or Service.`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
