// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"
	"strings"
	"time"

	"outrigger.dev/outrigger/api"
)

const (
	// youngAge is how long a workload without a ready pod counts as starting.
	youngAge = time.Minute
	// tieWindow is how far apart workloads may be created and still count as created together.
	tieWindow = 10 * time.Second
)

// decideFirst decides for a Service about which nothing is recorded, so that existing traffic is unchanged: by an explicit setting,
// or else the split that already serves, or else the oldest version that already serves, or else the first.
func (s defaultDecision) decideFirst() (defaultDecision, []finding, bool) {
	if len(s.podVersions()) == 0 {
		return s, s.unlabeled(), false
	}
	if !s.hasSettlingTimeElapsed() {
		return s, nil, false
	}
	chosen, by := s.choose()
	was, next := s.record, s
	next.record = record{Names: was.Names, Selector: was.Selector, RefusedExposure: was.RefusedExposure, LastValid: was.LastValid, History: was.History}
	if !s.reselected {
		next.record.Weights, next.record.Adopted, next.record.Provisional, next.record.Kept = was.Weights, was.Adopted, was.Provisional, was.Kept
	}
	next.otherWorkloads = nil
	if chosen.isZero() {
		next.record.State, next.otherWorkloads = stateSplit, s.withUnseen(nil)
		return next, []finding{s.existingSplit()}, true
	}
	if pods := s.unversionedWorkloads(chosen); pods != "" {
		next.record.State = stateUndecided
		return next, []finding{s.problem(api.RouteUnversionedPods, "Ready pods of "+pods+" carry no label "+s.Intent.VersionLabel+" and would get no traffic from a default route to "+chosen.String()+"; none is written.",
			"Label their pod template, or accept it with "+s.annotate(api.AnnotationUnversioned+"=ignore")+".")}, true
	}
	next.record.Default, next.record.By = chosen, by
	if by == ByFirst && s.Settings.Settle > 0 {
		next.record.Since = timeText(s.now)
	}
	return next, nil, true
}

// hasSettlingTimeElapsed reports whether the settling time since the Service and its first pod were created has elapsed, so that
// objects that are created together are seen together. It does not apply while nothing serves: there is no traffic to protect, and
// the choice may be revised.
func (s defaultDecision) hasSettlingTimeElapsed() bool {
	if s.renewed || s.reselected || s.record.State != "" || s.nothingServes() {
		return true
	}
	var first time.Time
	for _, t := range s.withPods() {
		for _, group := range t.groups {
			if created := group.created(); first.IsZero() || created.Before(first) {
				first = created
			}
		}
	}
	if created := s.Service.CreationTimestamp.Time; created.After(first) {
		first = created
	}
	return s.waitElapsed(first, s.Settings.Settle)
}

// choose returns the default at first sight and how it was found; zero if an existing split is kept.
func (s defaultDecision) choose() (meaning, string) {
	if explicit := s.explicitDefault(); !explicit.isZero() {
		return explicit, ByUser
	}
	if s.splitServes() {
		return meaning{}, ""
	}
	if old := s.oldest(); !old.isZero() {
		return old, ByOld
	}
	return s.byPolicy(), ByFirst
}

// explicitDefault returns the Service's own default-version, or the default that its weights imply, if they can be followed.
func (s defaultDecision) explicitDefault() meaning {
	if d := s.Intent.Default; d.OnService && d.Policy != api.DefaultLiteral {
		return s.byPolicy()
	} else if d.OnService && s.isReady(s.meaningOf(d.Version)) {
		return s.meaningOf(d.Version)
	}
	return s.impliedDefault()
}

// splitServes reports whether versions of two different tracks receive traffic already.
func (s *facts) splitServes() bool {
	if !s.isOld(s.Service.CreationTimestamp.Time) {
		return false
	}
	tracks := s.withPods()
	for i, a := range tracks {
		for _, b := range tracks[i+1:] {
			if (s.isOld(a.created()) || s.isOld(b.created())) && differ(s.receivingVersions(a), s.receivingVersions(b)) {
				return true
			}
		}
	}
	return false
}

// isOld reports whether something is older than the split age.
func (s *facts) isOld(created time.Time) bool {
	return s.waitElapsed(created, s.Settings.SplitAge)
}

// receivingVersions returns the versions of a track that receive traffic without a route: ready ones, and those of an old track.
func (s *facts) receivingVersions(t track) []string {
	var out []string
	for _, group := range t.groups {
		if group.Version != "" && (group.hasReady() || s.isOld(t.created())) {
			out = append(out, group.Version)
		}
	}
	return out
}

func differ(a, b []string) bool {
	return slices.ContainsFunc(a, func(x string) bool {
		return slices.ContainsFunc(b, func(y string) bool { return x != y })
	})
}

// oldest is the version of the oldest track that serves, where one is older than the split age.
func (s *facts) oldest() meaning {
	var best *track
	for _, t := range s.withPods() {
		if s.isOld(t.created()) && len(s.receivingVersions(t)) > 0 && (best == nil || t.created().Before(best.created())) {
			best = &t
		}
	}
	if best == nil {
		return meaning{}
	}
	return s.startingFrom(*best)
}

// startingFrom returns the default that a track implies: everything that has its version.
func (s *facts) startingFrom(t track) meaning {
	version := t.newest()
	if receiving := s.receivingVersions(t); version == "" && len(receiving) > 0 {
		version = receiving[0]
	}
	if version == "" {
		return meaning{Tracks: []WorkloadRef{t.ref}}
	}
	return s.runningAs(version)
}

// byPolicy chooses by @first, @lowest, @highest or @all. A version that cannot receive requests yet is ignored.
func (s *facts) byPolicy() meaning {
	versions := s.podVersions()
	switch s.Intent.Default.Policy {
	case api.DefaultAll:
		return meaning{All: true}
	case api.DefaultLowest:
		return s.runningAs(versions[0])
	case api.DefaultHighest:
		return s.runningAs(versions[len(versions)-1])
	}
	return s.first()
}

// first returns the version of the workload that was created first; of those created together, the lowest version. While nothing
// serves, workloads without pods count as well.
func (s *facts) first() meaning {
	var candidates []track
	for _, t := range s.tracks {
		if t.firstVersion() != "" && (len(t.groups) > 0 || s.nothingServes()) {
			candidates = append(candidates, t)
		}
	}
	if len(candidates) == 0 {
		return s.runningAs(s.podVersions()[0])
	}
	earliest := slices.MinFunc(candidates, func(a, b track) int { return a.created().Compare(b.created()) }).created()
	candidates = slices.DeleteFunc(candidates, func(t track) bool { return t.created().After(earliest.Add(tieWindow)) })
	lowest := slices.MinFunc(candidates, func(a, b track) int { return CompareVersions(a.firstVersion(), b.firstVersion()) })
	return s.runningAs(lowest.firstVersion())
}

// firstVersion is the version by which a track takes part in the choice of the first default: that of its pods, or of a
// workload that was created a moment ago and whose pods do not exist yet. It must not lose the choice to a workload
// created with it because its first pod is late.
func (t track) firstVersion() string {
	if t.starts {
		return t.next
	}
	return t.newest()
}

// unversionedWorkloads names the tracks whose ready pods would get no traffic by a default route, because they have no version.
func (s *facts) unversionedWorkloads(chosen meaning) string {
	if s.Intent.IgnoreUnversioned || chosen.All {
		return ""
	}
	var names []string
	for _, t := range s.tracks {
		if slices.Contains(chosen.Tracks, t.ref) {
			continue
		}
		for _, group := range t.groups {
			if group.Version == "" && group.hasReady() {
				names = append(names, t.ref.String())
			}
		}
	}
	return strings.Join(names, ", ")
}
