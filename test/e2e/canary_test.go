// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// metricsServer answers the queries of Outrigger as Prometheus does, with the numbers that a test sets by namespace and version.
type metricsServer struct {
	*httptest.Server
	mutex      sync.Mutex
	errorRates map[string]string // by "namespace version"
}

func newMetricsServer() *metricsServer {
	m := &metricsServer{errorRates: map[string]string{}}
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, `{"status":"success","data":{"resultType":"scalar","result":[1700000000,%q]}}`, m.answer(r.FormValue("query")))
	}))
	return m
}

func (m *metricsServer) answer(promQL string) string {
	isV2 := strings.Contains(promQL, `destination_version="v2"`)
	for prefix, of := range map[string][2]string{
		"sum((max_over_time(istio_requests_total": {"4000", "1000"}, "histogram_quantile(0.5,": {"0.012", "0.014"}, "histogram_quantile(0.99,": {"0.18", "0.195"},
	} {
		switch {
		case !strings.HasPrefix(promQL, prefix):
		case isV2:
			return of[1]
		default:
			return of[0]
		}
	}
	m.mutex.Lock()
	defer m.mutex.Unlock()
	for of, rate := range m.errorRates {
		namespace, version, _ := strings.Cut(of, " ")
		if strings.Contains(promQL, fmt.Sprintf(`destination_service_namespace=%q,destination_version=%q`, namespace, version)) {
			return rate
		}
	}
	return "NaN"
}

func (m *metricsServer) set(namespace, version, errorRate string) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.errorRates[namespace+" "+version] = errorRate
}

// A canary whose requests fail is aborted with its numbers; after a retry, one that is healthy becomes the default.
func TestCanaryByCommand(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := twoVersions(t)

	says(t, refused(t, "canary", "app", "v2", "-n", ns, "--steps", "50,20"), `--steps=50,20: step "20" is not larger than the step before it, 50`)
	says(t, refused(t, "canary", "app", "v3", "-n", ns), "has no version v3")
	routesNow(t, ns, "app", "v1=100")

	canaryMetrics.set(ns, "v1", "0.01")
	canaryMetrics.set(ns, "v2", "0.05")
	says(t, refused(t, "canary", "app", "v2", "-n", ns, "--steps", "20,100", "--interval", "10s", "--check", "error-rate<1%", "--wait"), "canary v2", "was aborted", "error-rate")
	routesNow(t, ns, "app", "v1=100")
	wantEvent(t, ns, "app", "CanaryStarted")
	wantEvent(t, ns, "app", "CanaryAborted")
	wantEvent(t, ns, "app-v2", "CanaryAborted")
	says(t, cli(t, "status", "-n", ns), "CanaryAborted")

	canaryMetrics.set(ns, "v2", "0.002")
	says(t, cli(t, "canary", "app", "--retry", "-n", ns, "--wait"), "\ncanary v2 1/2 20%", "\ncanary v2 2/2 100%", "\ncanary v2 succeeded\n")
	routesNow(t, ns, "app", "v2=100")
	wantEvent(t, ns, "app", "CanarySucceeded")
	wantEvent(t, ns, "app-v2", "CanarySucceeded")
}
