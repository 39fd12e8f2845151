// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"math"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Plan returns the objects that the Service must have now. The same input gives the same bytes.
//
// It works in three steps. It reads facts from what was observed; some facts end the plan early (endWithoutRoutes,
// endWithoutDecision). It decides from the facts: see decide. It renders the objects from both; rendering still decides what
// depends on whole objects: the limits of sizes and subsets, and which objects are deferred because a subset, or the visibility of
// the DestinationRule, is too new. Two modes replace the result of these steps: observe shows it without writing it, and freeze keeps
// the routes. Result.Next is when to plan again.
func Plan(observed Observed, now time.Time) Result {
	reads := newPodsAndWorkloads(observed)
	if observed.Intent.Observe {
		return observe(observed, now, reads)
	}
	s, end := conclude(observed, now, reads)
	if s.isFrozen() {
		return s.freeze(end)
	}
	return s.result(end)
}

func plan(observed Observed, now time.Time, reads *podsAndWorkloads) Result {
	s, end := conclude(observed, now, reads)
	return s.result(end)
}

// conclude makes the part of a plan that does not depend on a freeze.
func conclude(observed Observed, now time.Time, reads *podsAndWorkloads) (*reader, planEnd) {
	// Facts.
	s := read(observed, now, reads)
	if end, ends := s.endWithoutRoutes(); ends {
		return s, end
	}
	s.interpret()
	if end, ends := s.endWithoutDecision(); ends {
		return s, end
	}
	s.judgeEdits()

	// Decision.
	decided, found, ok := decide(&s.facts)
	if !ok {
		end := decided.unchanged()
		end.found = append(end.found, found...)
		return s, end
	}

	// Objects.
	objects, limits := render(decided)
	end := planEnd{objects: objects, found: append(found, limits...), isConcluded: true, transitions: decided.canaryTransitions(), latest: decided.latestTransition(), canary: decided.canaryStatus()}
	if s.isFrozen() {
		kept := decided
		end.decided = &kept
	}
	return s, end
}

// interpret reads what the pods, workloads, records, and foreign objects mean.
func (s *reader) interpret() {
	s.readTracks()
	s.relabel()
	s.reportVersionLabel()
	s.readAdopted()
	s.nameSubsets()
	s.restoreLastRan()
	s.noteForeign()
}

// endWithoutDecision ends the plan where the whole decision may not be made: no record can be trusted, no route is wanted (subsetsOnly
// still decides visibility and policy), or a foreign DestinationRule gives our subset names other labels (endOnSubsetConflict still
// decides what an edited route is restored to).
func (s *reader) endWithoutDecision() (planEnd, bool) {
	switch {
	case s.holdRoute():
		return s.recordedOutcome().unchanged(), true
	case s.Intent.SubsetsOnly:
		return s.subsetsOnly(), true
	case s.foreign.clash:
		return s.endOnSubsetConflict(), true
	}
	return planEnd{}, false
}

// judgeEdits finds what another client edited in our objects, and judges each edit: it is adopted, it is reverted, or the object is no
// longer written.
func (s *reader) judgeEdits() {
	s.found = append(s.found, s.destinationRuleDrift()...)
	s.judgeRouteEdits()
	s.judgeGatewayEdit()
}

// planEnd is how a plan ends.
type planEnd struct {
	objects     Objects
	found       []finding
	unsealed    Object // an object that is written as it is; nil if there is none
	isConcluded bool   // everything is planned except what waits for a time
	transitions []CanaryTransition
	latest      *CanaryTransition
	canary      *CanaryStatus
	decided     *outcome // during a freeze; nil if nothing was decided
}

// finish combines how a plan ends with what reading found.
func (s *facts) finish(end planEnd, found []finding) Result {
	found = slices.Concat(found, end.found, s.replacedByUser())
	objects := end.objects
	objects.DestinationRules = asObserved(s, objects.DestinationRules)
	objects.VirtualServices = asObserved(s, objects.VirtualServices)
	objects.Gateways = asObserved(s, objects.Gateways)
	s.sealAll(objects, end.unsealed)
	out := Result{Objects: objects.sorted(), Release: s.releases(objects, end.isConcluded), Next: s.cluster.next, DependsOn: s.cluster.dependencies(), Transitions: end.transitions, Latest: end.latest, Canary: end.canary}
	for _, f := range found {
		if f.superseded != nil {
			out.Superseded = append(out.Superseded, *f.superseded)
			continue
		}
		if out.Problems = append(out.Problems, f.RouteProblem); f.pending != nil {
			out.Pending = append(out.Pending, *f.pending)
		}
	}
	slices.SortStableFunc(out.Problems, compareProblems)
	out.Problems = slices.Compact(out.Problems)
	slices.SortStableFunc(out.Pending, func(a, b Pending) int { return strings.Compare(a.Key, b.Key) })
	slices.SortStableFunc(out.Superseded, func(a, b Superseded) int { return strings.Compare(a.Key, b.Key) })
	return out
}

func (s *reader) result(end planEnd) Result { return s.finish(end, s.found) }

// PlanOffline returns the objects that a Service has when every pod is ready and every wait has ended, to print them without a
// cluster.
func PlanOffline(observed Observed, now time.Time) Result {
	settings := observed.Settings
	settings.Settle, settings.PropagationDelay, settings.SubsetRetention = 0, 0, 0
	settings.SplitAge = math.MaxInt64 // no split is old enough to be kept
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
