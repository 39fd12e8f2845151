// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"testing"
	"time"

	"outrigger.dev/outrigger/api"
)

func ninetyTen(t *testing.T) *cluster {
	c := twoVersions(t)
	c.annotate("weights=v1=90,v2=10")
	c.advance(time.Minute)
	c.has("v1 v2", "v1=90 v2=10")
	return c
}

func (c *cluster) scale(name string, replicas int32) { c.workloads[c.ref(name)].Replicas = replicas }

// drain lets the pods of a workload terminate.
func (c *cluster) drain(name, version string) {
	group := c.pods[c.ref(name)][version]
	group.Terminating, group.Ready, group.ReadySince = group.Pods, 0, time.Time{}
}

// A version gives its share to the default as soon as its workload wants no pods, while the pods still serve, and not
// once the last of them has drained.
func TestScaledToZeroGivesItsShareAtOnce(t *testing.T) {
	c := ninetyTen(t)
	c.writes = nil
	c.scale("app-v2", 0)
	c.settle()
	c.has("v1 v2", "v1")
	c.wrote(applyRule, applyRoute) // both record whose share the default has
	c.drain("app-v2", "v2")
	c.advance(time.Minute)
	c.has("v1 v2", "v1")
	c.tells(api.RoutePendingVersions)
	c.gone("app-v2")
	c.advance(time.Hour)
	c.has("v1", "v1")

	// It is back once its pods are ready and the proxies know of them.
	c.scale("app-v2", 2)
	c.run("app-v2", "v2", 2, 2)
	c.settle()
	c.has("v1 v2", "v1")
	c.spread()
	c.has("v1 v2", "v1=90 v2=10")
	c.tells()
}

// An autoscaler between 0 and 1 moves the share back at most once a minute.
func TestAShareReturnsAtMostOnceAMinute(t *testing.T) {
	c := ninetyTen(t)
	returns := 0
	for range 12 {
		c.scale("app-v2", 0)
		c.settle()
		c.drain("app-v2", "v2")
		c.gone("app-v2")
		c.advance(5 * time.Second)
		c.scale("app-v2", 1)
		c.run("app-v2", "v2", 1, 1)
		c.advance(5 * time.Second)
		if c.routes("app") != "v1" {
			returns++
		}
	}
	if returns < 1 || returns > 3 {
		t.Errorf("the share returned %d times in two minutes", returns)
	}
	c.advance(time.Minute)
	c.has("v1 v2", "v1=90 v2=10")
}

func TestScaledToZeroHolds(t *testing.T) {
	for name, value := range map[string]string{"hold": "scaled-to-zero=hold", "invalid": "scaled-to-zero=0"} {
		t.Run(name, func(t *testing.T) {
			c := ninetyTen(t)
			c.empty = true
			c.annotate(value)
			c.advance(time.Minute)
			c.scale("app-v2", 0)
			c.drain("app-v2", "v2")
			c.advance(time.Minute)
			c.gone("app-v2")
			c.advance(time.Hour)
			c.has("v1 v2", "v1=90 v2=10")
		})
	}
}

// The default scaled to 0 keeps its route: nothing else was chosen.
func TestTheDefaultScaledToZeroIsHeld(t *testing.T) {
	c := ninetyTen(t)
	c.empty = true
	c.scale("app-v1", 0)
	c.drain("app-v1", "v1")
	c.advance(time.Minute)
	c.gone("app-v1")
	c.advance(time.Hour)
	c.has("v1 v2", "v1=90 v2=10")
}

// Another workload that runs the version keeps its share.
func TestAnotherWorkloadOfTheVersionKeepsItsShare(t *testing.T) {
	c := ninetyTen(t)
	c.fixed("app-v2-spot", "v2", 1)
	c.ready()
	c.advance(time.Minute)
	c.scale("app-v2", 0)
	c.drain("app-v2", "v2")
	c.gone("app-v2")
	c.advance(time.Minute)
	c.has("v1 v2", "v1=90 v2=10")
}
