// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"testing"
	"time"

	"outrigger.dev/outrigger/api"
)

// outage takes the readiness of a Deployment's pods.
func (c *cluster) outage(name, version string, pods int) {
	c.empty = true
	c.run(name, version, pods, 0)
	c.settle()
}

func threeVersions(t *testing.T) *cluster {
	t.Helper()
	c := twoVersions(t)
	c.fixed("app-v3", "v3", 2)
	c.ready()
	c.advance(10 * time.Minute)
	c.writes = nil
	return c
}

func TestDefaultGoneNext(t *testing.T) {
	c := threeVersions(t)
	c.annotate("default-gone=next")
	c.settle()
	c.wrote(applyRoute) // the words
	c.outage("app-v1", "v1", 2)
	c.wrote(applyRule) // since when
	c.has("v1 v2 v3", "v1")
	c.tells(api.RouteDefaultVersionGone)
	c.advance(20 * time.Second)
	c.run("app-v1", "v1", 2, 1) // back in time
	c.settle()
	c.wrote(applyRule)
	c.advance(time.Hour)
	c.has("v1 v2 v3", "v1")
	c.tells()
	c.wrote()

	c.outage("app-v1", "v1", 2)
	c.advance(29 * time.Second)
	c.has("v1 v2 v3", "v1")
	c.advance(2 * time.Second)
	c.has("v1 v2 v3", "v2")
	c.wrote(applyRule, applyRule, applyRoute)
	c.tells(api.RouteDefaultMoved)
	c.ready()
	c.advance(time.Hour)
	c.has("v1 v2 v3", "v2") // it does not return by itself
	c.wrote()
	c.tells(api.RouteDefaultMoved)
	c.outage("app-v2", "v2", 2) // and the next one may be the first again
	c.advance(time.Minute)
	c.has("v1 v2 v3", "v1")
	c.annotate("default-version=v3")
	c.settle()
	c.has("v1 v2 v3", "v3")
	c.tells()
}

// A literal, or a policy, does not bring back what failed; a new word does, also the same one said again.
func TestWordsDoNotBringBackWhatFailed(t *testing.T) {
	for _, word := range []string{"v1", "@lowest", "@first"} {
		t.Run(word, func(t *testing.T) {
			c := threeVersions(t)
			c.annotate("default-gone=next", "default-version="+word)
			c.settle()
			c.outage("app-v1", "v1", 2)
			c.advance(time.Minute)
			c.has("v1 v2 v3", "v2")
			c.ready()
			c.advance(time.Hour)
			c.has("v1 v2 v3", "v2")
			c.annotate("match=v3=header:a:b") // says nothing about shares
			c.settle()
			c.has("v1 v2 v3", "a=b: v3; v2")
			c.annotate("match-", "decided-at=2026-01-02T05:00:00Z", "default-version=v1")
			c.settle()
			c.has("v1 v2 v3", "v1")
			c.tells()
		})
	}
}

func TestNextIsByTheOrderOfTheDefault(t *testing.T) {
	for policy, want := range map[string]string{"@highest": "v2", "@lowest": "v1", "v3": "v1", "@first": "v1"} {
		t.Run(policy, func(t *testing.T) {
			c := threeVersions(t)
			c.annotate("default-version=v3", "default-gone=next", "default-gone-after=5m")
			c.settle()
			c.has("v1 v2 v3", "v3")
			c.outage("app-v3", "v3", 2)
			c.annotate("default-version=" + policy)
			if policy == "@lowest" {
				c.settle() // it is the lowest's anyhow
			}
			c.advance(6 * time.Minute)
			c.has("v1 v2 v3", want)
		})
	}
}

func TestDefaultGoneAll(t *testing.T) {
	c := twoVersions(t)
	c.annotate("default-gone=all", "weights=v1=90,v2=10", "sticky=cookie:ver:1h")
	c.settle()
	c.outage("app-v1", "v1", 2)
	c.advance(31 * time.Second)
	c.has("v1 v2", "-")
	c.tells(api.RouteDefaultMoved)
	c.ready()
	c.advance(time.Hour)
	c.has("v1 v2", "-")
	c.annotate("weights=v1=50,v2=50", "sticky-")
	c.settle()
	c.has("v1 v2", "v1=50 v2=50")
	c.tells()
}

// The share of what failed is the next one's, under its name.
func TestWeightsOfWhatFailed(t *testing.T) {
	c := threeVersions(t)
	c.annotate("default-gone=next", "weights=v1=50,v2=25,v3=25", "sticky=cookie:ver:1h", "match=v1=header:a:b")
	c.settle()
	c.outage("app-v1", "v1", 2)
	c.advance(31 * time.Second)
	c.has("v1 v2 v3", "a=b: v1; cookie ver=v2: v2; cookie ver=v3: v3; v2=75 v3=25") // who asks for v1 gets v1
	c.ready()
	c.advance(time.Hour)
	c.has("v1 v2 v3", "a=b: v1; cookie ver=v2: v2; cookie ver=v3: v3; v2=75 v3=25")
	c.annotate("weights=v1=50,v2=50", "sticky-", "match-")
	c.settle()
	c.has("v1 v2 v3", "v1=50 v2=50")
}

// What has never been ready is starting, not gone; what nobody could replace is held, until somebody can.
func TestWhatDoesNotFailOver(t *testing.T) {
	c := newCluster(t)
	c.empty = true
	c.annotate("default-gone=next", "default-gone-after=10s")
	c.fixed("app-v1", "v1", 1)
	c.fixed("app-v2", "v2", 1)
	c.ready("app-v2")
	c.advance(55 * time.Second)
	c.has("v1 v2", "v1")
	c.ready()
	c.advance(10 * time.Minute)
	c.has("v1 v2", "v1")
	c.outage("app-v2", "v2", 1) // not the default's
	c.advance(time.Hour)
	c.has("v1 v2", "v1")
	c.outage("app-v1", "v1", 1)
	c.advance(time.Hour)
	c.has("v1 v2", "v1")
	c.tells(api.RouteDefaultVersionGone)
	c.ready("app-v2")
	c.settle()
	c.has("v1 v2", "v1")
	c.spread()
	c.has("v1 v2", "v2")

	c = newCluster(t) // a lone workload that is scaled to 0
	c.empty = true
	c.namespace.Annotations = map[string]string{api.AnnotationUnreadyPolicy: "next"}
	c.rolling("app", "v1", 1)
	c.ready()
	c.advance(10 * time.Minute)
	c.writes = nil
	c.run("app", "v1", 0, 0)
	c.advance(time.Hour)
	c.wrote()
}

// Of two that are left after the default was deleted, next chooses; hold does not.
func TestDeletedDefaultGoesToTheNext(t *testing.T) {
	c := threeVersions(t)
	c.empty = true
	c.namespace.Annotations = map[string]string{api.AnnotationUnreadyPolicy: "next", api.AnnotationUnreadyAfter: "1m"}
	c.remove("app-v1")
	c.gone("app-v1")
	c.advance(50 * time.Second)
	c.has("v1 v2 v3", "v1")
	c.advance(20 * time.Second)
	c.has("v1 v2 v3", "v2")
	c.advance(10 * time.Minute)
	c.has("v2 v3", "v2")
}

// Rolling workloads: the default is a workload, whatever it runs.
func TestRollingDefaultFails(t *testing.T) {
	c := newCluster(t)
	c.annotate("default-gone=next")
	c.rolling("stable", "1.0", 2)
	c.ready()
	c.advance(10 * time.Minute)
	c.rolling("next", "1.1", 2)
	c.ready()
	c.advance(10 * time.Minute)
	c.has("1-0 1-1", "1-0")
	c.template("stable", "1.2") // a bad release
	c.run("stable", "1.0", 0, 0)
	c.outage("stable", "1.2", 2)
	c.advance(time.Minute)
	c.has("1-0 1-1 1-2", "1-1")
	c.template("stable", "1.0")
	c.run("stable", "1.2", 0, 0)
	c.run("stable", "1.0", 2, 2)
	c.advance(time.Hour)
	c.has("1-0 1-1", "1-1")
	c.tells(api.RouteDefaultMoved)
}

func TestRetentionOfOneService(t *testing.T) {
	c := twoVersions(t)
	c.annotate("subset-retention=1h")
	c.advance(time.Minute)
	c.remove("app-v2")
	c.gone("app-v2")
	c.advance(59 * time.Minute)
	c.has("v1 v2", "v1")
	c.advance(2 * time.Minute)
	c.has("v1", "v1")
	c.namespace.Annotations = map[string]string{api.AnnotationSubsetRetention: "2h"}
	c.annotate("subset-retention-")
	c.mode(api.RoutingDisabled)
	c.advance(119 * time.Minute)
	c.has("v1", "none")
	c.advance(2 * time.Minute)
	c.has("", "none")
}

// A weighed workload that is scaled to 0 gives its share to the default, also where that is not weighed. It comes back by
// itself.
func TestWeighedRollingWorkloadWithoutPods(t *testing.T) {
	c := newCluster(t)
	c.empty = true
	c.rolling("stable", "1.0", 2)
	c.ready()
	c.advance(10 * time.Minute)
	c.rolling("next", "1.1", 2)
	c.ready()
	c.annotate("weights=1.1=100")
	c.advance(10 * time.Minute)
	c.has("1-0 1-1", "1-1")
	c.run("next", "1.1", 0, 0)
	c.advance(time.Hour)
	c.has("1-0", "-")
	c.tells(api.RoutePendingVersions)
	c.annotate("weights=1.0=50,1.1=50")
	c.tells(api.RoutePendingVersions)
	c.has("1-0", "-")
	c.run("next", "1.1", 2, 2)
	c.spread()
	c.has("1-0 1-1", "1-0=50 1-1=50")
	c.tells()
	c.template("next", "1.2") // the name means the workload
	c.run("next", "1.1", 0, 0)
	c.run("next", "1.2", 2, 2)
	c.advance(time.Hour)
	c.has("1-0 1-2", "1-0=50 1-2=50")
}
