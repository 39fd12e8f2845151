// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"
	"strings"

	"outrigger.dev/outrigger/api"
)

func (s *facts) existingSplit() finding {
	versions := s.podVersions()
	return s.problem(api.RoutePreexistingSplit, "Versions "+strings.Join(versions, ", ")+" already received traffic before Outrigger. They keep it, new versions receive traffic as well, and no route is written.", s.deciding(versions))
}

// withUnseen adds workloads in a split of kinds that are not watched, so that one without pods does not count as deleted.
func (s *facts) withUnseen(workloads []string) []string {
	for _, t := range s.withPods() {
		if !t.ref.listed() {
			workloads = withWorkload(workloads, t.ref)
		}
	}
	return workloads
}

// endSplit ends a split when the user sets a default or weights, or when only one track or one version is left. Readiness, scaling,
// and restarts do not end it.
func (s defaultDecision) endSplit() (defaultDecision, []finding) {
	explicit := meaning{}
	switch d := s.Intent.Default; {
	case d.OnService && d.Policy == api.DefaultLiteral && s.isEffective(s.meaningOf(d.Version)):
		explicit = s.meaningOf(d.Version)
	case d.OnService && d.Policy != api.DefaultLiteral && len(s.podVersions()) > 0:
		explicit = s.byPolicy()
	default:
		explicit = s.impliedDefault()
	}
	if !explicit.isZero() && s.usableNow(explicit) && (explicit.All || s.isSeenReady(explicit)) {
		return s.withDefaultOfSplit(explicit, ByUser), nil
	}
	if left := s.leftOfSplit(); !left.isZero() && s.usableNow(left) {
		return s.withDefaultOfSplit(left, ByLeft), nil
	}
	next := s
	next.otherWorkloads = s.withUnseen(s.otherWorkloads)
	return next, []finding{s.existingSplit()}
}

func (s defaultDecision) withDefaultOfSplit(m meaning, by string) defaultDecision {
	next := s
	next.record.State, next.record.Default, next.record.By, next.otherWorkloads = "", m, by, nil
	return next
}

// leftOfSplit is what remains when all tracks but one, or all but those of one version, are deleted.
func (s defaultDecision) leftOfSplit() meaning {
	var tracks []track
	versions := map[string]bool{}
	for _, t := range s.tracks {
		if t.isDeleted() {
			continue
		}
		tracks = append(tracks, t)
		for _, version := range t.versions() {
			versions[version] = true
		}
	}
	for _, name := range s.otherWorkloads {
		if !slices.ContainsFunc(tracks, func(t track) bool { return t.ref.String() == name }) {
			return meaning{}
		}
	}
	if len(tracks) == 0 || len(tracks) > 1 && (len(versions) > 1 || versions[""] || !s.lostVersion(versions)) {
		return meaning{}
	}
	return s.wholeTracks(tracks)
}

// lostVersion reports whether there is a subset for a version that none of the remaining tracks has. Without one, nothing was
// deleted.
func (s *facts) lostVersion(left map[string]bool) bool {
	for _, subset := range s.ownSubsets() {
		if version := s.subsets.versions[subset]; findSubset(s.ours.destinationRule, subset) != nil && version != "" && !left[version] {
			return true
		}
	}
	return false
}

// wholeTracks is the meaning that includes these tracks: fixed ones by their version.
func (s *facts) wholeTracks(tracks []track) meaning {
	var m meaning
	for _, t := range tracks {
		if t.fixed {
			m.Version = t.next
		} else {
			m.Tracks = append(m.Tracks, t.ref)
		}
	}
	return m
}
