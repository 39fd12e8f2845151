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
