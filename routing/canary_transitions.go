// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// CanaryTransition is a change of a canary's state or step that a plan decides.
type CanaryTransition struct {
	Reason    string // CanaryStarted, CanaryStep, CanarySucceeded, CanaryAborted
	IsWarning bool
	Note      string        // a sentence, with the numbers of the last evaluation
	Workloads []WorkloadRef // that run the version
	At        time.Time     // when the step began, or the canary ended
	First     time.Time     // the same, but when the step began first, if it began again
	ID        string        // differs from that of every other transition of the Service
}

// canaryTransitions returns what this plan decides about the canary. If it decides nothing, that is what an earlier plan decided whose
// routes are not all written: the DestinationRule is written first, and after a rejected or conflicting write its record is ahead of
// that of a route.
func (o outcome) canaryTransitions() []CanaryTransition {
	if len(o.canary.transitions) > 0 {
		return o.canary.transitions
	}
	for _, route := range o.stepRoutes(o.exposed) {
		if found, is := o.transitionFrom(recordOf(route)); is {
			return []CanaryTransition{found}
		}
	}
	return nil
}

// latestTransition returns the transition to the state and step that all our routes have recorded, without numbers: those in the record
// may be of a later evaluation. It is nil if there was none.
func (o outcome) latestTransition() *CanaryTransition {
	unnumbered := o
	unnumbered.record.Canary.Result = ""
	c := o.record.Canary
	routes := o.stepRoutes(o.exposed)
	isShown := len(routes) > 0 && !slices.ContainsFunc(routes, func(route *networkingv1.VirtualService) bool {
		shown := recordOf(route)
		_, differs := unnumbered.transitionFrom(shown)
		return differs || shown.isZero()
	})
	var out CanaryTransition
	switch {
	case !isShown || len(o.canary.transitions) > 0:
		return nil
	case c.isActive() && unnumbered.canaryStepNumber() <= 1:
		out = unnumbered.transition(api.CanaryStarted)
	case c.isActive():
		out = unnumbered.transition(api.CanaryStepped)
	case len(c.Ended) > 0:
		out = unnumbered.ending(c.Ended[0], "")
	default:
		return nil
	}
	return &out
}

// transitionFrom returns the transition from the canary that a route has recorded to the current one; false if they are in the same state
// and step.
func (s defaultDecision) transitionFrom(shown record) (CanaryTransition, bool) {
	c, was := s.record.Canary, shown.Canary
	switch {
	case shown.isZero():
		return CanaryTransition{}, false
	case c.isActive() && c.Version != was.Version:
		return s.transition(api.CanaryStarted), true
	case c.isActive() && c.Percent != was.Percent:
		return s.transition(api.CanaryStepped), true
	case c.isActive() || len(c.Ended) == 0:
		return CanaryTransition{}, false
	case !was.isActive() && len(was.Ended) > 0 && was.Ended[0].Version == c.Ended[0].Version && was.Ended[0].At == c.Ended[0].At:
		return CanaryTransition{}, false
	}
	return s.ending(c.Ended[0], ""), true
}

// transition returns the start of a canary, or its next step, which is in the record.
func (s defaultDecision) transition(reason string) CanaryTransition {
	c := s.record.Canary
	note := fmt.Sprintf("Canary %s of Service %s started: %s.", c.Version, s.Service.Name, s.stepText())
	if reason == api.CanaryStepped {
		note = fmt.Sprintf("Canary %s of Service %s passed a step%s, next: %s.", c.Version, s.Service.Name, inBrackets(c.Result), s.stepText())
	}
	firstSince := cmp.Or(c.FirstSince, c.Since)
	first, _ := parseTime(firstSince)
	return CanaryTransition{Reason: reason, Note: note, Workloads: s.workloadsOf(c.Version), At: c.since(), First: first,
		ID: fmt.Sprintf("%s %d %s", c.Version, c.Percent, firstSince)}
}

// ending returns the end of a canary. numbers are those of its last evaluation, if they are known.
func (s defaultDecision) ending(ended endedCanary, numbers string) CanaryTransition {
	out := CanaryTransition{Workloads: s.workloadsOf(ended.Version), ID: ended.Version + " " + ended.At}
	out.At, _ = parseTime(ended.At)
	out.First = out.At
	switch {
	case ended.State == CanaryAborted:
		out.Reason, out.IsWarning, out.Note = string(api.RouteCanaryAborted), ended.By == "", s.abortText(ended)
	case ended.Why != "":
		out.Reason, out.Note = api.CanarySucceeded, fmt.Sprintf("Canary %s of Service %s ended: %s.", ended.Version, s.Service.Name, ended.Why)
	default:
		out.Reason = api.CanarySucceeded
		out.Note = fmt.Sprintf("Canary %s of Service %s succeeded%s: %s is the default version. It last received %d%% of the requests.", ended.Version, s.Service.Name, inBrackets(numbers), ended.Version, ended.Percent)
	}
	return out
}

// stepRoutes returns our routes that are written with each step. Routes that stay as they are do not count.
func (s defaultDecision) stepRoutes(exposed exposureDecision) []*networkingv1.VirtualService {
	keepsExposure := exposed.frozen || s.unrecordedExposure || s.exposedByHand()
	return slices.DeleteFunc(s.ours.routes(), func(route *networkingv1.VirtualService) bool {
		return slices.Contains(s.detached, route.Name) || keepsExposure && (route == s.ours.gatewayRoute || s.ours.isCombined())
	})
}
