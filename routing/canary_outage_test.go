// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"testing"
	"time"
)

// The leader is killed after any write of each step, and the next one begins hours later: it has nothing but the objects. No step is left
// out, and each takes its time.
func TestLeaderIsKilledAtEachStep(t *testing.T) {
	routes := []string{"v1", "v1=75 v2=25", "v1=50 v2=50", "v2"}
	for step := 1; step < len(routes); step++ {
		for writes := range 3 {
			for _, outage := range []time.Duration{time.Millisecond, 3 * time.Hour} {
				t.Run(fmt.Sprintf("step %d, %d writes, %v", step, writes, outage), func(t *testing.T) {
					c := canaryOf(t, "canary=v2", "canary-steps=25@1m,50@1m,100@1m")
					c.measured(0)
					if step > 1 {
						c.settle()
						c.advance(time.Duration(step-1)*time.Minute - time.Millisecond)
						c.now = c.next
					}
					observed := c.observe()
					changes := observed.Changes(Plan(observed, c.now))
					if len(changes) != 2 {
						t.Fatalf("%d changes", len(changes))
					}
					for _, change := range changes[:writes] {
						c.apply(change)
					}
					c.now = c.now.Add(outage)
					is := step - 1
					if writes == 2 {
						is = step
					}
					if got := c.routes("app"); got != routes[is] {
						t.Fatalf("the route is %s after %d writes", got, writes)
					}
					c.settle()
					want := routes[step]
					if writes == 2 && outage > time.Minute && step < 3 {
						want = routes[step+1] // the step had its time
					}
					if got := c.routes("app"); got != want {
						t.Errorf("the route is %s after the outage, want %s", got, want)
					}
					for at := step; at < len(routes)-1; at++ {
						c.advance(time.Minute)
					}
					c.advance(2 * time.Minute)
					c.isCanary("v2 succeeded", "v2")
				})
			}
		}
	}
}

// After an outage, a failing canary is aborted, and one whose metrics are lost is not moved.
func TestOutageOfHours(t *testing.T) {
	for _, test := range []struct {
		name   string
		during func(c *cluster)
		status string
		routes string
	}{
		{"healthy", func(*cluster) {}, "v2 progressing 3/3 100%", "v2"},
		{"it fails", func(c *cluster) { c.measured(0.5) }, "v2 progressing 2/3 50%", "v1=50 v2=50"},
		{"no data, and the deadline has elapsed", func(c *cluster) { c.measured(nan) }, "v2 progressing 2/3 50%", "v1=50 v2=50"},
		{"its workload is gone", func(c *cluster) { c.remove("app-v2"); c.gone("app-v2") }, "v2 waiting", "v1"},
		{"a new template", func(c *cluster) { c.templates["app-v2"] = "t9" }, "v2 waiting", "v1"},
		{"it was removed from the Service", func(c *cluster) { c.annotate("canary-") }, "none", "v1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := started(t, "canary-deadline=10h")
			c.measured(0)
			if test.name == "no data, and the deadline has elapsed" {
				c.annotate("canary-deadline=1h")
			}
			test.during(c)
			c.now = c.now.Add(5 * time.Hour)
			c.settle()
			c.isCanary(test.status, test.routes)
			if test.name == "it fails" {
				c.advance(time.Minute)
				c.isCanary("v2 aborted", "v1")
			}
			if test.name == "no data, and the deadline has elapsed" { // of which the outage is no part
				c.advance(31 * time.Minute)
				c.isCanary(test.status, test.routes)
				c.advance(30 * time.Minute)
				c.isCanary("v2 aborted", "v1")
			}
		})
	}
}

// Time without evaluations is no part of the deadline: the canary is aborted by an evaluation, and after the whole deadline.
func TestDeadlineIsCountedByEvaluations(t *testing.T) {
	gaps := map[string]func(c *cluster, by time.Duration){
		"an outage": func(c *cluster, by time.Duration) { c.now = c.now.Add(by) },
		"a freeze": func(c *cluster, by time.Duration) {
			c.settings.Freeze = true
			c.settle()
			c.advance(by)
			c.settings.Freeze = false
		},
		"a clock that is set forward": func(c *cluster, by time.Duration) { c.stepClock(by) },
	}
	for name, gap := range gaps {
		t.Run(name+" of a healthy canary", func(t *testing.T) {
			c := started(t, "canary-deadline=10m")
			c.measured(0)
			c.settle()
			answer := c.metrics
			c.metrics = nil // the first plan after the gap has no samples yet
			gap(c, 10*time.Hour)
			c.settle()
			c.isCanary("v2 progressing 2/3 50%", "v1=50 v2=50")
			c.metrics = answer
			c.settle()
			if name == "a freeze" { // which stops the clock of the step, too
				c.isCanary("v2 progressing 2/3 50%", "v1=50 v2=50")
				c.advance(9 * time.Minute)
			}
			c.isCanary("v2 progressing 3/3 100%", "v2")
		})
		t.Run(name+" without data", func(t *testing.T) {
			c := started(t, "canary-deadline=10m")
			c.measured(nan)
			c.settle()
			c.advance(12 * time.Minute) // of which 2 or 3 are late
			gap(c, 10*time.Hour)
			c.settle()
			c.advance(5 * time.Minute)
			c.isCanary("v2 progressing 2/3 50%", "v1=50 v2=50")
			c.advance(5 * time.Minute)
			c.isCanary("v2 aborted", "v1")
		})
	}
}

func TestClockSteps(t *testing.T) {
	for _, by := range []time.Duration{-48 * time.Hour, -time.Hour, -time.Minute, time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			c := started(t)
			c.stepClock(by)
			c.settle()
			if by < 0 {
				c.isCanary("v2 progressing 2/3 50%", "v1=50 v2=50")
			} else {
				c.isCanary("v2 progressing 3/3 100%", "v2") // one step, not two
			}
			c.advance(15 * time.Minute)
			c.isCanary("v2 succeeded", "v2")
		})
	}
	t.Run("back after a failure", func(t *testing.T) {
		c := started(t)
		c.run("app-v2", "v2", 2, 0)
		c.settle()
		c.stepClock(-time.Hour)
		c.settle()
		c.advance(5 * time.Minute)
		c.isCanary("v2 aborted", "v1")
	})
}

// stepClock sets the clock of the controller. The subsets are as old as they are.
func (c *cluster) stepClock(by time.Duration) {
	c.now = c.now.Add(by)
	for name := range c.since {
		c.since[name] = c.since[name].Add(by)
	}
}

// Whatever is deleted and created again at a step, the canary never gets more than its step, and goes on from the copy that is left.
func TestDeleteAndRecreateAtEachStep(t *testing.T) {
	for _, minutes := range []int{0, 1, 4} {
		for name, change := range map[string]func(c *cluster){
			"the VirtualService":  func(c *cluster) { c.existing.VirtualServices = nil },
			"the DestinationRule": func(c *cluster) { c.existing.DestinationRules = nil },
			"the annotation":      func(c *cluster) { c.annotate("canary-"); c.settle(); c.annotate("canary=v2") },
			"the canary": func(c *cluster) {
				c.remove("app-v2")
				c.gone("app-v2")
				c.settle()
				c.fixed("app-v2", "v2", 2)
				c.ready()
			},
			"the default": func(c *cluster) {
				c.remove("app-v1")
				c.settle()
				c.gone("app-v1")
				c.fixed("app-v1", "v1", 2)
				c.ready()
			},
		} {
			t.Run(fmt.Sprintf("%s after %d minutes", name, minutes), func(t *testing.T) {
				c := canaryOf(t, "canary=v2")
				c.empty = true
				c.settle()
				c.advance(time.Duration(minutes) * time.Minute)
				before := c.routes("app")
				change(c)
				c.settle()
				c.advance(5 * time.Second)
				switch after := c.routes("app"); {
				case name == "the canary" || name == "the annotation":
					if minutes < 4 && after != "v1" {
						t.Errorf("%s, before it was %s", after, before)
					}
				case after != before:
					t.Errorf("%s, before it was %s", after, before)
				}
			})
		}
	}
}

// Samples of an evaluation before the last one that was due say nothing about now, and neither does a time to come of the step.
func TestOldSamplesDoNotCount(t *testing.T) {
	c := canaryOf(t, "canary=v2")
	c.measured(0)
	c.settle()
	c.advance(31 * time.Second)
	old := c.answer
	c.now = c.now.Add(29*time.Second + 500*time.Millisecond)
	observed := c.observe()
	if fresh := observed.Changes(Plan(observed, c.now)); len(fresh) == 0 {
		t.Error("the step does not pass with samples of now")
	}
	observed.Samples = &old
	if changes := observed.Changes(Plan(observed, c.now)); len(changes) > 0 {
		t.Errorf("with samples of %v, the plan at %v changes %v", old.At, c.now, changes)
	}
	ahead := old
	ahead.At = c.now.Add(40 * time.Minute)
	observed.Samples = &ahead
	if changes := observed.Changes(Plan(observed, c.now)); len(changes) > 0 {
		t.Errorf("with samples of the future, %v, the plan at %v changes %v", ahead.At, c.now, changes)
	}
	query, due := CanaryQueryOf(observed, c.now)
	if since := recordOf(c.existing.VirtualServices[0]).Canary.since(); !due || query.Due.Sub(since) != time.Minute || query.Since.Sub(since) != c.settings.PropagationDelay ||
		query.Canary != (CanaryVersion{"v2", "v2"}) || query.Baseline != (CanaryVersion{"v1", "v1"}) || len(query.Checks) != 1 || query.Checks[0].Text != "error-rate<1%" {
		t.Errorf("due %t: %+v", due, query)
	}
	for name, change := range map[string]func(o *Observed){
		"without metrics": func(o *Observed) { o.Settings.Canary.HasMetrics = false },
		"frozen":          func(o *Observed) { o.Settings.Freeze = true },
		"disabled":        func(o *Observed) { o.Intent.Disabled = true },
		"no objects":      func(o *Observed) { o.Existing = Objects{} },
	} {
		other := c.observe()
		change(&other)
		if query, due := CanaryQueryOf(other, c.now); due {
			t.Errorf("%s: %+v", name, query)
		}
	}
	if query, due := CanaryQueryOf(c.observe(), c.now.Add(-40*time.Second)); due {
		t.Errorf("before the first evaluation is due: %+v", query)
	}
}
