// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/dashboard"
	"outrigger.dev/outrigger/internal/diagnose"
)

// metricsStage reads metrics directly, at a time that the test sets.
type metricsStage struct {
	*dashboardMetrics
	t         *testing.T
	mu        sync.Mutex
	time      time.Time
	refreshed chan struct{}
}

func newMetricsStage(t *testing.T) *metricsStage {
	t.Helper()
	s := &metricsStage{t: t, time: noon, refreshed: make(chan struct{}, 1000)}
	s.dashboardMetrics = &dashboardMetrics{
		ctx: t.Context(), connect: withKubeconfig(t, "http://127.0.0.1:1").metricsSource, refresh: func() { s.refreshed <- struct{}{} },
		now: func() time.Time { s.mu.Lock(); defer s.mu.Unlock(); return s.time },
	}
	return s
}

func (s *metricsStage) wait(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.time = s.time.Add(d)
}

// page renders the page of a Service with versions.
func (s *metricsStage) page(config api.RoutingConfig, name string, versions ...string) *dashboard.Metrics {
	var all []diagnose.VersionStatus
	for _, version := range versions {
		all = append(all, diagnose.VersionStatus{Version: version, Pods: 1, Subset: version})
	}
	return s.of(config, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: name}}, all)
}

// The page gets the numbers of each version, or why they are unknown.
func TestMetricsOfVersions(t *testing.T) {
	t.Parallel()
	server, s := newPrometheus(t), newMetricsStage(t)
	config := metricsConfig(server.URL)
	config.Metrics.ScrapeInterval = time.Minute
	if got := s.page(config, "app", "v1", "v2", "v3"); got == nil || !got.At.IsZero() || got.Server != server.URL {
		t.Errorf("before the first reading: %+v", got)
	}
	<-s.refreshed
	none := dashboard.Measured{IsUnknown: true}
	gone := dashboard.Measured{IsUnknown: true, Why: "the metrics server has no series for v3", HasNoSeries: true}
	want := &dashboard.Metrics{Server: server.URL, Window: 2 * time.Minute, At: noon, Versions: []dashboard.VersionMetrics{
		{Version: "v1", Requests: dashboard.Measured{Value: 750}, ErrorRate: dashboard.Measured{Value: 0.01}, P50: dashboard.Measured{Value: 0.02}, P99: dashboard.Measured{Value: 0.2}},
		{Version: "v2", ErrorRate: none, P50: none, P99: none},
		{Version: "v3", Requests: gone, ErrorRate: gone, P50: gone, P99: gone},
	}}
	if diff := cmp.Diff(want, s.page(config, "app", "v1", "v2", "v3")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, r := range server.requests() {
		if !strings.Contains(r.FormValue("query"), "[120s]") {
			t.Errorf("the window differs: %s", r.FormValue("query"))
		}
	}
}

// A query of the configuration replaces the default one, as for canaries.
func TestMetricsAreThoseOfTheConfiguration(t *testing.T) {
	t.Parallel()
	server, s := newPrometheus(t), newMetricsStage(t)
	server.answer = func(promQL string) string {
		return map[string]string{`sum(mine{subset="v1"})`: "60", `mine_quantile{quantile="0.99"}`: "0.5"}[promQL]
	}
	config := metricsConfig(server.URL)
	config.Metrics.Queries = map[string]string{"requests": `sum(mine{subset="{{.Subset}}"})`, "percentile": `mine_quantile{quantile="{{.Quantile}}"}`}
	s.page(config, "app", "v1")
	<-s.refreshed
	got := s.page(config, "app", "v1").Versions[0]
	if got.Requests.Value != 60 || got.P99.Value != 0.5 || !got.P50.IsUnknown || !got.ErrorRate.IsUnknown {
		t.Errorf("%+v", got)
	}
	config.Metrics.Queries = map[string]string{"requests": "sum("}
	if got := s.page(config, "app", "v1"); !strings.Contains(got.Unavailable, "routing.metrics.queries.requests: ") {
		t.Errorf("with an invalid query: %+v", got)
	}
	for name, got := range map[string]*dashboard.Metrics{
		"without a server":   s.page(metricsConfig(""), "app", "v1"),
		"without a version":  s.page(config, "app", ""),
		"without a receiver": (*dashboardMetrics)(nil).of(config, nil, []diagnose.VersionStatus{{Version: "v1"}}),
	} {
		if got != nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// No page waits for the server. It gets few queries at once, and those of a Service at most once per metricsAge.
func TestMetricsAreReadInTheBackground(t *testing.T) {
	t.Parallel()
	server, s := newPrometheus(t), newMetricsStage(t)
	answers := make(chan struct{})
	var mu sync.Mutex
	running, most := 0, 0
	server.refuses = func(http.ResponseWriter, *http.Request) bool {
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		<-answers
		mu.Lock()
		running--
		mu.Unlock()
		return false
	}
	config := metricsConfig(server.URL)
	versions := []string{"v1", "v2", "v3"}
	const services = 5
	for range 3 {
		for i := range services {
			if got := s.page(config, fmt.Sprint("app-", i), versions...); !got.At.IsZero() {
				t.Fatalf("it was answered: %+v", got)
			}
		}
	}
	close(answers)
	for ended := 0; ended < services; {
		<-s.refreshed
		ended++
		for i := range services { // pages that exceeded the limit at first
			s.page(config, fmt.Sprint("app-", i), versions...)
		}
	}
	sent := len(server.requests())
	if want := services * len(versions) * 4; sent != want {
		t.Errorf("%d queries, want %d", sent, want)
	}
	if most > maxOwnQueries {
		t.Errorf("%d queries at once", most)
	}
	s.wait(metricsAge - 1)
	s.page(config, "app-0", versions...)
	if got := len(server.requests()); got != sent || len(s.refreshed) > 0 {
		t.Errorf("%d queries before %v had elapsed", got-sent, metricsAge)
	}
	s.wait(1)
	old := s.page(config, "app-0", versions...)
	<-s.refreshed
	if now := s.page(config, "app-0", versions...); !old.At.Equal(noon) || !now.At.Equal(noon.Add(metricsAge)) || len(server.requests()) != sent+12 {
		t.Errorf("%d more queries; read at %v, then at %v", len(server.requests())-sent, old.At, now.At)
	}
}

// The number of Services and versions that are read and kept is limited.
func TestMetricsAreBounded(t *testing.T) {
	t.Parallel()
	server, s := newPrometheus(t), newMetricsStage(t)
	config := metricsConfig(server.URL)
	for i := range maxMetricsKept + 10 {
		s.wait(time.Second)
		s.page(config, fmt.Sprint("app-", i), "v1")
		<-s.refreshed
	}
	if len(s.kept) != maxMetricsKept || s.page(config, "app-10", "v1").At.IsZero() || !s.page(config, "app-9", "v1").At.IsZero() {
		t.Errorf("%d Services are kept", len(s.kept))
	}
	var versions []diagnose.VersionStatus
	for i := range maxMetricsVersion + 5 {
		versions = append(versions, diagnose.VersionStatus{Version: fmt.Sprint("v", i), Pods: i / 10})
	}
	got, omitted := measuredVersions(versions)
	if len(got) != maxMetricsVersion || omitted != 5 || got[0].Version != "v10" || got[maxMetricsVersion-1].Version != "v4" {
		t.Errorf("%v, and %d omitted", got, omitted)
	}
}

// The page shows why the connection fails, until it succeeds.
func TestMetricsConnectAgain(t *testing.T) {
	t.Parallel()
	server, s := newPrometheus(t), newMetricsStage(t)
	connect := s.connect
	s.connect = func(api.RoutingConfig) (*metricsSource, error) { return nil, errors.New("kubeconfig: gone") }
	if got := s.page(metricsConfig(server.URL), "app", "v1"); got.Unavailable != "kubeconfig: gone" {
		t.Errorf("%+v", got)
	}
	s.connect = connect
	s.page(metricsConfig(server.URL), "app", "v1")
	<-s.refreshed
	wantMeasured(t, "after that", s.page(metricsConfig(server.URL), "app", "v1"))
}

// The page of a Service has the metrics of the installation's metrics server.
func TestDashboardServiceHasMetrics(t *testing.T) {
	t.Parallel()
	server, metrics := newPrometheus(t), newMetricsStage(t)
	s := shop(t, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "outrigger-system", Name: "outrigger"},
		Data:       map[string]string{"config.yaml": "apiVersion: config.outrigger.dev/v1alpha1\nkind: Configuration\nrouting:\n  enabled: true\n  metrics:\n    prometheusURL: " + server.URL + "\n"},
	})
	d := s.dashboard(false)
	d.metrics = metrics.dashboardMetrics
	if _, err := d.Service(t.Context(), "demo", "app"); err != nil {
		t.Fatal(err)
	}
	<-metrics.refreshed
	got, err := d.Service(t.Context(), "demo", "app")
	if err != nil || got.Metrics == nil || len(got.Metrics.Versions) != 2 || got.Metrics.Versions[0].Requests.Value != 750 || got.Metrics.Versions[1].Version != "v2" {
		t.Errorf("%+v: %v", got.Metrics, err)
	}
}
