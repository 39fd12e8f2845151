// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// CanaryStatus is a canary of a Service, in the form of -o json.
type CanaryStatus struct {
	Version string `json:"version"`
	// State is waiting, progressing, succeeded, or aborted.
	State string `json:"state"`
	// Step is the number of the step, from 1 on, of Steps. Percent is its share of the requests, or the last share of a canary that ended.
	Step    int   `json:"step,omitempty"`
	Steps   int   `json:"steps,omitempty"`
	Percent int32 `json:"percent,omitempty"`
	// Since is when the step began, or when the canary ended. Next is when the step can pass at the earliest.
	Since  *time.Time `json:"since,omitempty"`
	Next   *time.Time `json:"next,omitempty"`
	Paused bool       `json:"paused,omitempty"`
	// RemainingSeconds is how much of the step's duration is left, while a freeze stops its clock.
	RemainingSeconds int `json:"remainingSeconds,omitempty"`
	// Checks are the checks with the numbers that were recorded last, or without numbers if none are.
	Checks  []string `json:"checks,omitempty"`
	Failing []string `json:"failing,omitempty"` // the checks that fail now
	// Reason is what a waiting canary waits for, why one that progresses stays at its step, or why one was aborted. If a decision has ended a
	// canary that progresses, it says so.
	Reason string `json:"reason,omitempty"`
	ByHand bool   `json:"byHand,omitempty"` // a decision of the user has aborted it
	// IsLacking is true if the reason is that a check has no data, or that the requests are too few.
	IsLacking bool `json:"-"`
	// IsFrozen is true if the canary progresses and routing.freeze keeps it at its step.
	IsFrozen bool `json:"-"`
	// StepPercents are the shares of the steps; none for a canary that has ended.
	StepPercents []int32 `json:"-"`
	// EndsAs is the state of routing.CanaryStatus.EndsAs.
	EndsAs routing.CanaryState `json:"-"`
}

// CanaryOf returns the canary of a Service as the controller has recorded it, or nil if it has none. isCurrent is false if the controller
// has to change its state or step.
func CanaryOf(observed routing.Observed, now time.Time) (status *CanaryStatus, isCurrent bool) {
	is, isCurrent, has := routing.RecordedCanaryOf(observed, now)
	if !has {
		return nil, false
	}
	out := canaryStatusOf(is)
	out.IsFrozen = observed.Settings.Freeze && out.IsProgressing() && is.EndsAs == ""
	if intent := observed.Intent.Canary; intent != nil && !out.HasEnded() && is.EndsAs == "" {
		for _, step := range intent.Steps {
			out.StepPercents = append(out.StepPercents, step.Percent)
		}
	}
	switch {
	case is.EndsAs != "":
		out = out.ending(observed)
	case is.State != routing.CanaryProgressing:
		out.Steps = 0
	case len(out.Checks) == 0:
		out.Checks = checkTexts(observed)
	}
	return &out, isCurrent
}

// ending returns the status of a canary that a decision has ended and that the controller has yet to end: it has no more steps or checks.
func (c CanaryStatus) ending(observed routing.Observed) CanaryStatus {
	if how, when := c.endText(observed); !observed.Settings.Freeze || len(c.Failing) > 0 || c.Reason == "" { // otherwise, the reason says so
		c.Reason = how + "; " + when
	}
	c.Next, c.Failing, c.RemainingSeconds = nil, nil, 0
	return c
}

// endText returns how a decision has ended the canary, and when that takes effect.
func (c CanaryStatus) endText(observed routing.Observed) (how, when string) {
	how, when = "aborted", "the controller has yet to apply that"
	if c.EndsAs == routing.CanarySucceeded {
		how = "promoted"
	}
	if observed.Settings.Freeze {
		when = "that takes effect when the freeze ends (routing.freeze)"
	}
	return how, when
}

// shownCanary returns CanaryOf. If there is none, it returns the canary that the user aborted last, until its version is the default.
func shownCanary(observed routing.Observed, now time.Time) (status *CanaryStatus, isCurrent bool) {
	if status, isCurrent = CanaryOf(observed, now); status != nil {
		return status, isCurrent
	}
	is, has := routing.CanaryEndedByHand(observed, now)
	if !has {
		return nil, false
	}
	out := canaryStatusOf(is)
	return &out, true
}

func canaryStatusOf(is routing.CanaryStatus) CanaryStatus {
	return CanaryStatus{
		Version: is.Version, State: string(is.State), Step: is.Step, Steps: is.Steps, Percent: is.Percent,
		Since: timeOrNil(is.Since), Next: timeOrNil(is.Next), Paused: is.IsPaused,
		RemainingSeconds: int(math.Ceil(is.Remaining.Seconds())),
		Checks:           is.Checks, Failing: is.Failing, Reason: is.Reason, ByHand: is.IsByHand, IsLacking: is.IsLacking, EndsAs: is.EndsAs,
	}
}

func timeOrNil(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	at = at.UTC()
	return &at
}

// checkTexts returns the checks that the annotations request, or the default; none if only readiness is checked.
func checkTexts(observed routing.Observed) (out []string) {
	checks := observed.Settings.Limits.CanaryDefaults().Checks
	if observed.Intent.Canary != nil {
		checks = observed.Intent.Canary.Checks
	}
	switch {
	case checks != nil: // empty for readiness only
		for _, check := range checks {
			out = append(out, check.Text)
		}
	case observed.Settings.Limits.AnyCanaryQuery:
		out = []string{api.MetricErrorRate + "<1% (if metrics are configured)"}
	case observed.Settings.Canary.HasMetrics:
		out = []string{api.MetricErrorRate + "<1%"}
	}
	return out
}

// HasEnded reports whether the canary has succeeded or was aborted.
func (c CanaryStatus) HasEnded() bool {
	return c.IsAborted() || c.State == string(routing.CanarySucceeded)
}

// IsAborted reports whether the canary was aborted.
func (c CanaryStatus) IsAborted() bool { return c.State == string(routing.CanaryAborted) }

// IsProgressing reports whether the canary has a share of the requests by its step.
func (c CanaryStatus) IsProgressing() bool { return c.State == string(routing.CanaryProgressing) }

func (c CanaryStatus) hasEnded() bool {
	return c.State == string(routing.CanarySucceeded) || c.State == string(routing.CanaryAborted)
}

// Line returns the canary on one line: "canary v2 2/4 25% next in 3m12s  error-rate 0.2% (<1%)".
func (c CanaryStatus) Line(now time.Time) string { return c.line(c.time(now)) }

// Change returns Line without times, so that it differs only if the canary does.
func (c CanaryStatus) Change() string { return c.line("") }

func (c CanaryStatus) line(next string) string {
	out := "canary " + c.Version
	switch {
	case c.IsAborted():
		byHand := ""
		if c.ByHand {
			byHand = " by hand"
		}
		return out + fmt.Sprintf(" aborted%s at %d%%: %s", byHand, c.Percent, c.Reason)
	case c.HasEnded():
		return out + " succeeded"
	case c.isOnlyPaused():
		return out + " is paused before its start"
	case !c.IsProgressing():
		return out + " waits for " + c.Reason
	}
	out += c.share()
	for _, flag := range []struct {
		is   bool
		text string
	}{{c.Paused, "paused"}, {len(c.Failing) > 0, "failing"}, {next != "", next}} {
		if flag.is {
			out += " " + flag.text
		}
	}
	parts := append([]string{out}, c.Checks...)
	if c.Reason != "" && !slices.Contains(c.Checks, c.Reason) {
		parts = append(parts, c.Reason)
	}
	return strings.Join(parts, "  ")
}

// share returns the step of a canary that progresses, with its share: " 2/4 25%".
func (c CanaryStatus) share() string {
	switch {
	case c.Step > 0:
		return fmt.Sprintf(" %d/%d %d%%", c.Step, c.Steps, c.Percent)
	case c.EndsAs != "":
		return fmt.Sprintf(" %d%%", c.Percent)
	}
	return fmt.Sprintf(" %d%%, next step 1/%d", c.Percent, c.Steps) // the steps were changed
}

// isOnlyPaused reports whether the canary would start if it were not paused.
func (c CanaryStatus) isOnlyPaused() bool {
	return c.Paused && c.State == string(routing.CanaryWaiting) && c.Reason == routing.CanaryPauseText
}

// Position returns "step 1 of 3". After a change of the steps, the share can be less than that of the first one: "before step 1 of 3". It is
// empty if the steps are unknown.
func (c CanaryStatus) Position() string {
	if c.Steps == 0 {
		return ""
	}
	if c.Step == 0 {
		return fmt.Sprintf("before step 1 of %d", c.Steps)
	}
	return fmt.Sprintf("step %d of %d", c.Step, c.Steps)
}

// time says when the step can pass, or how much of it is left after a freeze; empty if its clock is stopped by anything else.
func (c CanaryStatus) time(now time.Time) string {
	switch {
	case c.RemainingSeconds > 0:
		return c.remaining() + " left"
	case c.Next == nil || c.Paused || len(c.Failing) > 0:
		return ""
	case !c.Next.After(now):
		return "next when its checks pass"
	}
	return "next in " + max(c.Next.Sub(now).Round(time.Second), time.Second).String()
}

func (c CanaryStatus) remaining() string {
	return (time.Duration(c.RemainingSeconds) * time.Second).String()
}

// canaryRows explains a canary: what it does, why it waits or stays at its step, and what happens next.
func canaryRows(c *CanaryStatus, observed routing.Observed, now time.Time) [][]string {
	if c == nil {
		return nil
	}
	rows := [][]string{{"State", strings.TrimPrefix(c.line(""), "canary ")}}
	add := func(key, text string) {
		if text != "" {
			rows = append(rows, []string{key, text})
		}
	}
	intent := observed.Intent.Canary
	if intent != nil && !c.HasEnded() {
		add("Steps", stepsText(intent.Steps))
		add("Checks", strings.Join(append([]string{"readiness of its pods"}, checkTexts(observed)...), ", "))
	}
	if c.Since != nil && c.IsProgressing() {
		add("Since", c.Since.Format(time.RFC3339))
	}
	add("Next", c.next(observed, now))
	return rows
}

// next says what happens to the canary next.
func (c CanaryStatus) next(observed routing.Observed, now time.Time) string {
	command := func(flag string) string { return canaryCommand(observed.Service, flag) }
	steps, deadline := api.DefaultCanary().Steps, api.DefaultCanary().Deadline
	if observed.Intent.Canary != nil {
		steps, deadline = observed.Intent.Canary.Steps, observed.Intent.Canary.Deadline
	}
	abort := "If a check fails twice in a row, or if it cannot pass the step within " + api.ShortDuration(deadline) + " of that time, the default version gets all requests."
	then := c.Version + " becomes the default version."
	if at := slices.IndexFunc(steps, func(s api.CanaryStep) bool { return s.Percent > c.Percent }); at >= 0 {
		then = fmt.Sprintf("%s gets %d%% of the requests.", c.Version, steps[at].Percent)
	}
	switch {
	case !c.HasEnded() && observed.Settings.Freeze:
		left := ""
		if c.RemainingSeconds > 0 {
			left = fmt.Sprintf(" Then the step continues, with %s left.", c.remaining())
		}
		return "Nothing changes until the freeze ends." + left + " To end it, set routing.freeze to false."
	case c.EndsAs == routing.CanarySucceeded:
		return c.Version + " becomes the default version."
	case c.EndsAs != "":
		return "The default version gets all requests."
	case c.IsAborted():
		return "Nothing: it does not start again with this pod template. To start it again: " + command("--retry")
	case c.HasEnded():
		return "Nothing. To go back: outrigger undo " + observed.Service.Name + " -n " + observed.Service.Namespace
	case c.isOnlyPaused():
		return "Nothing: it is paused. To start it: " + command("--resume")
	case !c.IsProgressing():
		return fmt.Sprintf("When that has changed, %s gets %d%% of the requests.", c.Version, steps[0].Percent)
	case c.Paused:
		return "It stays at this step. A failing check still aborts it. To continue: " + command("--resume")
	case c.Next == nil:
		return "It stays at this step. `outrigger status` lists what to fix."
	case len(c.Failing) > 0:
		return "If the next evaluation fails, too, the default version gets all requests."
	case !c.Next.After(now):
		return "When its checks pass, " + then + " " + abort + c.withoutMetrics(observed)
	}
	return fmt.Sprintf("In %v, if its checks pass, %s %s", c.Next.Sub(now).Round(time.Second), then, abort+c.withoutMetrics(observed))
}

// withoutMetrics says how to continue without metrics if a check has no data or too few requests: with the same settings, except for the checks.
func (c CanaryStatus) withoutMetrics(observed routing.Observed) string {
	if !c.IsLacking {
		return ""
	}
	r := Request{Action: ActionCanary, Service: observed.Service.Name, Version: c.Version, Settings: map[string]string{}}
	for annotation, name := range canarySettings {
		r.Settings[name] = observed.Service.Annotations[annotation]
	}
	r.Settings["check"] = api.CanaryReadiness
	return " To check only the readiness of its pods: " + r.Command(observed.Service.Namespace)
}

// stepsText returns "5% for 5m0s, 20% for 5m0s, 100% for 5m0s".
func stepsText(steps []api.CanaryStep) string {
	var out []string
	for _, step := range steps {
		out = append(out, fmt.Sprintf("%d%% for %v", step.Percent, step.Duration))
	}
	return strings.Join(out, ", ")
}

// canaryNotes says what a decision means for the canary, once the controller has followed it.
func canaryNotes(before, after routing.Observed, now time.Time) []string {
	was, _ := CanaryOf(before, now)
	c, _ := CanaryOf(after, now)
	switch {
	case startsAuto(before, after):
		return []string{autoNote(c, after)}
	case c == nil && was != nil && was.IsProgressing() && was.EndsAs != "": // an earlier decision has ended it
		return []string{"canary " + was.Version + was.share() + " ends"}
	case c == nil && was != nil && !was.HasEnded():
		return []string{was.Change() + " ends"}
	case c == nil || was != nil && was.Change() == c.Change():
		return nil
	case after.Intent.Canary != nil && c.IsProgressing() && (was == nil || !was.IsProgressing() || was.Version != c.Version):
		return []string{fmt.Sprintf("canary %s: %s; checks: %s", c.Version, stepsText(after.Intent.Canary.Steps), strings.Join(append([]string{"readiness"}, checkTexts(after)...), ", "))}
	}
	return []string{c.Change()}
}
