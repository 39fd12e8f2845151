// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"outrigger.dev/outrigger/api"
)

// Wrong values of each annotation of canaries, on the Service or its Namespace: none starts a canary, and a canary that progresses keeps
// its step. The message names the object, the field, the value, and what would be right.
func TestWrongCanaryAnnotations(t *testing.T) {
	huge, long := strings.Repeat("9", 400), strings.Repeat("v", 20<<10)
	for key, values := range map[string][]string{
		"canary":              {"", " ", "v2,v3", "v2=100", "@first", "@all", "v/2", "ⅴ2", "v2\x00", "v2\u202e", "-v2", long, "auto,v2", `v2"} or vector(0) #`},
		"canary-steps":        {"", ",", "50", "100,100", "0,100", "-1,100", "1e1,100", "１０,100", "10;100", "10,100,", huge, huge + ",100", "10@1m@1m,100", "10@-1m,100", "10@999999999h,100", "10@1ns,100", "10@NaN,100", "101", "+10,100", "10%%,100", strings.Repeat("1,", 9000) + "100"},
		"canary-interval":     {"", "0", "-1m", "1ns", "9.99s", huge + "h", "1m 30s", "five", "∞", "1e3s", "721h"},
		"canary-checks":       {"", ",", "error-rate", "error-rate<1", "error-rate<-1%", "error-rate<" + huge + "%", "error-rate<NaN%", "error-rate<Inf%", "error-rate<0%", "error-rate>1%", "error-rate>=0%", "p99>1ms", "p99>=0.5x", "p99<-1s", "p99<0s", "p101<1s", "p99<1", "error-rate<1%%", "error-rate<1x%", "error-rate<0x", "error-rate<0x1p4%", "ｅrror-rate<1%", "error-rate<1%,error-rate < 1%", "readiness,error-rate<1%", "error-rate<1% or 1", "a<1,", `x"}<1`, "p99<" + huge + "h", strings.Repeat("p99<1s,", 30) + "p50<1s"},
		"canary-min-requests": {"", "-1", "1.5", "1e9", huge, "1000000001", "0x10", "1_000", "١٠", "NaN"},
		"canary-deadline":     {"", "0", "-1h", "1ns", huge + "h", "9s", "forever"},
		"canary-paused":       {"", "yes", "TRUE", "1", "truefalse", "tru\u0435"},
	} {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			for _, value := range values {
				wrongAnnotation(t, key, value, false)
			}
			wrongAnnotation(t, key, values[len(values)-1], true)
		})
	}
}

func wrongAnnotation(t *testing.T, key, value string, onNamespace bool) {
	t.Helper()
	what := fmt.Sprintf("%s=%.40q on the Namespace %t", key, value, onNamespace)
	write := func(c *cluster) {
		c.annotate(key + "-")
		if !onNamespace {
			c.service.Annotations[api.Domain+"/"+key] = value
			return
		}
		c.namespace.Annotations = map[string]string{api.Domain + "/" + key: value}
	}
	c := canaryOf(t, "canary=v2")
	c.measured(0)
	write(c)
	c.settle()
	c.advance(3 * time.Minute)
	if got := c.routes("app"); got != "v1" {
		t.Errorf("%s: the route is %s", what, got)
	}
	c = canaryOf(t, "canary=v2")
	c.measured(0)
	c.settle()
	c.advance(10 * time.Second)
	c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
	write(c)
	c.writes = nil
	c.settle()
	c.advance(3 * time.Minute)
	if got := c.routes("app"); got != "v1=75 v2=25" {
		t.Errorf("%s: during a canary, the route is %s", what, got)
	}
	if len(c.writes) > 4 {
		t.Errorf("%s: writes %q", what, c.writes)
	}
	object := map[bool]string{false: "Service demo/app", true: "Namespace demo"}[onNamespace]
	for _, p := range c.problems {
		if p.Reason == api.RouteInvalidAnnotation && p.Field == api.AnnotationField(api.Domain+"/"+key) && p.Object.String() == object && p.Value == value &&
			strings.HasPrefix(p.Advice, "Write ") && len(p.Message) < 700 {
			return
		}
	}
	t.Errorf("%s: the problems are %.2000v", what, c.problems)
}

// A clock that was ahead when a pause ended, and is set back then, does not stop the canary for good.
func TestClockIsSetBackAfterAPause(t *testing.T) {
	c := canaryOf(t, "canary=v2")
	c.settle()
	c.advance(10 * time.Second)
	c.annotate("canary-paused=true")
	c.settle()
	c.advance(10 * time.Second)
	c.stepClock(1000 * time.Hour)
	c.annotate("canary-paused-")
	c.settle()
	c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
	c.stepClock(-1000 * time.Hour)
	c.settle()
	c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
	c.advance(59 * time.Second)
	c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
	c.advance(2 * time.Second)
	c.isCanary("v2 progressing 2/3 50%", "v1=50 v2=50")
}

// Whatever happens around a canary: it has no more than its step until the step has passed, nothing after its end, and no more than a few
// writes. Each attack says the routes that are right in the end.
func TestAttacksDuringACanary(t *testing.T) {
	for _, test := range []struct {
		name   string
		attack func(c *cluster)
		status string
		routes string
	}{
		{"the Service selects no pod of the canary", func(c *cluster) { c.remove("app-v2"); c.gone("app-v2"); c.service.Spec.Selector["tier"] = "x" }, "v2 waiting", "v1"},
		{"the VirtualService is deleted", func(c *cluster) { c.existing.VirtualServices = nil }, "v2 progressing 2/3 50%", "v1=50 v2=50"},
		{"canary names the default", func(c *cluster) { c.annotate("canary=v1") }, "none", "v1"},
		{"canary names an absent version", func(c *cluster) { c.annotate("canary=v7") }, "v7 waiting", "v1"},
		{"canary names a version of another Service", func(c *cluster) {
			c.labels = map[string]map[string]string{"other": {"app": "other"}}
			c.annotate("canary=other-v1")
		}, "other-v1 waiting", "v1"},
		{"canary is another case of its name", func(c *cluster) { c.annotate("canary=V2") }, "V2 waiting", "v1"},
		{"undo, then the same annotations again", func(c *cluster) {
			was := c.service.Annotations["outrigger.dev/canary"]
			c.annotate("canary-", "default-version=v1", c.decidedAt())
			c.settle()
			c.annotate("default-version-", "decided-at-", "canary="+was)
		}, "v2 aborted", "v1"},
		{"decided-at far in the future", func(c *cluster) { c.annotate("decided-at=9999-12-31T23:59:59Z") }, "v2 progressing 2/3 50%", "v1=50 v2=50"},
		{"decided-at is invalid", func(c *cluster) { c.annotate("decided-at=tomorrow") }, "v2 progressing 2/3 50%", "v1=50 v2=50"},
		{"a second workload of the version with another template", func(c *cluster) {
			c.fixed("app-v2b", "v2", 2)
			c.templates["app-v2b"] = "t9"
			c.ready()
		}, "v2 progressing 1/3 25%", "v1=75 v2=25"},
		{"a match and a cookie for the canary", func(c *cluster) { c.annotate("match=v2=header:a:b", "sticky=cookie:c:1h") }, "v2 progressing 2/3 50%", "a=b: v2; cookie c=v1: v1; cookie c=v2: v2; v1=50 v2=50"},
		{"the clock is set back a year", func(c *cluster) { c.stepClock(-365 * 24 * time.Hour) }, "v2 progressing 2/3 50%", "v1=50 v2=50"},
		{"frozen, and unfrozen after the annotation is removed", func(c *cluster) {
			c.settings.Freeze = true
			c.settle()
			c.annotate("canary-")
			c.settle()
			c.settings.Freeze = false
		}, "none", "v1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := started(t)
			c.empty = true
			c.measured(nan) // no step passes from now on
			c.settle()
			c.writes = nil
			test.attack(c)
			c.settle()
			c.advance(5 * time.Second)
			c.isCanary(test.status, test.routes)
			c.advance(3 * time.Minute)
			c.isCanary(test.status, test.routes)
			if len(c.writes) > 8 {
				t.Errorf("%d writes: %q", len(c.writes), c.writes)
			}
		})
	}
}

// Without its record, the Service is one whose versions served before Outrigger: no route is written, and no canary starts, until the user
// names the default. Then the canary begins with its first step.
func TestBothObjectsAreDeletedDuringACanary(t *testing.T) {
	c := started(t)
	c.measured(0)
	c.existing = Objects{}
	c.settle()
	c.advance(time.Hour)
	c.isCanary("none", "none")
	c.tellsAlso(api.RouteWithoutEffect, "The Service has no single default version that a canary could take over from. No canary starts.")
	c.annotate("default-version=v1")
	c.settle()
	c.advance(5 * time.Second)
	c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
}
