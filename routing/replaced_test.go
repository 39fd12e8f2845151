// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"testing"
	"time"

	"outrigger.dev/outrigger/api"
)

// halfway is a lone rolling workload whose v2 is rolled out: its last pod of v1 is gone, and the retention of v1 is not
// over. The rollout has written the DestinationRule once.
func halfway(t *testing.T) *cluster {
	t.Helper()
	c := loneWorkload(t)
	rollOut(c, "v1", "v2")
	c.has("v1 v2", "-")
	c.wrote(applyRule)
	return c
}

func rollOut(c *cluster, from, to string) {
	c.t.Helper()
	c.template("app", to)
	c.run("app", to, 1, 0)
	c.advance(10 * time.Second)
	c.run("app", to, 1, 1)
	c.run("app", from, 1, 1)
	c.advance(10 * time.Second)
	c.run("app", to, 2, 2)
	c.run("app", from, 0, 0)
	c.advance(time.Second)
}

func (c *cluster) lastRan(want string) {
	c.t.Helper()
	if got := c.existing.DestinationRules[0].Annotations[api.AnnotationLastRan]; got != want {
		c.t.Errorf("%v: recorded as run last: %q, want %q", c.now, got, want)
	}
}

func (c *cluster) marked(want ...string) {
	c.t.Helper()
	marks := parseStamps(c.existing.DestinationRules[0].Annotations[api.AnnotationUnusedSince])
	if len(marks) != len(want) {
		c.t.Errorf("%v: marked as unused: %v, want %v", c.now, marks, want)
	}
	for _, name := range want {
		if _, is := marks[name]; !is {
			c.t.Errorf("%v: marked as unused: %v, want %v", c.now, marks, want)
		}
	}
}

// A rollout of a lone workload costs two writes: what comes, with the mark on what goes; and the end of that.
func TestRolloutOfALoneWorkloadIsTwoWrites(t *testing.T) {
	c := halfway(t)
	c.marked("v1")
	c.lastRan("Deployment/app=v1") // the mark tells that v2 has replaced it
	c.advance(10 * time.Minute)
	c.has("v2", "-")
	c.wrote(applyRule)
	c.marked()
	c.lastRan("Deployment/app=v2")
}

// The watch of pods may be ahead of that of their workloads.
func TestRolloutIsTwoWritesAlsoWhereThePodIsSeenBeforeTheTemplate(t *testing.T) {
	c := loneWorkload(t)
	c.run("app", "v2", 1, 0)
	c.advance(time.Second)
	c.marked("v1")
	rollOut(c, "v1", "v2")
	c.advance(10 * time.Minute)
	c.has("v2", "-")
	c.wrote(applyRule, applyRule)
	c.lastRan("Deployment/app=v2")
}

// A slow rollout keeps the old subset as long as it has a pod, however long ago it was marked.
func TestReplacedVersionKeepsItsSubsetWhileItHasPods(t *testing.T) {
	c := loneWorkload(t)
	c.template("app", "v2")
	c.run("app", "v2", 1, 1)
	c.run("app", "v1", 1, 1)
	c.advance(time.Hour)
	c.has("v1 v2", "-")
	c.lastRan("Deployment/app=v1")
	c.writes = nil
	c.run("app", "v1", 0, 0)
	c.run("app", "v2", 2, 2)
	c.settle()
	c.has("v2", "-")
	c.wrote(applyRule)
	c.lastRan("Deployment/app=v2")
}

func TestSubsetThatRanLastStaysWhenScaledTo0BeforeTheOldOneIsGone(t *testing.T) {
	c := halfway(t)
	c.empty = true
	c.run("app", "v2", 0, 0)
	c.advance(time.Hour)
	c.has("v2", "-")
	c.wrote(applyRule)
	c.lastRan("Deployment/app=v2")
}

func TestUndoneRolloutLeavesTheOldVersionUnmarked(t *testing.T) {
	c := loneWorkload(t)
	c.template("app", "v2")
	c.run("app", "v2", 1, 0)
	c.advance(10 * time.Second)
	c.marked("v1")
	c.template("app", "v1")
	c.run("app", "v2", 0, 0)
	c.advance(time.Second)
	c.marked("v2")
	c.lastRan("Deployment/app=v1")
	c.advance(10 * time.Minute)
	c.has("v1", "-")
	c.wrote(applyRule, applyRule, applyRule)
	c.empty = true
	c.run("app", "v1", 0, 0)
	c.advance(time.Hour)
	c.has("v1", "-")
	c.wrote()
}

func TestSecondWorkloadPinsToWhatHasReplacedTheRecordedVersion(t *testing.T) {
	c := halfway(t)
	c.rolling("next", "v3", 1)
	c.settle()
	c.has("v1 v2 v3", "v2")
	c.wrote(applyRule, applyRoute)
	c.lastRan("Deployment/app=v2")
	c.empty = true
	c.run("app", "v2", 0, 0)
	c.run("next", "v3", 0, 0)
	c.advance(time.Hour)
	c.has("v2", "-")
}

func TestSecondWorkloadWhileTheOldVersionRunsTakesTheMarkAway(t *testing.T) {
	c := loneWorkload(t)
	c.template("app", "v2")
	c.run("app", "v2", 1, 0)
	c.advance(10 * time.Second)
	c.marked("v1")
	c.rolling("next", "v3", 1)
	c.settle()
	c.has("v1 v2 v3", "v1")
	c.marked()
	c.advance(time.Hour)
	c.has("v1 v2 v3", "v1")
}

func TestNextRolloutBeginsBeforeTheLastOneIsForgotten(t *testing.T) {
	c := halfway(t)
	rollOut(c, "v2", "v3")
	c.marked("v1", "v2")
	c.lastRan("Deployment/app=v2")
	c.advance(10 * time.Minute)
	c.has("v3", "-")
	c.lastRan("Deployment/app=v3")
	c.wrote(applyRule, applyRule, applyRule)
}

// besideOthers is a rolling default, pinned beside a workload that waits, whose v2 is rolled out. The route has left v1, and
// the retention of that is not over.
func besideOthers(t *testing.T) *cluster {
	t.Helper()
	c := newCluster(t)
	c.rolling("app", "v1", 2)
	c.ready()
	c.advance(time.Minute)
	c.fixed("next", "v9", 1)
	c.ready()
	c.advance(10 * time.Minute)
	c.has("v1 v9", "v1")
	c.writes, c.empty = nil, true // as a rollout beside others may be for one propagation
	rollOut(c, "v1", "v2")
	c.has("v1 v2 v9", "v2")
	return c
}

// rulesWritten counts the writes of DestinationRules since the last look.
func (c *cluster) rulesWritten(want int) {
	c.t.Helper()
	c.advance(time.Hour)
	count := 0
	for _, write := range c.writes {
		if write == applyRule {
			count++
		}
	}
	if count != want {
		c.t.Errorf("%v: the DestinationRule was written %d times, want %d: %v", c.now, count, want, c.writes)
	}
	c.writes = nil
}

func TestRolloutBesideOthersIsTwoWritesOfTheDestinationRule(t *testing.T) {
	c := besideOthers(t)
	c.marked()
	c.lastRan("Deployment/app=v1") // what the route left behind tells that v2 has replaced it
	c.advance(40 * time.Second)
	c.has("v1 v2 v9", "v2")
	c.rulesWritten(2)
	c.has("v2 v9", "v2")
	c.lastRan("Deployment/app=v2")
	rollOut(c, "v2", "v3")
	c.rulesWritten(2)
	c.has("v3 v9", "v3")
	c.lastRan("Deployment/app=v3")
}

func TestRolloutBesideOthersIsUndone(t *testing.T) {
	c := besideOthers(t)
	rollOut(c, "v2", "v1") // its subset is there yet
	c.has("v1 v2 v9", "v1")
	c.rulesWritten(3) // v2 was never recorded, so it gets a mark
	c.has("v1 v9", "v1")
	c.lastRan("Deployment/app=v1")
}

func TestWorkloadIsScaledTo0RightAfterItsRolloutBesideOthers(t *testing.T) {
	c := besideOthers(t)
	c.run("app", "v2", 0, 0)
	c.advance(time.Hour)
	c.has("v2 v9", "v2")
	c.lastRan("Deployment/app=v2")
	c.run("app", "v2", 2, 2)
	c.empty = false
	c.advance(time.Hour)
	c.has("v2 v9", "v2")
}

func TestNextRolloutBesideOthersBeginsBeforeTheLastOneIsForgotten(t *testing.T) {
	c := besideOthers(t)
	rollOut(c, "v2", "v3")
	c.has("v1 v2 v3 v9", "v3")
	c.advance(time.Hour)
	c.has("v3 v9", "v3")
	c.lastRan("Deployment/app=v3")
}

// Another workload that carries the version which was left keeps its subset, and its own end has the whole retention.
func TestVersionThatWasLeftLivesOnElsewhere(t *testing.T) {
	c := besideOthers(t)
	c.fixed("old", "v1", 1)
	c.ready()
	c.advance(time.Hour)
	c.has("v1 v2 v9", "v2")
	c.remove("old")
	c.gone("old")
	c.advance(30 * time.Second)
	c.has("v1 v2 v9", "v2")
	c.advance(time.Hour)
	c.has("v2 v9", "v2")
}

func TestRolloutBesideOthersIsTwoWritesAlsoWhereItIsSeenAtOnce(t *testing.T) {
	c := besideOthers(t)
	c.rulesWritten(2)
	c.template("app", "v3")
	c.run("app", "v2", 0, 0)
	c.run("app", "v3", 2, 2)
	c.rulesWritten(2)
	c.has("v3 v9", "v3")
	c.lastRan("Deployment/app=v3")
}
