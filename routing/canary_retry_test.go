// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"strings"
	"testing"
	"time"

	"outrigger.dev/outrigger/api"
)

// A retry, or any other decided-at about a canary, applies no value that an earlier canary superseded. What outrigger promote writes does.
func TestRetryRevivesNothing(t *testing.T) {
	c := canaryOf(t, "default-version=v1")
	c.settle()
	c.annotate("canary=v2")
	c.settle()
	c.advance(5 * time.Minute)
	c.isCanary("v2 succeeded", "v2")
	c.fixed("app-v3", "v3", 2)
	c.ready()
	c.spread()
	c.annotate("canary=v3")
	c.settle()
	c.advance(time.Second)
	c.isCanary("v3 progressing 1/3 25%", "v2=75 v3=25")
	c.annotate(c.decidedAt()) // resumes nothing
	c.settle()
	c.isCanary("v3 progressing 1/3 25%", "v2=75 v3=25")
	c.run("app-v3", "v3", 2, 0)
	c.settle()
	c.advance(time.Minute)
	c.isCanary("v3 aborted", "v2")
	c.tellsAlso(api.RouteCanaryAborted, "To retry it as it is: outrigger canary app --retry -n demo.")
	c.annotate(c.decidedAt()) // before it is ready
	c.settle()
	c.advance(time.Minute)
	c.isCanary("v3 waiting", "v2")
	c.run("app-v3", "v3", 2, 2)
	c.settle()
	c.advance(4 * time.Second)
	c.isCanary("v3 progressing 1/3 25%", "v2=75 v3=25")
	c.annotate("canary-")
	c.settle()
	c.isCanary("none", "v2")
	c.annotate("decided-at-") // is no decision
	c.settle()
	c.advance(time.Minute)
	c.isCanary("none", "v2")
	c.annotate("decided-at=2026-01-01T00:00:00Z") // and neither is an older one
	c.settle()
	c.advance(time.Minute)
	c.isCanary("none", "v2")
	c.annotate(c.decidedAt()) // outrigger promote v1
	c.settle()
	c.isCanary("none", "v1")
}

// While the version is the default, decided-at is a decision about the default. It is no retry of the canary once that is not the default.
func TestNoRetryOfTheDefault(t *testing.T) {
	c := canaryOf(t, "canary=v2")
	c.settle()
	c.advance(5 * time.Minute)
	c.isCanary("v2 succeeded", "v2")
	c.advance(time.Minute)
	c.annotate(c.decidedAt(), "default-gone=next", "default-gone-after=10s")
	c.settle()
	c.empty = true
	c.run("app-v2", "v2", 2, 0)
	c.settle()
	c.advance(time.Minute)
	c.isCanary("v2 succeeded", "v1")
	c.run("app-v2", "v2", 2, 2)
	c.settle()
	c.advance(time.Minute)
	c.isCanary("v2 succeeded", "v1")
}

// quiet wants no problem about an abort.
func (c *cluster) quiet() {
	c.t.Helper()
	for _, p := range c.problems {
		if p.Reason == api.RouteCanaryAborted {
			c.t.Errorf("%v: %v", c.now, p)
		}
	}
}

// A canary that the user ends is reported once, as a Normal Event.
func TestADecisionIsNoProblem(t *testing.T) {
	for _, pairs := range []string{"canary-", "canary=v9", "default-version=v1", "weights=v1=90,v2=10"} {
		c := started(t)
		c.annotate(pairs)
		if !strings.HasPrefix(pairs, "canary") {
			c.annotate(c.decidedAt())
		}
		plan := Plan(c.observe(), c.now)
		if len(plan.Transitions) != 1 || plan.Transitions[0].Reason != string(api.RouteCanaryAborted) || plan.Transitions[0].IsWarning {
			t.Errorf("%s: %+v", pairs, plan.Transitions)
		}
		for _, p := range plan.Problems {
			if p.Reason == api.RouteCanaryAborted {
				t.Errorf("%s: %v", pairs, p)
			}
		}
		c.settle()
		c.quiet()
		c.advance(time.Hour)
		c.quiet()
	}
}

// inTheFuture is a value of decided-at as a machine with a wrong clock writes it.
func (c *cluster) inTheFuture(d time.Duration) string {
	return "decided-at=" + c.now.Add(d).UTC().Format(time.RFC3339)
}

// A decided-at that is still to come, and that was written with what a canary superseded, does not outrank a later outrigger promote.
func TestPromoteAfterADecisionInTheFuture(t *testing.T) {
	for _, ahead := range []time.Duration{time.Minute, 23 * time.Hour, 48 * time.Hour, 100 * 365 * 24 * time.Hour} {
		t.Run(ahead.String(), func(t *testing.T) {
			c := canaryOf(t, "default-version=v1")
			c.annotate(c.inTheFuture(ahead))
			c.settle()
			c.annotate("canary=v2")
			c.settle()
			c.advance(5 * time.Minute)
			c.isCanary("v2 succeeded", "v2")
			if ahead > farthestDecision {
				c.tellsAlso(api.RouteInvalidAnnotation, "the time was more than 24h in the future when it was first read. It has no effect, even when that time comes.")
			}
			c.annotate("canary-", c.decidedAt()) // outrigger promote v1
			c.settle()
			c.isCanary("none", "v1")
			c.annotate("canary=v2")
			c.settle()
			c.advance(time.Hour)
			c.isCanary("v2 succeeded", "v1")
		})
	}
}

// A decided-at far in the future has no effect, neither now nor when that time comes.
func TestDecidedAtFarInTheFutureHasNoEffect(t *testing.T) {
	t.Run("about the default", func(t *testing.T) {
		c := canaryOf(t, "default-version=v1", "canary=v2")
		c.settle()
		c.advance(5 * time.Minute)
		c.isCanary("v2 succeeded", "v2")
		c.annotate("canary-", c.inTheFuture(48*time.Hour))
		c.tellsAlso(api.RouteInvalidAnnotation, " demo app outrigger.dev/decided-at=$(date -u +%Y-%m-%dT%H:%M:%SZ) --overwrite")
		c.has("v1 v2", "v2")
		c.advance(50 * time.Hour)
		c.has("v1 v2", "v2")
		c.tellsAlso(api.RouteInvalidAnnotation, "even when that time comes")
		c.annotate(c.decidedAt())
		c.settle()
		c.has("v1 v2", "v1")
		for _, p := range c.problems {
			if p.Reason == api.RouteInvalidAnnotation {
				t.Error(p)
			}
		}
	})
	t.Run("while nothing is recorded", func(t *testing.T) {
		for why, change := range map[string]func(o *Observed){
			"in a dry run": func(o *Observed) { o.Intent.Observe = true },
		} {
			c := started(t)
			c.annotate("canary-")
			c.settle()
			c.annotate("canary=v2", c.inTheFuture(48*time.Hour))
			message := func() (out string) {
				observed := c.observe()
				change(&observed)
				for _, p := range Plan(observed, c.now).Problems {
					if p.Reason == api.RouteInvalidAnnotation {
						out += p.Message
					}
				}
				return out
			}
			if got := message(); !strings.Contains(got, why+", nothing is recorded, so the value takes effect if that lasts until then.") || strings.Contains(got, "even when that time comes") {
				t.Errorf("%s: %q", why, got)
			}
			c.settle() // recorded
			if got := message(); !strings.Contains(got, "even when that time comes") {
				t.Errorf("%s, after it was recorded: %q", why, got)
			}
		}
	})
	t.Run("about a canary", func(t *testing.T) {
		c := started(t)
		c.annotate("canary-")
		c.settle()
		c.annotate("canary=v2", c.inTheFuture(48*time.Hour))
		c.settle()
		c.advance(50 * time.Hour)
		c.isCanary("v2 aborted", "v1")
		c.annotate(c.decidedAt())
		c.settle()
		c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
	})
}

// While a retry waits, the advice about superseded settings says to change them later: a change now would be another decision.
func TestAdviceDoesNotCancelARetry(t *testing.T) {
	c := canaryOf(t, "default-version=v1", "canary=v2")
	c.fixed("app-v3", "v3", 2)
	c.ready()
	c.settle()
	c.advance(10 * time.Minute)
	c.annotate("canary=v3")
	c.settle()
	c.advance(10 * time.Second)
	c.run("app-v3", "v3", 2, 0)
	c.settle()
	c.advance(2 * time.Minute)
	c.isCanary("v3 aborted", "v2")
	advice := func() string {
		t.Helper()
		if len(c.superseded) != 1 {
			t.Fatalf("superseded: %v", c.superseded)
		}
		return c.superseded[0].Advice
	}
	c.annotate(c.decidedAt())
	c.settle()
	if is := advice(); is != "Update the annotations after canary v3 has started: an earlier change counts as a new decision and cancels its retry." {
		t.Error(is)
	}
	c.run("app-v3", "v3", 2, 2)
	c.settle()
	c.advance(time.Minute)
	c.annotate("default-version=v2")
	c.settle()
	c.isCanary("v3 progressing 1/3 25%", "v2=75 v3=25")
}
