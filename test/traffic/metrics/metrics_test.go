// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// What targets serve is scraped, and queries are answered in the form of Prometheus' HTTP API.
func TestQueriesAreAboutWhatTargetsServe(t *testing.T) {
	var requests atomic.Int64
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, "# TYPE requests_total counter\nrequests_total{code=\"200\"} %d\nrequests_total{code=\"500\"} 5\n", requests.Add(10))
	}))
	defer target.Close()
	file := filepath.Join(t.TempDir(), "targets")
	server := New(File(file), map[string]string{"namespace": "shop"})
	if err := server.Scrape(t.Context()); err != nil {
		t.Errorf("without a file there is no target, and no error: %v", err)
	}
	if err := os.WriteFile(file, []byte(strings.TrimPrefix(target.URL, "http://")+"\n127.0.0.1:1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := server.Scrape(t.Context()); err == nil || !strings.Contains(err.Error(), "target 127.0.0.1:1: ") || strings.Contains(err.Error(), target.URL) {
		t.Errorf("the target that cannot be read is not named: %v", err)
	}
	for query, want := range map[string]string{
		`sum(requests_total{namespace="shop",code="200"})`: `[{"metric":{},"value":[T,"10"]}]`,
		`sum by (code) (requests_total{code=~"5.."})`:      `[{"metric":{"code":"500"},"value":[T,"5"]}]`,
		`requests_total{namespace="other"}`:                `[]`,
		`scalar(sum(requests_total))`:                      `[T,"15"]`,
	} {
		if got := ask(t, server, query, http.StatusOK); got != want {
			t.Errorf("%s: got %s; want %s", query, got, want)
		}
	}
	if got := ask(t, server, "sum(", http.StatusBadRequest); !strings.Contains(got, "parse error") {
		t.Errorf("a query that is not PromQL: %s", got)
	}
}

// ask sends a query as Prometheus' client does, and returns the result with T for the time, or the error.
func ask(t *testing.T, server http.Handler, query string, status int) string {
	t.Helper()
	request := httptest.NewRequest(http.MethodPost, "/api/v1/query", strings.NewReader(url.Values{"query": {query}}.Encode()))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answered := httptest.NewRecorder()
	server.ServeHTTP(answered, request)
	var out struct {
		Status, Error string
		Data          struct{ Result json.RawMessage }
	}
	if err := json.Unmarshal(answered.Body.Bytes(), &out); err != nil || answered.Code != status {
		t.Fatalf("status %d: %v: %s", answered.Code, err, answered.Body)
	}
	if out.Error != "" {
		return out.Error
	}
	before, after, found := strings.Cut(string(out.Data.Result), `[1`)
	if !found {
		return string(out.Data.Result)
	}
	_, after, _ = strings.Cut(after, ",")
	return before + "[T," + after
}

// The rate of errors is that of the window, also with samples that are as old as the retention.
func TestRatesAreThoseOfTheWindow(t *testing.T) {
	server := New(File("none"), nil)
	series := func(code string) labels.Labels { return labels.FromStrings("__name__", "requests_total", "code", code) }
	now := time.Now()
	for second := -1000; second <= 0; second++ {
		all := float64(10 * (1000 + second))
		values := map[string]value{}
		for _, of := range []value{{series("200"), 0.95 * all}, {series("500"), 0.05 * all}} {
			values[server.store.key(of.labels)] = of
		}
		server.store.add(values, now.Add(time.Duration(second)*time.Second))
	}
	for _, window := range []string{"5s", "60s"} {
		var rate float64
		answer := ask(t, server, fmt.Sprintf(`scalar(sum(increase(requests_total{code="500"}[%s])) / sum(increase(requests_total[%s])))`, window, window), http.StatusOK)
		if _, err := fmt.Sscanf(answer, `[T,"%g"]`, &rate); err != nil || math.Abs(rate-0.05) > 0.001 {
			t.Errorf("the error rate in %s is %s: %v", window, answer, err)
		}
	}
	if count := ask(t, server, `scalar(count_over_time(requests_total{code="500"}[1h]))`, http.StatusOK); count != fmt.Sprintf("[T,%q]", fmt.Sprint(int(retention.Seconds())+1)) {
		t.Errorf("%s samples are kept", count)
	}
}
