// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
)

// Plan says which objects the Service must have now. It reads what was recorded on the standing objects, finds the
// tracks in the pods, decides on the default, gives every rule its destinations, and renders; what cannot be written
// yet waits, and Next says until when. The same input gives the same bytes.
func Plan(observed Observed, now time.Time) Result {
	if observed.Intent.Observe {
		return observe(observed, now)
	}
	s := survey(observed, now)
	if keep, decided := s.standAside(); decided {
		return s.result(keep)
	}
	s.readTracks()
	s.relabel()
	s.tellVersionLabel()
	s.readAdopted()
	s.nameSubsets()
	s.restoreLastRan()
	s.noteForeign()
	if s.holdsRecord() {
		return s.result(s.withSubsets(observed.Standing))
	}
	if s.Intent.SubsetsOnly {
		s.noteRuleDrift()
		s.concluded = true
		return s.result(s.subsetsOnly())
	}
	if s.foreign.clash {
		return s.result(s.besideClash(observed.Standing))
	}
	s.noteRuleDrift()
	s.noteDrift()
	s.noteGatewayDrift()
	s.bindNames()
	if !s.decideDefault() {
		return s.result(s.withSubsets(observed.Standing))
	}
	s.decideExposure()
	s.decideExport()
	s.decideRules()
	s.tellAboutPods()
	s.tellTelemetry()
	s.concluded = true
	return s.result(s.render())
}

// Settled returns the objects that a Service has in the end, when every pod is ready and every waiting time is over:
// what one prints without a cluster. Nothing that only a cluster knows is missed.
func Settled(observed Observed, now time.Time) Result {
	settings := observed.Settings
	settings.Settle, settings.PropagationDelay, settings.SubsetRetention = 0, 0, 0
	settings.SplitAge = 1<<63 - 1
	observed.Settings = settings
	observed.Offline = true
	observed.Intent.Observe = false // who asks what the objects would be is told them
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
func (s *situation) result(objects Objects) Result {
	s.tellTaken()
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
		Next:      s.next,
		DependsOn: s.cluster.dependencies(),
		Pending:   s.pending,
		Problems:  slices.CompactFunc(s.problems, func(a, b api.RouteProblem) bool { return a == b }),
	}
}
