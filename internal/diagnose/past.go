// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// Undo is a decision that returns to a past one, and the line that says so.
type Undo struct {
	Decision
	Reason string
}

// UndoOf returns the decision that returns to a past one: the one with number to, or with to=0 the one before the last change. It
// returns an error if that decision does not exist or can no longer be written. inputs are what messages call the flag --to.
func UndoOf(observed routing.Observed, to int, inputs Inputs, now time.Time) (Undo, error) {
	out := Undo{Decision: Decision{Service: observed.Service.Name, Inputs: inputs}}
	decisions := routing.Decisions(observed, now)
	if len(decisions) == 0 {
		return out, WithCommand(fmt.Sprintf("service %s/%s has no decision to return to: Outrigger has recorded none. To decide: ", observed.Service.Namespace, observed.Service.Name),
			Request{Action: ActionPromote, Service: observed.Service.Name, Version: "VERSION"}.Command(observed.Service.Namespace))
	}
	current, waiting := decisions[0], pendingAnnotations(observed, now)
	canary, _ := CanaryOf(observed, now)
	isProgressing := canary != nil && canary.IsProgressing()
	if isProgressing && to == 0 {
		return undoCanary(observed, *canary, current, now)
	}
	target := current
	switch {
	case to == 0 && len(waiting) > 0:
		out.Reason = fmt.Sprintf("service/%s stays at %s: %s is not in effect and is undone", observed.Service.Name, current, strings.Join(waiting, " and "))
	case max(to, 1) >= len(decisions):
		return out, noEarlier(observed, decisions, inputs.Value("to", strconv.Itoa(to)))
	default:
		target = decisions[max(to, 1)]
		out.Reason = fmt.Sprintf("service/%s returns to %s, which was in effect until %s", observed.Service.Name, target, ClockTime(target.Until))
	}
	if err := returnable(observed, target, inputs); err != nil {
		return out, err
	}
	if err := refuseAborted(observed, current, target, now); err != nil {
		return Undo{Decision: out.Decision}, err
	}
	if onlyCanary := []string{api.AnnotationCanary + "=" + observed.Service.Annotations[api.AnnotationCanary]}; to == 0 && slices.Equal(waiting, onlyCanary) {
		out.Annotations, out.KeepsDecidedAt = map[string]string{api.AnnotationCanary: ""}, true
		return out, nil
	}
	out.Annotations = map[string]string{api.AnnotationWeights: target.Weights}
	if isProgressing && isOwnCanary(observed.Service) || slices.ContainsFunc(waiting, func(pair string) bool { return to == 0 && strings.HasPrefix(pair, api.AnnotationCanary+"=") }) {
		out.Annotations[api.AnnotationCanary] = ""
	}
	if target.Default != current.Default || slices.ContainsFunc(waiting, func(pair string) bool { return strings.HasPrefix(pair, api.AnnotationDefaultVersion) }) {
		out.Annotations[api.AnnotationDefaultVersion] = target.Default
	}
	if target.Weights != "" {
		if err := api.CheckWeights(target.Weights); err != nil {
			return out, fmt.Errorf("service %s/%s cannot return to %s: %w", observed.Service.Namespace, observed.Service.Name, target, err)
		}
	}
	return out, nil
}

// undoCanary returns the decision that ends a canary that progresses, which is the last change.
func undoCanary(observed routing.Observed, canary CanaryStatus, current routing.Decision, now time.Time) (Undo, error) {
	d, err := CanaryAction(observed, "abort", nil, now)
	if err != nil {
		return Undo{Decision: d}, err
	}
	return Undo{Decision: d, Reason: fmt.Sprintf("service/%s returns to %s: canary %s has not ended and is aborted at %d%%", observed.Service.Name, current.Default, canary.Version, canary.Percent)}, nil
}

// isOwnCanary reports whether the Service itself requests a canary of one version.
func isOwnCanary(service *corev1.Service) bool {
	own := service.Annotations[api.AnnotationCanary]
	return own != "" && own != api.CanaryAuto
}

// pendingAnnotations returns the annotations for weights, default, and canary that are set but not in effect, as KEY=VALUE.
func pendingAnnotations(observed routing.Observed, now time.Time) []string {
	var out []string
	pending := routing.Plan(observed, now).Pending
	for _, key := range []string{api.AnnotationDefaultVersion, api.AnnotationWeights, api.AnnotationCanary} {
		text := observed.Service.Annotations[key]
		isPending := slices.ContainsFunc(pending, func(p routing.Pending) bool { return p.Key == key })
		if key == api.AnnotationCanary && text == api.CanaryAuto {
			continue // auto is in effect even while its next version waits
		}
		if text != "" && (isPending || observed.Intent.Bad[key]) {
			out = append(out, key+"="+text)
		}
	}
	return out
}

// noEarlier returns an error that lists the recorded decisions. input is what the user entered.
func noEarlier(observed routing.Observed, decisions []routing.Decision, input string) error {
	service := observed.Service.Namespace + "/" + observed.Service.Name
	if len(decisions) == 1 {
		return fmt.Errorf("service %s has no earlier decision to return to; %s is the first recorded decision", service, decisions[0])
	}
	var there []string
	for i, d := range decisions[1:] {
		there = append(there, fmt.Sprintf("%d (%s)", i+1, d))
	}
	return fmt.Errorf("%s: service %s has the earlier decisions %s", input, service, strings.Join(there, ", "))
}

// returnable returns an error if a decision can no longer be written.
func returnable(observed routing.Observed, target routing.Decision, inputs Inputs) error {
	service := observed.Service.Namespace + "/" + observed.Service.Name
	others := fmt.Sprintf("To choose an older decision: outrigger status %s -n %s -o wide, then undo --to", observed.Service.Name, observed.Service.Namespace)
	if inputs["to"] != "" {
		others = "To choose an older decision, use " + inputs.name("to")
	}
	if target.IsTooLong {
		return fmt.Errorf("service %s cannot return to %s. %s", service, target, others)
	}
	if len(target.Missing) == 0 {
		return nil
	}
	there := "none of its pods has a version"
	if known := routing.KnownVersions(observed); len(known) > 0 {
		there = "it has " + strings.Join(known, ", ")
	}
	return fmt.Errorf("service %s cannot return to %s: it has no version %s; %s. %s", service, target, strings.Join(target.Missing, ", "), there, others)
}

// refuseAborted returns an error if a past decision gives requests to a version whose canary was aborted since, with its current pod
// templates: the abort is the later decision. shift and promote can still decide otherwise.
func refuseAborted(observed routing.Observed, current, target routing.Decision, now time.Time) error {
	service := observed.Service
	for _, aborted := range routing.AbortedCanaries(observed, now) {
		if !target.Sends(aborted.Version) {
			continue
		}
		is := "the decision in effect is " + current.String()
		if c, _ := CanaryOf(observed, now); current.Weights == "" && current.Default != string(api.DefaultAll) && (c == nil || !c.IsProgressing()) {
			is = current.Default + " already receives all requests"
		}
		again := Request{Action: ActionPromote, Service: service.Name, Version: target.Default}
		if target.Weights != "" {
			again = Request{Action: ActionShift, Service: service.Name, Weights: strings.Split(target.Weights, ",")}
		}
		return WithCommand(fmt.Sprintf("service %s/%s does not return to %s: %s, and %s was aborted with this pod template (%s); to give %s requests anyway: ",
			service.Namespace, service.Name, target, is, aborted.Version, aborted.Reason, aborted.Version), again.Command(service.Namespace))
	}
	return nil
}

// PastDecision is a past decision. undo --to takes its position in the list.
type PastDecision struct {
	Default string `json:"default"`
	Weights string `json:"weights,omitempty"` // empty: the default received everything
	Until   string `json:"until"`
	// Missing lists versions without pods or workloads. If it is not empty, undo refuses the decision.
	Missing []string `json:"missing,omitempty"`
	// TooLong is true where the weights were too long to be recorded.
	TooLong bool `json:"tooLong,omitempty"`
}

func historyOf(observed routing.Observed, now time.Time) []PastDecision {
	decisions := routing.Decisions(observed, now)
	var out []PastDecision
	for _, d := range decisions[min(1, len(decisions)):] {
		out = append(out, PastDecision{d.Default, d.Weights, d.Until.UTC().Format(time.RFC3339), d.Missing, d.IsTooLong})
	}
	return out
}
