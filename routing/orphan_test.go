// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"testing"
	"time"

	"outrigger.dev/outrigger/api"
)

// Deleting a workload with --cascade=orphan leaves its pods, which serve on. It is not a deletion of the version.
func TestOrphanedPodsKeepTheDefault(t *testing.T) {
	for _, test := range []struct {
		name   string
		kind   string
		deploy func(c *cluster, name, version string, replicas int)
		route  string // before, while and after the pods are orphans
	}{
		{"Deployment with the version in its selector", "", (*cluster).fixed, "v1"},
		{"Deployment whose version changes in place", "", (*cluster).rolling, "v1"},
		{"StatefulSet", "StatefulSet", (*cluster).rolling, "v1"},
		{"DaemonSet", "DaemonSet", (*cluster).rolling, "v1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCluster(t)
			c.kinds["one"] = test.kind
			test.deploy(c, "one", "v1", 2)
			c.ready()
			c.advance(10 * time.Second)
			c.fixed("two", "v2", 2)
			c.ready()
			c.advance(10 * time.Minute)
			c.has("v1 v2", test.route)

			c.orphan("one")
			c.advance(10 * time.Minute)
			c.has("v1 v2", test.route)
			c.tells()
			test.deploy(c, "one", "v1", 2) // it adopts the pods
			c.ready()
			c.advance(10 * time.Minute)
			c.has("v1 v2", test.route)
			c.tells()

			// The same deletion with the pods counts as one.
			c.remove("one")
			c.settle()
			c.has("v1 v2", "v2")
			c.tells(api.RouteDefaultVersionGone)
		})
	}
}

// While some pods of a deleted workload are not terminating yet, the route waits for them.
func TestADeletionCountsOncePodsTerminate(t *testing.T) {
	c := twoVersions(t)
	c.orphan("app-v1")
	c.settle()
	c.has("v1 v2", "v1")
	group := c.pods[c.ref("app-v1")]["v1"]
	group.Terminating, group.Ready = 1, 1
	c.settle()
	c.has("v1 v2", "v1")
	// A pod on a lost node terminates until the node returns, and serves nobody.
	group.Terminating, group.Ready = 2, 0
	c.settle()
	c.has("v1 v2", "v2")
}

// An orphaned version keeps its share in the weights, and a split keeps its versions.
func TestOrphanedPodsKeepTheirShare(t *testing.T) {
	c := twoVersions(t)
	c.annotate("weights=v1=60,v2=40")
	c.advance(time.Minute)
	c.has("v1 v2", "v1=60 v2=40")
	c.orphan("app-v2")
	c.advance(10 * time.Minute)
	c.has("v1 v2", "v1=60 v2=40")
	c.tells()

	split := newCluster(t)
	split.fixed("app-v1", "v1", 1)
	split.fixed("app-v2", "v2", 1)
	split.ready()
	split.now = split.now.Add(time.Hour)
	split.settle()
	split.has("v1 v2", "none")
	split.orphan("app-v2")
	split.advance(time.Hour)
	split.has("v1 v2", "none")
}
