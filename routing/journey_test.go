// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"testing"
	"time"

	"outrigger.dev/outrigger/api"
)

const (
	createRule  = "Create DestinationRule app"
	applyRule   = "Apply DestinationRule app"
	deleteRule  = "Delete DestinationRule app"
	createRoute = "Create VirtualService app"
	applyRoute  = "Apply VirtualService app"
	deleteRoute = "Delete VirtualService app"
)

func TestTheTutorial(t *testing.T) {
	c := newCluster(t)
	c.fixed("app-v1", "v1", 1)
	c.fixed("app-v2", "v2", 1)
	c.settle()
	c.has("v1 v2", "v1") // before any pod is ready
	c.wrote(createRule, createRoute)
	c.ready()
	c.advance(10 * time.Minute)
	c.wrote()
	c.tells()

	c.annotate("weights=v1=90,v2=10")
	c.settle()
	c.has("v1 v2", "v1=90 v2=10")
	c.wrote(applyRule, applyRoute) // both record the weights
	c.annotate("match=v2=header:end-user:jason", "weights-")
	c.settle()
	c.has("v1 v2", "end-user=jason: v2; v1")
	c.wrote(applyRule, applyRoute)
	c.annotate("default-version=v2", "match-")
	c.settle()
	c.has("v1 v2", "v2")
	c.wrote(applyRule, applyRoute)
	c.tells()
	c.advance(time.Hour)
	c.wrote()

	c.fixed("app-v3", "v3", 2)
	c.advance(time.Minute)
	c.has("v1 v2 v3", "v2")
	c.wrote(applyRule)
	c.remove("app-v3")
	c.gone("app-v3")
	c.advance(5 * time.Minute)
	c.has("v1 v2", "v2")
	c.wrote(applyRule, applyRule)
}

func TestRolloutOfALoneWorkloadWritesNoRoute(t *testing.T) {
	c := newCluster(t)
	c.rolling("app", "v1", 2)
	c.ready()
	c.advance(10 * time.Second)
	c.has("v1", "-")
	c.wrote(createRule, createRoute)
	c.template("app", "v2")
	c.run("app", "v2", 1, 0)
	c.advance(5 * time.Second)
	c.has("v1 v2", "-")
	c.run("app", "v2", 1, 1)
	c.run("app", "v1", 1, 1)
	c.settle()
	// undone half way
	c.template("app", "v1")
	c.run("app", "v2", 0, 0)
	c.run("app", "v1", 2, 2)
	c.advance(5 * time.Minute)
	c.has("v1", "-")
	// and on again
	c.template("app", "v2")
	c.run("app", "v2", 1, 1)
	c.run("app", "v1", 1, 1)
	c.advance(5 * time.Second)
	c.run("app", "v1", 0, 0)
	c.run("app", "v2", 2, 2)
	c.advance(5 * time.Minute)
	c.has("v2", "-")
	for _, write := range c.writes {
		if write != applyRule {
			t.Errorf("a rollout of a lone workload wrote: %s", write)
		}
	}
	c.tells()
	// scaled to 0, the subset it ran last stays
	c.empty = true
	c.run("app", "v2", 0, 0)
	c.advance(time.Hour)
	c.has("v2", "-")
}

func TestSecondWorkloadPinsAndUnpins(t *testing.T) {
	c := loneWorkload(t)
	c.rolling("next", "v2", 2)
	c.settle() // the first pod is created, not ready
	c.has("v1 v2", "v1")
	c.wrote(applyRule, applyRoute)
	c.ready()
	c.advance(10 * time.Minute)
	c.has("v1 v2", "v1")
	c.wrote()

	// The other one rolls out: nobody cares. It even comes to the default's version: it is no newcomer.
	c.run("next", "v2", 0, 0)
	c.run("next", "v3", 2, 2)
	c.advance(10 * time.Minute)
	c.has("v1 v3", "v1")
	c.writes = nil

	c.remove("next")
	c.gone("next")
	c.settle()
	c.has("v1 v3", "v1")
	c.advance(10 * time.Minute)
	c.has("v1", "-")
	c.wrote(applyRule, applyRoute, applyRule)
}

func TestRolloutBesideOthersFollowsTheReadyPods(t *testing.T) {
	c := newCluster(t)
	c.rolling("app", "v1", 4)
	c.fixed("next", "v9", 1)
	c.ready()
	c.advance(10 * time.Minute)
	c.has("v1 v9", "v1")
	c.writes = nil
	c.template("app", "v2")
	c.run("app", "v2", 1, 0)
	c.advance(10 * time.Second)
	c.has("v1 v2 v9", "v1")
	for _, step := range []struct {
		old, new int
		want     string
	}{{4, 1, "v1=75 v2=25"}, {3, 1, "v1=75 v2=25"}, {3, 2, "v1=50 v2=50"}, {2, 2, "v1=50 v2=50"}, {2, 3, "v1=50 v2=50"}, {1, 3, "v2"}, {1, 4, "v2"}, {0, 4, "v2"}} {
		c.run("app", "v1", step.old, step.old)
		c.run("app", "v2", max(step.new, 1), step.new)
		c.settle()
		if got := c.routes("app"); got != step.want {
			t.Errorf("%d old and %d new ready pods: %s, want %s", step.old, step.new, got, step.want)
		}
	}
	c.onceTold(api.RouteRolloutBesideOthers)
	routes := 0
	for _, write := range c.writes {
		if write == applyRoute {
			routes++
		}
	}
	if routes > 5 {
		t.Errorf("%d writes of the route: %v", routes, c.writes)
	}
	c.advance(10 * time.Minute)
	c.has("v2 v9", "v2")
	c.tells()
}

func TestBlueGreenBySelector(t *testing.T) {
	c := newCluster(t)
	c.service.Spec.Selector["slot"] = "blue"
	c.fixed("blue", "v1", 2)
	c.ready()
	c.advance(10 * time.Minute)
	c.has("v1", "v1")
	c.writes = nil
	// The Service is turned to other pods; only those are observed from now on.
	c.service.Spec.Selector["slot"] = "green"
	c.gone("blue")
	c.remove("blue")
	c.fixed("green", "v2", 2)
	c.workloads[deploymentRef("green")].Created = c.now.Add(-time.Hour)
	c.ready()
	c.settle()
	c.has("v1 v2", "-")
	c.wrote(applyRule, applyRoute)
	c.advance(3 * time.Second)
	c.has("v1 v2", "v2")
	c.wrote(applyRoute)
	c.advance(time.Hour)
	c.has("v2", "v2")
	c.tells()
}

func TestSelectorThatStillSelectsTheDefaultMovesNothing(t *testing.T) {
	c := twoVersions(t)
	c.service.Spec.Selector["team"] = "a"
	c.advance(time.Hour)
	c.has("v1 v2", "v1")
	c.wrote(applyRule, applyRoute)
}

func TestDefaultDeletedAndCreatedAgain(t *testing.T) {
	c := twoVersions(t)

	// The pods still serve when the word is given.
	c.remove("app-v1")
	c.settle()
	c.has("v1 v2", "v2")
	c.tells(api.RouteDefaultVersionGone)
	c.gone("app-v1")
	c.advance(2 * time.Minute)
	c.has("v1 v2", "v2") // v1 is still the default on record
	// back within the window
	c.fixed("app-v1", "v1", 2)
	c.advance(10 * time.Second)
	c.has("v1 v2", "v2")
	c.ready()
	c.settle()
	c.has("v1 v2", "v2") // no proxy knows of it yet
	c.spread()
	c.has("v1 v2", "v1")
	c.tells()

	// away for longer
	c.remove("app-v1")
	c.gone("app-v1")
	c.advance(6 * time.Minute)
	c.onceTold(api.RouteDefaultMoved)
	c.has("v2", "v2")
	c.fixed("app-v1", "v1", 2)
	c.ready()
	c.advance(time.Hour)
	c.has("v1 v2", "v2")
	c.tells()
}

func TestDefaultDeletedWithTwoOthersHolds(t *testing.T) {
	c := newCluster(t)
	c.fixed("app-v1", "v1", 2)
	c.ready()
	c.advance(time.Minute)
	c.fixed("app-v2", "v2", 2)
	c.fixed("app-v3", "v3", 2)
	c.ready()
	c.advance(10 * time.Minute)
	c.empty = true
	c.remove("app-v1")
	c.gone("app-v1")
	c.advance(time.Hour)
	c.has("v1 v2 v3", "v1")
	c.tells(api.RouteDefaultVersionGone)
	// One of the two is deleted: the other takes over.
	c.remove("app-v3")
	c.settle()
	c.has("v1 v2 v3", "v2")
}

func TestOutageHolds(t *testing.T) {
	c := twoVersions(t)
	c.empty = true
	c.writes = nil
	c.run("app-v1", "v1", 2, 0)
	c.advance(time.Hour)
	c.has("v1 v2", "v1")
	c.tells(api.RouteDefaultVersionGone)
	c.run("app-v1", "v1", 0, 0) // scaled to 0
	c.advance(time.Hour)
	c.has("v1 v2", "v1")
	c.tells(api.RouteDefaultVersionGone)
	c.wrote()
	// A route that is deleted by hand is restored: v2 was not chosen, neither by the outage nor by the deletion.
	c.existing.VirtualServices = nil
	c.settle()
	c.has("v1 v2", "v1")
}

// A default that is ready again just before the time is over is the default again.
func TestDefaultComesBackAtTheLastMoment(t *testing.T) {
	c := twoVersions(t)
	c.remove("app-v1")
	c.gone("app-v1")
	c.settle()
	c.has("v1 v2", "v2")
	c.advance(c.settings.DefaultGoneWindow - time.Second)
	c.fixed("app-v1", "v1", 2)
	c.ready()
	c.advance(time.Hour)
	c.has("v1 v2", "v1")
	c.tells()
}

func split(t *testing.T) *cluster {
	c := newCluster(t)
	c.namespace.Labels = nil
	c.fixed("app-v1", "v1", 2)
	c.fixed("app-v2", "v2", 2)
	c.ready()
	c.advance(10 * time.Minute)
	c.has("", "none")
	c.namespace.Labels = map[string]string{"istio-injection": "enabled"}
	c.settle()
	c.has("v1 v2", "none")
	c.tells(api.RoutePreexistingSplit)
	c.advance(5 * time.Second)
	return c
}

func TestPreexistingSplitStaysUntilAWord(t *testing.T) {
	c := split(t)
	c.writes = nil
	c.run("app-v2", "v2", 2, 0)
	c.advance(time.Hour)
	c.run("app-v2", "v2", 0, 0)
	c.advance(10 * time.Second)
	c.has("v1 v2", "none")
	c.run("app-v2", "v2", 2, 2)
	c.fixed("app-v3", "v3", 2)
	c.ready()
	c.advance(time.Hour)
	c.has("v1 v2 v3", "none")
	c.tells(api.RoutePreexistingSplit)
	c.annotate("default-version=v2")
	c.settle()
	c.has("v1 v2 v3", "v2")
	c.tells()
}

func TestPreexistingSplitEndsByWeights(t *testing.T) {
	c := split(t)
	c.annotate("weights=v1=30,v2=70")
	c.settle()
	c.has("v1 v2", "v1=30 v2=70")
	c.annotate("weights-")
	c.settle()
	c.has("v1 v2", "v2")
}

func TestPreexistingSplitEndsWhenOneIsLeft(t *testing.T) {
	c := split(t)
	c.remove("app-v1")
	c.gone("app-v1")
	c.settle()
	c.has("v1 v2", "v2")
	c.tells()
}

func TestInjectionLabelOffKeepsRoutesTrue(t *testing.T) {
	c := newCluster(t)
	c.fixed("app-v1", "v1", 2)
	c.ready()
	c.advance(time.Minute)
	c.namespace.Labels["istio-injection"] = "disabled"
	c.fixed("app-v2", "v2", 2)
	c.advance(time.Minute)
	c.has("v1 v2", "v1")
}

func TestDisabledRemovesTheRouteFirst(t *testing.T) {
	c := newCluster(t)
	c.fixed("app-v1", "v1", 2)
	c.fixed("app-v2", "v2", 2)
	c.annotate("expose=true")
	c.ready()
	c.advance(time.Minute)
	if c.routes("app-gateway") != "v1" {
		t.Fatalf("app-gateway: %s", c.routes("app-gateway"))
	}
	c.writes = nil
	c.service.Labels[api.LabelRouting] = "disabled"
	c.settle()
	c.has("v1 v2", "none")
	c.wrote(applyRule, deleteRoute, "Delete VirtualService app-gateway", "Delete Gateway app")
	c.advance(time.Minute)
	c.wrote(deleteRule)
	c.advance(time.Hour)
	c.wrote()
	delete(c.service.Labels, api.LabelRouting)
	c.annotate("expose-")
	// What flows now, flows on.
	c.advance(time.Minute)
	c.has("v1 v2", "none")
	c.tells(api.RoutePreexistingSplit)
}

func TestServiceCreatedAgainIsANewService(t *testing.T) {
	c := newCluster(t)
	c.fixed("app-v1", "v1", 2)
	c.fixed("app-v2", "v2", 2)
	c.ready()
	c.advance(time.Minute)
	c.annotate("default-version=v2")
	c.settle()
	c.has("v1 v2", "v2")
	c.writes = nil
	c.createService()
	c.settle()
	c.has("v1 v2", "v1")
	c.wrote(applyRule, applyRoute)
	if owner := controllerOf(c.existing.VirtualServices[0]); owner.UID != c.service.UID {
		t.Errorf("the route's owner is %s, the Service is %s", owner.UID, c.service.UID)
	}
}

func TestPendingVersionTakesPartWhenReady(t *testing.T) {
	c := newCluster(t)
	c.fixed("app-v1", "v1", 2)
	c.ready()
	c.annotate("weights=v1=50,v2=50")
	c.advance(time.Minute)
	c.has("v1", "v1")
	c.tells(api.RoutePendingVersions)
	c.fixed("app-v2", "v2", 4)
	c.advance(time.Minute)
	c.has("v1 v2", "v1")
	c.run("app-v2", "v2", 4, 2)
	c.settle()
	c.has("v1 v2", "v1")
	c.run("app-v2", "v2", 4, 3)
	c.spread()
	c.has("v1 v2", "v1=50 v2=50")
	c.tells()
	// In the route it stays while it has pods, ready or not.
	c.run("app-v2", "v2", 4, 0)
	c.settle()
	c.has("v1 v2", "v1=50 v2=50")
	// Without pods its share is the default's, which is weighed, too; also later.
	c.run("app-v2", "v2", 0, 0)
	c.settle()
	c.has("v1 v2", "v1")
	c.advance(time.Hour)
	c.has("v1", "v1")
	c.tells(api.RoutePendingVersions)
}

func TestBadAnnotationLeavesTheRoute(t *testing.T) {
	c := newCluster(t)
	c.fixed("app-v1", "v1", 2)
	c.fixed("app-v2", "v2", 2)
	c.annotate("weights=v1=80,v2=20", "expose=true", "hosts=app.example.com")
	c.ready()
	c.advance(time.Minute)
	c.has("v1 v2", "v1=80 v2=20")
	c.writes = nil
	c.annotate("weights=v1:50;v2:50", "hosts=not a host", "match=v2=heder:a:b")
	before := copyObjects(c.existing)
	c.advance(time.Hour)
	c.wrote(applyRule, applyRoute, "Apply VirtualService app-gateway") // all record what is in effect
	c.sameSpecs(before)
	c.tells(api.RouteInvalidAnnotation, api.RouteStillExposed)
	c.annotate("weights=v1=50,v2=50", "match-")
	c.settle()
	c.has("v1 v2", "v1=50 v2=50")
}
