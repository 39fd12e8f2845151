// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

// CanaryState is the state of a canary. A canary is a version, with the pod templates that it runs. In every state, matches and mirrors
// of the version work as they do without a canary.
//
//	state        what is true                                         next state, and its cause
//	waiting      the version is requested, and the canary has not     progressing: three quarters of its pods are ready, the proxies
//	             started; it has no share                             know them and its subset, and nothing prevents it (whyNotStarted)
//	progressing  the version has the share of its step; the default   progressing, at the next step: its duration has elapsed and its
//	             has the rest                                         checks pass; succeeded: the same at the last step, or the version
//	                                                                  became the default; aborted: an evaluation failed twice in a row,
//	                                                                  the deadline elapsed (countDeadline), or a decision or other pods
//	                                                                  end it (endsWithoutEvaluation)
//	succeeded    the version is the default                           progressing: you decide to retry it, after another default
//	aborted      the default has the share of the version             progressing: you decide to retry it (decided-at), or its pods get
//	                                                                  another template, also one that was only replaced (endedCanary)
//
// While a canary progresses, its clock can be stopped: you paused it, one of its annotations is invalid, the route was edited, the
// default's workload was deleted, or routes are frozen. An edit, until you resume the canary, and a freeze also suspend its evaluations.
type CanaryState string

// The states of a canary.
const (
	CanaryWaiting     CanaryState = "waiting"
	CanaryProgressing CanaryState = "progressing"
	CanarySucceeded   CanaryState = "succeeded"
	CanaryAborted     CanaryState = "aborted"
)

// canaryVerdict is what a plan finds out about a canary, besides what it records.
type canaryVerdict struct {
	version     string // that is requested or progresses
	state       CanaryState
	missing     []string    // what a waiting canary waits for
	held        []string    // why a progressing canary stays at its step, besides its checks
	endsAs      CanaryState // how a decision of the user has ended a progressing canary while routes are frozen; empty if none has
	thawsTo     canaryEnd   // how it ends when the freeze does; zero if it continues
	result      canaryResult
	isEvaluated bool         // result is of this evaluation
	evaluation  string       // as CanaryStatus.Result
	before      canaryResult // of the last evaluation that is known, while this one has no samples
	passesAt    time.Time    // when the duration of the step has elapsed
	transitions []CanaryTransition
}

// decideCanary decides how far the canary is: it starts one, moves it by at most one step, or ends it. While a canary progresses, the
// decision has its weights in the record.
func (s defaultDecision) decideCanary(exposed exposureDecision) (defaultDecision, []finding) {
	if s.Intent.Canary == nil && s.record.Canary.IsZero() {
		return s, nil
	}
	next, skipped := s.supersedeAgain().followAuto()
	request := next.canaryRequest()
	next = next.takeDecision(request)
	var found []finding
	if next.record.Canary.isActive() {
		next, found = next.continueCanary(request, exposed)
	} else {
		next, found = next.startCanary(request)
	}
	if !s.isFrozen() {
		next.record.Canary.FrozenDecision = "" // it is taken into account now
	}
	return next, slices.Concat(skipped, found)
}

// canaryRequest is the canary that the annotations request.
type canaryRequest struct {
	version string // empty if there is none
	isRetry bool   // of one that has ended
}

// canaryRequest returns the version to roll out, and whether the user decided to retry its canary.
func (s defaultDecision) canaryRequest() canaryRequest {
	if s.Intent.Canary == nil {
		return canaryRequest{}
	}
	version := s.requestedCanary(s.record.Canary)
	return canaryRequest{version: version, isRetry: version != "" && version == s.retried}
}

// supersedeAgain records the values that a canary superseded with their current decided-at.
func (s defaultDecision) supersedeAgain() defaultDecision {
	next, c := s, s.record.Canary
	if s.superseded && !slices.Contains(c.Superseded, s.choiceHash()) {
		list := append(slices.Clone(c.Superseded), s.choiceHash())
		next.record.Canary.Superseded = list[max(0, len(list)-maxSuperseded):]
	}
	return next
}

// takeDecision records decided-at of a decision about the default or the weights, so that it does not count as a retry later. During a
// canary, continueCanary does that.
func (s defaultDecision) takeDecision(request canaryRequest) defaultDecision {
	c := s.record.Canary
	if len(c.Ended) == 0 || c.isActive() || request.isRetry || !s.hasDecidedAnew(c) && s.choiceText() == c.Choice {
		return s
	}
	next := s
	next.record.Canary = s.takeDecidedAt(c)
	next.record.Canary.Choice = s.choiceText()
	return next
}

// startCanary starts the requested canary with its first step, unless something prevents that.
func (s defaultDecision) startCanary(request canaryRequest) (defaultDecision, []finding) {
	next := s
	if request.version == "" {
		return next, s.supersededSettings()
	}
	next.canary.version, next.canary.state = request.version, CanaryWaiting
	if found, without := s.canaryWithoutEffect(request.version); without {
		if next.canary.state = ""; len(found) == 0 && s.isLastSuccess(request.version) {
			next.canary.state = CanarySucceeded
		}
		return next, append(found, s.supersededSettings()...)
	}
	templates := s.templatesOf(request.version)
	if ended, is := s.record.Canary.ended(request.version, templates); is && !ended.Replaced && !request.isRetry && len(s.groupsOf(meaning{Version: request.version})) > 0 {
		next.canary.state = ended.State
		return next, append(s.endedBefore(ended), s.supersededSettings()...)
	}
	if next.canary.missing = s.whyNotStarted(request.version, templates); len(next.canary.missing) > 0 {
		return next, append(s.waitingCanary(request.version, next.canary.missing), s.supersededSettings()...)
	}
	c := s.takeDecidedAt(s.record.Canary)
	c.Version, c.Templates, c.Percent = request.version, templates, s.canarySettings().Steps[0].Percent
	c.Superseded, c.Choice = s.choiceHashes(c), s.choiceText()
	if c.Auto != nil && c.Auto.Waiting == c.Version {
		c.Auto = c.Auto.without(c.Version)
	}
	next = next.beginStep(c)
	return next.progress(api.CanaryStarted)
}

// beginStep records that a step begins now, or begins again.
func (s defaultDecision) beginStep(c canaryRecord) defaultDecision {
	pods, _, restarts := s.canaryPods(c.Version)
	if before := s.record.Canary; before.Version == c.Version && before.Percent == c.Percent {
		c.FirstSince = cmp.Or(before.FirstSince, before.Since)
	} else {
		c.FirstSince = ""
	}
	c.Since, c.Pods, c.Restarts = timeText(s.now), pods, recordedRestarts(restarts)
	c.HasMetrics = c.needsMetrics() || s.Settings.Canary.HasMetrics
	c.Failing, c.StoppedAt, c.StoppedMillis, c.Edited, c.LateAt, c.LateMillis = "", "", 0, false, "", 0
	c.Missing, c.TooFew = missingValue{}, ""
	next := s
	next.record.Canary = c
	return next
}

// continueCanary plans for a canary that progresses.
func (s defaultDecision) continueCanary(request canaryRequest, exposed exposureDecision) (defaultDecision, []finding) {
	if s.isFrozen() {
		next := s
		switch {
		case s.foreign.clash: // nothing is recorded
		case s.isStepWritten(exposed):
			next = s.followStops()
		default:
			next.record.Canary.Frozen = true // the step begins after the freeze
		}
		next.canary.version, next.canary.held = s.record.Canary.Version, []string{"routes are frozen (routing.freeze)"}
		if end, ends := s.endsWithoutEvaluation(request); ends {
			next.canary.held, next.canary.thawsTo = []string{end.whenThawed()}, end
			if end.isDecided() {
				next.canary.endsAs = end.state
			}
		}
		return next.progress("")
	}
	thawed := s.followThaw()
	if end, ends := thawed.endsWithoutEvaluation(request); ends {
		return thawed.endCanary(end)
	}
	next := thawed.followEdits().followStops().followTemplates().followIdleWeights()
	next.canary.version, next.canary.state = next.record.Canary.Version, CanaryProgressing
	next.canary.held = next.whyHeld()
	c := next.record.Canary
	if c.Edited {
		return next.progress("")
	}
	step, interval := next.canaryStep()
	next.canary.passesAt = c.since().Add(c.stopped() + step.Duration)
	if c.StoppedAt == "" && c.since().Add(c.stopped()).After(s.now.Add(time.Second)) {
		return next.beginStep(c).progress("") // the clock was set back, after it had been ahead during a pause
	}
	if !next.isStepWritten(exposed) {
		if c.since().After(s.now.Add(time.Second)) || s.waitElapsed(c.since(), interval) {
			next = next.beginStep(c) // time before the route had the step does not count
		}
		return next.progress("")
	}
	next = next.evaluate(interval)
	c = next.record.Canary
	result := next.canary.result
	if next.abortsNow(interval) {
		return next.endCanary(canaryEnd{state: CanaryAborted, why: strings.Join(result.failed, ", ")})
	}
	if c.StoppedAt != "" {
		return next.progress("")
	}
	if !s.waitElapsed(c.since(), c.stopped()+step.Duration) || !next.canary.isEvaluated {
		return next.progress("")
	}
	if result.hasPassed() && len(next.canary.held) == 0 {
		return next.pass()
	}
	next, isOver := next.countDeadline()
	if isOver && next.canAbort() && !result.hasFailed() { // a failure must last for another evaluation
		return next.endCanary(canaryEnd{state: CanaryAborted, why: fmt.Sprintf("it could not pass its step of %d%% within %s (%s)",
			c.Percent, api.ShortDuration(s.canarySettings().Deadline), next.whyNotPassed())})
	}
	return next.progress("")
}

// pass moves the canary to its next step, or ends it after the last one.
func (s defaultDecision) pass() (defaultDecision, []finding) {
	c := s.record.Canary
	c.Result, c.Baselines = s.canary.result.text(), baselinesOf(s.freshSamples(), s.canaryChecks(), c.Baselines)
	steps := s.canarySettings().Steps
	at := slices.IndexFunc(steps, func(step api.CanaryStep) bool { return step.Percent > c.Percent })
	if at < 0 {
		next := s
		next.record.Canary = c
		return next.endCanary(canaryEnd{state: CanarySucceeded})
	}
	c.Percent = steps[at].Percent
	next := s.beginStep(c)
	next.canary.result, next.canary.isEvaluated = canaryResult{}, false // it was about the step before
	return next.progress(api.CanaryStepped)
}

// endCanary ends the canary: everything goes to the default, which after a success is the version.
func (s defaultDecision) endCanary(end canaryEnd) (defaultDecision, []finding) {
	next, c, state, why := s, s.record.Canary, end.state, end.why
	version := c.Version
	isNewDefault := !strings.HasPrefix(c.Choice, strings.Fields(s.choiceText())[0]+" ")
	isDecision := isNewDefault || s.hasDecidedAnew(c) && s.choiceText() != c.Choice || s.isFrozenDecision(c)
	switch {
	case isDecision && (state == CanaryAborted || why != ""):
		c.Superseded = nil
	case !isDecision && (s.Intent.Canary != nil || c.Idle == s.choiceText() && !s.hasDecidedAnew(c)): // weights that had no effect
		for _, hash := range s.choiceHashes(c) {
			if !slices.Contains(c.Superseded, hash) {
				c.Superseded = append(slices.Clone(c.Superseded), hash)
			}
		}
	}
	c = s.takeDecidedAt(c)
	c.Choice = s.choiceText()
	next.record.Canary = c.end(end, s.now)
	next.record.Weights, next.record.Adopted = nil, false
	next.canary.version, next.canary.state, next.canary.held = version, state, nil
	ended := next.record.Canary.Ended[0]
	if state == CanaryAborted {
		found := next.endedBefore(ended)
		switch {
		case end.by != "":
			found = nil
		case s.Intent.Canary == nil || len(found) == 0:
			found = []finding{next.abortedCanary(ended)}
		}
		next.canary.transitions = append(next.canary.transitions, next.ending(ended, ""))
		return next, found
	}
	if why == "" {
		next = next.withDefault(s.literalOr(version), ByUser).admitNewcomers()
	}
	next.canary.transitions = append(next.canary.transitions, next.ending(ended, c.Result))
	return next, next.supersededSettings()
}

// literalOr returns what the version means as a default that a user writes: the workloads that run it, if they can change their version.
func (s defaultDecision) literalOr(version string) meaning {
	if carried := s.runningAs(version); len(carried.Tracks) > 0 && !s.literalAlready(version, carried) {
		return carried
	}
	return meaning{Version: version}
}

// followEdits notes that another client edited the route, or that the user then resumes the canary.
func (s defaultDecision) followEdits() defaultDecision {
	next, c := s, s.record.Canary
	isDecided := s.hasDecidedAnew(c)
	c = s.takeDecidedAt(c)
	isEdited := s.record.Adopted || len(s.detached) > 0 || len(s.edited) > 0 && s.Intent.Drift != api.DriftRevert
	switch {
	case (c.Edited || isEdited) && isDecided && len(s.detached) == 0:
		next.record.Adopted = false
		return next.beginStep(c)
	case isEdited:
		c.Edited = true
	}
	next.record.Canary = c
	return next
}

// followIdleWeights notes weights that were written while the canary progresses and have no effect, so that they still have none when it
// ends. Those that it has superseded are already recorded.
func (s defaultDecision) followIdleWeights() defaultDecision {
	next := s
	if next.record.Canary.Idle = ""; s.isIdle && !s.superseded {
		next.record.Canary.Idle = s.choiceText()
	}
	return next
}

// followThaw notes weights that may have been written during a freeze, because they could not be recorded then.
func (s defaultDecision) followThaw() defaultDecision {
	if !s.record.Canary.Frozen {
		return s
	}
	return s.followIdleWeights()
}

// followStops stops the clock of the step, or restarts it.
func (s defaultDecision) followStops() defaultDecision {
	next, c := s, s.record.Canary
	c.Frozen = s.isFrozen()
	isStopped := c.Frozen || c.Edited || s.isPaused() || s.isCanaryInvalid() || !s.gone.standIn.isZero()
	at, wasStopped := parseTime(c.StoppedAt)
	switch {
	case isStopped && !wasStopped:
		c = c.countLate(s.now, s.deadlinePeriod())
		c.StoppedAt, c.LateAt = timeText(s.now), ""
	case !isStopped && wasStopped:
		c.StoppedAt, c.StoppedMillis = "", c.StoppedMillis+max(0, s.now.Sub(at).Milliseconds())
	}
	next.record.Canary = c
	return next
}

// isPaused reports whether canary-paused applies: an invalid value without an earlier one holds the canary in any case.
func (s *facts) isPaused() bool { return s.Intent.Canary != nil && s.Intent.Canary.Paused }

// isStepWritten reports whether all our routes have the step, so that its time counts. Routes that stay as they are do not count.
func (s defaultDecision) isStepWritten(exposed exposureDecision) bool {
	routes, c := s.stepRoutes(exposed), s.record.Canary
	return len(routes) > 0 && !c.since().After(s.now.Add(time.Second)) && !slices.ContainsFunc(routes, func(route *networkingv1.VirtualService) bool {
		return !recordOf(route).Canary.shows(c)
	})
}

// progress gives the canary the share of its step, unless an edit of the route applies. It reports a transition if it has a reason.
func (s defaultDecision) progress(reason string) (defaultDecision, []finding) {
	next, c := s, s.record.Canary
	next.canary.state = CanaryProgressing
	if reason != "" {
		next.canary.transitions = append(next.canary.transitions, s.transition(reason))
	}
	if !c.Edited || !s.record.Adopted {
		next.record.Weights, next.record.Adopted, next.record.Provisional = s.canaryWeights(), false, false
	}
	return next, next.canaryFindings()
}

// canarySettings are what the annotations say about the canary. If they request none, they are those that our route was written for, or
// else the defaults.
func (s *facts) canarySettings() api.Canary {
	if s.Intent.Canary != nil {
		return *s.Intent.Canary
	}
	service := &corev1.Service{}
	service.Annotations = map[string]string{}
	for _, key := range api.CanaryKeys() {
		if text, has := s.ours.annotations[key]; has {
			service.Annotations[key] = text
		}
	}
	if intent, _ := s.Settings.Limits.IntentOf(service, nil, nil); intent.Canary != nil {
		return *intent.Canary
	}
	return s.Settings.Limits.CanaryDefaults()
}
