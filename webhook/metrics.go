// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
)

// Metrics are the metrics of the webhook and of Istio's configuration. No label value comes from a user.
type Metrics struct {
	injections *prometheus.CounterVec
	duration   prometheus.Histogram

	configValid  prometheus.Gauge
	configHash   prometheus.Gauge
	configLoaded prometheus.Gauge
	configErrors *prometheus.CounterVec
}

// NewMetrics returns registered metrics.
func NewMetrics(registerer prometheus.Registerer) *Metrics {
	metrics := promauto.With(registerer)
	m := &Metrics{
		injections: metrics.NewCounterVec(prometheus.CounterOpts{
			Name: "outrigger_injection_total",
			Help: "Reviews of pods by result (injected, skipped, denied, failed) and reason; dry runs are not counted.",
		}, []string{"result", "reason"}),
		duration: metrics.NewHistogram(prometheus.HistogramOpts{
			Name:    "outrigger_injection_duration_seconds",
			Help:    "Time from receiving the HTTP header of a review to the response.",
			Buckets: []float64{.0001, .00025, .0005, .00075, .001, .0015, .002, .003, .004, .005, .0075, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}),
		configValid: metrics.NewGauge(prometheus.GaugeOpts{
			Name: "outrigger_istio_configuration_valid",
			Help: "1 if the Istio configuration in use is the cluster's current one, else 0.",
		}),
		configHash: metrics.NewGauge(prometheus.GaugeOpts{
			Name: "outrigger_istio_configuration_hash",
			Help: "The first 48 bits of a hash of the Istio configuration in use, to see whether replicas agree; 0 without one.",
		}),
		configLoaded: metrics.NewGauge(prometheus.GaugeOpts{
			Name: "outrigger_istio_configuration_loaded_timestamp_seconds",
			Help: "Unix time at which the Istio configuration in use was loaded; 0 without one.",
		}),
		configErrors: metrics.NewCounterVec(prometheus.CounterOpts{
			Name: "outrigger_istio_configuration_errors_total",
			Help: "How often Istio's configuration was found to be missing, unreadable, or invalid, by reason.",
		}, []string{"reason"}),
	}
	// Prometheus sees an increase only in a series that existed before.
	for _, doc := range api.InjectReasons() {
		if result, is := resultOf(doc); is {
			m.injections.WithLabelValues(string(result), string(doc.Reason))
		}
	}
	for _, reason := range []api.InjectReason{api.InjectNoIstioConfiguration, api.InjectIstioConfigurationForbidden, api.InjectIstioConfigurationRefused} {
		m.configErrors.WithLabelValues(string(reason))
	}
	return m
}

// resultOf returns the result of a reason, the first word of its sentence; false for a reason that only warns.
func resultOf(doc api.InjectReasonDoc) (inject.Result, bool) {
	for _, result := range []inject.Result{inject.Injected, inject.Skipped, inject.Denied, inject.Failed} {
		if strings.HasPrefix(strings.ToLower(doc.Doc), string(result)) {
			return result, true
		}
	}
	return "", false
}

func (m *Metrics) count(report inject.Report, took time.Duration) {
	m.injections.WithLabelValues(string(report.Result), string(report.Reason)).Inc()
	m.duration.Observe(took.Seconds())
}

// state sets whether the cluster's configuration is in use, or why not.
func (m *Metrics) state(problem *api.InjectProblem) {
	switch {
	case m == nil:
	case problem == nil:
		m.configValid.Set(1)
	default:
		m.configValid.Set(0)
		m.configErrors.WithLabelValues(string(problem.Reason)).Inc()
	}
}

// loaded sets which configuration is in use.
func (m *Metrics) loaded(source inject.Source) {
	if m == nil {
		return
	}
	m.configHash.Set(hashOf(source))
	m.configLoaded.SetToCurrentTime()
}

// hashOf returns 48 bits of a hash, which a sample holds exactly.
func hashOf(source inject.Source) float64 {
	hash := sha256.New()
	for _, part := range []string{source.Config, source.Values, source.Mesh, source.Release, source.Settings.Revision} {
		_ = binary.Write(hash, binary.BigEndian, uint64(len(part))) // a hash never fails
		_, _ = hash.Write([]byte(part))
	}
	sum := hash.Sum(nil)
	return float64(binary.BigEndian.Uint64(sum) >> 16)
}
