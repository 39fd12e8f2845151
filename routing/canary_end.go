// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"

	"outrigger.dev/outrigger/api"
)

// canaryEnd is how a canary ends.
type canaryEnd struct {
	state CanaryState
	why   string
	by    string // as in endedCanary
	// isReplaced is true if the pods of the canary have another template, and nothing else ends it.
	isReplaced bool
}

// isDecided reports whether a decision of the user ends the canary.
func (e canaryEnd) isDecided() bool {
	return e.by != "" || e.state == CanarySucceeded && e.why != ""
}

// whenThawed returns how the canary ends when the freeze ends.
func (e canaryEnd) whenThawed() string {
	return e.verb() + "; takes effect when the freeze ends (" + e.why + ")"
}

func (e canaryEnd) verb() string {
	if e.state == CanarySucceeded {
		return "promoted"
	}
	return "aborted"
}

// endsWithoutEvaluation returns how the canary ends because of the user's decision or because its pods have another template. It returns
// false if the canary continues, even with such pods as long as no others could receive its requests.
func (s defaultDecision) endsWithoutEvaluation(request canaryRequest) (canaryEnd, bool) {
	c, canary := s.record.Canary, meaning{Version: s.record.Canary.Version}
	by := ""
	if s.record.By == ByUser {
		by = byChoice
	}
	abort := func(why, by string) (canaryEnd, bool) { return canaryEnd{state: CanaryAborted, why: why, by: by}, true }
	before := s.fixedByNow(s.recorded.Default)
	isNewDefault := !before.equal(s.record.Default) && !overlap(before, s.record.Default)
	switch {
	case s.record.State != "" || s.record.Default.All:
		return abort("the Service no longer has one default version", by)
	case s.isOfDefault(canary) || s.within(s.literalOr(c.Version)):
		return canaryEnd{state: CanarySucceeded, why: c.Version + " became the default version by another decision"}, true
	case isNewDefault:
		return abort("the default version was changed to "+s.record.Default.String(), by)
	case request.version == "" && !s.invalid[api.AnnotationCanary]:
		return abort(api.AnnotationCanary+" was removed", byCanary)
	case request.version != c.Version && !s.invalid[api.AnnotationCanary]:
		return abort(api.AnnotationCanary+" was changed to "+request.version, byCanary)
	case s.hasDecidedAnew(c) && s.choiceText() != c.Choice:
		return abort("you decided about the shares: "+api.AnnotationDecidedAt+" was changed together with other annotations", byChoice)
	case s.isFrozenDecision(c):
		return abort("you decided about the default version or the shares while routes were frozen", byChoice)
	case !s.canTakeOver():
	case s.isGone(canary):
		return abort("its workload was deleted", "")
	case s.hasOtherTemplate():
		return canaryEnd{state: CanaryAborted, why: "its pod template was changed", isReplaced: true}, true
	}
	return canaryEnd{}, false
}

// canTakeOver reports whether what has the traffic of the default has a ready pod, and is not the canary itself.
func (s defaultDecision) canTakeOver() bool {
	m := s.current()
	return s.hasReady(m) && !overlap(m, s.literalOr(s.record.Canary.Version))
}

// hasOtherTemplate reports whether a pod of the canary has a template with which the canary did not begin.
func (s defaultDecision) hasOtherTemplate() bool {
	c := s.record.Canary
	templates := s.templatesOf(c.Version)
	if pods, _, _ := s.canaryPods(c.Version); len(templates) == 0 {
		return pods > 0 && len(c.Templates) > 0
	}
	return slices.ContainsFunc(templates, func(hash string) bool { return !slices.Contains(c.Templates, hash) })
}

// followTemplates begins the step again with the templates that the pods have now: nothing else could receive the requests of the canary.
func (s defaultDecision) followTemplates() defaultDecision {
	c := s.record.Canary
	if !s.hasOtherTemplate() {
		return s
	}
	isEdited, isStopped := c.Edited, c.StoppedAt != ""
	c.Templates = s.templatesOf(c.Version)
	next := s.beginStep(c)
	if next.record.Canary.Edited = isEdited; isStopped {
		next.record.Canary.StoppedAt = next.record.Canary.Since
	}
	return next
}
