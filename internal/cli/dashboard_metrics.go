// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/dashboard"
	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/routing"
	"outrigger.dev/outrigger/routing/controller"
)

const (
	metricsAge        = 15 * time.Second // after which the metrics of a Service are read again
	metricsWindow     = time.Minute      // the shortest window
	metricsTimeout    = 30 * time.Second // of a reading
	maxMetricsRead    = 2                // Services whose metrics are read at the same time
	maxMetricsKept    = 64               // Services whose metrics are kept
	maxMetricsVersion = 20               // versions of a Service
)

// dashboardMetrics reads the metrics of the Services whose pages are open, in the background, so that no page waits for them. A reading
// starts when a page is rendered and the last reading is at least metricsAge old. It ends with a call of refresh. A nil value reads nothing.
type dashboardMetrics struct {
	ctx     context.Context // of the command
	connect func(api.RoutingConfig) (*metricsSource, error)
	refresh func()
	now     func() time.Time

	mu      sync.Mutex
	config  api.RoutingConfig // that source was created from
	source  *metricsSource
	failure error // why there is no source
	reading int   // the number of Services that are being read
	kept    map[client.ObjectKey]*keptMetrics
}

// keptMetrics are the last metrics of a Service.
type keptMetrics struct {
	metrics   *dashboard.Metrics // nil before the first reading
	read      time.Time          // when it ended
	used      time.Time
	isReading bool
}

// of returns the last metrics of a Service, or nil if no metrics server is configured.
func (m *dashboardMetrics) of(config api.RoutingConfig, service *corev1.Service, versions []diagnose.VersionStatus) *dashboard.Metrics {
	measured, omitted := measuredVersions(versions)
	if m == nil || config.Metrics.PrometheusURL == "" || len(measured) == 0 {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.configure(config)
	if m.failure != nil {
		m.kept = nil // the next page tries again
		return &dashboard.Metrics{Unavailable: strings.TrimSuffix(m.failure.Error(), ".")}
	}
	key, now := client.ObjectKeyFromObject(service), m.now()
	kept := m.keep(key)
	kept.used = now
	if isOld := kept.metrics == nil || now.Sub(kept.read) >= metricsAge; isOld && !kept.isReading && m.reading < maxMetricsRead {
		kept.isReading = true
		m.reading++
		source := m.source
		go func() {
			out := source.read(m.ctx, service, measured)
			out.Omitted = omitted
			m.mu.Lock()
			m.reading--
			out.At = m.now()
			kept.metrics, kept.read, kept.isReading = out, out.At, false
			m.mu.Unlock()
			m.refresh()
		}()
	}
	if kept.metrics == nil {
		return &dashboard.Metrics{Server: m.source.name}
	}
	return kept.metrics
}

// configure connects to the server of the configuration, and forgets the metrics if the configuration has changed. The caller holds the lock.
func (m *dashboardMetrics) configure(config api.RoutingConfig) {
	if m.kept != nil && m.config.ClusterDomain == config.ClusterDomain && reflect.DeepEqual(m.config.Metrics, config.Metrics) {
		return
	}
	m.config, m.kept = config, map[client.ObjectKey]*keptMetrics{}
	m.source, m.failure = m.connect(config)
}

// keep returns the entry of a Service, which it adds if necessary. If there are too many, it forgets the Service whose page was rendered
// least recently. The caller holds the lock.
func (m *dashboardMetrics) keep(key client.ObjectKey) *keptMetrics {
	if m.kept[key] != nil {
		return m.kept[key]
	}
	if len(m.kept) >= maxMetricsKept {
		var oldest client.ObjectKey
		for key, kept := range m.kept {
			if m.kept[oldest] == nil || kept.used.Before(m.kept[oldest].used) {
				oldest = key
			}
		}
		delete(m.kept, oldest)
	}
	m.kept[key] = &keptMetrics{}
	return m.kept[key]
}

// measuredVersions returns the versions to query, and how many more there are. Versions with pods come first.
func measuredVersions(versions []diagnose.VersionStatus) (out []routing.CanaryVersion, omitted int) {
	for _, runs := range []bool{true, false} {
		for _, v := range versions {
			switch {
			case v.Version == "" || (v.Pods > 0) != runs:
			case len(out) == maxMetricsVersion:
				omitted++
			default:
				out = append(out, routing.CanaryVersion{Version: v.Version, Subset: v.Subset})
			}
		}
	}
	return out, omitted
}

// read sends the queries about a Service. If the server does not answer the first one, it sends no others.
func (s *metricsSource) read(ctx context.Context, service *corev1.Service, versions []routing.CanaryVersion) *dashboard.Metrics {
	ctx, cancel := context.WithTimeout(ctx, metricsTimeout)
	defer cancel()
	out := &dashboard.Metrics{Server: s.name, Window: s.server.Window(metricsWindow), Versions: make([]dashboard.VersionMetrics, len(versions))}
	errs := make([][]error, len(versions)) // in the order of the queries
	value := func(i int, query int, metric string, to *dashboard.Measured) error {
		number, err := s.server.Value(ctx, metric, controller.Measurement{Service: service, Version: versions[i], Window: out.Window})
		if err == nil {
			*to = dashboard.Measured{Value: number}
			return nil
		}
		errs[i][query] = err
		failed := (*controller.QueryError)(nil)
		*to = dashboard.Measured{IsUnknown: true, Why: whyUnknown(err), HasNoSeries: errors.As(err, &failed) && failed.HasNoSeries}
		return err
	}
	for i, version := range versions {
		out.Versions[i].Version, errs[i] = version.Version, make([]error, 4)
	}
	if err := value(0, 0, controller.MetricRequests, &out.Versions[0].Requests); err != nil && isServerFailure(err) {
		return &dashboard.Metrics{Server: s.name, Window: out.Window, Unavailable: whyUnknown(err)}
	}
	var waiting sync.WaitGroup
	for i := range versions {
		v := &out.Versions[i]
		for query, one := range []struct {
			metric string
			to     *dashboard.Measured
		}{{controller.MetricRequests, &v.Requests}, {api.MetricErrorRate, &v.ErrorRate}, {"p50", &v.P50}, {"p99", &v.P99}} {
			if i > 0 || query > 0 {
				waiting.Go(func() { _ = value(i, query, one.metric, one.to) }) // the error is kept
			}
		}
	}
	waiting.Wait()
	for i := range out.Versions {
		v := &out.Versions[i]
		if v.Requests.IsUnknown || v.Requests.Value > 0 {
			continue
		}
		for query, to := range []*dashboard.Measured{nil, &v.ErrorRate, &v.P50, &v.P99} {
			if failed := (*controller.QueryError)(nil); errors.As(errs[i][query], &failed) && failed.Reason == controller.QueryNoData {
				to.Why = "" // the page already shows that there were no requests
			}
		}
	}
	return out
}

// isServerFailure reports whether the error concerns the server, so that other queries would fail as well.
func isServerFailure(err error) bool {
	failed := (*controller.QueryError)(nil)
	return !errors.As(err, &failed) || failed.Reason == controller.QueryServer || failed.Reason == controller.QueryTimeout
}

// whyUnknown returns why a query has no answer, as a clause without a period.
func whyUnknown(err error) string {
	refusal, unreachable := &metricsRefusal{}, &unreachableError{}
	switch {
	case errors.As(err, &refusal):
		return refusal.message
	case errors.As(err, &unreachable):
		return unreachable.Error()
	case errors.Is(err, context.DeadlineExceeded):
		failed := &controller.QueryError{}
		if !errors.As(err, &failed) {
			return "the queries took longer than " + metricsTimeout.String()
		}
	}
	return strings.TrimSuffix(err.Error(), ".")
}
