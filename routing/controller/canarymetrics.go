// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"runtime/debug"
	"sync"
	"time"

	"github.com/go-logr/logr"
	promapi "github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/transport"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// CanaryMetrics queries a metrics server for how canaries perform. It sends the queries of an evaluation in the background, so that no
// route waits for them, and reconciles the Service when they are answered.
type CanaryMetrics struct {
	log      logr.Logger
	config   api.MetricsServerConfig
	domain   string // of the cluster
	queries  canaryQueries
	slots    chan struct{}           // one for each query at once
	answered chan event.GenericEvent // the Services whose evaluation ended
	now      func() time.Time

	durations prometheus.Histogram
	failures  *prometheus.CounterVec

	mutex  sync.Mutex
	rounds map[client.ObjectKey]*canaryRound
	server promv1.API
	with   transport.Config // the credentials of server
	// isMissingLogged is true if missing credentials are logged.
	isMissingLogged bool
}

// canaryRound is the last evaluation of a canary.
type canaryRound struct {
	query   routing.CanaryQuery
	samples *routing.CanarySamples // nil until it is answered
	before  *routing.CanarySamples // of the evaluation before, with the same queries; nil if there was none
	cancel  context.CancelFunc
}

// NewCanaryMetrics returns nil if no metrics server is configured. An invalid query is an error that names its field. It sends no
// request.
func NewCanaryMetrics(config api.RoutingConfig) (*CanaryMetrics, error) {
	queries, err := newCanaryQueries(config.Metrics.Queries)
	if err != nil || config.Metrics.PrometheusURL == "" {
		return nil, err
	}
	if _, err := promapi.NewClient(promapi.Config{Address: config.Metrics.PrometheusURL}); err != nil {
		return nil, fmt.Errorf("routing.metrics.prometheusURL: %w", err)
	}
	return &CanaryMetrics{
		log:    logr.Discard(),
		config: config.Metrics, domain: config.ClusterDomain,
		queries: queries, slots: make(chan struct{}, config.Metrics.MaxConcurrentQueries),
		answered: make(chan event.GenericEvent), now: time.Now,
		durations: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "outrigger_canary_query_duration_seconds", Help: "Duration of the queries to the metrics server.",
			Buckets: []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "outrigger_canary_query_errors_total", Help: "Queries of canaries without a usable answer, by reason (server, timeout, noData, invalid).",
		}, []string{"reason"}),
		rounds: map[client.ObjectKey]*canaryRound{},
	}, nil
}

func (m *CanaryMetrics) register(registerer prometheus.Registerer) error {
	for _, reason := range []string{"server", "timeout", "noData", "invalid"} {
		m.failures.WithLabelValues(reason)
	}
	return errors.Join(registerer.Register(m.durations), registerer.Register(m.failures))
}

// samples returns the answers for an evaluation, or, as long as there are none, those of the evaluation before, or nil. Then it starts the
// queries, unless they are in progress, and the Service is reconciled when the server has answered.
func (m *CanaryMetrics) samples(ctx context.Context, service *corev1.Service, query routing.CanaryQuery) *routing.CanarySamples {
	key := client.ObjectKeyFromObject(service)
	m.mutex.Lock()
	defer m.mutex.Unlock()
	var before *routing.CanarySamples
	if round := m.rounds[key]; round != nil && round.isAbout(query) {
		switch {
		case round.samples == nil: // it may end after the next one was due: a slow server must not be queried more often
			return round.before
		case !round.samples.At.Before(query.Due):
			return round.samples
		}
		before = round.samples
	}
	m.drop(key)
	ctx, cancel := context.WithCancel(ctx)
	round := &canaryRound{query: query, before: before, cancel: cancel}
	m.rounds[key] = round
	go func() {
		defer cancel()
		samples := m.Query(ctx, service, query)
		m.mutex.Lock()
		isCurrent := m.rounds[key] == round
		if isCurrent {
			round.samples = samples
		}
		m.mutex.Unlock()
		if isCurrent {
			select {
			case m.answered <- event.GenericEvent{Object: &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}}:
			case <-ctx.Done():
			}
		}
	}()
	return before
}

// isAbout reports whether the round has the same queries for the same step.
func (r *canaryRound) isAbout(query routing.CanaryQuery) bool {
	query.Due = r.query.Due
	return reflect.DeepEqual(r.query, query)
}

// forget cancels the queries in progress of a Service without a canary.
func (m *CanaryMetrics) forget(service client.ObjectKey) {
	if m == nil {
		return
	}
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.drop(service)
}

func (m *CanaryMetrics) drop(service client.ObjectKey) {
	if round := m.rounds[service]; round != nil {
		round.cancel()
		delete(m.rounds, service)
	}
}

// Query sends the queries of one evaluation, and waits for the answers.
func (m *CanaryMetrics) Query(ctx context.Context, service *corev1.Service, query routing.CanaryQuery) *routing.CanarySamples {
	fields := queryFields{
		Namespace: service.Namespace, Service: service.Name, Host: service.Name + "." + service.Namespace + ".svc." + m.domain,
		Window: window(query.Since, m.now(), 2*m.config.ScrapeInterval),
	}
	if len(service.Spec.Ports) > 0 {
		fields.Port = service.Spec.Ports[0].Port
	}
	out := &routing.CanarySamples{Values: map[string]routing.CanaryValue{}}
	var waiting sync.WaitGroup
	start := func(metric string, of routing.CanaryVersion, number *float64, failure *string) {
		ofVersion := fields
		ofVersion.Version, ofVersion.Subset = of.Version, of.Subset
		waiting.Go(func() {
			var err error
			if *number, err = m.valueOrPanic(ctx, metric, ofVersion); err != nil && failure != nil {
				*failure = err.Error()
			}
		})
	}
	start(requestsQuery, query.Canary, &out.Requests, nil)
	values, hasBaseline := map[string]*routing.CanaryValue{}, map[string]bool{}
	for _, check := range query.Checks {
		value := values[check.Metric]
		if value == nil {
			value = &routing.CanaryValue{Canary: math.NaN(), Baseline: math.NaN()}
			values[check.Metric] = value
			start(check.Metric, query.Canary, &value.Canary, &value.Error)
		}
		if check.IsRelative && !hasBaseline[check.Metric] {
			hasBaseline[check.Metric] = true
			start(check.Metric, query.Baseline, &value.Baseline, nil)
		}
	}
	waiting.Wait()
	for metric, value := range values {
		out.Values[metric] = *value
	}
	out.At = m.now()
	return out
}

// valueOrPanic calls value, and returns a panic as an error: it would crash the process, which also serves the webhook.
func (m *CanaryMetrics) valueOrPanic(ctx context.Context, metric string, fields queryFields) (number float64, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			m.failures.WithLabelValues("invalid").Inc()
			number, err = math.NaN(), fmt.Errorf("the response cannot be read: %v", cause)
			m.log.Error(err, "Panic while evaluating a canary", "service", fields.Namespace+"/"+fields.Service, "metric", metric, "stack", string(debug.Stack()))
		}
	}()
	return m.value(ctx, metric, fields)
}

// value sends one query, and returns NaN and an error if its answer is not one number.
func (m *CanaryMetrics) value(ctx context.Context, metric string, fields queryFields) (float64, error) {
	promQL, err := m.queries.render(metric, fields)
	if err != nil {
		m.failures.WithLabelValues("invalid").Inc()
		return math.NaN(), err
	}
	server, err := m.current()
	if err != nil {
		m.failures.WithLabelValues("server").Inc()
		return math.NaN(), err
	}
	select {
	case m.slots <- struct{}{}:
	case <-ctx.Done():
		return math.NaN(), ctx.Err()
	}
	defer func() { <-m.slots }()
	ctx, cancel := context.WithTimeout(ctx, m.config.Timeout)
	defer cancel()
	began := m.now()
	// Without a time, the server's clock applies, which is that of the series.
	answer, warnings, _, err := server.Query(ctx, promQL, time.Time{})
	m.durations.Observe(m.now().Sub(began).Seconds())
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		m.failures.WithLabelValues("timeout").Inc()
		return math.NaN(), fmt.Errorf("the metrics server did not answer within %v", m.config.Timeout)
	case err != nil:
		m.failures.WithLabelValues("server").Inc()
		return math.NaN(), fmt.Errorf("the metrics server cannot answer: %s", api.Shorten(err.Error(), 300))
	case len(warnings) > 0:
		m.failures.WithLabelValues("invalid").Inc()
		return math.NaN(), fmt.Errorf("the answer may be incomplete: %s", api.Shorten(warnings[0], 300))
	}
	number, reason, err := numberOf(answer, fields.Version)
	if err != nil {
		m.failures.WithLabelValues(reason).Inc()
	}
	return number, err
}

// numberOf returns the number that an answer about a version consists of, or NaN, the label of the metric, and an error.
func numberOf(answer model.Value, version string) (number float64, reason string, err error) {
	switch answer := answer.(type) {
	case nil:
		return math.NaN(), "invalid", errors.New("the response has no data; check that routing.metrics.prometheusURL is the API of Prometheus")
	case *model.Scalar:
		number = float64(answer.Value)
	case model.Vector:
		switch len(answer) {
		case 0:
			return math.NaN(), "noData", fmt.Errorf("the metrics server has no series for %s", version)
		case 1:
			switch sample := answer[0]; {
			case sample == nil || sample.Histogram == nil && sample.Timestamp == 0:
				return math.NaN(), "invalid", errors.New("the series has no value")
			case sample.Histogram != nil:
				return math.NaN(), "invalid", errors.New("the query returns a native histogram; it must return a number, such as histogram_quantile(0.99, ...)")
			default:
				number = float64(sample.Value)
			}
		default:
			return math.NaN(), "invalid", fmt.Errorf("the query returns %d series; it must return one, such as a sum", len(answer))
		}
	default:
		return math.NaN(), "invalid", fmt.Errorf("the query returns a %s; it must return an instant vector or a scalar", answer.Type())
	}
	switch {
	case math.IsNaN(number):
		return math.NaN(), "noData", fmt.Errorf("%s had no requests", version)
	case math.IsInf(number, 0) || number < 0:
		return math.NaN(), "invalid", fmt.Errorf("the query returns %v; it must return a finite number from 0", number)
	}
	return number, "", nil
}
