// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// A new decided-at decides about the default and the weights again, also where a canary has superseded them. So the decisions here set it
// only where the planner requires it: to retry a canary, to resume one whose route was edited, and to choose another default.

// canaryStart returns the decision to start the canary of the request. Only a retry starts one that has ended before.
func (r Request) canaryStart(observed routing.Observed, now time.Time) (Decision, error) {
	annotations, version, isRetry := r.canaryAnnotations(), r.Version, r.Action == ActionCanaryRetry
	d := Decision{Service: observed.Service.Name, Annotations: annotations, AllowPending: r.AllowPending, KeepsDecidedAt: true, OneService: true, Inputs: r.Inputs}
	if version == api.CanaryAuto {
		if slices.Contains(routing.KnownVersions(observed), version) {
			return d, fmt.Errorf("service %s has a version named %q, and %s=%s means each new version, not this one; nothing was written. To roll it out, give it another value of the label %s",
				d.Service, version, api.AnnotationCanary, version, observed.Intent.VersionLabel)
		}
		return d, nil
	}
	c, _ := CanaryOf(observed, now)
	if c != nil && c.Version != version {
		c = nil
	}
	if c != nil && c.Paused && !c.HasEnded() {
		delete(annotations, api.AnnotationCanaryPaused) // only --resume resumes it
	}
	d.Versions = []string{version}
	if c != nil && c.EndsAs == routing.CanaryAborted { // writing the annotation again would reverse the decision
		return d, c.alreadyEnds(observed)
	}
	ended := withCanary(observed, version, now)
	switch {
	case isRetry && ended != nil && ended.Version != version:
		return d, WithCommand(fmt.Sprintf("canary %s of service %s has not ended (%s). To retry %s, end it first: ", ended.Version, d.Service, ended.State, version), canaryCommand(observed.Service, "--abort"))
	case ended == nil || !ended.HasEnded():
		if isRetry {
			return d, notEnded(d, version, c)
		}
		return d, nil
	case !isRetry:
		return d, fmt.Errorf("canary %s of service %s does not start again by itself, because it has ended before (%s). To start it again, %s", version, d.Service, ended.end(), r.Inputs.set("retry"))
	}
	annotations[api.AnnotationDecidedAt] = nextDecision(observed, now)
	d.Ended = ended
	return d, retryable(observed, *ended, now)
}

// notEnded returns the error for a retry of a canary that has not ended, or that never was.
func notEnded(d Decision, version string, c *CanaryStatus) error {
	omit := d.Inputs.omit("retry")
	switch {
	case c == nil:
		return fmt.Errorf("no canary %s of service %s has ended; there is nothing to retry. To start one, %s", version, d.Service, d.Inputs.form("canary", omit))
	case c.IsProgressing():
		return fmt.Errorf("canary %s of service %s has not ended: it is at %s. To change its settings, %s", version, d.Service, c.Position(), d.Inputs.form("canary", "name the version and "+omit))
	}
	return fmt.Errorf("canary %s of service %s has not started: it waits for %s. To change its settings, %s", version, d.Service, c.Reason, d.Inputs.form("canary", "name the version and "+omit))
}

// retryable returns an error for a canary that has succeeded and whose version is still the default: nothing would start.
func retryable(observed routing.Observed, c CanaryStatus, now time.Time) error {
	decisions := routing.Decisions(observed, now)
	if c.IsAborted() || len(decisions) == 0 || decisions[0].Default != c.Version {
		return nil
	}
	name := observed.Service.Name
	return WithCommand(fmt.Sprintf("canary %s of service %s has succeeded, and %s is the default version; there is nothing to retry. To return to the version before it: ", c.Version, name, c.Version),
		Request{Action: ActionUndo, Service: name}.Command(observed.Service.Namespace))
}

// CanaryAction returns the decision of a command about the canary that a Service has: pause, resume, abort, promote, or retry.
func CanaryAction(observed routing.Observed, action string, inputs Inputs, now time.Time) (Decision, error) {
	service := observed.Service
	d := Decision{Service: service.Name, KeepsDecidedAt: true, OneService: true, Inputs: inputs}
	c, _ := CanaryOf(observed, now)
	if action == "retry" && c == nil {
		c = lastEnded(observed, now)
	}
	switch {
	case c == nil:
		return d, WithCommand(fmt.Sprintf("service %s has no canary. To start one: ", service.Name), canaryCommand(service, "VERSION"))
	case action == "retry" && c.EndsAs == routing.CanaryAborted:
		return d, c.alreadyEnds(observed)
	case action == "retry" && !c.HasEnded():
		return d, notEnded(d, c.Version, c)
	case action != "retry" && c.HasEnded():
		return d, fmt.Errorf("canary %s of service %s has ended (%s); there is nothing to %s", c.Version, service.Name, c.end(), action)
	case c.EndsAs != "" && (action == "pause" || action == "resume") || action == "abort" && isAbortDecided(observed, *c, now):
		return d, c.alreadyEnds(observed)
	}
	switch action {
	case "pause":
		d.Annotations = map[string]string{api.AnnotationCanaryPaused: "true"}
	case "resume":
		return d.resume(observed, *c, now)
	case "retry":
		d.Annotations = map[string]string{api.AnnotationDecidedAt: nextDecision(observed, now)}
		if observed.Intent.Canary == nil {
			d.Annotations[api.AnnotationCanary] = c.Version
		}
		d.Versions, d.Ended = []string{c.Version}, c
		return d, retryable(observed, *c, now)
	case "promote":
		d.KeepsDecidedAt = false
		d.Annotations = map[string]string{api.AnnotationDefaultVersion: c.Version, api.AnnotationWeights: ""}
		d.Versions = []string{c.Version}
	case "abort":
		if isOwnCanary(service) && c.EndsAs == "" {
			d.Annotations = map[string]string{api.AnnotationCanary: ""}
			break
		}
		d, err := d.decideDefault(observed, now)
		if err == nil && isOwnCanary(service) { // another decision has ended it, and is replaced
			d.Annotations[api.AnnotationCanary] = ""
		}
		return d, err
	}
	return d, nil
}

// isAbortDecided reports whether a decision that the controller has yet to follow aborts the canary and gives its version no requests by weight.
func isAbortDecided(observed routing.Observed, c CanaryStatus, now time.Time) bool {
	if c.EndsAs != routing.CanaryAborted {
		return false
	}
	observed.Settings.Freeze = false
	plan := routing.Plan(WithoutDelays(observed), now)
	observed.Existing = plan.Objects
	_, after := planEffect(plan, observed, now)
	weight, isKnown := ReadRoute(after).WeightOf(c.Version)
	return isKnown && weight == 0
}

// alreadyEnds returns the error for an action on a canary that a decision has ended and that the controller has yet to end.
func (c CanaryStatus) alreadyEnds(observed routing.Observed) error {
	how, when := c.endText(observed)
	return fmt.Errorf("canary %s of service %s is already %s; %s. Nothing was written", c.Version, observed.Service.Name, how, when)
}

// resume returns the decision that lets a canary go on.
func (d Decision) resume(observed routing.Observed, c CanaryStatus, now time.Time) (Decision, error) {
	d.Annotations = map[string]string{}
	if c.Paused {
		d.Annotations[api.AnnotationCanaryPaused] = ""
		if observed.Namespace.Annotations[api.AnnotationCanaryPaused] != "" {
			d.Annotations[api.AnnotationCanaryPaused] = "false"
		}
	}
	if isResumedByDecision(observed, now) {
		d.Annotations[api.AnnotationDecidedAt] = nextDecision(observed, now)
	}
	if len(d.Annotations) == 0 {
		why := "it is not paused"
		if c.Reason != "" {
			why += "; " + c.Change()
		}
		return d, fmt.Errorf("canary %s of service %s cannot be resumed: %s", c.Version, d.Service, why)
	}
	return d, nil
}

// isResumedByDecision reports whether the canary stays at its step until decided-at is newer, because its route was edited.
func isResumedByDecision(observed routing.Observed, now time.Time) bool {
	for _, p := range routing.Plan(observed, now).Problems {
		if p.Reason == api.RouteCanaryHeld && strings.Contains(p.Advice, " --resume") {
			return true
		}
	}
	return false
}

// decideDefault returns the decision to send all requests to the default version, which ends a canary of auto or of the Namespace. It
// changes default-version or weights in any case, because decided-at alone does not end a canary.
func (d Decision) decideDefault(observed routing.Observed, now time.Time) (Decision, error) {
	decisions := routing.Decisions(observed, now)
	if len(decisions) == 0 {
		return d, fmt.Errorf("service %s has no recorded default version; nothing was written", d.Service)
	}
	d.KeepsDecidedAt = false
	d.Annotations = map[string]string{api.AnnotationDefaultVersion: decisions[0].Default, api.AnnotationWeights: ""}
	if hasAnnotations(observed.Service, d.Annotations) {
		d.Annotations[api.AnnotationWeights] = decisions[0].Default + "=100"
	}
	return d, nil
}

// lastEnded returns the canary that ended last, also where no annotation requests it any more; nil if there is none that could be retried.
func lastEnded(observed routing.Observed, now time.Time) *CanaryStatus {
	var last *CanaryStatus
	for _, version := range routing.KnownVersions(observed) {
		c := withCanary(observed, version, now)
		if c != nil && c.HasEnded() && c.Since != nil && (last == nil || c.Since.After(*last.Since)) {
			last = c
		}
	}
	return last
}

// withCanary returns the canary of a Service that requests this version, without a new decision.
func withCanary(observed routing.Observed, version string, now time.Time) *CanaryStatus {
	c, _ := CanaryOf(withAnnotations(observed, map[string]string{api.AnnotationCanary: version}), now)
	return c
}

func withAnnotations(observed routing.Observed, annotations map[string]string) routing.Observed {
	service := observed.Service.DeepCopy()
	setAnnotations(service, annotations)
	label := observed.Intent.VersionLabel // the one that applies
	observed.Service = service
	observed.Intent, _ = observed.Settings.Limits.IntentOf(service, observed.Namespace, nil)
	observed.Intent.VersionLabel = label
	return observed
}

// end says how the canary ended: "aborted at 25%: error-rate 5% (<1%)".
func (c CanaryStatus) end() string {
	return strings.TrimPrefix(c.Change(), "canary "+c.Version+" ")
}

// nextDecision returns the value of decided-at for a decision now.
func nextDecision(observed routing.Observed, now time.Time) string {
	return routing.NextDecision(observed, now).Format(time.RFC3339)
}

// canaryCommand returns a command about the canary of a Service, with a version or a flag.
func canaryCommand(service *corev1.Service, argument string) string {
	return "outrigger canary " + service.Name + " " + argument + " -n " + service.Namespace
}

// CheckCanary returns an error if an annotation of a canary is invalid. input returns an annotation with its value, as the user entered it.
func CheckCanary(limits api.RouteLimits, annotations map[string]string, input func(key, text string) string) error {
	service := &corev1.Service{}
	setAnnotations(service, annotations)
	_, problems := limits.IntentOf(service, &corev1.Namespace{}, nil)
	for _, p := range problems {
		for key, text := range annotations {
			if p.Field == api.AnnotationField(key) && text != "" {
				message, _, _ := strings.Cut(p.Message, ". No canary starts") // nothing is written
				return fmt.Errorf("%s: %s", input(key, text), strings.TrimPrefix(message, "Invalid value: "))
			}
		}
	}
	return nil
}

// checkCanaryEffect returns an error if a decision about a canary cannot have its effect.
func checkCanaryEffect(d Decision, before, after routing.Observed, plan routing.Result, now time.Time) error {
	if version := d.Annotations[api.AnnotationCanary]; version != "" && version != api.CanaryAuto { // auto requests later versions
		for _, p := range plan.Problems {
			if p.Reason == api.RouteWithoutEffect && p.Field == api.AnnotationField(api.AnnotationCanary) {
				return advised(fmt.Sprintf("service %s gets no canary %s; nothing was written: %s", d.Service, version, p.Message), p)
			}
		}
	}
	if !d.KeepsDecidedAt {
		return withoutEffect(d, after.Service, plan)
	}
	if d.Annotations[api.AnnotationDecidedAt] == "" {
		return nil
	}
	was, is := routing.Decisions(before, now), routing.Decisions(after, now)
	if len(was) > 0 && len(is) > 0 && was[0].Default != is[0].Default {
		return WithCommand(fmt.Sprintf("nothing was written: a new %s would also apply %s=%s, which a canary has superseded, and the default version would be %s. To keep %s as the default first: ",
			api.AnnotationDecidedAt, api.AnnotationDefaultVersion, before.Service.Annotations[api.AnnotationDefaultVersion], is[0].Default, was[0].Default),
			Request{Action: ActionPromote, Service: d.Service, Version: was[0].Default}.Command(before.Service.Namespace))
	}
	return nil
}

// advised returns an error that ends with the advice of a problem. The commands in the advice are parts of its text.
func advised(reason string, p api.RouteProblem) error {
	return &textError{Sentences(reason + " ").with(SplitCommands(p.Advice)...)}
}

// withoutEffect returns an error if a plan says that a canary deprives the default or the weights of a decision of their effect.
func withoutEffect(d Decision, service *corev1.Service, plan routing.Result) error {
	for _, key := range []string{api.AnnotationDefaultVersion, api.AnnotationWeights} {
		if d.Annotations[key] == "" || service.Name != d.Service {
			continue
		}
		text := fmt.Sprintf("nothing was written: %s=%s would have no effect on service %s", key, service.Annotations[key], d.Service)
		for _, p := range plan.Problems {
			if p.Reason == api.RouteWithoutEffect && p.Field == api.AnnotationField(key) {
				return advised(text+": "+p.Message, p)
			}
		}
		for _, one := range plan.Superseded {
			if one.Key == key {
				return fmt.Errorf("%s, because canary %s has succeeded since", text, one.By)
			}
		}
	}
	return nil
}

// WhyNotRetried returns why a decision to retry a canary, which wrote this decided-at, has no effect.
func WhyNotRetried(observed routing.Observed, decidedAt string, now time.Time) string {
	is := observed.Service.Annotations[api.AnnotationDecidedAt]
	switch {
	case is == "":
		return "another client removed the annotation " + api.AnnotationDecidedAt
	case is != decidedAt:
		return fmt.Sprintf("another client set the annotation %s=%s", api.AnnotationDecidedAt, is)
	}
	for _, key := range []string{api.AnnotationDecidedAt, api.AnnotationCanary} {
		for _, p := range routing.Plan(observed, now).Problems {
			if p.Field == api.AnnotationField(key) && p.Reason != api.RouteCanaryAborted {
				return fmt.Sprintf("%s=%s: %s %s", key, p.Value, p.Message, p.Advice)
			}
		}
	}
	return fmt.Sprintf("%s=%s is not later than the last decision, or another annotation was changed at the same time", api.AnnotationDecidedAt, is)
}

// hadCanary reports whether a Service has a canary before or after a decision, or requests one.
func hadCanary(before, after routing.Observed, now time.Time) bool {
	was, _ := CanaryOf(before, now)
	is, _ := CanaryOf(after, now)
	return was != nil || is != nil || after.Intent.Canary != nil
}

// planEffect returns the plan and the objects once the controller has followed a decision: a canary ends before anything else begins, so
// one plan does not show it.
func planEffect(first routing.Result, observed routing.Observed, now time.Time) (routing.Result, routing.Observed) {
	const most = 5
	problems := first.Problems
	for range most {
		next := routing.Plan(WithoutDelays(observed), now)
		if len(routing.Diff(observed.Existing, next.Objects)) == 0 {
			first = next
			break
		}
		first, observed.Existing = next, next.Objects
	}
	for _, p := range problems { // the end of a canary is reported once
		if p.Reason == api.RouteCanaryAborted && !slices.Contains(first.Problems, p) {
			first.Problems = append(first.Problems, p)
		}
	}
	return first, observed
}

// repeatsSuperseded reports whether a decision has the same default-version and weights as the Service, while a canary of its annotation
// has superseded them. Such a decision would retry the canary, or have no effect on it, unless the annotation is removed.
func repeatsSuperseded(observed routing.Observed, d Decision, now time.Time) bool {
	_, isAboutCanary := d.Annotations[api.AnnotationCanary]
	if !isOwnCanary(observed.Service) || isAboutCanary || !hasAnnotations(observed.Service, d.Annotations) {
		return false
	}
	c, _ := CanaryOf(observed, now)
	return c != nil && (c.IsProgressing() || c.HasEnded())
}

// supersededDefault returns the default version for a decision about weights alone if a canary that succeeded has superseded the
// default-version of the Service, and otherwise "". The decision must repeat it: with its new decided-at, the annotation would count again.
func supersededDefault(observed routing.Observed, d Decision, now time.Time) string {
	_, decidesDefault := d.Annotations[api.AnnotationDefaultVersion]
	text := observed.Service.Annotations[api.AnnotationDefaultVersion]
	c, _ := CanaryOf(observed, now)
	decisions := routing.Decisions(observed, now)
	if decidesDefault || d.Annotations[api.AnnotationWeights] == "" || text == "" || c == nil || !c.HasEnded() || len(decisions) == 0 || decisions[0].Default == text ||
		slices.ContainsFunc(pendingAnnotations(observed, now), func(pair string) bool { return strings.HasPrefix(pair, api.AnnotationDefaultVersion+"=") }) {
		return ""
	}
	return decisions[0].Default
}

// repeatsDefault reports whether a decision has the same default-version as the Service and no weights, beside a canary whose annotation
// stays. Such a decision would be one about the canary, unless it also sets weights.
func repeatsDefault(observed routing.Observed, d Decision, now time.Time) bool {
	version := d.Annotations[api.AnnotationDefaultVersion]
	_, isAboutCanary := d.Annotations[api.AnnotationCanary]
	if version == "" || strings.HasPrefix(version, "@") || isAboutCanary || observed.Intent.Canary == nil || !hasAnnotations(observed.Service, d.Annotations) {
		return false
	}
	c, _ := CanaryOf(observed, now)
	return c != nil && d.Annotations[api.AnnotationWeights] == ""
}
