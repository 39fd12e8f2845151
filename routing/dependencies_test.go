// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"bytes"
	"fmt"
	"math/rand"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// checkDependencies checks, for one plan in ten, that no change of pods and workloads outside of DependsOn changes the result.
func (c *cluster) checkDependencies(observed Observed, result Result) {
	c.t.Helper()
	if c.plans++; c.plans%10 != 0 {
		return
	}
	random := rand.New(rand.NewSource(c.now.UnixNano()))
	pods, what := otherPods(observed.Pods, result.DependsOn, random)
	if what == "" {
		return
	}
	on := result.DependsOn
	observed.Pods, observed.Workloads = pods, otherWorkloads(observed, on, random)
	other := Plan(observed, c.now)
	result.DependsOn, other.DependsOn = Dependencies{}, Dependencies{}
	if !bytes.Equal(bytesOf(c.t, result), bytesOf(c.t, other)) {
		c.t.Fatalf("the result depends on %s and does not say so:\n%s\n%+v", what, cmp.Diff(text(c.t, result), text(c.t, other)), on)
	}
}

// otherPods changes what DependsOn does not mention.
func otherPods(pods []PodGroup, on Dependencies, random *rand.Rand) (out []PodGroup, what string) {
	if !on.OnPods {
		return []PodGroup{{Workload: deploymentRef("other"), Version: "v9", Pods: 2, Ready: 1}}, "pods at all"
	}
	out = slices.Clone(pods)
	for i := range out {
		group := &out[i]
		at := slices.IndexFunc(on.Pods, func(d PodDependency) bool { return d.Workload == group.Workload && d.Version == group.Version })
		read, was := on.Pods[at], *group
		if !read.OnCounts {
			if group.Pods = 1 + random.Intn(4); group.Ready > 0 {
				group.Ready = 1 + random.Intn(4)
				group.Pods = group.Ready + random.Intn(4)
			}
		}
		if group.Terminating = random.Intn(group.Pods - group.Ready + 1); read.OnTerminating && was.allTerminating() != group.allTerminating() {
			group.Terminating = was.Terminating + group.Pods - was.Pods
		}
		if !read.OnCreated {
			group.Created = group.Created.Add(time.Duration(random.Intn(1000)-500) * time.Second)
		}
		if !read.OnReadySince && group.Ready > 0 {
			group.ReadySince = group.ReadySince.Add(time.Duration(random.Intn(100)-50) * time.Second)
		}
		if !read.OnTemplates {
			group.Templates = fmt.Sprint("template-", random.Intn(3))
		}
		if !read.OnRestarts {
			group.Restarts = fmt.Sprint("pod=", 1+random.Intn(9))
		}
		if *group != was {
			what += fmt.Sprintf("%+v, which was %+v; ", *group, was)
		}
	}
	if on.PodsDiffer(slices.SortedFunc(slices.Values(out), comparePods)) {
		return nil, ""
	}
	return out, what
}

// otherWorkloads leaves out what DependsOn does not mention, and adds something.
func otherWorkloads(observed Observed, on Dependencies, random *rand.Rand) []Workload {
	out := slices.DeleteFunc(slices.Clone(observed.Workloads), func(w Workload) bool {
		return !on.OnWorkload(w.WorkloadRef) && !Selects(observed.Service.Spec.Selector, w.Labels) && random.Intn(2) == 0
	})
	if other := deploymentRef("other"); !on.OnWorkload(other) {
		out = append(out, Workload{WorkloadRef: other, Created: observed.Service.CreationTimestamp.Time, Replicas: 1, Labels: map[string]string{"version": "v9"}})
	}
	return out
}

// In the ordinary state, replicas that come and go change nothing; and what a rule reads is noted.
func TestDependencies(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(c *cluster)
		differ bool
	}{
		{"one more replica", func(c *cluster) { c.run("a", "v1", 3, 3) }, false},
		{"one ready replica less", func(c *cluster) { c.run("a", "v1", 2, 1) }, false},
		{"no ready replica", func(c *cluster) { c.run("a", "v1", 2, 0) }, true},
		{"no pods", func(c *cluster) { c.run("b", "v2", 0, 0) }, true},
		{"another version", func(c *cluster) { c.fixed("c", "v3", 1) }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCluster(t)
			c.fixed("a", "v1", 2)
			c.ready()
			c.advance(time.Hour)
			c.settle()
			c.fixed("b", "v2", 4)
			c.ready()
			c.settle()
			c.advance(time.Hour)
			c.settle()
			on := c.plan(c.observe()).DependsOn
			test.change(c)
			if got := on.PodsDiffer(c.observe().Pods); got != test.differ {
				t.Errorf("differ is %v, want %v; %+v", got, test.differ, on)
			}
		})
	}
	t.Run("ready pods where a share follows them", func(t *testing.T) {
		c := newCluster(t)
		c.rolling("a", "v1", 4)
		c.fixed("b", "v9", 1)
		c.annotate("default-version=v1")
		c.ready()
		c.advance(time.Hour)
		c.settle()
		c.template("a", "v2")
		c.run("a", "v2", 2, 2)
		c.settle()
		c.advance(time.Hour)
		c.settle()
		on := c.plan(c.observe()).DependsOn
		c.run("a", "v1", 3, 3)
		if !on.PodsDiffer(c.observe().Pods) {
			t.Errorf("one ready pod less of four makes no difference: %+v", on)
		}
	})
	t.Run("pods of a version that waits for them", func(t *testing.T) {
		c := newCluster(t)
		c.fixed("a", "v1", 2)
		c.ready()
		c.advance(time.Hour)
		c.settle()
		c.fixed("b", "v2", 4)
		c.annotate("default-version=v2")
		c.run("b", "v2", 4, 1)
		c.settle()
		on := c.plan(c.observe()).DependsOn
		c.run("b", "v2", 4, 2)
		if !on.PodsDiffer(c.observe().Pods) {
			t.Errorf("a second ready pod of four makes no difference: %+v", on)
		}
		if !on.OnWorkload(deploymentRef("a")) || !on.OnWorkload(deploymentRef("b")) || on.OnWorkload(deploymentRef("other")) {
			t.Errorf("it depends on %v", on.Workloads)
		}
	})
}
