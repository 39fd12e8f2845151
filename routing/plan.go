// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
)

// Plan returns the objects that the Service must have now. The same input gives the same bytes.
//
// It works in three steps. The facts are read from what was observed; some of them end the plan, since nothing can or may be decided.
// The decision is made in the order in which its parts depend on each other: the default, who may reach the Service through which
// gateway, and which versions each rule of the route sends requests to. The objects are rendered from both. What cannot be written yet
// waits, and Result.Next says until when.
func Plan(observed Observed, now time.Time) Result {
	reads := newPodsAndWorkloads(observed)
	if observed.Intent.Observe {
		return observe(observed, now, reads)
	}
	return plan(observed, now, reads)
}

func plan(observed Observed, now time.Time, reads *podsAndWorkloads) Result {

	// Facts.
	s := survey(observed, now, reads)
	if objects, ends := s.skip(); ends {
		return s.result(objects)
	}
	s.readTracks()
	s.relabel()
	s.reportVersionLabel()
	s.readAdopted()
	s.nameSubsets()
	s.restoreLastRan()
	s.noteForeign()
	if s.holdRecord() {
		return s.result(s.withSubsets(observed.Existing))
	}
	if s.Intent.SubsetsOnly {
		s.noteRuleDrift()
		s.concluded = true
		return s.result(s.subsetsOnly())
	}
	if s.foreign.clash {
		return s.result(s.besideClash(observed.Existing))
	}
	s.noteRuleDrift()
	s.noteDrift()
	s.noteGatewayDrift()

	// Decision.
	if !s.decide() {
		return s.result(s.withSubsets(observed.Existing))
	}
	s.concluded = true

	// Objects.
	return s.result(s.render())
}

// decide makes the decision. It returns false if nothing can be decided yet; then nothing is written.
func (s *planner) decide() bool {
	s.bindNames()
	if !s.decideDefault() {
		return false
	}
	s.decideExposure()
	s.decideExport()
	s.decideRules()
	s.reportAboutPods()
	s.reportTelemetry()
	return true
}

// decision is what the plan has decided so far.
type decision struct {
	record   record // as recorded, then as it is to be recorded
	recorded bool   // false at first sight

	formerNames map[string]meaning // what names meant when the route was written last
	waiting     []string           // workloads that are known and not the default's, by WorkloadRef.String()

	defaultChosen bool // the user's word has moved the default just now
	reselected    bool // the Service selects other pods: the destination gives up its subset at once
	gone          goneDefault
	unready       time.Time // since when the default has no ready pod, where that is to end
	holdReported  bool      // what happens to a default without a ready pod is reported

	rules   []rule
	absent  []string // weighed versions without pods whose share the default has
	left    stamps   // subsets that routes of ours name no more, since when: of those that stand, then of those to be
	noRoute bool     // no route for the mesh is created
	unsplit bool     // split, undecided or endpoints elsewhere: destinations name no version

	exposure   exposure
	servedNow  currentExposure // the exposure that our objects serve now
	refused    []refusal
	frozen     bool     // the objects of the current exposure stay as they are
	keptHosts  []string // wildcards that an earlier release exposed and that the installation no longer allows
	unrecorded bool     // and nothing says what it was written for
	exportTo   []string // of all our objects; nil = as the mesh has it

	unsealed  []Object // that are written as they are
	concluded bool     // the plan is whole: nothing is held back but what waits for time
}

// planner is one plan on its way: from the facts to the decision, and from there to the objects.
type planner struct {
	facts
	decision
	problems []api.RouteProblem
	pending  []Pending // what is written and not in effect
}

// Settled returns the objects that a Service has in the end, when every pod is ready and every waiting time is over:
// what one prints without a cluster. Nothing that only a cluster knows is missed.
func Settled(observed Observed, now time.Time) Result {
	settings := observed.Settings
	settings.Settle, settings.PropagationDelay, settings.SubsetRetention = 0, 0, 0
	settings.SplitAge = 1<<63 - 1
	observed.Settings = settings
	observed.Offline = true
	observed.Intent.Observe = false // print the objects
	observed.Service = observed.Service.DeepCopy()
	observed.Service.CreationTimestamp = metav1.NewTime(created(observed.Service.CreationTimestamp.Time, now))
	observed.Pods, observed.Workloads = slices.Clone(observed.Pods), slices.Clone(observed.Workloads)
	for i, group := range observed.Pods {
		observed.Pods[i].Ready, observed.Pods[i].Created = group.Pods, created(group.Created, now)
	}
	for i, w := range observed.Workloads {
		observed.Workloads[i].Created = created(w.Created, now)
	}
	return Plan(observed, now)
}

// created is when an object was created; one that never was is new.
func created(at, now time.Time) time.Time {
	if at.IsZero() {
		return now
	}
	return at
}

// RecordedWorkloads returns the workloads that the records on our objects name, sorted: their existence matters also
// when none of their pods is left.
func RecordedWorkloads(objects Objects) []WorkloadRef {
	var out []WorkloadRef
	for _, object := range objects.all() {
		out = append(out, recordOf(object).workloads()...)
	}
	slices.SortFunc(out, compareRefs)
	return slices.Compact(out)
}

// result sorts what was found.
func (s *planner) result(objects Objects) Result {
	s.reportReplaced()
	slices.SortStableFunc(s.problems, compareProblems)
	slices.SortStableFunc(s.pending, func(a, b Pending) int { return strings.Compare(a.Key, b.Key) })
	objects.DestinationRules = asObserved(s, objects.DestinationRules)
	objects.VirtualServices = asObserved(s, objects.VirtualServices)
	objects.Gateways = asObserved(s, objects.Gateways)
	s.sealAll(objects)
	release := s.releases(objects)
	return Result{
		Objects:   objects.sorted(),
		Release:   release,
		Next:      s.cluster.next,
		DependsOn: s.cluster.dependencies(),
		Pending:   s.pending,
		Problems:  slices.CompactFunc(s.problems, func(a, b api.RouteProblem) bool { return a == b }),
	}
}
