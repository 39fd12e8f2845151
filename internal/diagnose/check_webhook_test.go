// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	certutil "k8s.io/client-go/util/cert"

	"outrigger.dev/outrigger/api"
)

// checkFinding fails the test unless the finding has the state and contains the text.
func checkFinding(t *testing.T, got Finding, state, text string) {
	t.Helper()
	if got.State != state || !strings.Contains(got.Text, text) {
		t.Errorf("%s: %s; want %s with %q", got.State, got.Text, state, text)
	}
}

func webhookWith(bundles ...[]byte) *admissionregistrationv1.MutatingWebhookConfiguration {
	out := &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "outrigger-sidecar-injector"}}
	for i, bundle := range bundles {
		entry := admissionregistrationv1.MutatingWebhook{Name: []string{"namespace", "object"}[i] + ".sidecar-injector.outrigger.dev"}
		entry.ClientConfig.CABundle = bundle
		out.Webhooks = append(out.Webhooks, entry)
	}
	return out
}

func TestCheckTrust(t *testing.T) {
	ca, _, err := certutil.GenerateSelfSignedCertKey("127.0.0.1", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for name, c := range map[string]struct {
		bundles     [][]byte
		now         time.Time
		state, text string
	}{
		"valid":                     {[][]byte{ca, ca}, now, CheckOK, "2 entries, caBundle until 20"},
		"expired":                   {[][]byte{ca, ca}, now.AddDate(100, 0, 0), CheckFailed, "entry namespace.sidecar-injector.outrigger.dev: every CA in its caBundle has expired"},
		"one entry without":         {[][]byte{ca, nil}, now, CheckFailed, "entry object.sidecar-injector.outrigger.dev has no caBundle: no CA has been published yet"},
		"no certificate":            {[][]byte{ca, []byte("none")}, now, CheckFailed, "no PEM block of its caBundle is a certificate"},
		"other blocks are ignored":  {[][]byte{append([]byte("-----BEGIN CERTIFICATE-----\neA==\n-----END CERTIFICATE-----\n"), ca...)}, now, CheckOK, "1 entries"},
		"no entries":                {nil, now, CheckFailed, "has no entries, so the API server does not call Outrigger"},
		"valid only in one of them": {[][]byte{ca, []byte("-----BEGIN CERTIFICATE-----\neA==\n-----END CERTIFICATE-----\n")}, now, CheckFailed, "no PEM block of its caBundle is a certificate"},
	} {
		t.Run(name, func(t *testing.T) { checkFinding(t, CheckTrust(webhookWith(c.bundles...), c.now), c.state, c.text) })
	}
}

func TestWebhookURL(t *testing.T) {
	service := &admissionregistrationv1.ServiceReference{Namespace: "outrigger-system", Name: "outrigger", Path: new("/inject")}
	if got, err := WebhookURL(admissionregistrationv1.WebhookClientConfig{Service: service}); err != nil || got != "https://outrigger.outrigger-system.svc:443/inject" {
		t.Errorf("%s, %v", got, err)
	}
	if got, err := WebhookURL(admissionregistrationv1.WebhookClientConfig{}); err == nil {
		t.Errorf("%s without an address", got)
	}
}

func TestCheckResponse(t *testing.T) {
	const uid = types.UID("uid")
	injected := []byte(`[{"op":"add","path":"/spec/initContainers","value":[{"name":"istio-proxy"}]}]`)
	denied := func(message string) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{UID: uid, Result: &metav1.Status{Message: message}}
	}
	clientCA := api.WebhookConfig{ClientCA: "PEM"}
	for name, c := range map[string]struct {
		code        int
		body        string // instead of a review
		response    *admissionv1.AdmissionResponse
		webhook     api.WebhookConfig
		state, text string
	}{
		"injected":              {response: &admissionv1.AdmissionResponse{UID: uid, Allowed: true, Patch: injected}, state: CheckOK, text: "its certificate, until 2026-01-02T12:00:00Z, verifies by the caBundle, and a pod gets its sidecar"},
		"Istio is missing":      {response: denied("NoIstioConfiguration: ConfigMap istio is missing"), state: CheckNote, text: "ConfigMap istio is missing"},
		"denied":                {response: denied("TemplateFailed: template sidecar"), state: CheckFailed, text: "denies a pod that requests a sidecar: TemplateFailed"},
		"not injected":          {response: &admissionv1.AdmissionResponse{UID: uid, Allowed: true, Warnings: []string{"PolicyDisabled"}}, state: CheckFailed, text: "injects no sidecar into a pod that requests one: PolicyDisabled"},
		"of another review":     {response: &admissionv1.AdmissionResponse{UID: "other", Allowed: true, Patch: injected}, state: CheckFailed, text: "responds 200 OK"},
		"an error":              {code: 500, body: "the configuration is not known yet", state: CheckFailed, text: "responds 500 Internal Server Error: the configuration is not known yet"},
		"no client certificate": {code: 401, body: "a client certificate is required", webhook: clientCA, state: CheckNote, text: "requires a client certificate (webhook.clientCA)"},
		"unexpected 401":        {code: 401, body: "a client certificate is required", state: CheckFailed, text: "401"},
	} {
		t.Run(name, func(t *testing.T) {
			r := WebhookResponse{URL: "https://web", StatusCode: c.code, Body: []byte(c.body), ValidUntil: time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)}
			if r.StatusCode == 0 {
				body, err := json.Marshal(admissionv1.AdmissionReview{Response: c.response})
				if err != nil {
					t.Fatal(err)
				}
				r.StatusCode, r.Body = 200, body
			}
			r.Status = map[int]string{200: "200 OK", 401: "401 Unauthorized", 500: "500 Internal Server Error"}[r.StatusCode]
			checkFinding(t, CheckResponse(r, uid, c.webhook), c.state, c.text)
		})
	}
}
