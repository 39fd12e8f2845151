// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// unknown is a number that is unknown for a reason.
func unknown(why string) Measured { return Measured{IsUnknown: true, Why: why} }

func measured(value float64) Measured { return Measured{Value: value} }

// The page shows the metrics with their units, window, and server, and never 0 for what is unknown.
func TestMetricsOfAServicePage(t *testing.T) {
	t.Parallel()
	s := newStage(t).open()
	one := web()
	s.services["demo/web"] = one
	if page := s.page("/services/demo/web", http.StatusOK); strings.Contains(page, `id="metrics"`) {
		t.Error("without a metrics server, there are metrics")
	}
	one.Metrics = &Metrics{Server: "Service monitoring/prometheus"}
	s.has(s.page("/services/demo/web", http.StatusOK), "Requests Reading the metrics from Service monitoring/prometheus.")
	one.Metrics.Unavailable = "no permission to get services/proxy http:prometheus:9090 in namespace monitoring"
	s.has(s.page("/services/demo/web", http.StatusOK), "Requests Metrics are unavailable: no permission to get services/proxy http:prometheus:9090 in namespace monitoring.")
	one.Metrics = &Metrics{
		Server: "Service monitoring/prometheus", Window: time.Minute, At: noon, Omitted: 1,
		Versions: []VersionMetrics{
			{Version: "v1", Requests: measured(750), ErrorRate: measured(0.002), P50: measured(0.0234), P99: measured(1.5)},
			{Version: "v2", Requests: measured(0), ErrorRate: unknown(""), P50: unknown(""), P99: unknown("")},
			{Version: "v3", Requests: unknown("the metrics server has no series for v3"), ErrorRate: measured(0), P50: unknown("the metrics server has no series for v3"), P99: unknown("the query returns 2 series")},
			{Version: "v4", Requests: unknown("it is gone"), ErrorRate: unknown("it is gone"), P50: unknown("it is gone"), P99: unknown("it is gone")},
		},
	}
	page := s.page("/services/demo/web", http.StatusOK)
	s.has(page, "In the minute before 2026-01-02 12:00:00 UTC", "read from Service monitoring/prometheus.",
		"v1 12.5/s 0.2% 23.4ms 1.5s",
		"v2 no requests – unknown – unknown – unknown v3",
		"v3 – unknown 0% – unknown – unknown v4",
		"v3, requests, p50: the metrics server has no series for v3. v3, p99: the query returns 2 series. v4: it is gone. 1 more version is not shown.")
	for version, class := range map[string]string{"v1": "version-1", "v2": "version-2", "v3": "no-version"} {
		if want := `<tr><th scope="row" class="` + class + `"><span class="swatch"></span> ` + version + "</th>"; !strings.Contains(page, want) {
			t.Errorf("no %s", want)
		}
	}
}

// A metric that no version has is one note: the query does not fit the server.
func TestMetricsThatNoVersionHas(t *testing.T) {
	t.Parallel()
	absent := func(version string) Measured {
		return Measured{IsUnknown: true, HasNoSeries: true, Why: "no series for " + version}
	}
	idle := Measured{IsUnknown: true, HasNoSeries: true}
	v1 := VersionMetrics{Version: "v1", Requests: measured(9), ErrorRate: measured(0), P50: absent("v1"), P99: absent("v1")}
	for name, test := range map[string]struct {
		other VersionMetrics
		want  []string
	}{
		"all lack it":           {VersionMetrics{Version: "v2", Requests: measured(0), ErrorRate: idle, P50: idle, P99: idle}, []string{"p50, p99: the metrics server has no series for any version; see routing.metrics.queries"}},
		"one has it":            {VersionMetrics{Version: "v2", Requests: measured(9), P50: measured(1), P99: absent("v2")}, []string{"p99: the metrics server has no series for any version; see routing.metrics.queries", "v1, p50: no series for v1"}},
		"another has a failure": {VersionMetrics{Version: "v2", Requests: measured(9), P50: unknown("x"), P99: unknown("x")}, []string{"v1, p50, p99: no series for v1", "v2, p50, p99: x"}},
	} {
		if diff := cmp.Diff(test.want, (&Metrics{Versions: []VersionMetrics{v1, test.other}}).notes()); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
	if diff := cmp.Diff([]string{"v1, p50, p99: no series for v1"}, (&Metrics{Versions: []VersionMetrics{v1}}).notes()); diff != "" {
		t.Errorf("one version: -want +got:\n%s", diff)
	}
}

// Without JavaScript, nothing else says how old the numbers are: the page that shows them starts the next reading.
func TestOldMetricsHaveAnAge(t *testing.T) {
	t.Parallel()
	s := newStage(t).open()
	one := web()
	s.services["demo/web"] = one
	one.Metrics = &Metrics{Server: "Service monitoring/prometheus", Window: time.Minute, At: noon, Versions: []VersionMetrics{{Version: "v1"}}}
	for age, want := range map[time.Duration]string{
		59 * time.Second: "", time.Minute: "1 min", 59 * time.Minute: "59 min", 47 * time.Hour: "47 h", 72 * time.Hour: "3 d",
	} {
		s.now = noon.Add(age)
		found := regexp.MustCompile(`<noscript> <strong>These numbers are ([^<]*) old\.</strong> For current ones, reload the page\.</noscript>`).FindStringSubmatch(s.page("/services/demo/web", http.StatusOK))
		if want == "" != (found == nil) || found != nil && found[1] != want {
			t.Errorf("after %v: %q, want %q", age, found, want)
		}
	}
}

func TestRates(t *testing.T) {
	t.Parallel()
	got := map[float64]string{}
	for _, count := range []float64{0, 0.1, 3, 750, 3000, 75000} {
		got[count] = rateText(count, time.Minute)
	}
	want := map[float64]string{0: "no requests", 0.1: "<0.01/s", 3: "0.05/s", 750: "12.5/s", 3000: "50.0/s", 75000: "1250/s"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for window, want := range map[time.Duration]string{time.Minute: "minute", 90 * time.Second: "1m30s", 20 * time.Minute: "20m", 30 * time.Second: "30s"} {
		if got := windowText(window); got != want {
			t.Errorf("%v: %q, want %q", window, got, want)
		}
	}
}

// A refresh wakes the open pages. It changes neither the report nor the reason why there is no newer one.
func TestRefreshWakesPages(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.Update(reportOf(), nil)
	s.Update(nil, http.ErrServerClosed)
	before, changed := s.readings.current(), s.readings.changed()
	s.Refresh()
	<-changed
	if after := s.readings.current(); !reflect.DeepEqual(after, before) {
		t.Errorf("%+v, before: %+v", after, before)
	}
}
