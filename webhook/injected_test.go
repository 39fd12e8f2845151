// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
)

// known is a ConfigSource with a configuration.
type known struct{ config *inject.Config }

func (k known) Current() (*inject.Config, error) { return k.config, nil }

// What each action makes of a pod that hides a foreign proxy behind the claim to be injected, and of one that does not.
func TestInjectedPods(t *testing.T) {
	config, _, err := inject.Parse(inject.Source{
		Config: `{policy: enabled, defaultTemplates: [sidecar], templates: {sidecar: "spec: {containers: [{name: istio-proxy, image: istio.example/proxyv2}]}"}}`,
		Values: "{}", Mesh: "{}",
	})
	if err != nil {
		t.Fatal(err)
	}
	podWith := func(image string) string {
		return `{"metadata":{"annotations":{"` + api.AnnotationStatus + `":"{\"containers\":[\"istio-proxy\"]}"}},"spec":{"containers":[{"name":"app"},{"name":"istio-proxy","image":"` + image + `"}]}}`
	}
	handlers := InjectedPods(named{}, known{config})
	for _, test := range []struct {
		action, pod string
		operation   admissionv1.Operation
		allowed     bool
		says        string
		audited     bool
	}{
		{action: "warn", pod: podWith("evil.example/proxy"), allowed: true, says: "ForeignProxy", audited: true},
		{action: "deny", pod: podWith("evil.example/proxy"), says: "ForeignProxy", audited: true},
		{action: "audit", pod: podWith("evil.example/proxy"), allowed: true, audited: true},
		{action: "deny", pod: podWith("istio.example/proxyv2:2"), allowed: true},
		{action: "deny", pod: podWith("evil.example/proxy"), operation: admissionv1.Update, allowed: true},
		{action: "deny", pod: "null", operation: admissionv1.Delete, allowed: true},
	} {
		if test.operation == "" {
			test.operation = admissionv1.Create
		}
		body, err := json.Marshal(admissionv1.AdmissionReview{TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: &admissionv1.AdmissionRequest{
			UID: "u1", Namespace: "demo", Operation: test.operation, Kind: metav1.GroupVersionKind{Version: "v1", Kind: "Pod"}, Object: runtime.RawExtension{Raw: []byte(test.pod)},
		}})
		if err != nil {
			t.Fatal(err)
		}
		request := httptest.NewRequest(http.MethodPost, InjectedPodsPath+test.action, bytes.NewReader(body))
		request.Header.Set("Content-Type", "application/json")
		recorder := httptest.NewRecorder()
		handlers[InjectedPodsPath+test.action].ServeHTTP(recorder, request)
		response := responseIn(t, recorder.Body.String())
		said := strings.Join(response.Warnings, "")
		if response.Result != nil {
			said += response.Result.Message
		}
		if response.Allowed != test.allowed || (test.says == "") != (said == "") || !strings.Contains(said, test.says) || (response.AuditAnnotations["reason"] == "ForeignProxy") != test.audited || response.Patch != nil {
			t.Errorf("%s of %s: %s", test.action, test.pod, recorder.Body)
		}
	}
	for path := range handlers {
		recorder := httptest.NewRecorder()
		request := httptest.NewRequest(http.MethodPost, path, strings.NewReader(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u1","operation":"CREATE","object":null}}`))
		request.Header.Set("Content-Type", "application/json")
		if handlers[path].ServeHTTP(recorder, request); recorder.Code != http.StatusInternalServerError || !strings.Contains(recorder.Body.String(), "has no pod") {
			t.Errorf("%s of null: %d %s; want 500", path, recorder.Code, recorder.Body)
		}
	}
}
