// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"
	"strings"
	"time"

	"outrigger.dev/outrigger/api"
)

// CanaryQuery is what an evaluation of a canary needs to know from the metrics.
type CanaryQuery struct {
	Canary, Baseline CanaryVersion // the version that is rolled out, and the default
	Checks           []api.CanaryCheck
	// Since is when the step began and was known to the proxies. The window of the queries is the time from then on.
	Since time.Time
	// Due is when this evaluation was due. Samples of an earlier time do not count for it; their Problems are reported until it has some.
	Due time.Time
}

// CanaryVersion is a version in the metrics of its pods.
type CanaryVersion struct {
	Version string // the value of the version label
	Subset  string // its subset in the DestinationRule
}

// CanarySamples are the answers of the metrics server to a CanaryQuery.
type CanarySamples struct {
	At time.Time // of the evaluation: of its oldest value
	// Requests is how many requests the canary got within the window; NaN if unknown.
	Requests float64
	// Values has the metric of each check, by CanaryCheck.Metric.
	Values map[string]CanaryValue
}

// IsAhead reports whether the samples are of the future: the clock was ahead then, and set back since.
func (s *CanarySamples) IsAhead(now time.Time) bool { return IsAhead(s.At, now) }

// IsAhead reports whether a time is in the future, by more than the second by which recorded times are rounded.
func IsAhead(at, now time.Time) bool { return at.After(now.Add(time.Second)) }

// CanaryValue is a metric of both versions, in the unit of CanaryCheck.Bound.
type CanaryValue struct {
	Canary, Baseline float64 // NaN if there is no data
	// Error says why there is no value, for messages; empty otherwise.
	Error string
}

// CanaryQueryOf returns what the evaluation that is due now needs from the metrics. It is false if none is due, or if metrics are not
// configured. The samples belong in Observed.Samples of the plan that follows.
func CanaryQueryOf(observed Observed, now time.Time) (CanaryQuery, bool) {
	if observed.Settings.Freeze || !observed.Settings.Canary.HasMetrics || !hasActiveCanary(observed.Existing) {
		return CanaryQuery{}, false
	}
	s, ok := interpreted(observed, now)
	if !ok {
		return CanaryQuery{}, false
	}
	d := s.recordedOutcome().defaultDecision
	c := d.record.Canary
	due := d.evaluationDue()
	if !c.isActive() || c.Edited || !d.usesMetrics() || !due.After(c.since()) {
		return CanaryQuery{}, false
	}
	version := func(name string) CanaryVersion { return CanaryVersion{Version: name, Subset: s.subsets.names[name]} }
	return CanaryQuery{
		Canary: version(c.Version), Baseline: version(d.nameable(d.record.Default)), Checks: d.canaryChecks(),
		Since: c.since().Add(observed.Settings.PropagationDelay), Due: due,
	}, true
}

// hasActiveCanary reports whether an object may record a canary that progresses. It is cheap in the common case that none does.
func hasActiveCanary(existing Objects) bool {
	return slices.ContainsFunc(existing.All(), func(object Object) bool {
		return strings.Contains(object.GetAnnotations()[api.AnnotationRecord], `"canary":{"version":`)
	})
}
