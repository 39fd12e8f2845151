// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
)

// The counter's series sum to the requests about pods, the histogram counts the same, and every pair of result and reason
// is one that was there from the start: no request can make a label's value.
func TestCountsSumToTheRequests(t *testing.T) {
	registry := prometheus.NewRegistry()
	metrics := NewMetrics(registry)
	config := imageConfig(t, "hub")
	pairs := func() map[string]float64 {
		out := map[string]float64{}
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			for _, m := range family.GetMetric() {
				switch family.GetName() {
				case "outrigger_injection_total":
					out[m.GetLabel()[1].GetValue()+" "+m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
				case "outrigger_injection_duration_seconds":
					out["histogram"] = float64(m.GetHistogram().GetSampleCount())
				}
			}
		}
		return out
	}
	before := pairs()
	for _, doc := range api.InjectReasons() {
		if _, is := resultOf(doc); !is && !strings.HasPrefix(doc.Doc, "Warning: ") {
			t.Errorf("the sentence of %s begins with none of the results", doc.Reason)
		}
	}
	requests := 0
	ask := func(from ConfigSource, pod string) {
		h := &Handler{Namespaces: &counting{}, Config: from, Metrics: metrics, Log: logr.Discard()}
		review(t, h, "/inject", pod, func(r *admissionv1.AdmissionRequest) { r.Namespace = "mesh" })
		requests++
	}
	pod := func(spec, words string) string {
		return `{"metadata":{"name":"app"` + words + `},"spec":{` + spec + `"containers":[{"name":"app","image":"app:1"}]}}`
	}
	for range 3 {
		ask(&counting{config: config}, pod("", ""))
		ask(&counting{config: config}, pod(`"hostNetwork":true,`, ""))
		ask(&counting{config: config}, pod("", `,"labels":{"sidecar.istio.io/inject":"true"}`))
		ask(&counting{config: config}, pod("", `,"labels":{"sidecar.istio.io/inject":"false"}`))
		ask(&counting{config: config}, pod("", `,"annotations":{"inject.istio.io/templates":"made-up"}`))
		ask(&counting{err: errors.New("not known")}, pod("", ""))
		ask(&counting{config: inject.Unavailable(api.InjectProblem{Reason: api.InjectNoIstioConfiguration})}, pod("", ""))
	}
	h := &Handler{Namespaces: &counting{}, Config: &counting{config: config}, Metrics: metrics, Log: logr.Discard()}
	h.HTTP().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/inject", strings.NewReader("no review")))
	requests++
	sum, after := 0.0, pairs()
	for pair, value := range after {
		if _, was := before[pair]; !was {
			t.Errorf("a request made the series %s", pair)
		}
		if pair != "histogram" {
			sum += value
		}
	}
	if int(sum) != requests || int(after["histogram"]) != requests {
		t.Errorf("%d requests are counted as %v, and %v in the histogram: %v", requests, sum, after["histogram"], after)
	}
}
