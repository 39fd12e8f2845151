// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// Metrics are the request metrics of a Service's versions.
type Metrics struct {
	Server      string        // the source, such as "Service monitoring/prometheus"
	Window      time.Duration // the time before At that the metrics cover
	At          time.Time     // when they were read; zero before the first reading
	Unavailable string        // why there are none, without a period; empty if there are
	Versions    []VersionMetrics
	Omitted     int // how many more versions there are, which are not read
}

// VersionMetrics are the request metrics of a version.
type VersionMetrics struct {
	Version   string
	Requests  Measured // how many within the window
	ErrorRate Measured // a fraction
	P50, P99  Measured // latencies, in seconds
}

// Measured is a number, or why it is unknown.
type Measured struct {
	Value     float64
	IsUnknown bool
	Why       string // empty if there were no requests, which the page already shows
	// HasNoSeries is true if the metrics server returned no series for the version.
	HasNoSeries bool
}

// metricsView is Metrics in the form that the page shows.
type metricsView struct {
	*Metrics
	Age   string // "3 min"; empty below a minute
	Rows  []metricsRow
	Notes []string // why numbers are unknown
}

type metricsRow struct {
	Version, Class string
	Cells          []metricsCell
}

type metricsCell struct {
	Name string
	Text string // empty if the number is unknown
}

// metricsViewOf returns the rows of the metrics in the order of the versions; nil without metrics.
func metricsViewOf(s *Service, now time.Time) *metricsView {
	m := s.Metrics
	if m == nil {
		return nil
	}
	out := &metricsView{Metrics: m}
	if age := now.Sub(m.At); !m.At.IsZero() && age >= time.Minute { // while a page is live, they are younger
		out.Age = ageText(age)
	}
	for _, v := range m.Versions {
		row := metricsRow{Version: v.Version, Class: "no-version"}
		for i := range s.Versions {
			if s.Versions[i].Version == v.Version {
				row.Class = versionClass(s.Versions, i)
			}
		}
		row.Cells = []metricsCell{
			{"Requests", textOfMeasured(v.Requests, func(count float64) string { return rateText(count, m.Window) })},
			{"Error rate", textOfMeasured(v.ErrorRate, func(rate float64) string { return routing.MetricText(api.MetricErrorRate, rate) })},
			{"Latency p50", textOfMeasured(v.P50, func(seconds float64) string { return routing.MetricText("p50", seconds) })},
			{"Latency p99", textOfMeasured(v.P99, func(seconds float64) string { return routing.MetricText("p99", seconds) })},
		}
		out.Rows = append(out.Rows, row)
	}
	out.Notes = m.notes()
	return out
}

// notes returns why numbers are unknown. If no version has a metric, the query probably does not fit the server, so that is one note.
func (m *Metrics) notes() (out []string) {
	var absent []string
	for i, metric := range (VersionMetrics{}).named() {
		isReported := false
		for _, v := range m.Versions {
			of := v.named()[i]
			if !of.HasNoSeries {
				isReported = false
				break
			}
			isReported = isReported || of.Why != ""
		}
		if isReported && len(m.Versions) > 1 {
			absent = append(absent, metric.name)
		}
	}
	if len(absent) > 0 {
		out = append(out, strings.Join(absent, ", ")+": the metrics server has no series for any version; see routing.metrics.queries")
	}
	for _, v := range m.Versions {
		out = append(out, v.notes(absent)...)
	}
	return out
}

type namedMeasured struct {
	name string
	Measured
}

func (v VersionMetrics) named() []namedMeasured {
	return []namedMeasured{{"requests", v.Requests}, {"error rate", v.ErrorRate}, {"p50", v.P50}, {"p99", v.P99}}
}

// ageText returns an age in minutes, hours, or days.
func ageText(age time.Duration) string {
	switch {
	case age < time.Hour:
		return strconv.Itoa(int(age/time.Minute)) + " min"
	case age < 48*time.Hour:
		return strconv.Itoa(int(age/time.Hour)) + " h"
	}
	return strconv.Itoa(int(age/(24*time.Hour))) + " d"
}

func textOfMeasured(m Measured, text func(float64) string) string {
	if m.IsUnknown {
		return ""
	}
	return text(m.Value)
}

// notes returns why numbers are unknown, once for each reason, except for the metrics that no version has.
func (v VersionMetrics) notes(absent []string) []string {
	var reasons []string
	names := map[string][]string{}
	for _, m := range v.named() {
		if !m.IsUnknown || m.Why == "" || slices.Contains(absent, m.name) {
			continue
		}
		if !slices.Contains(reasons, m.Why) {
			reasons = append(reasons, m.Why)
		}
		names[m.Why] = append(names[m.Why], m.name)
	}
	var out []string
	for _, why := range reasons {
		of := v.Version
		if len(names[why]) < 4 {
			of += ", " + strings.Join(names[why], ", ")
		}
		out = append(out, of+": "+why)
	}
	return out
}

// rateText returns requests within a window as a rate: "12.5/s". A number that is not 0 is never rounded to 0.
func rateText(count float64, window time.Duration) string {
	rate := count / window.Seconds()
	switch {
	case count == 0:
		return "no requests"
	case rate < 0.01:
		return "<0.01/s"
	case rate < 10:
		return strconv.FormatFloat(rate, 'f', 2, 64) + "/s"
	case rate < 100:
		return strconv.FormatFloat(rate, 'f', 1, 64) + "/s"
	}
	return strconv.FormatFloat(rate, 'f', 0, 64) + "/s"
}

// windowText returns a duration as part of a sentence: "minute", "2m30s".
func windowText(window time.Duration) string {
	if window == time.Minute {
		return "minute"
	}
	text := window.String()
	if short, is := strings.CutSuffix(text, "m0s"); is {
		text = short + "m"
	}
	return text
}
