// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"outrigger.dev/outrigger/api"
)

// canaryOf is a cluster at rest, with the default v1 and v2 beside it, and with these annotations.
func canaryOf(t *testing.T, pairs ...string) *cluster {
	t.Helper()
	c := twoVersions(t)
	c.quick = true // TestRandomCanaries makes all checks of the plan
	c.templates, c.restarts = map[string]string{"app-v1": "t1", "app-v2": "t2"}, map[string]string{}
	c.annotate(append([]string{"canary-steps=25@1m,50@2m,100@1m"}, pairs...)...)
	return c
}

// measured has an evaluation answer with this error rate of the canary, and enough requests.
func (c *cluster) measured(errorRate float64) {
	c.settings.Canary.HasMetrics = true
	c.metrics = func(CanaryQuery) CanarySamples {
		return CanarySamples{Requests: 100, Values: map[string]CanaryValue{api.MetricErrorRate: {Canary: errorRate, Baseline: 0.001}}}
	}
}

// isCanary wants this of the canary: "v2 progressing 1/3 25%", and this route.
func (c *cluster) isCanary(status, routes string) {
	c.t.Helper()
	if got := c.canaryText(); got != status {
		c.t.Errorf("%v: the canary is %q, want %q; %v", c.now, got, status, c.problems)
	}
	if got := c.routes("app"); got != routes {
		c.t.Errorf("%v: routes %q, want %q", c.now, got, routes)
	}
}

func (c *cluster) canaryText() string {
	status := Plan(c.observe(), c.now).Canary
	switch {
	case status == nil:
		return "none"
	case status.State == CanaryProgressing:
		return fmt.Sprintf("%s %s %d/%d %d%%", status.Version, status.State, status.Step, status.Steps, status.Percent)
	}
	return status.Version + " " + string(status.State)
}

// tellsAlso wants a reason among the current problems, with this text in its message or advice.
func (c *cluster) tellsAlso(reason api.RouteReason, text string) {
	c.t.Helper()
	c.settle()
	for _, p := range c.problems {
		if p.Reason == reason && strings.Contains(p.String(), text) {
			return
		}
	}
	c.t.Errorf("%v: no %s with %q in %v", c.now, reason, text, c.problems)
}

func TestCanaryPassesItsSteps(t *testing.T) {
	for _, metrics := range []bool{false, true} {
		t.Run(fmt.Sprint("metrics ", metrics), func(t *testing.T) {
			c := canaryOf(t, "canary=v2")
			if metrics {
				c.measured(0.002)
			}
			c.settle()
			c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
			c.advance(59 * time.Second)
			c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
			c.advance(time.Second)
			c.isCanary("v2 progressing 2/3 50%", "v1=50 v2=50")
			c.advance(2 * time.Minute)
			c.isCanary("v2 progressing 3/3 100%", "v2")
			c.advance(59 * time.Second)
			c.isCanary("v2 progressing 3/3 100%", "v2")
			c.writes = nil
			c.advance(2 * time.Second)
			c.isCanary("v2 succeeded", "v2")
			c.wrote("Apply DestinationRule app", "Apply VirtualService app")
			c.advance(time.Hour)
			c.isCanary("v2 succeeded", "v2")
			r := recordOf(c.existing.VirtualServices[0])
			if r.Default.String() != "v2" || r.By != ByUser || len(r.Weights) > 0 || len(r.History) != 1 || r.History[0].Default.String() != "v1" || len(r.History[0].Weights) > 0 {
				t.Errorf("the record is %s", r.text())
			}
			c.annotate("canary-", "canary-steps-")
			c.tells()
			c.isCanary("none", "v2")
		})
	}
}

// A step is one write of each object. Between steps, only the numbers of the first evaluation of a canary are written.
func TestCanaryWritesOncePerStep(t *testing.T) {
	c := canaryOf(t, "canary=v2")
	c.measured(0)
	c.settle()
	c.writes = nil
	c.advance(29 * time.Second)
	c.wrote()
	c.advance(time.Second)
	c.wrote("Apply DestinationRule app", "Apply VirtualService app")
	c.advance(29 * time.Second)
	c.wrote()
	c.advance(time.Second)
	c.wrote("Apply DestinationRule app", "Apply VirtualService app")
	c.advance(2*time.Minute - time.Second)
	c.wrote()
	c.advance(time.Second)
	c.wrote("Apply DestinationRule app", "Apply VirtualService app")
}

// Commands have no samples. They show the numbers of the first evaluation, of the one that passed the last step, and of the one with which the
// step first could not pass.
func TestCanaryNumbersAreRecorded(t *testing.T) {
	c := canaryOf(t, "canary=v2", "canary-deadline=10m")
	c.measured(0.002)
	c.settle()
	isShown := func(want string) {
		t.Helper()
		observed := c.observe()
		observed.Samples = nil
		status, isCurrent, _ := RecordedCanaryOf(observed, c.now)
		if got := strings.Join(status.Checks, ", "); got != want || !isCurrent {
			t.Errorf("%v: the numbers are %q, want %q; current: %t", c.now, got, want, isCurrent)
		}
	}
	isShown("")
	c.advance(30 * time.Second)
	isShown("error-rate 0.2% (<1%)")
	c.measured(0.003)
	c.advance(30 * time.Second)
	isShown("error-rate 0.3% (<1%)")
	c.isCanary("v2 progressing 2/3 50%", "v1=50 v2=50")
	c.metrics = func(CanaryQuery) CanarySamples {
		return CanarySamples{Requests: 5, Values: values(api.MetricErrorRate, 0.004, nan)}
	}
	c.advance(119 * time.Second)
	isShown("error-rate 0.3% (<1%)")
	c.advance(time.Second)
	isShown("error-rate 0.4% (<1%)")
	c.isCanary("v2 progressing 2/3 50%", "v1=50 v2=50")
}

func TestCanaryTransitions(t *testing.T) {
	c := canaryOf(t, "canary=v2", "canary-steps=50@1m,100@1m")
	c.measured(0.002)
	var got []string
	note := func() {
		for _, event := range Plan(c.observe(), c.now).Transitions {
			got = append(got, fmt.Sprintf("%s %t %s %v", event.Reason, event.IsWarning, event.Note, event.Workloads))
		}
		c.settle()
	}
	note()
	c.advance(time.Minute - time.Millisecond)
	for range 2 {
		c.now = c.next
		note()
		c.advance(time.Minute - time.Second)
	}
	want := []string{
		"CanaryStarted false Canary v2 of Service app started: step 1 of 2, 50% for 1m. [Deployment/app-v2]",
		"CanaryStep false Canary v2 of Service app passed a step (error-rate 0.2% (<1%)), next: step 2 of 2, 100% for 1m. [Deployment/app-v2]",
	}
	if !slices.Equal(got[:min(2, len(got))], want) {
		t.Errorf("%s", strings.Join(got, "\n"))
	}
	c.measured(0.5)
	c.asked = CanaryQuery{}
	for range 4 {
		c.now = c.next
		note()
	}
	last := got[len(got)-1]
	if !strings.HasPrefix(last, "CanaryAborted true Canary v2 was aborted at 100%: error-rate 50% (<1%). v1 receives its requests.") && !strings.HasPrefix(last, "CanarySucceeded") {
		t.Error(last)
	}
	if len(Plan(c.observe(), c.now).Transitions) > 0 {
		t.Error("a transition is repeated")
	}
}

func TestCanaryAbortsAtTheSecondFailure(t *testing.T) {
	c := canaryOf(t, "canary=v2", "match=v2=header:beta:1", "sticky=cookie:ver:1h")
	c.measured(0.001)
	c.settle()
	c.advance(time.Minute)
	c.isCanary("v2 progressing 2/3 50%", "beta=1: v2; cookie ver=v1: v1; cookie ver=v2: v2; v1=50 v2=50")
	c.measured(0.05)
	c.writes = nil
	c.advance(30 * time.Second)
	c.isCanary("v2 progressing 2/3 50%", "beta=1: v2; cookie ver=v1: v1; cookie ver=v2: v2; v1=50 v2=50")
	c.advance(29 * time.Second)
	c.wrote("Apply DestinationRule app", "Apply VirtualService app") // the first failure, for the next leader
	c.advance(time.Second)
	c.wrote("Apply DestinationRule app", "Apply VirtualService app")
	c.isCanary("v2 aborted", "beta=1: v2; v1")
	c.tellsAlso(api.RouteCanaryAborted, "Canary v2 was aborted at 50%: error-rate 5% (<1%). v1 receives its requests. These matches still route to it: header:beta:1.")
	c.measured(0)
	c.advance(2 * time.Hour)
	c.isCanary("v2 aborted", "beta=1: v2; v1")
}

func TestCanaryNeedsTwoFailuresInARow(t *testing.T) {
	c := canaryOf(t, "canary=v2", "canary-steps=25@10m,100")
	rates := []float64{0.5, 0, 0.5, 0, 0.5, 0}
	c.measured(0)
	c.metrics = func(CanaryQuery) CanarySamples {
		rate := rates[0]
		rates = append(rates[1:], rate)
		return CanarySamples{Requests: 100, Values: values(api.MetricErrorRate, rate, 0)}
	}
	c.settle()
	c.advance(9 * time.Minute)
	c.isCanary("v2 progressing 1/2 25%", "v1=75 v2=25")
	c.metrics = nil // failed, no answer, failed
	c.measured(0.5)
	c.advance(30 * time.Second)
	c.measured(nan)
	c.advance(20 * time.Second)
	c.measured(0.5)
	c.advance(30 * time.Second)
	c.isCanary("v2 aborted", "v1")
}

func TestCanaryWithoutData(t *testing.T) {
	for name, metrics := range map[string]func(CanaryQuery) CanarySamples{
		"no answer": nil,
		"NaN": func(CanaryQuery) CanarySamples {
			return CanarySamples{Requests: 100, Values: values(api.MetricErrorRate, nan, nan)}
		},
		"negative": func(CanaryQuery) CanarySamples {
			return CanarySamples{Requests: 100, Values: values(api.MetricErrorRate, -1, nan)}
		},
		"an error": func(CanaryQuery) CanarySamples {
			return CanarySamples{Requests: nan, Values: map[string]CanaryValue{api.MetricErrorRate: {Canary: nan, Baseline: nan, Error: "context deadline exceeded"}}}
		},
		"few requests": func(CanaryQuery) CanarySamples {
			return CanarySamples{Requests: 19, Values: values(api.MetricErrorRate, 0, 0)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := canaryOf(t, "canary=v2", "canary-deadline=10m")
			c.measured(0)
			c.metrics = metrics
			c.settle()
			c.advance(time.Minute)
			c.advance(9*time.Minute + 50*time.Second)
			c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
			switch name {
			case "no answer":
			case "few requests":
				c.tells(api.RouteCanaryFewRequests)
			default:
				c.tells(api.RouteCanaryNoData)
			}
			c.advance(10 * time.Second)
			if name == "no answer" { // this leader has not evaluated it
				c.advance(20 * time.Minute)
				c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
				return
			}
			c.isCanary("v2 aborted", "v1")
			c.tellsAlso(api.RouteCanaryAborted, "it could not pass its step of 25% within 10m")
		})
	}
}

func TestCanaryPauseStopsTheClock(t *testing.T) {
	c := canaryOf(t, "canary=v2", "canary-deadline=1m")
	c.measured(0.001)
	c.settle()
	c.advance(30 * time.Second)
	c.annotate("canary-paused=true")
	c.settle()
	c.advance(20 * time.Minute)
	c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
	if status := Plan(c.observe(), c.now).Canary; !status.IsPaused || !status.Next.IsZero() {
		t.Errorf("%+v", status)
	}
	c.annotate("canary-paused=false")
	c.settle()
	c.advance(29 * time.Second)
	c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
	c.advance(2 * time.Second)
	c.isCanary("v2 progressing 2/3 50%", "v1=50 v2=50")
	c.annotate("canary-paused=true") // a failing check still aborts
	c.settle()
	c.measured(1)
	c.advance(2 * time.Minute)
	c.isCanary("v2 aborted", "v1")
}

func TestCanaryReadiness(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(c *cluster)
		aborts bool
	}{
		{"one pod of four is not ready", func(c *cluster) { c.run("app-v2", "v2", 4, 3) }, false},
		{"two pods of four are not ready", func(c *cluster) { c.run("app-v2", "v2", 4, 2) }, true},
		{"no pod is ready", func(c *cluster) { c.run("app-v2", "v2", 4, 0) }, true},
		{"it is scaled up", func(c *cluster) { c.run("app-v2", "v2", 12, 4) }, false},
		{"it is scaled down", func(c *cluster) { c.run("app-v2", "v2", 1, 1) }, false},
		{"two restarts", func(c *cluster) { c.restarts["app-v2"] = "a=7,b=2" }, false},
		{"three restarts", func(c *cluster) { c.restarts["app-v2"] = "a=5,b=3" }, true},
		{"three more restarts", func(c *cluster) { c.restarts["app-v2"] = "a=8" }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := canaryOf(t, "canary=v2", "canary-steps=50@10m,100")
			c.run("app-v2", "v2", 4, 4)
			c.restarts["app-v2"] = "a=5"
			c.settle()
			c.advance(time.Minute)
			c.isCanary("v2 progressing 1/2 50%", "v1=50 v2=50")
			test.change(c)
			c.settle()
			c.advance(29 * time.Second)
			c.isCanary("v2 progressing 1/2 50%", "v1=50 v2=50")
			c.advance(2 * time.Second)
			if test.aborts {
				c.isCanary("v2 aborted", "v1")
				return
			}
			c.isCanary("v2 progressing 1/2 50%", "v1=50 v2=50")
		})
	}
	t.Run("a short outage", func(t *testing.T) {
		c := canaryOf(t, "canary=v2", "canary-steps=50@10m,100")
		c.settle()
		c.run("app-v2", "v2", 2, 0)
		c.settle()
		c.advance(20 * time.Second)
		c.run("app-v2", "v2", 2, 2)
		c.settle()
		c.advance(2 * time.Minute)
		c.isCanary("v2 progressing 1/2 50%", "v1=50 v2=50")
	})
	t.Run("while the default has no ready pod", func(t *testing.T) {
		c := canaryOf(t, "canary=v2", "canary-steps=50@10m,100")
		c.empty = true
		c.settle()
		c.run("app-v1", "v1", 2, 0)
		c.run("app-v2", "v2", 2, 1)
		c.settle()
		c.advance(5 * time.Minute)
		c.isCanary("v2 progressing 1/2 50%", "v1=50 v2=50")
		c.tellsAlso(api.RouteCanaryHeld, "the default version has no ready pod to receive its requests")
	})
}

func TestCanaryStartsWhenReady(t *testing.T) {
	c := newCluster(t)
	c.fixed("app-v1", "v1", 4)
	c.ready()
	c.advance(10 * time.Minute)
	c.annotate("canary=v2")
	c.tells(api.RoutePendingVersions)
	c.isCanary("v2 waiting", "v1")
	c.fixed("app-v2", "v2", 4)
	c.run("app-v2", "v2", 4, 2)
	c.settle()
	c.advance(time.Minute)
	c.tellsAlso(api.RoutePendingVersions, "v2 (2 of 4 pods ready)")
	c.tellsAlso(api.RoutePendingVersions, "See kubectl get pods -n demo -L version.")
	c.isCanary("v2 waiting", "v1")
	c.run("app-v2", "v2", 4, 3)
	c.settle()
	c.advance(3 * time.Second)
	c.isCanary("v2 progressing 1/4 5%", "v1=95 v2=5")
	c.advance(time.Hour)
	c.advance(time.Hour)
	c.isCanary("v2 succeeded", "v2")
}

func TestCanaryUndersized(t *testing.T) {
	c := canaryOf(t, "canary=v2", "canary-steps=40@10m,100@10m")
	c.run("app-v1", "v1", 6, 6)
	c.settle()
	c.tellsAlso(api.RouteCanaryUndersized, "Canary v2 receives 40% of the requests and has 2 ready pods; the default version has 6.")
	c.run("app-v2", "v2", 4, 4)
	c.tells()
	c.advance(11 * time.Minute)
	c.tellsAlso(api.RouteCanaryUndersized, "receives 100% of the requests and has 4 ready pods")
	c.run("app-v2", "v2", 6, 6)
	c.tells()
}

func TestCanaryOfALoneWorkload(t *testing.T) {
	c := loneWorkload(t)
	c.annotate("canary=v1")
	c.tellsAlso(api.RouteWithoutEffect, "rolls out in place, without a canary. For a canary, deploy v1 as a second Deployment, with another name and with version=v1 in its selector.")
	c.isCanary("none", c.routes("app"))
}

func TestCanaryWithoutMetricsForItsChecks(t *testing.T) {
	c := canaryOf(t, "canary=v2", "canary-checks=p99<1s")
	c.settle()
	c.isCanary("v2 waiting", "v1")
	c.tellsAlso(api.RoutePendingVersions, "metrics for outrigger.dev/canary-checks (routing.metrics)")
	c.tellsAlso(api.RoutePendingVersions, "nothing is pending. Until then, it receives no requests by weight. Configure routing.metrics, or set outrigger.dev/canary-checks=readiness.")
}

// A canary that began with metrics does not pass by readiness alone if their configuration is lost.
func TestCanaryWhoseMetricsAreNoLongerConfigured(t *testing.T) {
	for name, then := range map[string]func(c *cluster){
		"configured again": func(c *cluster) { c.settings.Canary.HasMetrics = true },
		"readiness":        func(c *cluster) { c.annotate("canary-checks=readiness") },
	} {
		t.Run(name, func(t *testing.T) {
			c := canaryOf(t, "canary=v2")
			c.measured(0)
			c.settle()
			c.advance(31 * time.Second)
			c.settings.Canary.HasMetrics = false
			c.settle()
			c.advance(5 * time.Minute)
			c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
			c.tellsAlso(api.RouteCanaryNoData, "Canary v2 stays at 25%: routing.metrics is not configured.")
			then(c)
			c.settle()
			c.advance(5 * time.Minute)
			c.isCanary("v2 succeeded", "v2")
		})
	}
	t.Run("it fails", func(t *testing.T) {
		c := canaryOf(t, "canary=v2", "canary-deadline=10m")
		c.measured(0.5)
		c.settle()
		c.advance(35 * time.Second)
		c.settings.Canary.HasMetrics = false
		c.settle()
		c.advance(5 * time.Minute)
		c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
		c.advance(10 * time.Minute)
		c.isCanary("v2 aborted", "v1")
	})
	t.Run("never configured", func(t *testing.T) {
		c := canaryOf(t, "canary=v2")
		c.settle()
		c.advance(5 * time.Minute)
		c.isCanary("v2 succeeded", "v2")
	})
}

// The records of earlier releases say by their evaluations whether metrics were configured.
func TestNeedsMetricsByItsRecord(t *testing.T) {
	for text, want := range map[string]bool{
		`{"version":"v2","hasMetrics":true}`:                                   true,
		`{"version":"v2","result":"error-rate 0.2% (<1%)"}`:                    true,
		`{"version":"v2","result":"0 of 2 pods ready, error-rate 0.2% (<1%)"}`: true,
		`{"version":"v2","missingValue":{"metric":"error-rate"}}`:              true,
		`{"version":"v2","tooFew":"5 of 20 requests"}`:                         true,
		`{"version":"v2","result":"0 of 2 pods ready"}`:                        false,
		`{"version":"v2"}`: false,
		`{"hasMetrics":true,"ended":[{"version":"v2","state":"aborted","at":""}]}`: false,
	} {
		var c canaryRecord
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			t.Fatal(err)
		}
		if got := c.needsMetrics(); got != want {
			t.Errorf("%s: %t", text, got)
		}
	}
}

// With readiness as the only check, neither a metric nor the number of requests counts: TCP has none.
func TestCanaryWithReadinessAlone(t *testing.T) {
	c := canaryOf(t, "canary=v2", "canary-checks=readiness")
	c.measured(nan)
	c.settle()
	if query, due := CanaryQueryOf(c.observe(), c.now.Add(40*time.Second)); due {
		t.Errorf("%+v", query)
	}
	c.advance(time.Minute)
	c.isCanary("v2 progressing 2/3 50%", "v1=50 v2=50")
	c.tells()
	c.run("app-v2", "v2", 2, 0)
	c.settle()
	c.advance(time.Minute)
	c.isCanary("v2 aborted", "v1")
}
