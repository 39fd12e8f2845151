// SPDX-License-Identifier: Apache-2.0

package contest

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// maxSeries bounds the metric: anyone who may write an object chooses the name of the field manager.
const maxSeries = 20

// otherManagers is the value of the metric's label for field managers beyond maxSeries.
const otherManagers = "others"

// Metric counts the contested objects of all Ledgers that it watches, by kind and field manager.
type Metric struct {
	mutex   sync.Mutex
	counts  *prometheus.GaugeVec
	ledgers []*Ledger
}

// Register returns the Metric of a registry, which all parts of the process share. With nil, it is not registered.
func Register(registerer prometheus.Registerer) (*Metric, error) {
	m := &Metric{counts: prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "outrigger_contested_objects",
		Help: "Objects that another client keeps reverting, by kind and field manager. Outrigger writes them rarely.",
	}, []string{"kind", "manager"})}
	if registerer == nil {
		return m, nil
	}
	err := registerer.Register(m)
	if known := (prometheus.AlreadyRegisteredError{}); errors.As(err, &known) {
		return known.ExistingCollector.(*Metric), nil
	}
	return m, err
}

// Watch adds a Ledger to the count until stop is called.
func (m *Metric) Watch(ledger *Ledger) (stop func()) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.ledgers = append(m.ledgers, ledger)
	return func() {
		m.mutex.Lock()
		defer m.mutex.Unlock()
		m.ledgers = slices.DeleteFunc(m.ledgers, func(l *Ledger) bool { return l == ledger })
	}
}

// Describe sends the description of the metric.
func (m *Metric) Describe(to chan<- *prometheus.Desc) { m.counts.Describe(to) }

// Collect sends one sample for each kind and field manager. A kind without contested objects has one of 0, with an empty
// manager.
func (m *Metric) Collect(to chan<- prometheus.Metric) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.counts.Reset()
	for _, kind := range kinds {
		m.counts.WithLabelValues(kind, "")
	}
	for _, s := range m.series() {
		m.counts.DeleteLabelValues(s.kind, "")
		m.counts.WithLabelValues(s.kind, s.manager).Set(float64(s.count))
	}
	m.counts.Collect(to)
}

// kinds are the kinds that Outrigger writes.
var kinds = []string{"DestinationRule", "VirtualService", "Gateway", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"}

type series struct {
	kind, manager string
	count         int
}

// series returns the largest counts, and one more for each kind with the rest.
func (m *Metric) series() []series {
	counts := map[series]int{}
	for _, ledger := range m.ledgers {
		ledger.mutex.Lock()
		for _, objects := range ledger.owners {
			for object, e := range objects {
				if e.contested {
					counts[series{kind: object.Kind, manager: strings.ToValidUTF8(cmp.Or(e.manager, unknownManager), "?")}]++
				}
			}
		}
		ledger.mutex.Unlock()
	}
	var out []series
	for s, count := range counts {
		s.count = count
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b series) int {
		return cmp.Or(cmp.Compare(b.count, a.count), strings.Compare(a.kind, b.kind), strings.Compare(a.manager, b.manager))
	})
	if len(out) <= maxSeries {
		return out
	}
	rest := map[string]int{}
	for _, s := range out[maxSeries:] {
		rest[s.kind] += s.count
	}
	out = slices.DeleteFunc(out[:maxSeries], func(s series) bool {
		if s.manager == otherManagers { // a client that calls itself so
			rest[s.kind] += s.count
			return true
		}
		return false
	})
	for kind, count := range rest {
		out = append(out, series{kind: kind, manager: otherManagers, count: count})
	}
	return out
}
