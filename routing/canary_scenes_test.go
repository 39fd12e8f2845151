// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"strings"
	"testing"
	"time"

	"outrigger.dev/outrigger/api"
)

// playCanary is a scene of TestReplay.
func playCanary(r *recorder) {
	r.serving("v1")
	r.measured(0.001)
	r.fixed("app-v2", "v2", 2)
	r.starting()
	r.annotate("canary=v2", "canary-steps=25@1m,100@1m", "match=v2=header:end-user:jason")
	r.call("jason", probe{Host: "app.demo.svc.cluster.local", Port: 8080, Headers: map[string]string{"end-user": "jason"}})
	r.lead("mesh", "v1", "v2")
	r.lead("jason", "v1", "v2")
	r.lands("mesh", "v1=75 v2=25", "jason", "v2")
	r.advance(time.Minute)
	r.lead("jason", "v2")
	r.lands("mesh", "v2", "jason", "v2")
	r.advance(time.Minute)
	r.lead("mesh", "v2")
	r.lands("mesh", "v2", "jason", "v2")
	r.fixed("app-v3", "v3", 2)
	r.starting()
	r.annotate("canary=v3")
	r.lead("mesh", "v2", "v3")
	r.lands("mesh", "v2=75 v3=25", "jason", "v2")
	r.measured(0.5)
	r.advance(time.Minute)
	r.lands("mesh", "v2", "jason", "v2")
	r.lead("mesh", "v2")
	r.advance(time.Minute)
	r.lands("mesh", "v2", "jason", "v2")
}

func TestInvalidCanaryStartsAndMovesNothing(t *testing.T) {
	for _, bad := range []string{"canary-steps=50", "canary-interval=1s", "canary-checks=errors<1", "canary-min-requests=x", "canary-deadline=0", "canary-paused=maybe", "canary=v2 v3"} {
		t.Run(bad, func(t *testing.T) {
			c := canaryOf(t, "canary=v2", bad)
			c.settle()
			c.advance(10 * time.Minute)
			if c.routes("app") != "v1" {
				t.Errorf("routes %s", c.routes("app"))
			}
			key, _, _ := strings.Cut(bad, "=")
			c = canaryOf(t, "canary=v2", "canary-steps=25@1m,50@2m,100@1m")
			c.settle()
			c.advance(30 * time.Second)
			c.annotate(bad, "canary-deadline=1m")
			c.annotate(bad)
			c.settle()
			c.advance(20 * time.Minute)
			c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
			c.tellsAlso(api.RouteInvalidAnnotation, "No canary starts, and a running one stays at its step.")
			c.tellsAlso(api.RouteCanaryHeld, "one of its annotations is invalid")
			c.annotate(key + "-")
			if key == "canary" {
				c.annotate("canary=v2")
			}
			if key == "canary-steps" {
				c.annotate("canary-steps=25@1m,50@2m,100@1m")
			}
			c.settle()
			c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25") // its clock was stopped
			c.advance(31 * time.Second)
			c.isCanary("v2 progressing 2/3 50%", "v1=50 v2=50")
		})
	}
}
