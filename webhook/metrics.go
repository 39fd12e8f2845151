package webhook

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"outrigger.dev/outrigger/inject"
)

// Metrics are the numbers of the webhook and of Istio's configuration. No label's value comes from a user.
type Metrics struct {
	injections    *prometheus.CounterVec
	duration      prometheus.Histogram
	configValid   prometheus.Gauge
	configRefused prometheus.Counter
}

// NewMetrics makes the metrics and registers them.
func NewMetrics(registerer prometheus.Registerer) *Metrics {
	m := &Metrics{
		injections: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "outrigger_injection_total",
			Help: "Requests about pods by result (injected, skipped, denied, failed) and reason; dry runs are not counted.",
		}, []string{"result", "reason"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "outrigger_injection_duration_seconds",
			Help:    "Time from a request's header to its answer.",
			Buckets: []float64{.0001, .00025, .0005, .00075, .001, .0015, .002, .003, .004, .005, .0075, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}),
		configValid: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "outrigger_istio_configuration_valid",
			Help: "1 if Istio's configuration as it stands in the cluster is the one in use, else 0.",
		}),
		configRefused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "outrigger_istio_configuration_errors_total",
			Help: "How often Istio's configuration was found missing, unreadable or refused.",
		}),
	}
	registerer.MustRegister(m.injections, m.duration, m.configValid, m.configRefused)
	return m
}

func (m *Metrics) count(report inject.Report, took time.Duration) {
	m.injections.WithLabelValues(string(report.Result), string(report.Reason)).Inc()
	m.duration.Observe(took.Seconds())
}
