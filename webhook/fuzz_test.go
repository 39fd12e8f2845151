// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	patching "github.com/evanphx/json-patch/v5"
	"github.com/go-logr/logr/funcr"
	admissionv1 "k8s.io/api/admission/v1"
	kjson "sigs.k8s.io/json"

	"outrigger.dev/outrigger/api"
)

// FuzzReview posts any body to every path: the answer is a review of the request, or an error and no review; nothing
// panics; a patch applies to the object as it was sent; and who only warns never says no.
func FuzzReview(f *testing.F) {
	workloads := workloadsOf(f, withValidation)
	log := &bytes.Buffer{}
	pods := &Handler{
		Namespaces: workloads.Namespaces, Config: workloads.Config,
		Log: funcr.New(func(prefix, args string) { fmt.Fprintln(log, prefix, args) }, funcr.Options{}),
	}
	handler := Paths(pods.HTTP(), map[string]http.Handler{WorkloadsPath: WorkloadAdvice(workloads), ServicesPath: ServiceAdvice(workloads.Namespaces, api.DefaultRouteLimits(), nil)})
	paths := []string{"/inject", "/inject/cluster/c1/net/n1", WorkloadsPath, ServicesPath}
	for n, seed := range []string{
		`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","namespace":"in","operation":"CREATE","kind":{"version":"v1","kind":"Pod"},"object":{"metadata":{"generateName":"a-"},"spec":{"containers":[{"name":"app","tomorrow":1}]}}}}`,
		`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","namespace":"in","object":{"spec":{"containers":[{"name":"istio-proxy"}],"hostNetwork":"yes"}}}}`,
		`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","namespace":"in","operation":"UPDATE","object":{"spec":{"template":{"metadata":{"labels":{"sidecar.istio.io/inject":"yes"}}}}},"oldObject":{}}}`,
		`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","namespace":"in","object":{"metadata":{"annotations":{"outrigger.dev/weights":"v1=x"}},"spec":{"ports":[{"port":80}]}}}}`,
		`{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":null}`, `[]`, ``, `{"request":{"object":`,
	} {
		f.Add([]byte(seed), uint8(n))
	}
	f.Fuzz(func(t *testing.T, body []byte, which uint8) {
		log.Reset()
		path := paths[int(which)%len(paths)]
		request := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
		request.Header.Set("Content-Type", "application/json")
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		if strings.Contains(log.String(), `"panic"`) {
			t.Fatalf("it panics: %s", log)
		}
		if recorder.Code != http.StatusOK {
			return // no review: the failurePolicy of the webhook object decides
		}
		var answer, asked admissionv1.AdmissionReview
		if err := json.Unmarshal(recorder.Body.Bytes(), &answer); err != nil || answer.Response == nil {
			t.Fatalf("HTTP 200 and no review: %s", recorder.Body)
		}
		if warnsOnly := !strings.HasPrefix(path, "/inject"); warnsOnly && !answer.Response.Allowed {
			t.Errorf("%s says no: %s", path, recorder.Body)
		}
		if len(answer.Response.Patch) == 0 {
			return
		}
		// As the API server and the handler read it: keys in another case are other keys.
		if err := kjson.UnmarshalCaseSensitivePreserveInts(body, &asked); err != nil || asked.Request == nil {
			t.Fatalf("a patch for no request: %v", err)
		}
		patch, err := patching.DecodePatch(answer.Response.Patch)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := patch.Apply(asked.Request.Object.Raw); err != nil {
			t.Errorf("the patch %s does not apply to %s: %v", answer.Response.Patch, asked.Request.Object.Raw, err)
		}
	})
}
