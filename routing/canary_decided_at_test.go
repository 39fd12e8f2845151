// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"testing"
	"time"

	"outrigger.dev/outrigger/api"
)

// Only a later decided-at is a decision.
func TestDecidedAtThatIsNotLaterDecidesNothing(t *testing.T) {
	for _, test := range []struct{ name, text string }{
		{"removed", "decided-at-"},
		{"older", "decided-at=2025-01-01T00:00:00Z"},
		{"in another zone", "decided-at=2026-01-01T01:00:00+01:00"},
		{"with fractions", "decided-at=2026-01-01T00:00:00.000Z"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, restored := range []bool{false, true} {
				c := started(t, "decided-at=2026-01-01T00:00:00Z")
				c.kiali("app", "v1=100", "v2=0")
				c.settle()
				c.advance(5 * time.Minute)
				c.annotate(test.text)
				c.settle()
				if restored {
					c.annotate("decided-at=2026-01-01T00:00:00Z")
					c.settle()
				}
				c.advance(30 * time.Minute)
				c.isCanary("v2 progressing 2/3 50%", "v1")
				c.annotate(c.decidedAt())
				c.settle()
				c.isCanary("v2 progressing 2/3 50%", "v1=50 v2=50")

				c = started(t, "decided-at=2026-01-01T00:00:00Z")
				c.annotate("weights=v1=10,v2=90")
				c.settle()
				c.annotate(test.text)
				c.settle()
				if restored {
					c.annotate("decided-at=2026-01-01T00:00:00Z")
					c.settle()
				}
				c.advance(time.Minute)
				c.isCanary("v2 progressing 2/3 50%", "v1=50 v2=50")
				c.annotate(c.decidedAt())
				c.settle()
				c.isCanary("v2 aborted", "v1=10 v2=90")
			}
		})
	}
}

// Weights that had no effect do not apply when the canary ends, until a decision.
func TestIdleWeightsDoNotApplyAfterTheEnd(t *testing.T) {
	for _, test := range []struct {
		name   string
		decide []string
		routes string
	}{
		{"the same weights", []string{"weights=v1=10,v2=90"}, "v1=10 v2=90"},
		{"other weights", []string{"weights=v1=80,v2=20"}, "v1=80 v2=20"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, end := range [][]string{{"canary-"}, {"canary-", "decided-at-"}, {"canary-", "decided-at=2025-01-01T00:00:00Z"}} {
				c := started(t, "decided-at=2026-01-01T00:00:00Z")
				c.annotate("weights=v1=10,v2=90")
				c.settle()
				c.advance(time.Minute)
				c.annotate(end...)
				c.settle()
				c.advance(time.Hour)
				c.isCanary("none", "v1")
				c.tellsAlso(api.RouteWithoutEffect, "This value has no effect, because it is from before canary v2 was aborted.")
				c.annotate("weights-", "decided-at-")
				c.settle()
				c.annotate("weights=v1=10,v2=90", "decided-at=2026-01-01T00:00:00Z") // a tool restores them
				c.settle()
				c.advance(time.Minute)
				c.isCanary("none", "v1")
				c.annotate(append(test.decide, c.decidedAt())...)
				c.settle()
				c.isCanary("none", test.routes)
			}
		})
	}
}

// A decision together with the end of the canary applies, also where it repeats weights that had no effect.
func TestDecisionWithTheEndAppliesIdleWeights(t *testing.T) {
	c := started(t)
	c.annotate("weights=v1=10,v2=90")
	c.settle()
	c.advance(time.Minute)
	c.annotate("canary-", c.decidedAt())
	c.settle()
	c.isCanary("none", "v1=10 v2=90")

	c = canaryOf(t, "weights=v1=10,v2=90")
	c.settle()
	c.annotate("canary=v2") // supersedes the weights
	c.settle()
	c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
	c.advance(time.Second)
	c.annotate("canary-", c.decidedAt()) // outrigger shift to the same weights
	c.settle()
	c.isCanary("none", "v1=10 v2=90")
}

// A decided-at in the future that was taken into account is not another decision when a tool restores it, not even after a later decision.
func TestRestoredDecisionOfTheFutureIsNoRetry(t *testing.T) {
	c := started(t)
	c.annotate("canary-")
	c.settle()
	c.advance(time.Minute)
	first, second := c.inTheFuture(20*time.Hour), c.inTheFuture(21*time.Hour)
	for _, future := range []string{first, second} {
		c.annotate("canary=v2", future)
		c.settle()
		c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
		c.run("app-v2", "v2", 2, 0)
		c.settle()
		c.advance(time.Minute)
		c.run("app-v2", "v2", 2, 2)
		c.settle()
		c.advance(time.Minute)
		c.isCanary("v2 aborted", "v1")
	}
	for _, text := range []string{"decided-at-", first, second, "", first, second, "decided-at-", first} {
		if text == "" {
			c.annotate("weights=v1=100", c.decidedAt())
		} else {
			c.annotate(text)
		}
		c.settle()
		c.advance(time.Minute)
		c.isCanary("v2 aborted", "v1")
	}
	c.advance(48 * time.Hour) // both times have come
	for _, next := range []string{second, "decided-at-", first} {
		c.annotate(next)
		c.settle()
		c.isCanary("v2 aborted", "v1")
	}
	c.annotate(c.decidedAt())
	c.settle()
	c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
}
