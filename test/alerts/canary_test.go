// SPDX-License-Identifier: Apache-2.0

package alerts

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
	"outrigger.dev/outrigger/routing/controller"
)

// serveQueries answers instant queries at the time of the history, as the HTTP API of Prometheus does.
func (h *history) serveQueries(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query, err := h.engine.NewInstantQuery(r.Context(), h.storage, nil, r.FormValue("query"), h.now)
		if err != nil {
			t.Errorf("%s: %v", r.FormValue("query"), err)
			return
		}
		defer query.Close()
		result := query.Exec(r.Context())
		if result.Err != nil {
			t.Errorf("%s: %v", r.FormValue("query"), result.Err)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": map[string]any{"resultType": result.Value.Type(), "result": result.Value}})
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// proxyStats are Istio's series of a proxy, each by the growth of its value with every scrape.
type proxyStats map[string]float64

func (p proxyStats) serves(_ *testing.T, scrape int) []byte {
	var out strings.Builder
	for _, series := range slices.Sorted(maps.Keys(p)) {
		_, _ = fmt.Fprintf(&out, "%s %v\n", series, p[series]*float64(scrape))
	}
	return []byte(out.String())
}

// beginning serves a series with its growth, and from one scrape on other series as they are.
func beginning(series string, growth float64, from int, others string) func(*testing.T, int) []byte {
	return func(t *testing.T, scrape int) []byte {
		out := proxyStats{series: growth}.serves(t, scrape)
		if scrape >= from {
			out = append(out, others...)
		}
		return out
	}
}

// requests names a series of requests to a version of the Service shop/reviews.
func requests(reporter, version, more string) string {
	return fmt.Sprintf(`istio_requests_total{reporter=%q,destination_service_name="reviews",destination_service_namespace="shop",destination_version=%q,%s}`, reporter, version, more)
}

// latencies are the buckets of requests of which the given part takes less than 100 ms, and the rest less than 1000 ms.
func latencies(version string, count, fast float64) proxyStats {
	bucket := func(le string) string {
		return fmt.Sprintf(`istio_request_duration_milliseconds_bucket{reporter="destination",destination_service_name="reviews",destination_service_namespace="shop",destination_version=%q,le=%q}`, version, le)
	}
	return proxyStats{bucket("50"): 0, bucket("100"): count * fast, bucket("1000"): count, bucket("+Inf"): count}
}

func together(all ...proxyStats) proxyStats {
	out := proxyStats{}
	for _, one := range all {
		maps.Copy(out, one)
	}
	return out
}

// The default queries compute what they promise, from Istio's series in Prometheus' own database and engine.
func TestCanaryQueriesReadIstiosMetrics(t *testing.T) {
	ok := `response_code="200",grpc_response_status=""`
	for name, c := range map[string]struct {
		stats  proxyStats
		serves func(*testing.T, int) []byte // instead of stats
		checks string
		want   routing.CanarySamples
	}{
		"no errors": {
			stats:  proxyStats{requests("destination", "v2", ok): 30},
			checks: "error-rate<1%",
			want:   routing.CanarySamples{Requests: 120, Values: map[string]routing.CanaryValue{"error-rate": {Canary: 0, Baseline: math.NaN()}}},
		},
		"errors of HTTP and gRPC, and one that is both": {
			stats: proxyStats{
				requests("destination", "v2", ok): 80, requests("destination", "v2", `response_code="503",grpc_response_status=""`): 5,
				requests("destination", "v2", `response_code="200",grpc_response_status="13"`): 5, requests("destination", "v2", `response_code="500",grpc_response_status="14"`): 5,
				requests("destination", "v2", `response_code="404",grpc_response_status=""`): 4, requests("destination", "v2", `response_code="200",grpc_response_status="5"`): 1,
				requests("destination", "v1", ok): 95, requests("destination", "v1", `response_code="500",grpc_response_status=""`): 5,
			},
			checks: "error-rate<=2x",
			want:   routing.CanarySamples{Requests: 400, Values: map[string]routing.CanaryValue{"error-rate": {Canary: 0.15, Baseline: 0.05}}},
		},
		"requests that reach no pod": {
			stats: proxyStats{
				requests("destination", "v2", ok): 90, requests("source", "v2", ok): 90, requests("source", "v2", `response_code="503",grpc_response_status=""`): 10,
			},
			checks: "error-rate<1%",
			want:   routing.CanarySamples{Requests: 360, Values: map[string]routing.CanaryValue{"error-rate": {Canary: 0.1, Baseline: math.NaN()}}},
		},
		"percentiles": {
			stats:  together(latencies("v1", 100, 1), latencies("v2", 100, 0.5)),
			checks: "p50<1s,p75<1.5x",
			want: routing.CanarySamples{Requests: math.NaN(), Values: map[string]routing.CanaryValue{
				"p50": {Canary: 0.1, Baseline: math.NaN()}, "p75": {Canary: 0.55, Baseline: 0.0875},
			}},
		},
		"errors of a kind that was not seen before": { // increase does not see them
			serves: beginning(requests("destination", "v2", ok), 100, 3, fmt.Sprintf("%s 40\n", requests("destination", "v2", `response_code="503",grpc_response_status=""`))),
			checks: "error-rate<1%",
			want:   routing.CanarySamples{Requests: 440, Values: map[string]routing.CanaryValue{"error-rate": {Canary: 40.0 / 440, Baseline: math.NaN()}}},
		},
		"a version whose pods are new": {
			serves: beginning("up", 0, 2, fmt.Sprintf("%s 10\n%s", requests("destination", "v2", ok), latencies("v2", 10, 0.5).serves(nil, 1))),
			checks: "error-rate<1%,p50<1s",
			want: routing.CanarySamples{Requests: 10, Values: map[string]routing.CanaryValue{
				"error-rate": {Canary: 0, Baseline: math.NaN()}, "p50": {Canary: 0.1, Baseline: math.NaN()},
			}},
		},
		"another version alone": {
			stats:  proxyStats{requests("destination", "v20", ok): 30},
			checks: "error-rate<1%",
			want:   routing.CanarySamples{Requests: math.NaN(), Values: map[string]routing.CanaryValue{"error-rate": {Canary: math.NaN(), Baseline: math.NaN(), Error: "the metrics server has no series for v2"}}},
		},
		"no requests": {
			stats:  proxyStats{requests("destination", "v2", ok): 0},
			checks: "error-rate<1%",
			want:   routing.CanarySamples{Requests: 0, Values: map[string]routing.CanaryValue{"error-rate": {Canary: math.NaN(), Baseline: math.NaN(), Error: "v2 had no requests"}}},
		},
		"the canonical revision": {
			stats: proxyStats{
				`istio_requests_total{reporter="destination",destination_service_name="reviews",destination_service_namespace="shop",destination_version="unknown",destination_canonical_revision="v2",response_code="200"}`: 9,
				`istio_requests_total{reporter="destination",destination_service_name="reviews",destination_service_namespace="shop",destination_version="unknown",destination_canonical_revision="v2",response_code="500"}`: 1,
			},
			checks: "error-rate<1%",
			want:   routing.CanarySamples{Requests: 40, Values: map[string]routing.CanaryValue{"error-rate": {Canary: 0.1, Baseline: math.NaN()}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if c.serves == nil {
				c.serves = c.stats.serves
			}
			h := newHistory(t, alertsOf(t))
			const scrapes = 4
			for n := range scrapes + 1 {
				h.scrape(t, []target{{map[string]string{"job": "pods"}, c.serves}}, n)
				h.now = h.now.Add(scrapeEvery)
			}
			h.now = h.now.Add(-scrapeEvery)
			config := api.DefaultConfig().Routing
			config.Metrics.PrometheusURL, config.Metrics.ScrapeInterval = h.serveQueries(t), scrapeEvery
			metrics, err := controller.NewCanaryMetrics(config)
			if err != nil {
				t.Fatal(err)
			}
			checks, err := api.ParseCanaryChecks(c.checks, nil)
			if err != nil {
				t.Fatal(err)
			}
			// A window of four scrapes contains all of them; at its edges, Prometheus extrapolates by less than a scrape.
			got := metrics.Query(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "reviews"}}, routing.CanaryQuery{
				Canary: routing.CanaryVersion{Version: "v2", Subset: "v2"}, Baseline: routing.CanaryVersion{Version: "v1", Subset: "v1"},
				Checks: checks, Since: time.Now().Add(-scrapes * scrapeEvery),
			})
			options := cmp.Options{cmpopts.EquateNaNs(), cmpopts.EquateApprox(0.02, 1e-6), cmpopts.IgnoreFields(routing.CanarySamples{}, "At")}
			if diff := cmp.Diff(&c.want, got, options); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}
