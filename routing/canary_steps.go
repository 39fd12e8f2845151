// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"time"

	"outrigger.dev/outrigger/api"
)

// canaryWeights are the shares of the step.
func (s defaultDecision) canaryWeights() effectiveWeights {
	c := s.record.Canary
	canary := effectiveWeight{name: c.Version, weight: c.Percent}
	if c.Percent == 100 {
		return effectiveWeights{canary}
	}
	rest := effectiveWeight{name: s.nameable(s.record.Default), weight: 100 - c.Percent}
	if !s.record.Default.equal(meaning{Version: rest.name}) {
		rest.bound = s.record.Default
	}
	return effectiveWeights{rest, canary}
}

// canaryStep returns the step that has the recorded share, or else the last one with less, and the time between two evaluations in it:
// there are at least two.
func (s defaultDecision) canaryStep() (step api.CanaryStep, interval time.Duration) {
	steps := s.canarySettings().Steps
	step = steps[max(0, s.canaryStepNumber()-1)]
	interval = s.Settings.Canary.Interval
	if interval <= 0 {
		interval = api.DefaultCanaryInterval
	}
	return step, min(interval, step.Duration/2)
}

// canaryStepNumber returns which step that is, from 1 on; 0 if the share is less than that of the first.
func (s defaultDecision) canaryStepNumber() int {
	number := 0
	for i, step := range s.canarySettings().Steps {
		if step.Percent <= s.record.Canary.Percent {
			number = i + 1
		}
	}
	return number
}

// stepText returns "step 2 of 4, 20% for 5m".
func (s defaultDecision) stepText() string {
	step, _ := s.canaryStep()
	return fmt.Sprintf("step %d of %d, %d%% for %s", s.canaryStepNumber(), len(s.canarySettings().Steps), s.record.Canary.Percent, api.ShortDuration(step.Duration))
}

func inBrackets(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}
