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

	"outrigger.dev/outrigger/api"
)

// labeled is a VersionReader of pods that have the labels version and track.
type labeled struct{}

func (labeled) Versions(_ context.Context, _ *corev1.Service, label string) []string {
	return map[string][]string{"version": {"v1", "v2"}, "track": {"canary", "stable"}}[label]
}

func TestServiceAdviceOnVersionLabel(t *testing.T) {
	for text, want := range map[string]string{
		"track":             "",
		"nosuch":            "no pod of the Service has this label",
		"app":               "the Service selects its pods by app=app",
		"pod-template-hash": "changes with every rollout",
	} {
		object := func(annotations string) string {
			return `{"apiVersion":"v1","kind":"Service","metadata":{"name":"app","annotations":{` + annotations + `}},"spec":{"selector":{"app":"app"}}}`
		}
		now := object(`"outrigger.dev/version-label":"` + text + `"`)
		for _, before := range []string{object(""), now} {
			status, allowed, warnings := adviceOn(t, ServiceAdvice(namesOnly{}, api.DefaultRouteLimits(), labeled{}), admissionv1.AdmissionRequest{
				Operation: admissionv1.Update, Namespace: "demo", Name: "app", Object: raw(now), OldObject: raw(before), Kind: metav1.GroupVersionKind{Version: "v1", Kind: "Service"},
			})
			told := strings.Join(warnings, "\n")
			if status != http.StatusOK || !allowed || len(warnings) > 1 || want != "" && before != now && !strings.Contains(told, want) || (want == "" || before == now) && told != "" {
				t.Errorf("%s: HTTP %d, allowed: %t, %q", text, status, allowed, told)
			}
		}
	}
}
