// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"runtime/debug"
	"time"

	promapi "github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// MetricsClient sends the queries of routing.metrics about versions of Services. Canaries and the dashboard use the same queries.
type MetricsClient struct {
	config    api.MetricsServerConfig
	domain    string // of the cluster
	queries   canaryQueries
	slots     chan struct{} // limits the number of concurrent queries
	connect   func() (promv1.API, error)
	durations prometheus.Observer // of the queries; nil for none
}

// NewMetricsClient returns the client for a configuration, or nil if it names no metrics server. It sends requests through a transport, which
// can add credentials. It does not read those of routing.metrics.credentials. An invalid query is an error that names its field.
func NewMetricsClient(config api.RoutingConfig, through http.RoundTripper) (*MetricsClient, error) {
	c, err := newMetricsClient(config)
	if c == nil || err != nil {
		return nil, err
	}
	server, err := clientOf(config.Metrics.PrometheusURL, through)
	if err != nil {
		return nil, err
	}
	c.connect = func() (promv1.API, error) { return server, nil }
	return c, nil
}

// newMetricsClient returns a client without a connection, or nil if the configuration names no metrics server.
func newMetricsClient(config api.RoutingConfig) (*MetricsClient, error) {
	queries, err := newCanaryQueries(config.Metrics.Queries)
	if err != nil || config.Metrics.PrometheusURL == "" {
		return nil, err
	}
	return &MetricsClient{config: config.Metrics, domain: config.ClusterDomain, queries: queries, slots: make(chan struct{}, config.Metrics.MaxConcurrentQueries)}, nil
}

// clientOf returns the client of a metrics server. It sends the user name and the password of the URL in a header, because the errors of the
// client quote the URL.
func clientOf(text string, through http.RoundTripper) (promv1.API, error) {
	address, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("routing.metrics.prometheusURL is not a URL. Example: http://prometheus.monitoring:9090") // err quotes it
	}
	if user := address.User; user != nil {
		through, address.User = &basicAuth{through, user}, nil
	}
	server, err := promapi.NewClient(promapi.Config{Address: address.String(), RoundTripper: directAnswers{through}})
	if err != nil {
		return nil, fmt.Errorf("routing.metrics.prometheusURL: %w", err)
	}
	return promv1.NewAPI(server), nil
}

// basicAuth adds a user name and a password to requests.
type basicAuth struct {
	next http.RoundTripper
	user *url.Userinfo
}

// RoundTrip implements http.RoundTripper.
func (b *basicAuth) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	password, _ := b.user.Password()
	request.SetBasicAuth(b.user.Username(), password)
	return b.next.RoundTrip(request)
}

// Measurement is the subject of a query: a version of a Service, and a window that ends now.
type Measurement struct {
	Service *corev1.Service
	Version routing.CanaryVersion
	Window  time.Duration
}

// Window returns the shortest window of at least this length that contains two values of each series.
func (c *MetricsClient) Window(least time.Duration) time.Duration {
	return max(least, 2*c.config.ScrapeInterval).Truncate(time.Second)
}

// The reasons of QueryErrors, which are also values of the label reason of outrigger_canary_query_errors_total.
const (
	QueryServer  = "server"
	QueryTimeout = "timeout"
	QueryNoData  = "noData"
	QueryInvalid = "invalid"
)

// QueryError is the reason why a query has no usable answer. Its message is a clause without a period.
type QueryError struct {
	Reason string
	// HasNoSeries is true if the query returned no series. Otherwise, QueryNoData means that the version had no requests.
	HasNoSeries bool
	message     string
	cause       error  // nil if the message says everything
	stack       string // of a panic
}

func (e *QueryError) Error() string { return e.message }

func (e *QueryError) Unwrap() error { return e.cause }

// Value sends the query of a metric, and returns NaN and an error if its answer is not one number. The error is a *QueryError, unless the
// context ended while the query waited for others. A panic is such an error, too: the controller's process also serves the webhook.
func (c *MetricsClient) Value(ctx context.Context, metric string, of Measurement) (number float64, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			number, err = math.NaN(), &QueryError{Reason: QueryInvalid, message: fmt.Sprintf("the response cannot be read: %v", cause), stack: string(debug.Stack())}
		}
	}()
	promQL, err := c.queries.render(metric, c.fieldsOf(of))
	if err != nil {
		return math.NaN(), &QueryError{Reason: QueryInvalid, message: err.Error()}
	}
	server, err := c.connect()
	if err != nil {
		return math.NaN(), &QueryError{Reason: QueryServer, message: err.Error()}
	}
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return math.NaN(), ctx.Err()
	}
	defer func() { <-c.slots }()
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	began := time.Now()
	// Without a time, the server's clock applies, which is that of the series.
	answer, warnings, _, err := server.Query(ctx, promQL, time.Time{})
	if c.durations != nil {
		c.durations.Observe(time.Since(began).Seconds())
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return math.NaN(), &QueryError{Reason: QueryTimeout, message: fmt.Sprintf("the metrics server did not answer within %v", c.config.Timeout), cause: err}
	case err != nil:
		return math.NaN(), &QueryError{Reason: QueryServer, message: "the metrics server cannot answer: " + api.Shorten(err.Error(), 300), cause: err}
	case len(warnings) > 0:
		return math.NaN(), &QueryError{Reason: QueryInvalid, message: "the answer may be incomplete: " + api.Shorten(warnings[0], 300)}
	}
	number, reason, err := numberOf(answer, of.Version.Version)
	if err != nil {
		series, isVector := answer.(model.Vector)
		return math.NaN(), &QueryError{Reason: reason, HasNoSeries: isVector && len(series) == 0, message: err.Error()}
	}
	return number, nil
}

// fieldsOf returns the fields that the template of a query can use.
func (c *MetricsClient) fieldsOf(of Measurement) queryFields {
	fields := queryFields{
		Namespace: of.Service.Namespace, Service: of.Service.Name, Host: of.Service.Name + "." + of.Service.Namespace + ".svc." + c.domain,
		Version: of.Version.Version, Subset: of.Version.Subset, Window: windowText(of.Window),
	}
	if len(of.Service.Spec.Ports) > 0 {
		fields.Port = of.Service.Spec.Ports[0].Port
	}
	return fields
}

// numberOf returns the single number in an answer about a version. Otherwise, it returns NaN, the reason of a QueryError, and an error.
func numberOf(answer model.Value, version string) (number float64, reason string, err error) {
	switch answer := answer.(type) {
	case nil:
		return math.NaN(), QueryInvalid, errors.New("the response has no data; check that routing.metrics.prometheusURL is the API of Prometheus")
	case *model.Scalar:
		number = float64(answer.Value)
	case model.Vector:
		switch len(answer) {
		case 0:
			return math.NaN(), QueryNoData, fmt.Errorf("the metrics server has no series for %s", version)
		case 1:
			switch sample := answer[0]; {
			case sample == nil || sample.Histogram == nil && sample.Timestamp == 0:
				return math.NaN(), QueryInvalid, errors.New("the series has no value")
			case sample.Histogram != nil:
				return math.NaN(), QueryInvalid, errors.New("the query returns a native histogram; it must return a number, such as histogram_quantile(0.99, ...)")
			default:
				number = float64(sample.Value)
			}
		default:
			return math.NaN(), QueryInvalid, fmt.Errorf("the query returns %d series; it must return one, such as a sum", len(answer))
		}
	default:
		return math.NaN(), QueryInvalid, fmt.Errorf("the query returns a %s; it must return an instant vector or a scalar", answer.Type())
	}
	switch {
	case math.IsNaN(number):
		return math.NaN(), QueryNoData, fmt.Errorf("%s had no requests", version)
	case math.IsInf(number, 0) || number < 0:
		return math.NaN(), QueryInvalid, fmt.Errorf("the query returns %v; it must return a finite number that is not negative", number)
	}
	return number, "", nil
}
