// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// Undo is a decision that returns to a past one, and the line that says so.
type Undo struct {
	Decision
	Reason string
}

// UndoOf returns the decision that returns to a past one: the one with number to, or with to=0 the one before the last change. It
// returns an error if that decision does not exist or can no longer be written.
func UndoOf(observed routing.Observed, to int, now time.Time) (Undo, error) {
	out := Undo{Decision: Decision{Service: observed.Service.Name}}
	decisions := routing.Decisions(observed, now)
	if len(decisions) == 0 {
		return out, fmt.Errorf("service %s/%s has no decision to return to: Outrigger has recorded none. To decide: outrigger shift or outrigger promote", observed.Service.Namespace, observed.Service.Name)
	}
	current, waiting := decisions[0], pendingAnnotations(observed, now)
	target := current
	switch {
	case to == 0 && len(waiting) > 0:
		out.Reason = fmt.Sprintf("service/%s stays at %s: %s is not in effect and is undone", observed.Service.Name, current, strings.Join(waiting, " and "))
	case max(to, 1) >= len(decisions):
		return out, noEarlier(observed, decisions, to)
	default:
		target = decisions[max(to, 1)]
		out.Reason = fmt.Sprintf("service/%s returns to %s, which was in effect until %s", observed.Service.Name, target, target.Until.UTC().Format("2006-01-02T15:04:05Z"))
	}
	if err := returnable(observed, target); err != nil {
		return out, err
	}
	out.Annotations = map[string]string{api.AnnotationWeights: target.Weights}
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

// pendingAnnotations returns the annotations for weights and default that are set but not in effect, as KEY=VALUE.
func pendingAnnotations(observed routing.Observed, now time.Time) []string {
	var out []string
	pending := routing.Plan(observed, now).Pending
	for _, key := range []string{api.AnnotationDefaultVersion, api.AnnotationWeights} {
		text := observed.Service.Annotations[key]
		isPending := slices.ContainsFunc(pending, func(p routing.Pending) bool { return p.Key == key })
		if text != "" && (isPending || observed.Intent.Bad[key]) {
			out = append(out, key+"="+text)
		}
	}
	return out
}

// noEarlier returns an error that lists the recorded decisions.
func noEarlier(observed routing.Observed, decisions []routing.Decision, to int) error {
	service := observed.Service.Namespace + "/" + observed.Service.Name
	if len(decisions) == 1 {
		return fmt.Errorf("service %s has no earlier decision to return to; %s is the first recorded decision", service, decisions[0])
	}
	var there []string
	for i, d := range decisions[1:] {
		there = append(there, fmt.Sprintf("%d (%s)", i+1, d))
	}
	return fmt.Errorf("--to=%d: service %s has the earlier decisions %s", to, service, strings.Join(there, ", "))
}

// returnable returns an error if a decision can no longer be written.
func returnable(observed routing.Observed, target routing.Decision) error {
	service := observed.Service.Namespace + "/" + observed.Service.Name
	others := fmt.Sprintf("To choose an older decision: outrigger status -n %s %s -o wide, then undo --to", observed.Service.Namespace, observed.Service.Name)
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
