// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"testing"
	"time"

	"outrigger.dev/outrigger/api"
)

// Nothing moves requests to a default version without a ready pod: the step begins again with the new template.
func TestOtherPodsWhileTheDefaultIsNotReady(t *testing.T) {
	t.Run("a new template at the last step", func(t *testing.T) {
		c := started(t)
		c.advance(9*time.Minute + 20*time.Second)
		c.isCanary("v2 progressing 3/3 100%", "v2")
		c.run("app-v1", "v1", 0, 0)
		c.settle()
		c.templates["app-v2"] = "t2,t3"
		c.settle()
		c.advance(30 * time.Second)
		c.templates["app-v2"] = "t3"
		c.settle()
		c.isCanary("v2 progressing 3/3 100%", "v2")
		c.advance(25 * time.Second) // it began again
		c.isCanary("v2 progressing 3/3 100%", "v2")
		c.advance(10 * time.Second)
		c.isCanary("v2 succeeded", "v2")
	})
	t.Run("its workload is deleted", func(t *testing.T) {
		c := started(t)
		c.empty = true
		c.run("app-v1", "v1", 2, 0)
		c.settle()
		c.remove("app-v2")
		c.gone("app-v2")
		c.settle()
		c.advance(3 * time.Hour)
		c.isCanary("v2 progressing 2/3 50%", "v1")
		c.tellsAlso(api.RouteCanaryHeld, "its workload was deleted, and the default version has no ready pod")
		c.run("app-v1", "v1", 2, 2)
		c.settle()
		c.advance(time.Minute)
		c.isCanary("v2 waiting", "v1")
	})
	t.Run("the user decides", func(t *testing.T) {
		c := started(t)
		c.empty = true
		c.run("app-v1", "v1", 2, 0)
		c.templates["app-v2"] = "t3"
		c.settle()
		c.isCanary("v2 progressing 2/3 50%", "v1=50 v2=50")
		c.annotate("canary-")
		c.settle()
		c.isCanary("none", "v1")
	})
}

// Pods without a template hash are a template of their own.
func TestCanaryOfBarePods(t *testing.T) {
	c := started(t)
	c.templates["app-v2"] = ""
	c.settle()
	c.advance(3 * time.Second)
	c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25") // another canary
	c.annotate("canary-")
	c.settle()
	c.annotate("canary=v2")
	c.settle()
	c.advance(time.Minute)
	c.isCanary("v2 aborted", "v1")
	c.templates["app-v2"] = "t3"
	c.settle()
	c.advance(4 * time.Second)
	c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
}
