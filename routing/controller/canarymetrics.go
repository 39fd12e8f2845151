// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"math"
	"net/http"
	"reflect"
	"sync"
	"time"

	"github.com/go-logr/logr"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/client_golang/prometheus"
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
	queries  *MetricsClient
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
	queries, err := newMetricsClient(config)
	if queries == nil || err != nil {
		return nil, err
	}
	if _, err := clientOf(config.Metrics.PrometheusURL, http.DefaultTransport); err != nil {
		return nil, err
	}
	m := &CanaryMetrics{
		log: logr.Discard(), config: config.Metrics, queries: queries,
		answered: make(chan event.GenericEvent), now: time.Now,
		durations: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "outrigger_canary_query_duration_seconds", Help: "Duration of the queries to the metrics server.",
			Buckets: []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "outrigger_canary_query_errors_total", Help: "Queries of canaries without a usable answer, by reason (server, timeout, noData, invalid).",
		}, []string{"reason"}),
		rounds: map[client.ObjectKey]*canaryRound{},
	}
	queries.connect, queries.durations = m.current, m.durations
	return m, nil
}

func (m *CanaryMetrics) register(registerer prometheus.Registerer) error {
	for _, reason := range []string{QueryServer, QueryTimeout, QueryNoData, QueryInvalid} {
		m.failures.WithLabelValues(reason)
	}
	return errors.Join(registerer.Register(m.durations), registerer.Register(m.failures))
}

// samples returns the answers for an evaluation, or, as long as there are none, those of the evaluation before, or nil. Then it starts the
// queries, unless they are in progress, and the Service is reconciled when the server has answered. Answers of the future are none: the clock
// was ahead then, and set back since.
func (m *CanaryMetrics) samples(ctx context.Context, service *corev1.Service, query routing.CanaryQuery) *routing.CanarySamples {
	key := client.ObjectKeyFromObject(service)
	m.mutex.Lock()
	defer m.mutex.Unlock()
	var before *routing.CanarySamples
	if round := m.rounds[key]; round != nil && round.isAbout(query) {
		switch {
		case round.samples == nil: // it may end after the next one was due: a slow server must not be queried more often
			return round.before
		case round.samples.IsAhead(m.now()):
		case !round.samples.At.Before(query.Due):
			return round.samples
		default:
			before = round.samples
		}
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

// Query sends the queries of one evaluation, and waits for the answers. The samples are as old as the first answer with a value: while other
// queries wait for their turn, it ages.
func (m *CanaryMetrics) Query(ctx context.Context, service *corev1.Service, query routing.CanaryQuery) *routing.CanarySamples {
	began := m.wallClock()
	window := m.queries.Window(began.Sub(query.Since))
	out := &routing.CanarySamples{Values: map[string]routing.CanaryValue{}}
	var waiting sync.WaitGroup
	var first firstTime
	start := func(metric string, of routing.CanaryVersion, number *float64, failure *string) {
		waiting.Go(func() {
			var err error
			if *number, err = m.value(ctx, metric, Measurement{service, of, window}); err != nil && failure != nil {
				*failure = err.Error()
			}
			if err == nil {
				first.note(m.wallClock())
			}
		})
	}
	start(MetricRequests, query.Canary, &out.Requests, nil)
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
	out.At = first.or(m.wallClock())
	if routing.IsAhead(began, m.wallClock()) {
		out.At = began // the window was that of a clock that has been set back, so that the samples must not count
	}
	return out
}

// wallClock returns the time without the monotonic clock, which would hide that the clock was set.
func (m *CanaryMetrics) wallClock() time.Time { return m.now().Round(0) }

// firstTime keeps the earliest of the times that goroutines note.
type firstTime struct {
	mutex sync.Mutex
	at    time.Time // zero if none was noted
}

func (f *firstTime) note(at time.Time) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.at.IsZero() || at.Before(f.at) {
		f.at = at
	}
}

// or returns the earliest time, or another one if none was noted.
func (f *firstTime) or(otherwise time.Time) time.Time {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.at.IsZero() {
		return otherwise
	}
	return f.at
}

// value sends one query. It counts a failure, and logs a panic.
func (m *CanaryMetrics) value(ctx context.Context, metric string, of Measurement) (float64, error) {
	number, err := m.queries.Value(ctx, metric, of)
	failed := (*QueryError)(nil)
	if errors.As(err, &failed) {
		m.failures.WithLabelValues(failed.Reason).Inc()
		if failed.stack != "" {
			m.log.Error(err, "Panic while evaluating a canary", "service", of.Service.Namespace+"/"+of.Service.Name, "metric", metric, "stack", failed.stack)
		}
	}
	return number, err
}
