// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"testing"
	"time"
)

func TestNextDecisionIsLater(t *testing.T) {
	c := started(t)
	c.annotate(c.decidedAt())
	c.settle()
	next := func(now time.Time) time.Time { return NextDecision(c.observe(), now) }
	if got, want := next(c.now.Add(time.Hour)), c.now.Add(time.Hour).Truncate(time.Second); !got.Equal(want) {
		t.Errorf("a clock that is right: %s, want %s", got, want)
	}
	decided := c.now
	for _, behind := range []time.Duration{0, time.Second, time.Hour, 72 * time.Hour} {
		if got := next(c.now.Add(-behind)); !got.After(decided) || got.After(decided.Add(time.Second)) {
			t.Errorf("%s behind: %s, want the second after %s", behind, got, decided)
		}
	}
	c.annotate("canary-", c.inTheFuture(48*time.Hour)) // is refused
	c.settle()
	if got := next(c.now); !got.After(decided) || got.After(c.now.Add(2*time.Second)) {
		t.Errorf("after a refused time: %s, want about %s", got, c.now)
	}
	c.annotate(c.inTheFuture(20 * time.Hour))
	c.settle()
	if got, least := next(c.now), c.now.Add(20*time.Hour); !got.After(least) || got.After(least.Add(time.Second)) {
		t.Errorf("after a time that was taken into account: %s, want the second after %s", got, least)
	}
}
