// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
)

// restore lets a cluster come back from a backup hours later: every object is new, and ours name the Service of the
// backup as their owner. v2 is created first, so that only the record knows that v1 is the default.
func restore(c *cluster) {
	c.now = c.now.Add(3 * time.Hour)
	for _, object := range c.existing.All() {
		object.SetCreationTimestamp(metav1.NewTime(c.now))
	}
	annotations := c.service.Annotations
	c.createService()
	c.service.Annotations = annotations
	for _, name := range []string{"app-v2", "app-v1"} {
		c.now = c.now.Add(20 * time.Second)
		c.fixed(name, name[len("app-"):], 2)
	}
}

func TestARestoredRecordStillApplies(t *testing.T) {
	c := twoVersions(t)
	c.empty = true // v2 is ready first
	restore(c)
	c.settle()
	c.has("v1 v2", "v1")
	for _, object := range c.existing.All() {
		if owner := controllerOf(object); owner.UID != c.service.UID {
			t.Errorf("%s is owned by %s, not by the present Service", KindOf(object), owner.UID)
		}
	}
	c.ready("app-v2")
	c.advance(time.Minute)
	c.ready()
	c.advance(time.Hour)
	c.has("v1 v2", "v1")
	c.tells()
}

// Where the garbage collector was faster, the record of the deleted objects applies, and the loss is reported.
func TestACollectedRecordStillApplies(t *testing.T) {
	c := twoVersions(t)
	c.empty = true
	restore(c)
	collected := c.existing.DestinationRules[0]
	c.existing = Objects{}
	observed := c.observe()
	observed.DeletedDestinationRule = collected
	plan := Plan(observed, c.now)
	if len(plan.Objects.VirtualServices) != 1 || routesOf(plan.Objects.VirtualServices[0]) != "v1" {
		t.Errorf("the plan is\n%s", text(t, plan.Objects))
	}
	if len(plan.Problems) != 1 || plan.Problems[0].Reason != api.RouteRestored {
		t.Errorf("problems: %v", plan.Problems)
	}
}

// The garbage collector deletes one object after the other: the route may still exist when the DestinationRule is gone.
func TestARestoredRouteOutlivesItsRule(t *testing.T) {
	c := twoVersions(t)
	c.empty = true
	restore(c)
	collected := c.existing.DestinationRules[0]
	c.existing.DestinationRules = nil
	observed := c.observe()
	observed.DeletedDestinationRule = collected
	plan := Plan(observed, c.now)
	if len(plan.Objects.VirtualServices) != 1 || routesOf(plan.Objects.VirtualServices[0]) != "v1" {
		t.Errorf("the plan is\n%s", text(t, plan.Objects))
	}
	if len(plan.Problems) != 1 || plan.Problems[0].Reason != api.RouteRestored {
		t.Errorf("problems: %v", plan.Problems)
	}
}

// A Service that was deleted and created again is a new one: the record on the objects that it left does not apply.
func TestARecreatedServiceIsNoRestore(t *testing.T) {
	c := twoVersions(t)
	for _, object := range c.existing.All() {
		if IsRestored(object) {
			t.Errorf("%s counts as restored", KindOf(object))
		}
	}
}
