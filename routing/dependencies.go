// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"maps"
	"slices"
	"time"
)

// Dependencies is what a Result depends on of the facts that change all the time: pods and workloads. A plan notes them
// where it reads them, so that a new rule cannot forget one. The rest of Observed changes rarely, and each change of it requires
// a new plan; Result.Next is when time alone does.
type Dependencies struct {
	// OnPods is false if no rule looked at any pod.
	OnPods bool
	// VersionLabel is the label by which Pods are grouped.
	VersionLabel string
	// Pods are the groups that the plan was made from, sorted. A plan that looks at pods depends on which groups there are, and on
	// whether a pod of each is ready.
	Pods []PodDependency
	// Workloads are those that the plan depends on by their name, sorted: the owners of the pods, and those in records. It
	// depends on all whose pods the Service selects as well.
	Workloads []WorkloadRef
}

// PodDependency is a group of pods, and what the plan depends on of it, besides whether one of the pods is ready.
type PodDependency struct {
	PodGroup
	OnCounts           bool // how many pods there are, and how many of them are ready
	OnCreated          bool
	OnReadySince       bool
	OnTerminating      bool // whether all of them are terminating
	OnTerminatingCount bool // how many of them are terminating
	OnTemplates        bool
	OnRestarts         bool
}

// PodsDiffer reports whether the pods of the Service differ from those that the plan was made from in something that it depends
// on. pods is sorted as GroupPods returns it.
func (d Dependencies) PodsDiffer(pods []PodGroup) bool {
	return d.OnPods && !slices.EqualFunc(d.Pods, pods, PodDependency.isMetBy)
}

func (d PodDependency) isMetBy(now PodGroup) bool {
	return d.Workload == now.Workload && d.Version == now.Version && (d.Ready > 0) == (now.Ready > 0) &&
		(!d.OnCounts || d.Pods == now.Pods && d.Ready == now.Ready) &&
		(!d.OnCreated || d.Created.Equal(now.Created)) &&
		(!d.OnReadySince || d.ReadySince.Equal(now.ReadySince)) &&
		(!d.OnTerminating || d.allTerminating() == now.allTerminating()) &&
		(!d.OnTerminatingCount || d.Terminating == now.Terminating) &&
		(!d.OnTemplates || d.Templates == now.Templates) &&
		(!d.OnRestarts || d.Restarts == now.Restarts)
}

func (g PodGroup) allTerminating() bool { return g.Pods <= g.Terminating }

// OnWorkload reports whether the plan depends on a workload by its name.
func (d Dependencies) OnWorkload(ref WorkloadRef) bool {
	_, found := slices.BinarySearchFunc(d.Workloads, ref, compareRefs)
	return found
}

// podGroup is a PodGroup as the rules see it. Each method but hasReady notes that the result depends on what it returns.
type podGroup struct {
	Workload WorkloadRef
	Version  string
	read     *PodDependency
}

func (p podGroup) hasReady() bool { return p.read.Ready > 0 }

func (p podGroup) counts() (all, ready int) {
	p.read.OnCounts = true
	return p.read.Pods, p.read.Ready
}

func (p podGroup) created() time.Time {
	p.read.OnCreated = true
	return p.read.Created
}

// readySince returns the zero time if no pod is ready.
func (p podGroup) readySince() time.Time {
	p.read.OnReadySince = true
	return p.read.ReadySince
}

func (p podGroup) allTerminating() bool {
	p.read.OnTerminating = true
	return p.read.allTerminating()
}

func (p podGroup) templates() []string {
	p.read.OnTemplates = true
	return splitList(p.read.Templates)
}

// restarts returns the restarts by pod; nil if no container has restarted.
func (p podGroup) restarts() map[string]string {
	p.read.OnRestarts = true
	return parsePairs(p.read.Restarts)
}

// terminating returns how many of the pods are terminating. It is part of the counts.
func (p podGroup) terminating() int {
	p.read.OnCounts, p.read.OnTerminatingCount = true, true
	return p.read.Terminating
}

// podsAndWorkloads is the only way in which rules reach the observed pods and workloads, and compare times with now. It notes what
// they read.
type podsAndWorkloads struct {
	observed  Observed
	read      Dependencies
	next      time.Time            // the earliest of the times to come that now was compared with; zero if there is none
	workloads map[WorkloadRef]bool // that were looked up by name
}

func newPodsAndWorkloads(observed Observed) *podsAndWorkloads {
	p := &podsAndWorkloads{observed: observed, workloads: map[WorkloadRef]bool{}}
	p.read.VersionLabel = observed.Intent.VersionLabel
	for _, group := range observed.Pods {
		p.read.Pods = append(p.read.Pods, PodDependency{PodGroup: group})
	}
	return p
}

// all returns the observed groups of pods.
func (p *podsAndWorkloads) all() []podGroup {
	p.read.OnPods = true
	out := make([]podGroup, len(p.read.Pods))
	for i := range p.read.Pods {
		read := &p.read.Pods[i]
		out[i] = podGroup{Workload: read.Workload, Version: read.Version, read: read}
	}
	return out
}

// workload returns a workload by its name.
func (p *podsAndWorkloads) workload(ref WorkloadRef) (Workload, bool) {
	p.workloads[ref] = true
	at := slices.IndexFunc(p.observed.Workloads, func(w Workload) bool { return w.WorkloadRef == ref })
	if at < 0 {
		return Workload{}, false
	}
	return p.observed.Workloads[at], true
}

// selected returns the workloads whose pods the Service selects.
func (p *podsAndWorkloads) selected() []Workload {
	return slices.DeleteFunc(slices.Clone(p.observed.Workloads), func(w Workload) bool { return !Selects(p.observed.Service.Spec.Selector, w.Labels) })
}

// readTime notes that the result may differ at a time to come.
func (p *podsAndWorkloads) readTime(at time.Time) {
	if p.next.IsZero() || at.Before(p.next) {
		p.next = at
	}
}

// dependencies returns what was read so far.
func (p *podsAndWorkloads) dependencies() Dependencies {
	out := p.read
	out.Pods = slices.SortedFunc(slices.Values(p.read.Pods), func(a, b PodDependency) int { return comparePods(a.PodGroup, b.PodGroup) })
	out.Workloads = slices.SortedFunc(maps.Keys(p.workloads), compareRefs)
	return out
}
