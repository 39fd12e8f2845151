// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"slices"

	"outrigger.dev/outrigger/api"
)

// canaryWithoutEffect reports whether a canary of this version cannot do anything, and why; a success needs no reason.
func (s defaultDecision) canaryWithoutEffect(version string) (found []finding, without bool) {
	report := func(message, advice string) []finding {
		return []finding{s.problemAbout(api.AnnotationCanary, s.Intent.Texts[api.AnnotationCanary], api.RouteWithoutEffect, message, advice)}
	}
	running := s.literalOr(version)
	isDefault := s.isOfDefault(meaning{Version: version}) || s.within(running)
	switch {
	case s.record.State != "" || s.record.Default.All:
		return report("The Service has no single default version that a canary could take over from. No canary starts.",
			"Choose one: "+s.annotate(api.AnnotationDefaultVersion+"=VERSION")+"."), true
	case isDefault && (s.isLastSuccess(version) || s.Intent.Canary.Auto): // auto requests later versions
		return nil, true
	case len(running.Tracks) > 0 && running.Version == "" && s.within(running):
		return report(fmt.Sprintf("%s runs %s and is the default version itself, so it rolls out in place, without a canary.", running, version),
			fmt.Sprintf("For a canary, deploy %s as a second Deployment, with another name and with %s=%s in its selector.", version, s.Intent.VersionLabel, version)), true
	case isDefault:
		return report(version+" is the default version already. No canary starts.", "Write the version to roll out, or remove the annotation."), true
	}
	return nil, false
}

// isLastSuccess reports whether the canary that ended last is the success of this version.
func (s defaultDecision) isLastSuccess(version string) bool {
	ended := s.record.Canary.Ended
	return len(ended) > 0 && ended[0].Version == version && ended[0].State == CanarySucceeded
}

// What a canary waits for, where the advice depends on it.
const (
	needsMetrics    = "metrics for " + api.AnnotationCanaryChecks + " (routing.metrics)"
	needsDefaultPod = "a ready pod of the default version"
)

// CanaryPauseText is what a canary waits for that was paused before its start, or before the version got other pods.
const CanaryPauseText = "the end of its pause (" + api.AnnotationCanaryPaused + "=true)"

// whyNotStarted returns what a canary waits for before its first step; empty if it can start.
func (s defaultDecision) whyNotStarted(version string, templates []string) (missing []string) {
	m, c := meaning{Version: version}, s.record.Canary
	add := func(is bool, why string) {
		if is {
			missing = append(missing, why)
		}
	}
	isBeingReplaced := slices.ContainsFunc(s.groupsOf(m), func(g podGroup) bool { return len(g.templates()) > 1 })
	switch pods, ready, _ := s.canaryPods(version); {
	case !s.hasPods(m) || s.isGone(m) || s.isLeftOut(m):
		missing = append(missing, s.notYet(version, m))
	case isBeingReplaced:
		missing = append(missing, version+" (its pods are being replaced)")
	case !areEnoughReady(ready, pods):
		missing = append(missing, fmt.Sprintf("%s (%d of %d pods ready)", version, ready, pods))
	case !s.isSeenReady(m) || !s.usableNow(m):
		missing = append(missing, s.notYet(version, m))
	}
	add(s.Settings.Freeze, "the end of routing.freeze")
	add(s.isPaused(), CanaryPauseText)
	add(s.isCanaryInvalid(), "a valid value of each annotation of the canary")
	add(!s.Settings.Canary.HasMetrics && len(s.Intent.Canary.Checks) > 0, needsMetrics)
	add(!s.hasReady(s.record.Default) || !s.gone.standIn.isZero(), needsDefaultPod)
	add(s.nameable(s.record.Default) == "VERSION", "a default version with the label "+s.Intent.VersionLabel)
	add(len(s.ours.routes()) == 0 || len(s.detached) > 0 || s.foreign.meshTaken || s.endpointsElsewhere(), "a route of Outrigger's that it can change")
	add(s.record.Provisional || s.defaultPending(), "the decision about "+api.AnnotationDefaultVersion+" or "+api.AnnotationWeights+" that is pending")
	add(s.record.Adopted, "a decision about the shares that were edited ("+api.AnnotationDecidedAt+")")
	if len(c.Ended) > 0 && len(missing) == 0 { // the route of the canary before must be with the proxies
		at, _ := parseTime(c.Ended[0].At)
		add(!at.After(s.now) && !s.waitElapsed(at, s.Settings.PropagationDelay), "the route after canary "+c.Ended[0].Version)
	}
	return missing
}
