// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// metricsServer answers queries as Prometheus does. The function returns the result of a query, as JSON, or an empty text for status 500.
func metricsServer(t *testing.T, answer func(promQL string, r *http.Request) string) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := answer(r.FormValue("query"), r)
		if body == "" {
			http.Error(w, "out of order", http.StatusInternalServerError)
			return
		}
		_, _ = fmt.Fprint(w, body)
	}))
	t.Cleanup(server.Close)
	return server
}

// vector returns a response with one series for each value.
func vector(values ...string) string {
	var series []string
	for i, value := range values {
		series = append(series, fmt.Sprintf(`{"metric":{"n":"%d"},"value":[1700000000,%q]}`, i, value))
	}
	return `{"status":"success","data":{"resultType":"vector","result":[` + strings.Join(series, ",") + `]}}`
}

// oneOf returns a response with this type and value.
func oneOf(kind, value string) string {
	return `{"status":"success","data":{"resultType":"` + kind + `","result":` + value + `}}`
}

func canaryMetricsOf(t *testing.T, url string, change func(*api.RoutingConfig)) *CanaryMetrics {
	t.Helper()
	config := api.DefaultConfig().Routing
	config.Metrics.PrometheusURL = url
	if change != nil {
		change(&config)
	}
	metrics, err := NewCanaryMetrics(config)
	if err != nil {
		t.Fatal(err)
	}
	return metrics
}

func reviews() *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "reviews"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 9080}}}}
}

func queryOf(t *testing.T, checks string, names ...string) routing.CanaryQuery {
	t.Helper()
	parsed, err := api.ParseCanaryChecks(checks, names)
	if err != nil {
		t.Fatal(err)
	}
	return routing.CanaryQuery{
		Canary: routing.CanaryVersion{Version: "v2", Subset: "v2"}, Baseline: routing.CanaryVersion{Version: "v1", Subset: "v1"},
		Checks: parsed, Since: time.Now().Add(-2 * time.Minute),
	}
}

// evaluate waits for one evaluation.
func evaluate(t *testing.T, metrics *CanaryMetrics, query routing.CanaryQuery) *routing.CanarySamples {
	t.Helper()
	if samples := metrics.samples(t.Context(), reviews(), query); samples != nil && !samples.At.Before(query.Due) {
		t.Fatalf("samples before an evaluation: %+v", samples)
	}
	if of := <-metrics.answered; client.ObjectKeyFromObject(of.Object) != client.ObjectKeyFromObject(reviews()) {
		t.Fatalf("the evaluation of %v ended", of.Object)
	}
	samples := metrics.samples(t.Context(), reviews(), query)
	if samples == nil {
		t.Fatal("no samples after the evaluation")
	}
	return samples
}

var sameNumbers = cmp.Options{cmpopts.EquateNaNs(), cmpopts.IgnoreFields(routing.CanarySamples{}, "At"), cmpopts.EquateApprox(0, 1e-9)}

func TestSamplesOfACanary(t *testing.T) {
	server := metricsServer(t, func(promQL string, _ *http.Request) string {
		of := map[bool]int{true: 2, false: 1}[strings.Contains(promQL, `destination_version="v2"`)]
		switch {
		case strings.HasPrefix(promQL, "histogram_quantile(0.99,"):
			return vector(fmt.Sprint(0.1 * float64(of)))
		case strings.HasPrefix(promQL, "max("):
			return vector(fmt.Sprint(0.01 * float64(of)))
		case strings.HasPrefix(promQL, "sum((max_over_time(istio_requests_total"):
			return vector("120")
		}
		return ""
	})
	got := evaluate(t, canaryMetricsOf(t, server.URL, nil), queryOf(t, "error-rate<=1.5x,p99<500ms,p99<1.2x"))
	want := &routing.CanarySamples{Requests: 120, Values: map[string]routing.CanaryValue{
		"error-rate": {Canary: 0.02, Baseline: 0.01},
		"p99":        {Canary: 0.2, Baseline: 0.1},
	}}
	if diff := cmp.Diff(want, got, sameNumbers); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// Only a single finite number that is not negative is a value.
func TestWrongAnswersAreNoData(t *testing.T) {
	for answer, want := range map[string]string{
		"": "cannot answer",
		`{"status":"error","errorType":"bad_data","error":"parse error"}`:                                                   "parse error",
		`{"status":"success","data":{"resultType":"matrix","result":[]}}`:                                                   "must return an instant vector or a scalar",
		`{"status":"success","data":{"resultType":"vector","result":[{"value":[1,"1"]}]},"warnings":["one store is down"]}`: "one store is down",
		"no JSON":        "cannot answer",
		vector():         "the metrics server has no series for v2",
		vector("NaN"):    "v2 had no requests",
		vector("-1"):     "a finite number that is not negative",
		vector("+Inf"):   "a finite number that is not negative",
		vector("1", "2"): "2 series",
		vector("one"):    "cannot answer",
		`"` + strings.Repeat("x", 2*maxAnswerBytes): "cannot answer",
		`{}`:                                    "the response has no data",
		`null`:                                  "the response has no data",
		`{"status":"success","data":null}`:      "the response has no data",
		oneOf("vector", `[null]`):               "the series has no value",
		oneOf("vector", `[{}]`):                 "the series has no value",
		oneOf("vector", `[{"value":[1]}]`):      "a series of the response has no value",
		oneOf("vector", `[{"value":[1,null]}]`): "a series of the response has no value",
		oneOf("vector", `[{"value":[1,0]}]`):    "cannot answer",
		oneOf("vector", `[{"value":null}]`):     "the series has no value",
		oneOf("vector", `null`):                 "the metrics server has no series for v2",
		oneOf("scalar", `null`):                 "cannot answer",
		oneOf("scalar", `[1]`):                  "cannot answer",
		oneOf("scalar", `[1,"NaN"]`):            "v2 had no requests",
		oneOf("string", `[1,"0"]`):              "unexpected value type",
		oneOf("streams", `[]`):                  "cannot answer",
		oneOf("vector", `[{"histogram":[1,{"count":"4","sum":"2","buckets":[[0,"0","1","4"]]}]}]`): "a native histogram",
	} {
		server := metricsServer(t, func(string, *http.Request) string { return answer })
		got := evaluate(t, canaryMetricsOf(t, server.URL, nil), queryOf(t, "error-rate<1%"))
		value := got.Values["error-rate"]
		if !math.IsNaN(got.Requests) || !math.IsNaN(value.Canary) || !strings.Contains(value.Error, want) {
			t.Errorf("the answer %.80q: %v requests, %+v; the error must contain %q", answer, got.Requests, value, want)
		}
	}
}

func TestAnUnreachableOrSlowServerIsNoData(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	ends := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		select {
		case <-r.Context().Done():
		case <-ends:
		}
	}))
	trickling := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		_, _ = fmt.Fprint(w, `{"status":"success",`)
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
		case <-ends:
		}
	}))
	t.Cleanup(func() { close(ends); slow.Close(); trickling.Close() })
	for url, want := range map[string]string{closed.URL: "cannot answer", slow.URL: "did not answer within 100ms", trickling.URL: "did not answer within 100ms"} {
		metrics := canaryMetricsOf(t, url, func(c *api.RoutingConfig) { c.Metrics.Timeout = 100 * time.Millisecond })
		got := evaluate(t, metrics, queryOf(t, "p99<1s"))
		if value := got.Values["p99"]; !math.IsNaN(value.Canary) || !strings.Contains(value.Error, want) {
			t.Errorf("%+v; the error must contain %q", value, want)
		}
	}
}

// At most as many queries are sent at once as the configuration allows, and one round for each evaluation and Service.
func TestQueriesAreLimited(t *testing.T) {
	var running, most, sent atomic.Int64
	server := metricsServer(t, func(string, *http.Request) string {
		sent.Add(1)
		now := running.Add(1)
		defer running.Add(-1)
		for before := most.Load(); now > before && !most.CompareAndSwap(before, now); before = most.Load() {
		}
		return vector("1")
	})
	metrics := canaryMetricsOf(t, server.URL, func(c *api.RoutingConfig) { c.Metrics.MaxConcurrentQueries = 3 })
	const canaries = 50
	query := queryOf(t, "error-rate<1%,p99<1.5x")
	for range 3 { // reconciliations while the evaluation is in progress
		for i := range canaries {
			service := reviews()
			service.Name = fmt.Sprintf("reviews-%d", i)
			metrics.samples(t.Context(), service, query)
		}
	}
	for range canaries {
		<-metrics.answered
	}
	if most.Load() > 3 {
		t.Errorf("%d queries at once", most.Load())
	}
	if sent.Load() != 4*canaries { // requests, error rate, and p99 of both versions
		t.Errorf("%d queries for %d evaluations", sent.Load(), canaries)
	}
}

// A version that is rolled out later, or a later step, has an evaluation of its own.
func TestAnotherQueryIsAnotherEvaluation(t *testing.T) {
	server := metricsServer(t, func(promQL string, _ *http.Request) string {
		if strings.Contains(promQL, `"v3"`) {
			return vector("3")
		}
		return vector("2")
	})
	metrics := canaryMetricsOf(t, server.URL, nil)
	query := queryOf(t, "error-rate<1%")
	if got := evaluate(t, metrics, query); got.Requests != 2 {
		t.Errorf("%v requests", got.Requests)
	}
	query.Canary.Version = "v3"
	if got := evaluate(t, metrics, query); got.Requests != 3 {
		t.Errorf("%v requests", got.Requests)
	}
	query.Due = time.Now()
	evaluate(t, metrics, query)
}

// A server that answers after the next evaluation was due gets no second round meanwhile.
func TestASlowServerGetsOneRound(t *testing.T) {
	var sent atomic.Int64
	answers := make(chan struct{})
	server := metricsServer(t, func(string, *http.Request) string { sent.Add(1); <-answers; return vector("1") })
	metrics := canaryMetricsOf(t, server.URL, nil)
	query := queryOf(t, "p99<1s")
	metrics.samples(t.Context(), reviews(), query)
	query.Due = time.Now()
	if samples := metrics.samples(t.Context(), reviews(), query); samples != nil {
		t.Errorf("samples before the answer: %+v", samples)
	}
	close(answers)
	<-metrics.answered
	if samples := metrics.samples(t.Context(), reviews(), query); samples == nil || samples.At.Before(query.Due) {
		t.Errorf("the late answer does not count: %+v", samples)
	}
	if sent.Load() != 2 {
		t.Errorf("%d queries, not one of the requests and one of p99", sent.Load())
	}
}

// Samples of a clock that was ahead do not count once it is set back: they would seem fresh until the clock gets there again.
func TestSamplesOfAClockThatWasAhead(t *testing.T) {
	for _, setBack := range []string{"after", "during"} {
		t.Run(setBack+" the evaluation", func(t *testing.T) {
			query := queryOf(t, "error-rate<1%")
			var now atomic.Pointer[time.Time]
			set := func(after time.Duration) { at := query.Since.Add(after); now.Store(&at) }
			var isAhead atomic.Bool
			isAhead.Store(true)
			server := metricsServer(t, func(string, *http.Request) string {
				if setBack == "during" {
					set(time.Minute)
				}
				if isAhead.Load() {
					return vector("0")
				}
				return vector("0.5")
			})
			metrics := canaryMetricsOf(t, server.URL, nil)
			metrics.now = func() time.Time { return *now.Load() }
			set(40 * time.Minute)
			metrics.samples(t.Context(), reviews(), query)
			<-metrics.answered
			isAhead.Store(false)
			set(time.Minute)
			query.Due = query.Since.Add(time.Minute)
			if got := evaluate(t, metrics, query); got.Values[api.MetricErrorRate].Canary != 0.5 || !got.At.Equal(query.Due) {
				t.Errorf("after the clock was set back: %+v", got)
			}
		})
	}
}

// A value does not become current while other queries of its evaluation wait for their turn.
func TestSamplesAreAsOldAsTheirFirstValue(t *testing.T) {
	query := queryOf(t, "error-rate<1%")
	var sent, read, minutes atomic.Int64
	hasFirst := make(chan struct{})
	server := metricsServer(t, func(string, *http.Request) string {
		if sent.Add(1) == 2 {
			<-hasFirst
			minutes.Store(10)
		}
		return vector("1")
	})
	metrics := canaryMetricsOf(t, server.URL, func(c *api.RoutingConfig) { c.Metrics.MaxConcurrentQueries = 1; c.Metrics.Timeout = time.Minute })
	metrics.now = func() time.Time {
		now := query.Since.Add(time.Duration(minutes.Load()) * time.Minute)
		if read.Add(1) == 2 { // once at the start, once with the first answer
			close(hasFirst)
		}
		return now
	}
	samples := metrics.Query(t.Context(), reviews(), query)
	if samples.Requests != 1 || samples.Values[api.MetricErrorRate].Canary != 1 || !samples.At.Equal(query.Since) {
		t.Errorf("%d queries; samples of %v after the start: %+v", sent.Load(), samples.At.Sub(query.Since), samples)
	}
}

// Queries in progress end with the canary.
func TestAForgottenEvaluationEnds(t *testing.T) {
	started, ended := make(chan struct{}, 9), make(chan struct{}, 9)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm() // the server notices the end of a request whose body was read
		started <- struct{}{}
		<-r.Context().Done()
		ended <- struct{}{}
	}))
	t.Cleanup(server.Close)
	metrics := canaryMetricsOf(t, server.URL, func(c *api.RoutingConfig) { c.Metrics.MaxConcurrentQueries = 1 })
	metrics.samples(context.WithoutCancel(t.Context()), reviews(), queryOf(t, "p99<1s"))
	<-started
	metrics.forget(client.ObjectKeyFromObject(reviews()))
	<-ended
	if len(metrics.rounds) > 0 {
		t.Errorf("%d rounds are left", len(metrics.rounds))
	}
}

// The token is read from its file, also from one that is created later.
func TestTheTokenIsSent(t *testing.T) {
	var got atomic.Value
	server := metricsServer(t, func(_ string, r *http.Request) string { got.Store(r.Header.Get("Authorization")); return vector("1") })
	folder := t.TempDir()
	metrics := canaryMetricsOf(t, server.URL, func(c *api.RoutingConfig) { c.Metrics.Credentials = folder })
	var logged []string
	metrics.logTo(funcr.New(func(_, line string) { logged = append(logged, line) }, funcr.Options{}))
	if len(logged) != 1 || !strings.Contains(logged[0], "plain text") {
		t.Errorf("of credentials for http://: %q", logged)
	}
	logged = nil
	query := queryOf(t, "p99<1s")
	without := evaluate(t, metrics, query)
	if want := "neither of the files token and ca.crt"; !strings.Contains(without.Values["p99"].Error, want) || got.Load() != nil {
		t.Errorf("without a file: %q (want %q), Authorization: %v", without.Values["p99"].Error, want, got.Load())
	}
	if len(logged) != 1 || !strings.Contains(logged[0], folder) {
		t.Errorf("of missing credentials: %q", logged)
	}
	if err := os.WriteFile(filepath.Join(folder, "token"), []byte("abc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	query.Canary.Version = "v3"
	evaluate(t, metrics, query)
	if got.Load() != "Bearer abc" {
		t.Errorf("Authorization: %q", got.Load())
	}
}

// The user name and the password of the URL are sent, and no error contains them.
func TestCredentialsOfTheURLAreNotInErrors(t *testing.T) {
	for _, user := range []string{"bob:hidden", "hidden", "hidden:"} {
		var got atomic.Value
		server := metricsServer(t, func(_ string, r *http.Request) string {
			name, password, _ := r.BasicAuth()
			got.Store(name + ":" + password)
			return vector("1")
		})
		address := strings.Replace(server.URL, "http://", "http://"+user+"@", 1)
		evaluate(t, canaryMetricsOf(t, address, nil), queryOf(t, "p99<1s"))
		name, password, _ := strings.Cut(user, ":")
		if got.Load() != name+":"+password {
			t.Errorf("%s: sent %v", user, got.Load())
		}
		server.Close()
		value := evaluate(t, canaryMetricsOf(t, address, nil), queryOf(t, "p99<1s")).Values["p99"]
		if !strings.Contains(value.Error, "cannot answer") || strings.Contains(value.Error, "hidden") {
			t.Errorf("%s: %q", user, value.Error)
		}
	}
}

// A redirect is no answer: the token would be sent to another server.
func TestRedirectsAreNotFollowed(t *testing.T) {
	var reached atomic.Int32
	other := metricsServer(t, func(string, *http.Request) string { reached.Add(1); return vector("0") })
	for _, status := range []int{http.StatusMultipleChoices, http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		server := httptest.NewServer(http.RedirectHandler(other.URL+"/elsewhere", status))
		t.Cleanup(server.Close)
		folder := t.TempDir()
		if err := os.WriteFile(filepath.Join(folder, "token"), []byte("abc"), 0o600); err != nil {
			t.Fatal(err)
		}
		metrics := canaryMetricsOf(t, server.URL, func(c *api.RoutingConfig) { c.Metrics.Credentials = folder })
		got := evaluate(t, metrics, queryOf(t, "p99<1s")).Values["p99"].Error
		if !strings.Contains(got, "cannot answer") || !strings.Contains(got, other.URL+"/elsewhere") {
			t.Errorf("status %d: %q", status, got)
		}
	}
	if n := reached.Load(); n > 0 {
		t.Errorf("%d requests were sent to the other server", n)
	}
}

func TestQueriesAreRendered(t *testing.T) {
	queries, err := newCanaryQueries(map[string]string{"full-queue": `max(max_over_time(queue_length{service="{{.Host}}:{{.Port}}",subset="{{.Subset}}"}[{{.Window}}]))`})
	if err != nil {
		t.Fatal(err)
	}
	fields := queryFields{Namespace: "shop", Service: "reviews", Host: "reviews.shop.svc.cluster.local", Version: "v1.2", Subset: "v1-2", Window: windowText(65*time.Second + 9), Port: 80}
	replaced, err := newCanaryQueries(map[string]string{"p95": `quantile({{.Quantile}}, latency{version="{{.Version}}"})`})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := replaced.render("p95", queryFields{Version: "v2"}); err != nil || got != `quantile(0.95, latency{version="v2"})` {
		t.Errorf("%s %v", got, err)
	}
	for metric, parts := range map[string][]string{
		"full-queue": {`max(max_over_time(queue_length{service="reviews.shop.svc.cluster.local:80",subset="v1-2"}[65s]))`},
		"p99.9":      {"histogram_quantile(0.999, ", `destination_service_name="reviews",destination_service_namespace="shop",destination_version="v1.2"}[65s]`, `destination_canonical_revision="v1.2"`},
		"error-rate": {`response_code=~"5.."`, `grpc_response_status=~"2|4|12|13|14|15"`, "by (reporter)"},
	} {
		got, err := queries.render(metric, fields)
		if err != nil {
			t.Errorf("%s: %v", metric, err)
		}
		for _, part := range parts {
			if !strings.Contains(got, part) {
				t.Errorf("%s lacks %s:\n%s", metric, part, got)
			}
		}
	}
	if got := canaryMetricsOf(t, "http://localhost", nil).queries.Window(5 * time.Second); got != 30*time.Second {
		t.Errorf("the shortest window is %v, not two scrape intervals", got)
	}
}

// No name can change a query.
func TestNamesCannotChangeAQuery(t *testing.T) {
	queries, err := newCanaryQueries(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{`v2"} or vector(1) #`, "v2\n", "v2`", `v2\`, "v2'", "v2{", "ä"} {
		if got, err := queries.render("error-rate", queryFields{Namespace: "shop", Service: "reviews", Version: name, Window: "60s"}); err == nil {
			t.Errorf("version %q: %s", name, got)
		}
	}
}

func TestInvalidQueriesAreNamed(t *testing.T) {
	for text, want := range map[string]string{
		`sum(x`:                                      "not PromQL",
		`sum(x{version="{{.Version"})`:               "not a Go template",
		`sum(x{version="{{.Release}}"})`:             "its fields are .Namespace",
		`up{version="{{.Version}}"}[5m`:              "not PromQL",
		`up{version="{{.Version}}"}[5m]`:             "the query returns a range vector; it must return an instant vector or a scalar",
		`"{{.Version}}"`:                             "the query returns a string; it must return an instant vector or a scalar",
		`up{version="{{range 99999999999}}{{end}}"}`: "range is not supported in a query",
		`{{if true}}{{else}}{{with 1}}{{range .}}{{end}}{{end}}{{end}}up`: "range is not supported in a query",
		`{{define "other"}}{{template "other" .}}{{end}}up`:               "template is not supported in a query",
		`{{block "other" .}}up{{end}}`:                                    "template is not supported in a query",
		`up{version="{{printf "%0500000d" 1}}"}`:                          "the query has 500014 bytes; the limit is 16384",
		`up{version="{{slice .Version 9}}"}`:                              "cannot be rendered",
		`up{quantile="{{slice .Quantile 1}}"}`:                            "cannot be rendered",
		``:                                                                "not PromQL",
	} {
		config := api.DefaultConfig().Routing
		config.Metrics.Queries = map[string]string{"mine": text}
		_, err := NewCanaryMetrics(config)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "routing.metrics.queries.mine: ") {
			t.Errorf("%s: the error is %v; it must name the field and contain %q", text, err, want)
		}
	}
}

// A panic is an evaluation without data: the process also answers the webhook.
func TestAPanicIsNoData(t *testing.T) {
	metrics := canaryMetricsOf(t, "http://localhost", nil)
	metrics.server = panickingServer{}
	var logged atomic.Int32 // the queries panic at the same time
	metrics.logTo(funcr.New(func(string, string) { logged.Add(1) }, funcr.Options{}))
	got := evaluate(t, metrics, queryOf(t, "p99<1s"))
	if value := got.Values["p99"]; !math.IsNaN(got.Requests) || !math.IsNaN(value.Canary) || !strings.Contains(value.Error, "out of order") || logged.Load() != 2 {
		t.Errorf("%v requests, %+v; logged %d lines, want 2", got.Requests, value, logged.Load())
	}
}

type panickingServer struct{ promv1.API }

func (panickingServer) Query(context.Context, string, time.Time, ...promv1.Option) (model.Value, promv1.Warnings, promv1.Infos, error) {
	panic("out of order")
}

// A wrong CA of the Secret can be corrected without a restart. Until then, there is no data, and no token is sent.
func TestAWrongCAIsCorrected(t *testing.T) {
	var reached atomic.Int32
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reached.Add(1)
		_, _ = fmt.Fprint(w, vector("1"))
	}))
	t.Cleanup(server.Close)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	other := certificateOf(t)
	right := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	folder := t.TempDir()
	metrics := canaryMetricsOf(t, server.URL, func(c *api.RoutingConfig) { c.Metrics.Credentials = folder })
	query := queryOf(t, "p99<1s")
	for i, step := range []struct {
		ca   []byte
		want string
	}{
		{[]byte("no certificate"), "ca.crt"}, {nil, "ca.crt is empty"}, {other, "certificate"}, {right, ""}, {other, "certificate"}, {right, ""},
	} {
		if err := os.WriteFile(filepath.Join(folder, "ca.crt"), step.ca, 0o600); err != nil {
			t.Fatal(err)
		}
		before := reached.Load()
		query.Canary.Version = fmt.Sprint("v", i)
		got := evaluate(t, metrics, query).Values["p99"]
		if (got.Error == "") != (step.want == "") || !strings.Contains(got.Error, step.want) || step.want != "" && reached.Load() != before {
			t.Errorf("step %d: %+v, want %q; %d requests", i, got, step.want, reached.Load()-before)
		}
	}
}

// certificateOf returns a certificate that no server has, in PEM.
func certificateOf(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "other"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})
}
