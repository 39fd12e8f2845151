// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"
	"time"
)

// NextDecision returns the time to write as decided-at of a decision now, in whole seconds. It is later than the current decided-at and than
// every time that is recorded about a canary, which plans require of a decision: now comes from a clock that can be behind. A current one so
// far in the future that plans refuse it is ignored.
func NextDecision(observed Observed, now time.Time) time.Time {
	s := read(observed, now, newPodsAndWorkloads(observed))
	c, at := s.recorded.Canary, now.UTC().Truncate(time.Second)
	after := func(before time.Time) {
		if !at.After(before) {
			at = before.UTC().Truncate(time.Second).Add(time.Second)
		}
	}
	after(c.since())
	for _, ended := range c.Ended {
		end, _ := parseTime(ended.At)
		after(end)
	}
	decided, _ := parseTime(c.DecidedAt)
	after(decided)
	frozen, _ := parseTime(c.FrozenDecision)
	after(frozen)
	refused, _ := parseTime(s.recorded.RefusedDecision)
	if current := observed.Intent.DecidedAt; !current.Equal(refused) && !current.After(at.Add(farthestDecision)) {
		after(current)
	}
	for slices.ContainsFunc(c.Taken, func(text string) bool { taken, _ := parseTime(text); return taken.Equal(at) }) {
		at = at.Add(time.Second)
	}
	return at
}
