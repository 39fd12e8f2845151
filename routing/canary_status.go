// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"
	"strings"
	"time"
)

// CanaryStatus is a canary as users see it.
type CanaryStatus struct {
	Version string
	State   CanaryState
	// Step is the number of the step, from 1 on, of Steps. Percent is its share of the requests, or the last one of a canary that ended.
	Step, Steps int
	Percent     int32
	// Since is when the step began, or when the canary ended. Next is when the step can pass at the earliest; zero if its clock is stopped.
	Since, Next time.Time
	// Remaining is how much of the step's duration is left, while a freeze stops its clock.
	Remaining time.Duration
	IsPaused  bool     // canary-paused
	Checks    []string // with numbers, of this evaluation or else of the last one that was recorded: "error-rate 0.2% (<1%)"
	Failing   []string // those that fail now
	IsByHand  bool     // a decision of the user has aborted it
	// EndsAs is how a decision of the user has ended a canary that still progresses: CanarySucceeded or CanaryAborted. The controller has yet
	// to record it, after the end of a freeze. It is empty if the canary goes on.
	EndsAs CanaryState
	// Result is what an evaluation of the metrics found: passed, failed, noData, or fewRequests. It is empty if there were no samples. The
	// one that passes a step or ends the canary has one, too.
	Result string
	// Reason is what a waiting canary waits for, why one that progresses cannot pass its step, or why one was aborted; else empty.
	Reason string
	// IsLacking is true if the reason is that a check has no data, or that the requests are too few.
	IsLacking bool
}

// RecordedCanaryOf returns the canary as the controller has recorded it. isCurrent is false if a plan would change its state or step now:
// only the controller's plan has samples of the metrics, and only what it writes takes effect.
func RecordedCanaryOf(observed Observed, now time.Time) (status CanaryStatus, isCurrent, has bool) {
	s, ok := interpreted(observed, now)
	if !ok {
		return CanaryStatus{}, false, false
	}
	s.judgeEdits()
	decided, _, ok := decide(&s.facts)
	if !ok || decided.canary.state == "" {
		return CanaryStatus{}, false, false
	}
	planned, c := *decided.canaryStatus(), s.recorded.Canary
	switch {
	case c.isActive() && planned.State == CanaryProgressing && c.shows(decided.record.Canary):
		return planned, true, true
	case c.isActive():
		recorded := s.recordedOutcome().defaultDecision
		step, _ := recorded.canaryStep()
		recorded.canary = canaryVerdict{version: c.Version, state: CanaryProgressing, passesAt: c.since().Add(c.stopped() + step.Duration)}
		if ended := decided.record.Canary.Ended; !decided.record.Canary.isActive() && len(ended) > 0 && ended[0].Version == c.Version && ended[0].asEnd().isDecided() {
			recorded.canary.endsAs = ended[0].State
		}
		if !s.onlyReadiness() {
			recorded.canary.before = c.lack()
		}
		return *recorded.canaryStatus(), false, true
	case planned.State == CanaryProgressing:
		return CanaryStatus{Version: planned.Version, State: CanaryWaiting, Reason: "the controller to record it", IsPaused: planned.IsPaused}, false, true
	}
	return planned, true, true
}

// CanaryEndedByHand returns the canary that ended last, if the user has aborted it, and nothing requests or progresses a canary since. It is
// false once its version is the default, or has no pods.
func CanaryEndedByHand(observed Observed, now time.Time) (status CanaryStatus, is bool) {
	s, ok := interpreted(observed, now)
	if !ok {
		return CanaryStatus{}, false
	}
	ended := s.recorded.Canary.Ended
	if s.recorded.Canary.isActive() || len(ended) == 0 || ended[0].State != CanaryAborted || ended[0].By == "" || s.requestedByName() ||
		s.isRecordedDefault(ended[0].Version) || len(s.groupsOf(meaning{Version: ended[0].Version})) == 0 {
		return CanaryStatus{}, false
	}
	out := CanaryStatus{Version: ended[0].Version, State: CanaryAborted, Percent: ended[0].Percent, Reason: ended[0].Why, IsByHand: true}
	out.Since, _ = parseTime(ended[0].At)
	return out, true
}

// CanaryResults are the values of CanaryStatus.Result.
var CanaryResults = []string{"passed", "failed", "noData", "fewRequests"}

func (r canaryResult) kind() string {
	switch {
	case len(r.failed) > 0:
		return "failed"
	case len(r.missing) > 0:
		return "noData"
	case r.tooFew != "":
		return "fewRequests"
	}
	return "passed"
}

// canaryStatus returns nil if there is no canary.
func (s defaultDecision) canaryStatus() *CanaryStatus {
	v, c := s.canary, s.record.Canary
	if v.state == "" {
		return nil
	}
	out := &CanaryStatus{Version: v.version, State: v.state, Steps: len(s.canarySettings().Steps), IsPaused: s.isPaused(), Result: v.evaluation}
	switch v.state {
	case CanaryWaiting:
		out.Reason = strings.Join(v.missing, ", ")
	case CanaryProgressing:
		out.Step, out.Percent, out.Since, out.EndsAs = s.canaryStepNumber(), c.Percent, c.since(), v.endsAs
		if c.StoppedAt == "" {
			out.Next = v.passesAt
		} else if s.isFrozen() && v.thawsTo.state == "" {
			out.Remaining = s.remaining()
		}
		if out.Checks, out.Failing = v.result.numbers, v.result.failed; len(out.Checks) == 0 && c.Result != "" && !s.onlyReadiness() {
			out.Checks = []string{c.Result}
		}
		if !v.latest().hasPassed() || len(v.held) > 0 {
			out.Reason = s.whyNotPassed()
			if lack := v.latest().lack(); lack != "" && len(out.Failing) == 0 && len(v.held) == 0 {
				out.Reason, out.IsLacking = lack, true
			}
		}
	default:
		ended, is := c.ended(v.version, s.templatesOf(v.version))
		if at := slices.IndexFunc(c.Ended, func(e endedCanary) bool { return e.Version == v.version }); !is && at >= 0 {
			ended = c.Ended[at]
		}
		out.Percent, out.Reason, out.IsByHand = ended.Percent, ended.Why, ended.By != "" && ended.State == CanaryAborted
		out.Since, _ = parseTime(ended.At)
	}
	return out
}

// remaining returns how much of the step's duration is left when its stopped clock continues.
func (s defaultDecision) remaining() time.Duration {
	c := s.record.Canary
	at, _ := parseTime(c.StoppedAt)
	step, _ := s.canaryStep()
	return max(0, step.Duration-(at.Sub(c.since())-c.stopped()))
}
