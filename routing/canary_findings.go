// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"slices"
	"strings"

	"outrigger.dev/outrigger/api"
)

// canaryCommand returns the command that resumes or retries a canary: with --resume or --retry.
func (s *facts) canaryCommand(action string) string {
	return "outrigger canary " + s.Service.Name + " " + action + " -n " + s.Service.Namespace
}

// aboutCanary returns a finding about the annotation canary.
func (s *facts) aboutCanary(reason api.RouteReason, message, advice string) finding {
	return s.problemAbout(api.AnnotationCanary, s.Intent.Texts[api.AnnotationCanary], reason, message, advice)
}

// canaryFindings reports what concerns a canary that progresses.
func (s defaultDecision) canaryFindings() (found []finding) {
	c, result := s.record.Canary, s.canary.latest()
	if s.isIdle {
		found = append(found, s.idleWeights())
	}
	if len(s.canary.held) > 0 {
		found = append(found, s.heldCanary())
	}
	if len(result.missing) > 0 {
		found = append(found, s.aboutCanary(api.RouteCanaryNoData,
			fmt.Sprintf("Canary %s stays at %d%%: %s. It is aborted if it cannot pass its step within %s.", c.Version, c.Percent, result.missing[0], api.ShortDuration(s.canarySettings().Deadline)),
			"Check routing.metrics and the metrics of the version's pods, or change "+api.AnnotationCanaryChecks+": with "+api.CanaryReadiness+", only the pods are checked."))
	}
	if result.tooFew != "" && !s.canary.passesAt.After(s.now) {
		found = append(found, s.aboutCanary(api.RouteCanaryFewRequests,
			fmt.Sprintf("Canary %s stays at %d%%: it has had fewer than %d requests in this step. It is aborted if it cannot pass its step within %s.", c.Version, c.Percent, s.canarySettings().MinRequests, api.ShortDuration(s.canarySettings().Deadline)),
			"Send it more requests, begin with a larger step, or lower "+api.AnnotationCanaryMinRequests+"."))
	}
	return append(found, s.undersizedCanary()...)
}

// idleWeights reports weights next to a canary that progresses. It advises removing them only if that changes nothing else: without them, a
// default-version that an earlier canary has superseded could apply again.
func (s defaultDecision) idleWeights() finding {
	c, chosen := s.record.Canary, s.Intent.Texts[api.AnnotationDefaultVersion]
	advice := "To remove them: " + s.annotate(api.AnnotationWeights+"-") + "."
	if !s.namesDefault(chosen) {
		advice = fmt.Sprintf("Keep them until the canary has ended: removing only them would also apply %s=%s, which an earlier canary has superseded.", api.AnnotationDefaultVersion, chosen)
	}
	return s.problemAbout(api.AnnotationWeights, s.Intent.Texts[api.AnnotationWeights], api.RouteWithoutEffect,
		fmt.Sprintf("Canary %s has %d%% of the requests. These weights have no effect while it progresses or after it has ended.", c.Version, c.Percent), advice)
}

// namesDefault reports whether a value of default-version, or none, leaves the recorded default as it is.
func (s defaultDecision) namesDefault(value string) bool {
	return value == "" || value == string(api.DefaultFirst) || slices.Contains(s.possible(s.record.Default), value)
}

// heldCanary reports why the canary stays at its step.
func (s defaultDecision) heldCanary() finding {
	c := s.record.Canary
	message := fmt.Sprintf("Canary %s stays at its step: %s.", c.Version, strings.Join(s.canary.held, "; "))
	if s.Settings.Freeze {
		if end := s.canary.thawsTo; end.state != "" {
			message = fmt.Sprintf("Canary %s is %s when the freeze ends: %s. Until then, it keeps its share of %d%%.", c.Version, end.verb(), end.why, c.Percent)
		}
		return s.aboutCanary(api.RouteCanaryHeld, message, thawAdvice)
	}
	if !c.Edited {
		return s.aboutCanary(api.RouteCanaryHeld, message, "It continues when this is fixed.")
	}
	advice := "To resume it: " + s.canaryCommand("--resume") + "."
	if routes := s.ours.routes(); len(routes) > 0 {
		advice = fmt.Sprintf("To resume it with %s, which overwrites %s: %s.", s.canaryWeights(), s.editedShares(), s.canaryCommand("--resume"))
	}
	if len(s.detached) > 0 {
		advice = "First restore the route, as its own message says. " + advice
	}
	return s.aboutCanary(api.RouteCanaryHeld, message, advice)
}

// editedShares returns the shares of our first route as they are in the cluster.
func (s *facts) editedShares() string {
	_, to, _, _ := s.digest(s.ours.routes()[0])
	if text := s.weightsOf(to); text != "" {
		return text
	}
	return "the edited route"
}

// undersizedCanary reports that the canary has a larger part of the requests than of the ready pods. At the last step it needs as many
// pods as the default.
func (s defaultDecision) undersizedCanary() []finding {
	c := s.record.Canary
	_, canary, _ := s.canaryPods(c.Version)
	_, others := s.counts(s.record.Default)
	isSmall := int(c.Percent)*(canary+others) > 100*canary
	if c.Percent == 100 {
		isSmall = canary < others
	}
	if !isSmall || canary == 0 {
		return nil
	}
	return []finding{s.aboutCanary(api.RouteCanaryUndersized,
		fmt.Sprintf("Canary %s receives %d%% of the requests and has %d ready pods; the default version has %d.", c.Version, c.Percent, canary, others),
		"Scale its workload up.")}
}

// waitingCanary reports what a canary waits for.
func (s defaultDecision) waitingCanary(version string, missing []string) []finding {
	value := s.Intent.Texts[api.AnnotationCanary]
	out := s.aboutCanary(api.RoutePendingVersions, pendingText(missing)+fmt.Sprintf("Canary %s starts when nothing is pending. Until then, it receives no requests by weight.", version),
		s.adviceToStart(version, missing))
	out.pending = &Pending{Key: api.AnnotationCanary, Value: value, Missing: missing}
	return []finding{out}
}

// adviceToStart says how to start a canary that waits.
func (s defaultDecision) adviceToStart(version string, missing []string) string {
	var advice []string
	isAboutPods := func(what string) bool {
		return what == needsDefaultPod || strings.HasPrefix(what, version+" (") || what == api.UnknownVersion(version, s.knownVersions())
	}
	if slices.ContainsFunc(missing, isAboutPods) {
		advice = append(advice, "See kubectl get pods -n "+s.Service.Namespace+" -L "+s.Intent.VersionLabel+".")
	}
	if slices.Contains(missing, CanaryPauseText) {
		advice = append(advice, "To start it: "+s.canaryCommand("--resume")+".")
	}
	if s.Settings.Freeze {
		advice = append(advice, thawAdvice)
	}
	if slices.Contains(missing, needsMetrics) {
		advice = append(advice, "Configure routing.metrics, or set "+api.AnnotationCanaryChecks+"="+api.CanaryReadiness+".")
	}
	return strings.Join(advice, " ")
}

// abortText says why a canary was aborted, and what still routes to it.
func (s defaultDecision) abortText(ended endedCanary) string {
	text := fmt.Sprintf("Canary %s was aborted at %d%%: %s. %s receives its requests.", ended.Version, ended.Percent, ended.Why, s.current())
	if matches := s.matchesTo(ended.Version); len(matches) > 0 {
		text += " These matches still route to it: " + api.Shorten(strings.Join(matches, "; "), maxCanaryText) + "."
	}
	return text
}

// matchesTo returns the conditions of the match annotation that route to a version.
func (s defaultDecision) matchesTo(version string) (out []string) {
	for _, match := range s.Intent.Match {
		if overlap(s.meaningOf(match.Version), s.literalOr(version)) || match.Version == version {
			out = append(out, conditionText(match))
		}
	}
	return out
}

// abortedCanary reports a canary that was aborted: the last one, or an earlier one that prevents a start.
func (s defaultDecision) abortedCanary(ended endedCanary) finding {
	text, advice := s.abortText(ended)+" It does not start again with this pod template.", "To retry it as it is: "+s.canaryCommand("--retry")+"."
	switch latest := s.record.Canary.Ended[0]; {
	case ended.Replaced:
		text, advice = s.abortText(ended)+" The new pod template is another canary.", ""
	case ended.Version != latest.Version || ended.At != latest.At: // the pods have the template of an earlier canary again
		text = fmt.Sprintf("An earlier canary of %s with its current pod template was aborted at %d%% (%s): %s. It does not start again with this pod template.",
			ended.Version, ended.Percent, ended.At, ended.Why)
	}
	return s.aboutCanary(api.RouteCanaryAborted, text, advice)
}

// endedBefore reports a requested canary that has ended, and is not the default. One that the user ended is not a problem, unless it is
// requested again.
func (s defaultDecision) endedBefore(ended endedCanary) []finding {
	switch {
	case ended.By == byChoice:
		return nil
	case s.Intent.Canary != nil && s.Intent.Canary.Auto && (ended.By == byCanary || ended.State == CanarySucceeded):
		return nil // auto requests later versions
	case ended.By == byCanary:
		return []finding{s.aboutCanary(api.RouteWithoutEffect, "Canary "+ended.Version+" was ended before ("+ended.Why+"). It does not start again by itself.",
			"To start it again: "+s.canaryCommand("--retry")+".")}
	case ended.State == CanaryAborted:
		return []finding{s.abortedCanary(ended)}
	}
	return []finding{s.aboutCanary(api.RouteWithoutEffect, "Canary "+ended.Version+" has succeeded before, and another version is the default now. It does not start again by itself.",
		"To roll it out again: "+s.canaryCommand("--retry")+".")}
}

// supersededSettings reports default-version and weights that have no effect, because a canary has ended since. After a success, this is
// expected. After an abort, it is a Problem: the user may expect the weights to apply.
func (s defaultDecision) supersededSettings() (found []finding) {
	ended := s.record.Canary.Ended
	if !s.superseded || len(ended) == 0 {
		return nil
	}
	lastSuccess := slices.IndexFunc(ended, func(e endedCanary) bool { return e.State == CanarySucceeded })
	for _, key := range []string{api.AnnotationDefaultVersion, api.AnnotationWeights} {
		value, by := s.Intent.Texts[key], ended[0]
		if value == "" || strings.HasPrefix(value, "@") || slices.Contains(s.possible(s.record.Default), value) || key == api.AnnotationWeights && s.allGoToDefault(value) {
			continue
		}
		if key == api.AnnotationDefaultVersion && lastSuccess >= 0 {
			by = ended[lastSuccess] // no abort changes the default
		}
		if by.State == CanarySucceeded {
			found = append(found, finding{superseded: &Superseded{Key: key, Value: value, By: by.Version, Advice: s.adviceToUpdate()}})
			continue
		}
		found = append(found, s.problemAbout(key, value, api.RouteWithoutEffect,
			fmt.Sprintf("This value has no effect, because it is from before canary %s was aborted. The default version is %s.", by.Version, s.record.Default), s.adviceToUpdate()))
	}
	return found
}

// allGoToDefault reports whether weights send all requests to the default version, as without weights.
func (s defaultDecision) allGoToDefault(weights string) bool {
	for item := range strings.SplitSeq(weights, ",") {
		name, weight, _ := strings.Cut(strings.TrimSpace(item), "=")
		if strings.Trim(weight, "0") != "" && !slices.Contains(s.possible(s.record.Default), name) {
			return false
		}
	}
	return true
}

// adviceToUpdate returns the command that updates default-version and weights to what is in effect after a canary, in a sentence. It changes
// both at once, because a change of only one of them counts as a new decision.
func (s defaultDecision) adviceToUpdate() string {
	if s.retried != "" {
		return "Update the annotations after canary " + s.retried + " has started: an earlier change counts as a new decision and cancels its retry."
	}
	var pairs []string
	if !s.namesDefault(s.Intent.Texts[api.AnnotationDefaultVersion]) {
		name := s.nameable(s.record.Default)
		if !slices.Contains(s.possible(s.record.Default), name) {
			return "" // the name is a placeholder
		}
		pairs = append(pairs, api.AnnotationDefaultVersion+"="+name)
	}
	if s.Intent.Texts[api.AnnotationWeights] != "" {
		pairs = append(pairs, api.AnnotationWeights+"-")
	}
	return "To update the annotations: " + s.annotate(pairs...) + "."
}

// skippedCanaries reports the versions that auto skipped and that still have pods.
func (s defaultDecision) skippedCanaries() (found []finding) {
	auto := s.record.Canary.Auto
	for _, version := range auto.Skipped {
		if s.hasPods(meaning{Version: version}) && !s.isOfDefault(meaning{Version: version}) && version != s.record.Canary.Version {
			found = append(found, s.aboutCanary(api.RouteCanarySkipped, "Version "+version+" gets no canary, because a newer version appeared before it began.",
				"To roll it out: "+s.annotate(api.AnnotationCanary+"="+version)+"."))
		}
	}
	return found
}
