// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"testing"
	"time"
)

func TestLazyWaitsForASecondWorkload(t *testing.T) {
	for _, rolling := range []bool{false, true} {
		c := newCluster(t)
		c.annotate("eager=false")
		if rolling {
			c.rolling("app-v1", "v1", 2)
		} else {
			c.fixed("app-v1", "v1", 2)
		}
		c.ready()
		c.advance(10 * time.Minute)
		c.has("", "none")
		c.wrote(createRule) // the record alone
		c.tells()
		c.rolling("app-v2", "v2", 2)
		c.settle() // its first pod is created
		c.has("v1 v2", "none")
		c.advance(3 * time.Second)
		c.has("v1 v2", "v1")
		c.wrote(applyRule, createRoute)
		c.ready()
		c.advance(time.Hour)
		c.has("v1 v2", "v1")
		// What was made stays.
		c.remove("app-v2")
		c.gone("app-v2")
		c.advance(time.Hour)
		c.has("v1", map[bool]string{false: "v1", true: "-"}[rolling])
	}
}

func TestAWordEndsTheWaiting(t *testing.T) {
	for _, word := range []string{"default-version=v1", "weights=v1=1", "match=v2=header:a:b", "mirror=v2=1", "expose=true", "eager=true", "eager-"} {
		c := newCluster(t)
		c.namespace.Annotations = map[string]string{"outrigger.dev/default-version": "@lowest"} // a Namespace's is no word
		c.annotate("eager=false")
		c.fixed("app-v1", "v1", 2)
		c.ready()
		c.advance(time.Minute)
		c.has("", "none")
		c.annotate(word)
		c.advance(10 * time.Second)
		if c.has("v1", "v1"); t.Failed() {
			t.Fatalf("after %s", word)
		}
	}
}

func TestEagerOffTakesNothingAway(t *testing.T) {
	c := newCluster(t)
	c.fixed("app-v1", "v1", 2)
	c.ready()
	c.advance(time.Minute)
	c.annotate("eager=false")
	c.advance(time.Hour)
	c.has("v1", "v1")
}

func TestSeveralWorkloadsAreNotWaitedFor(t *testing.T) {
	c := newCluster(t)
	c.annotate("eager=false")
	c.fixed("app-v1", "v1", 2)
	c.fixed("app-v2", "v2", 2)
	c.advance(time.Minute)
	c.has("v1 v2", "v1")
}

func TestSubsetsOnlyAreNotWaitedFor(t *testing.T) {
	c := newCluster(t)
	c.annotate("eager=false")
	c.service.Labels["outrigger.dev/routing"] = "subsets-only"
	c.fixed("app-v1", "v1", 2)
	c.ready()
	c.advance(time.Minute)
	c.has("v1", "none")
}
