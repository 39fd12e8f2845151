// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"strings"
	"testing"
	"time"

	"outrigger.dev/outrigger/api"
)

// answers has each evaluation answer with this number of requests, and an error rate or why there is none.
func (c *cluster) answers(requests, errorRate float64, why string) {
	c.settings.Canary.HasMetrics = true
	c.metrics = func(CanaryQuery) CanarySamples {
		return CanarySamples{Requests: requests, Values: map[string]CanaryValue{api.MetricErrorRate: {Canary: errorRate, Baseline: nan, Error: why}}}
	}
}

// recordedReason returns why the canary stays at its step, as a reader of the record sees it, who has no samples.
func (c *cluster) recordedReason() string {
	c.t.Helper()
	observed := c.observe()
	observed.Samples = nil
	status, _, has := RecordedCanaryOf(observed, c.now)
	if !has {
		c.t.Fatal("there is no canary")
	}
	if status.IsLacking != (status.Reason != "") {
		c.t.Errorf("%+v", status)
	}
	return status.Reason
}

// recordedProblems returns the reasons of the problems that a reader of the record finds.
func (c *cluster) recordedProblems() (out []string) {
	observed := c.observe()
	observed.Samples = nil
	for _, p := range Plan(observed, c.now).Problems {
		out = append(out, string(p.Reason)+": "+p.String())
	}
	return out
}

// Only the controller has samples. What they lack is in the record, for everyone who explains the canary.
func TestCanaryRecordsWhatItLacks(t *testing.T) {
	c := canaryOf(t, "canary=v2")
	c.answers(nan, nan, "the metrics server has no series for v2")
	c.settle()
	want := func(reason string, problem api.RouteReason) {
		t.Helper()
		if got := c.recordedReason(); got != reason {
			t.Errorf("%v: the reason is %q, want %q", c.now, got, reason)
		}
		found := strings.Join(c.recordedProblems(), "\n")
		if problem == "" && strings.Contains(found, "stays at") || !strings.Contains(found, string(problem)) {
			t.Errorf("%v: problems %s, want %q", c.now, found, problem)
		}
	}
	want("", "")
	c.advance(30 * time.Second)
	want("no data: the metrics server has no series for v2", api.RouteCanaryNoData)
	c.writes = nil
	c.advance(29 * time.Second)
	c.wrote() // the same reason is not written again
	c.answers(5, 0, "")
	c.advance(31 * time.Second)
	want("5 of 20 requests", api.RouteCanaryFewRequests)
	c.writes = nil
	c.answers(7, 0, "")
	c.advance(30 * time.Second)
	c.wrote() // other numbers are not written each time
	c.answers(100, 0, "")
	c.advance(30 * time.Second)
	c.isCanary("v2 progressing 2/3 50%", "v1=50 v2=50")
	want("", "")
}

// Too few requests are normal at the beginning of a step.
func TestFewRequestsAreNotRecordedEarly(t *testing.T) {
	c := canaryOf(t, "canary=v2")
	c.answers(5, 0, "")
	c.settle()
	c.writes = nil
	c.advance(59 * time.Second)
	c.wrote()
	if got := c.recordedReason(); got != "" {
		t.Errorf("the reason is %q", got)
	}
}

// With readiness as the only check, what metrics lacked before has no effect.
func TestReadinessHasNoLack(t *testing.T) {
	c := canaryOf(t, "canary=v2")
	c.answers(nan, nan, "the metrics server has no series for v2")
	c.settle()
	c.advance(30 * time.Second)
	c.annotate("canary-checks=readiness")
	c.settle()
	if got := c.recordedReason(); got != "" {
		t.Errorf("the reason is %q", got)
	}
	c.advance(30 * time.Second)
	c.isCanary("v2 progressing 2/3 50%", "v1=50 v2=50")
}

func TestLackInWords(t *testing.T) {
	for want, result := range map[string]canaryResult{
		"":                                     {},
		"5 of 20 requests":                     {tooFew: "5 of 20 requests"},
		"no data: v2 had no requests":          {missing: []missingValue{{"error-rate", "v2 had no requests"}, {"p99", "v2 had no requests"}}},
		"no data":                              {missing: []missingValue{{"p99", ""}}, tooFew: "5 of 20 requests"},
		"no data: the number is unknown":       {missing: []missingValue{{"", "the number is unknown"}}},
		"no data: forbidden: no token":         {missing: []missingValue{{"", "forbidden: no token"}}},
		"no data: no database: no data at p99": {missing: []missingValue{{"p99", "no database: no data at p99"}}},
	} {
		if got := result.lack(); got != want {
			t.Errorf("%+v: %q, want %q", result, got, want)
		}
	}
}

// With auto, a canary that was ended by hand requests nothing more, and neither does one whose version is the default or was.
func TestAutoAfterACanary(t *testing.T) {
	for name, end := range map[string]func(c *cluster){
		"it was ended by hand": func(c *cluster) { c.annotate("canary-") },
		"it was aborted, and its version is the default": func(c *cluster) {
			c.run("app-v2", "v2", 2, 0)
			c.settle()
			c.advance(time.Minute)
			c.run("app-v2", "v2", 2, 2)
			c.annotate("canary-", "default-version=v2")
		},
		"it has succeeded, and another version is the default": func(c *cluster) {
			c.advance(5 * time.Minute)
			c.annotate("canary-", "default-version=v1", c.decidedAt())
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := started(t)
			end(c)
			c.settle()
			c.advance(time.Minute)
			before := c.routes("app")
			c.annotate("canary=auto")
			c.tells()
			c.advance(time.Hour)
			if after := c.routes("app"); after != before {
				t.Errorf("the route was %s and is %s", before, after)
			}
		})
	}
}

// The reason in the status is that of the pod template that runs, also if another one of the version ended later.
func TestReasonOfTheTemplate(t *testing.T) {
	c := started(t)
	c.run("app-v2", "v2", 2, 0)
	c.settle()
	c.advance(time.Minute)
	c.run("app-v2", "v2", 2, 2)
	c.isCanary("v2 aborted", "v1")
	c.templates["app-v2"] = "t3"
	c.settle()
	c.advance(time.Minute)
	c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
	c.annotate("canary-")
	c.settle()
	c.advance(time.Minute)
	c.templates["app-v2"] = "t2"
	c.annotate("canary=v2")
	c.settle()
	c.tellsAlso(api.RouteCanaryAborted, "0 of 2 pods ready")
	if status := Plan(c.observe(), c.now).Canary; status == nil || status.IsByHand || !strings.Contains(status.Reason, "0 of 2 pods ready") {
		t.Errorf("%+v", status)
	}
}
