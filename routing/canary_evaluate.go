// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"outrigger.dev/outrigger/api"
)

// An evaluation is of the pods at any time, and of the metrics at fixed times: each interval after the step began. The first one that
// fails is recorded. If one that is made an interval later fails, too, and none between them passed, the canary is aborted. A
// controller that restarts in between continues from the record. The first one that passes is recorded, too, for its numbers.

// evaluate evaluates the step, and records the first evaluation that fails.
func (s defaultDecision) evaluate(interval time.Duration) defaultDecision {
	next, c := s, s.record.Canary
	result, hasSamples := canaryResult{}, false
	next.canary.isEvaluated = true
	switch checks, samples := s.canaryChecks(), s.freshSamples(); {
	case !s.Settings.Canary.HasMetrics && len(checks) > 0:
		result.missing = append(result.missing, missingValue{Reason: "routing.metrics is not configured"})
	case !s.usesMetrics():
	case samples == nil:
		next.canary.isEvaluated, next.canary.before = false, c.lack()
		if s.Samples != nil && s.Samples.At.After(c.since()) && !s.Samples.IsAhead(s.now) {
			next.canary.before = evaluateChecks(checks, s.canarySettings().MinRequests, *s.Samples, c.Baselines)
		}
		s.noteTime(s.evaluationDue().Add(interval))
	default:
		hasSamples, c.HasMetrics = true, true
		result = evaluateChecks(checks, s.canarySettings().MinRequests, *samples, c.Baselines)
		s.noteTime(s.evaluationDue().Add(interval))
	}
	if unready := s.unreadyCanary(); len(unready) > 0 {
		result.failed, result.numbers = append(unready, result.failed...), append(slices.Clone(unready), result.numbers...)
	}
	if hasSamples {
		next.canary.evaluation = result.kind()
	}
	failing, isFailing := parseTime(c.Failing)
	switch {
	case result.hasFailed() && (!isFailing || failing.After(s.now.Add(time.Second))):
		c.Failing, c.Result = timeText(s.now), result.text()
	case !result.hasFailed() && next.canary.isEvaluated && len(result.missing) == 0:
		c.Failing = ""
	}
	if c.Result == "" && next.canary.isEvaluated && result.hasPassed() {
		c.Result = result.text()
	}
	if hasSamples {
		c = c.noteLack(result, !s.canary.passesAt.After(s.now))
	}
	next.record.Canary, next.canary.result = c, result
	if result.hasFailed() && !next.canAbort() {
		next.canary.held = append(slices.Clone(next.canary.held), "it fails, but the default version has no ready pod to receive its requests")
	}
	return next
}

// abortsNow reports whether this evaluation is at least the second that failed in a row.
func (s defaultDecision) abortsNow(interval time.Duration) bool {
	failing, is := parseTime(s.record.Canary.Failing)
	if !is || !s.canary.result.hasFailed() || !s.waitElapsed(failing, interval) {
		return false
	}
	return s.canAbort() && (len(s.unreadyCanary()) > 0 || s.evaluationDue().After(failing))
}

// countDeadline counts the deadline, from the first evaluation after the duration of the step that does not pass. It reports whether the
// deadline has elapsed. The count is recorded periodically, so that time without evaluations does not count: an outage, or a clock that was
// set forward.
func (s defaultDecision) countDeadline() (next defaultDecision, isOver bool) {
	next, c, deadline, period := s, s.record.Canary, s.canarySettings().Deadline, s.deadlinePeriod()
	counted := c.countLate(s.now, period)
	at, isCounting := parseTime(c.LateAt)
	if !isCounting || s.now.Sub(at) >= period || at.After(s.now.Add(time.Second)) {
		c, at = counted, s.now
		c.Missing, c.TooFew = missingValue{}, ""
		next.record.Canary = c.noteLack(s.canary.result, true)
		next.record.Canary.Result = cmp.Or(s.canary.result.text(), c.Result)
	}
	if isOver = counted.late() >= deadline; !isOver {
		s.noteTime(at.Add(min(period, deadline-c.late())))
	}
	return next, isOver
}

// deadlinePeriod returns how often the elapsed part of the deadline is recorded, which is also the most that a gap without evaluations adds.
func (s defaultDecision) deadlinePeriod() time.Duration {
	_, interval := s.canaryStep()
	return max(interval, s.canarySettings().Deadline/10)
}

// canAbort reports whether the default version can receive the share of the canary.
func (s defaultDecision) canAbort() bool {
	return s.gone.standIn.isZero() && s.hasReady(s.record.Default)
}

// evaluationDue returns when the last evaluation was due, or when the step began.
func (s defaultDecision) evaluationDue() time.Time {
	since := s.record.Canary.since()
	_, interval := s.canaryStep()
	if !s.now.After(since) {
		return since
	}
	return since.Add(s.now.Sub(since).Truncate(interval))
}

// freshSamples returns the samples for the evaluation that was due last; nil if there are none. Samples of the future are none.
func (s defaultDecision) freshSamples() *CanarySamples {
	due := s.evaluationDue()
	if s.Samples == nil || !due.After(s.record.Canary.since()) || s.Samples.At.Before(due) || s.Samples.IsAhead(s.now) {
		return nil
	}
	return s.Samples
}

// defaultCheck applies if no checks are written, and metrics are configured, or were while the canary progressed: a lost configuration must
// not leave readiness as the only check.
var defaultCheck = api.CanaryCheck{Metric: api.MetricErrorRate, Comparison: "<", Bound: 0.01, Text: "error-rate<1%"}

func (s *facts) canaryChecks() []api.CanaryCheck {
	if checks := s.canarySettings().Checks; checks != nil || !s.Settings.Canary.HasMetrics && !s.recorded.Canary.needsMetrics() {
		return checks
	}
	return []api.CanaryCheck{defaultCheck}
}

// usesMetrics reports whether evaluations need the metrics server. They do not with readiness as the only check.
func (s *facts) usesMetrics() bool { return s.Settings.Canary.HasMetrics && len(s.canaryChecks()) > 0 }

// onlyReadiness reports whether the annotations, or the configured defaults, request no check of a metric.
func (s *facts) onlyReadiness() bool {
	checks := s.canarySettings().Checks
	return checks != nil && len(checks) == 0
}

// unreadyCanary returns why the pods of the canary fail; empty if they do not. Only as many pods count as there were when the step
// began, so that new ones may start.
func (s defaultDecision) unreadyCanary() (why []string) {
	c := s.record.Canary
	pods, ready, restarts := s.canaryPods(c.Version)
	counted := min(pods, c.Pods)
	if !areEnoughReady(ready, counted) {
		why = append(why, fmt.Sprintf("%d of %d pods ready", ready, max(counted, ready)))
	}
	for _, pod := range sortedKeys(restarts) {
		before, known := c.Restarts[pod]
		if !known {
			before = c.Restarts[""]
		}
		if more := restarts[pod] - before; more > 2 {
			return append(why, fmt.Sprintf("pod %s restarted %d times", pod, more))
		}
	}
	return why
}

// areEnoughReady reports whether three quarters of the pods are ready, and at least one is.
func areEnoughReady(ready, pods int) bool { return ready > 0 && 4*ready >= 3*pods }

// canaryPods returns how many pods of a version are not terminating, how many of them are ready, and the restarts of those with any.
func (s *facts) canaryPods(version string) (pods, ready int, restarts map[string]int) {
	restarts = map[string]int{}
	for _, group := range s.groupsOf(meaning{Version: version}) {
		all, some := group.counts()
		pods, ready = pods+all-group.terminating(), ready+some
		for pod, text := range group.restarts() {
			if count, err := strconv.Atoi(text); err == nil {
				restarts[pod] = count
			}
		}
	}
	return pods, ready, restarts
}

// recordedRestarts returns the restarts to record. The pods beyond maxRestarts share the highest count, under the key "".
func recordedRestarts(restarts map[string]int) map[string]int {
	if len(restarts) == 0 {
		return nil
	}
	out := maps.Clone(restarts)
	for _, pod := range sortedKeys(restarts)[min(len(restarts), maxRestarts):] {
		out[""] = max(out[""], out[pod])
		delete(out, pod)
	}
	return out
}

// templatesOf returns the hashes of the pod templates that a version runs, sorted.
func (s *facts) templatesOf(version string) []string {
	var out []string
	for _, group := range s.groupsOf(meaning{Version: version}) {
		out = append(out, group.templates()...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// workloadsOf returns the workloads that run a version.
func (s *facts) workloadsOf(version string) []WorkloadRef {
	var out []WorkloadRef
	for _, t := range s.tracks {
		if t.runs(version) || t.next == version {
			out = append(out, t.ref)
		}
	}
	return out
}

// whyHeld returns why a canary that progresses stays at its step, whatever its checks say; empty if nothing holds it.
func (s defaultDecision) whyHeld() (why []string) {
	if s.record.Canary.Edited {
		why = append(why, "the route was edited")
	}
	if s.isCanaryInvalid() {
		why = append(why, "one of its annotations is invalid")
	}
	if !s.gone.standIn.isZero() || s.isGone(s.record.Default) && s.record.Canary.Percent < 100 {
		why = append(why, "the workload of the default version was deleted")
	}
	if s.isGone(meaning{Version: s.record.Canary.Version}) {
		why = append(why, "its workload was deleted, and the default version has no ready pod to receive its requests")
	}
	return why
}

// latest returns the result of this evaluation. While it has no samples, what the one before lacked is true until the next answer.
func (v canaryVerdict) latest() canaryResult {
	result := v.result
	if !v.isEvaluated {
		result.missing, result.tooFew = v.before.missing, v.before.tooFew
	}
	return result
}

// whyNotPassed returns why the step has not passed.
func (s defaultDecision) whyNotPassed() string {
	result := s.canary.latest()
	switch {
	case len(result.failed) > 0:
		return result.failed[0]
	case len(s.canary.held) > 0:
		return s.canary.held[0]
	case len(result.missing) > 0:
		return result.missing[0].String()
	case result.tooFew != "":
		return result.tooFew
	}
	return "there was no evaluation"
}
