// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"testing"
	"time"

	"outrigger.dev/outrigger/api"
)

// While nothing behind a Service is ready, subsets and route are written together, before the first pod can serve.
func TestTheRouteIsThereBeforeTheFirstPodIsReady(t *testing.T) {
	c := newCluster(t)
	c.settle()
	c.wrote()
	c.rolling("two", "v2", 1)
	c.settle()
	c.has("v2", "-")
	c.wrote(createRule, createRoute)
	c.advance(300 * time.Millisecond)
	c.rolling("one", "v1", 1)
	c.settle()
	c.has("v1 v2", "v1")
	c.wrote(applyRule, applyRoute)
	c.empty = true // v2 is ready first, and waits
	c.ready("two")
	c.advance(time.Hour)
	c.has("v1 v2", "v1")
	c.wrote()
}

// A workload whose first pod is late does not lose the choice to one that was created with it.
func TestAWorkloadWhosePodsAreLateIsTheFirstAllTheSame(t *testing.T) {
	c := newCluster(t)
	c.empty = true // v2 is ready first
	c.fixed("app-v1", "v1", 1)
	c.run("app-v1", "v1", 0, 0)
	c.fixed("app-v2", "v2", 1)
	c.settle()
	c.has("v1 v2", "v1")
	c.advance(10 * time.Second)
	c.run("app-v1", "v1", 1, 0)
	c.ready("app-v2")
	c.advance(time.Hour)
	c.has("v1 v2", "v1")
	c.ready()
	c.advance(time.Hour)
	c.has("v1 v2", "v1")
	c.tells()
}

// A workload that wants no pods, or has had none for a minute, is no candidate.
func TestAWorkloadWithoutPodsIsNotTheFirst(t *testing.T) {
	scaled := newCluster(t)
	scaled.fixed("app-v1", "v1", 0)
	scaled.fixed("app-v2", "v2", 1)
	scaled.settle()
	scaled.has("v2", "v2")

	stuck := newCluster(t)
	stuck.fixed("app-v1", "v1", 1)
	stuck.run("app-v1", "v1", 0, 0)
	stuck.settle()
	stuck.now = stuck.now.Add(2 * time.Minute)
	stuck.fixed("app-v2", "v2", 1)
	stuck.settle()
	stuck.has("v2", "v2")
}

// Where something serves, or may serve out of sight, subsets are shown to the proxies before a route names them.
func TestWhatServesIsProtectedByTheDelay(t *testing.T) {
	for name, setup := range map[string]func(c *cluster){
		"a ready pod": func(c *cluster) { c.ready("one") },
		"a WorkloadEntry": func(c *cluster) {
			c.pods[WorkloadRef{Kind: kindEntry, Name: "vm"}] = map[string]*PodGroup{"v1": {
				Workload: WorkloadRef{Kind: kindEntry, Name: "vm"}, Version: "v1", Pods: 1, Ready: 1, Created: c.now, ReadySince: c.now}}
		},
		"a pod without a version": func(c *cluster) { c.rolling("plain", "", 1); c.ready("plain") },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.fixed("one", "v1", 1)
			c.fixed("two", "v2", 1)
			setup(c)
			c.settle()
			c.has("", "none")
			c.advance(c.settings.Settle)
			if c.routes("app") != "none" {
				t.Errorf("routes %s before the subsets have been there for the delay", c.routes("app"))
			}
		})
	}
	c := newCluster(t)
	c.several = true
	c.fixed("one", "v1", 1)
	c.annotate("default-version=v1")
	c.settle()
	c.has("", "none")
}

// A default that nobody chose stays once its record has settled, however young all workloads are: kubectl replace --force,
// kubectl delete --all and apply, and a restored namespace make all of them young again.
func TestARecordedDefaultOutlivesItsWorkloads(t *testing.T) {
	for _, order := range [][2]string{{"app-v1", "app-v2"}, {"app-v2", "app-v1"}} {
		c := newCluster(t)
		c.empty = true // v2 alone is ready for a while
		c.fixed("app-v2", "v2", 1)
		c.ready()
		c.advance(time.Hour)
		c.fixed("app-v1", "v1", 1)
		c.ready()
		c.advance(time.Hour)
		c.has("v1 v2", "v2")
		for _, name := range order {
			c.remove(name)
			c.gone(name)
		}
		c.settle()
		for _, name := range order {
			c.fixed(name, name[len("app-"):], 1)
			c.settle()
			c.advance(3 * time.Second)
		}
		c.ready()
		c.advance(time.Hour)
		c.has("v1 v2", "v2")
		c.tells()
	}
}

// Records of earlier releases carry no time. They count as settled.
func TestARecordWithoutATimeIsNotRevised(t *testing.T) {
	c := newCluster(t)
	c.fixed("app-v2", "v2", 1)
	c.settle()
	for _, object := range c.existing.All() {
		r := recordOf(object)
		if r.Since == "" {
			t.Fatalf("%s has no time in its record", KindOf(object))
		}
		r.Since, r.Revision = "", 0
		object.GetAnnotations()[api.AnnotationRecord] = r.text()
		delete(object.GetAnnotations(), api.AnnotationSeal)
	}
	c.fixed("app-v1", "v1", 1)
	c.settle()
	c.has("v1 v2", "v2")
}

// After an interruption during a rollout next to other workloads, the old version may have no pod left. Its share fails
// until the route names the new subset, so the route does not wait for the propagation delay.
func TestAFailingShareIsMovedAtOnce(t *testing.T) {
	c := newCluster(t)
	c.rolling("app", "v1", 2)
	c.ready()
	c.advance(time.Minute)
	c.fixed("other", "v9", 1)
	c.ready()
	c.advance(time.Hour)
	c.has("v1 v9", "v1")
	c.writes = nil
	// Nobody plans while the leader is replaced.
	c.template("app", "v2")
	c.run("app", "v2", 2, 2)
	c.run("app", "v1", 0, 0)
	c.settle()
	c.has("v1 v2 v9", "v2")
	c.wrote(applyRule, applyRoute)

	// While a pod of the old version is ready, the delay protects its share.
	c.template("app", "v3")
	c.run("app", "v3", 2, 2)
	c.run("app", "v2", 1, 1)
	c.settle()
	if got := c.routes("app"); got != "v2" {
		t.Errorf("routes %s before the subset v3 has been there for the delay", got)
	}
}
