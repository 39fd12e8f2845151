// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// retention is how long a sample is kept.
const retention = 15 * time.Minute

// store keeps the samples of series in memory, as storage.Queryable for Prometheus' engine.
type store struct {
	mutex  sync.RWMutex
	series map[string]*series // by their labels
}

type series struct {
	labels  labels.Labels
	samples []chunks.Sample
}

// sample is a value at a time in milliseconds.
type sample struct {
	at    int64
	value float64
}

func (s sample) T() int64                       { return s.at }
func (sample) ST() int64                        { return 0 }
func (s sample) F() float64                     { return s.value }
func (sample) H() *histogram.Histogram          { return nil }
func (sample) FH() *histogram.FloatHistogram    { return nil }
func (sample) Type() chunkenc.ValueType         { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample            { return s }
func (s *store) Close() error                   { return nil }
func (s *store) key(of labels.Labels) string    { return string(of.Bytes(nil)) }
func isOld(s chunks.Sample, now time.Time) bool { return s.T() < now.Add(-retention).UnixMilli() }

// add adds a sample to each series, and forgets what is older than the retention.
func (s *store) add(values map[string]value, now time.Time) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for key, of := range values {
		if s.series[key] == nil {
			s.series[key] = &series{labels: of.labels}
		}
		s.series[key].samples = append(s.series[key].samples, sample{now.UnixMilli(), of.number})
	}
	for _, of := range s.series {
		keep := slices.IndexFunc(of.samples, func(s chunks.Sample) bool { return !isOld(s, now) })
		if keep < 0 {
			keep = len(of.samples)
		}
		of.samples = slices.Clone(of.samples[keep:]) // a query may still read the old ones
	}
	maps.DeleteFunc(s.series, func(_ string, of *series) bool { return len(of.samples) == 0 })
}

// Querier returns the store itself; the engine looks for the times that it needs.
func (s *store) Querier(int64, int64) (storage.Querier, error) { return s, nil }

// Select returns the series with matching labels.
func (s *store) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	s.mutex.RLock()
	defer s.mutex.RUnlock()
	out := &seriesSet{}
	for _, key := range slices.Sorted(maps.Keys(s.series)) {
		of := s.series[key]
		if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(of.labels.Get(m.Name)) }) {
			out.all = append(out.all, storage.NewListSeries(of.labels, of.samples))
		}
	}
	return out
}

// LabelValues and LabelNames are for other APIs than queries.
func (s *store) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

// LabelNames returns nothing.
func (s *store) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

// seriesSet iterates over series.
type seriesSet struct {
	all  []storage.Series
	next int
}

func (s *seriesSet) Next() bool                        { s.next++; return s.next <= len(s.all) }
func (s *seriesSet) At() storage.Series                { return s.all[s.next-1] }
func (s *seriesSet) Err() error                        { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }
