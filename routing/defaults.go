// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"maps"
	"slices"

	"outrigger.dev/outrigger/api"
)

// decideDefault decides which version receives the requests that no other rule claims: that of an explicit setting, or else the recorded
// one, or else the one found at first sight. It returns false if nothing can be decided yet.
func (s *facts) decideDefault() (defaultDecision, []finding, bool) {
	c := s.recordedOutcome().defaultDecision
	c.record.Names = s.bindNames()
	c = c.followSelector().followKinds()
	var found, moved, failed []finding
	switch {
	case !c.isRecorded || c.record.State == stateUndecided:
		first, notes, ok := c.decideFirst()
		if !ok {
			return c, notes, false
		}
		c, found = first, notes
	case c.record.State == stateSplit:
		c, found = c.endSplit()
	default:
		c, found = c.followAnnotation()
	}
	if c.record.State != "" {
		return c, found, true
	}
	c = c.admitNewcomers()
	c, moved = c.replaceDeletedDefault()
	c, failed = c.failOver()
	return c, slices.Concat(found, moved, failed), true
}

// followSelector notices that the Service selects other pods than when the record was made. If none of the default's is
// among them, the user has chosen another default: blue-green by hand.
func (s defaultDecision) followSelector() defaultDecision {
	next, hash := s, selectorHash(s.Service.Spec.Selector, s.Intent.VersionLabel)
	if s.isRecorded && s.record.Selector != hash && s.record.State == "" && !s.hasPods(s.record.Default) {
		next.reselected, next.isRecorded = true, false
	}
	next.record.Selector = hash
	return next
}

// followKinds keeps the recorded default in its form: a workload that was created again with the version in its selector
// is fixed now, and the other way round.
func (s defaultDecision) followKinds() defaultDecision {
	next := s
	m := s.fixedByNow(s.record.Default)
	if len(m.Tracks) > 0 && !slices.ContainsFunc(s.tracks, func(t track) bool { return t.exists && t.fixed && slices.Contains(t.versions(), m.Version) }) {
		m.Version = ""
	}
	next.record.Default, next.record.Failed = m, s.fixedByNow(s.record.Failed)
	next.record.Weights, next.record.Mirrors, next.record.Kept = s.fixedWeights(s.record.Weights), s.fixedWeights(s.record.Mirrors), maps.Clone(s.record.Kept)
	for condition, kept := range s.record.Kept {
		next.record.Kept[condition] = s.fixedByNow(kept)
	}
	return next
}

func (s *facts) fixedWeights(weights effectiveWeights) effectiveWeights {
	out := slices.Clone(weights)
	for i, w := range out {
		out[i].bound = s.fixedByNow(w.bound)
	}
	return out
}

// fixedByNow replaces tracks that were rolling, and have the version in their selector now, by that version.
func (s *facts) fixedByNow(m meaning) meaning {
	var rolling []WorkloadRef
	version := m.Version
	for _, ref := range m.Tracks {
		t, seen := s.trackOf(ref)
		if !seen || !t.exists || !t.fixed {
			rolling = append(rolling, ref)
			continue
		}
		if version != "" && version != t.next {
			return m // no one version includes them all
		}
		version = t.next
	}
	m.Version = version
	m.Tracks = rolling
	return m
}

// followAnnotation applies an explicit default-version to a recorded default: a version that can receive requests, or a policy.
func (s defaultDecision) followAnnotation() (defaultDecision, []finding) {
	if s.hasFailed() && (s.record.FailedChoice == s.choiceHash() || s.isChoicePending()) {
		return s, nil // a failed default returns only by a new setting that can be followed
	}
	if s.invalid[api.AnnotationDefaultVersion] {
		return s, nil
	}
	if d := s.Intent.Default; s.record.Default.All && d.Policy != api.DefaultAll && !s.defaultPending() {
		unrecorded := s
		unrecorded.isRecorded = false
		next, notes, ok := unrecorded.decideFirst()
		if ok {
			return next, notes
		}
		return unrecorded.followPolicy(notes)
	}
	return s.followPolicy(nil)
}

// followPolicy applies default-version, whatever is recorded.
func (s defaultDecision) followPolicy(found []finding) (defaultDecision, []finding) {
	d := s.Intent.Default
	switch d.Policy {
	case api.DefaultLiteral:
		m := s.meaningOf(d.Version)
		if !s.within(m) && s.isEffective(m) && !s.isGone(m) {
			return s.withDefault(m, ByUser), found
		}
	case api.DefaultAll:
		return s.withDefault(meaning{All: true}, ByUser), found
	case api.DefaultLowest, api.DefaultHighest:
		if m := s.extreme(); !m.isZero() && !s.within(m) {
			return s.withDefault(m, ByUser), found
		}
	case api.DefaultFirst:
		if s.record.By == ByFirst && s.isRevisable() && len(s.record.Weights) == 0 && len(s.podVersions()) > 0 {
			if m := s.first(); !s.within(m) && s.usableNow(m) {
				return s.withDefault(m, ByFirst), found
			}
		}
	}
	return s, found
}

// defaultPending reports whether default-version names a version that is not the default and cannot be followed yet.
func (s defaultDecision) defaultPending() bool {
	d := s.Intent.Default
	return !s.invalid[api.AnnotationDefaultVersion] && d.Policy == api.DefaultLiteral && !s.within(s.meaningOf(d.Version))
}

// isChoicePending reports whether the Service's annotations about shares cannot be followed yet.
func (s defaultDecision) isChoicePending() bool {
	m := s.meaningOf(s.Intent.Default.Version)
	if s.defaultPending() && (!s.isEffective(m) || s.isGone(m)) {
		return true
	}
	return len(s.unreadyGrowth(s.writtenWeights(), s.sharesOf(s.record.Weights))) > 0
}

func (s defaultDecision) withDefault(m meaning, by string) defaultDecision {
	if s.record.Default.equal(m) {
		return s
	}
	next := s
	next.isNew = s.isNew || by == ByUser
	next.record.Default, next.record.By, next.otherWorkloads = m, by, nil
	return next
}

// within reports whether the recorded default includes all that m means.
func (s defaultDecision) within(m meaning) bool {
	d := s.record.Default
	if d.All || m.All || m.Version != "" && m.Version != d.Version {
		return d.All && m.All
	}
	return !slices.ContainsFunc(m.Tracks, func(ref WorkloadRef) bool { return !slices.Contains(d.Tracks, ref) })
}

// extreme returns the lowest or highest version among those that can receive requests and those of the default.
func (s defaultDecision) extreme() meaning {
	versions := slices.DeleteFunc(s.podVersions(), func(version string) bool {
		m := s.runningAs(version)
		return !s.within(m) && !s.isEffective(m)
	})
	if len(versions) == 0 {
		return meaning{}
	}
	if s.Intent.Default.Policy == api.DefaultLowest {
		return s.runningAs(versions[0])
	}
	return s.runningAs(versions[len(versions)-1])
}

// isRevisable reports whether the default was recorded so recently that workloads created with it may still appear. Only the age
// of the record counts: workloads are new again after a restore. A default with a ready pod is not revised.
func (s defaultDecision) isRevisable() bool {
	since, recorded := parseTime(s.record.Since)
	if !recorded || s.hasReady(s.record.Default) {
		return false
	}
	return !s.waitElapsed(since, s.Settings.Settle)
}

// admitNewcomers lets a rolling track that first appears with a version of the default join it; a fixed one is in it by its
// version. Others are recorded as otherWorkloads, so that what they roll out later does not make them newcomers.
func (s defaultDecision) admitNewcomers() defaultDecision {
	next, d := s, s.record.Default
	if d.All {
		return s
	}
	versions := []string{d.Version}
	for _, group := range s.groupsOf(d) {
		versions = append(versions, group.Version)
	}
	isForgotten := s.forgotOtherWorkloads() && !s.reselected
	for _, t := range s.withPods() {
		if t.fixed || !t.exists || slices.Contains(d.Tracks, t.ref) || slices.Contains(s.otherWorkloads, t.ref.String()) {
			continue
		}
		if !isForgotten && slices.ContainsFunc(t.groups, func(g podGroup) bool { return g.Version != "" && slices.Contains(versions, g.Version) }) {
			d.Tracks = append(slices.Clone(d.Tracks), t.ref)
			slices.SortFunc(d.Tracks, compareRefs)
			continue
		}
		next.otherWorkloads = withWorkload(next.otherWorkloads, t.ref)
	}
	next.record.Default = d
	return next
}

// forgotOtherWorkloads reports whether another client deleted the DestinationRule or its annotations, so that newcomers cannot be
// distinguished from known workloads. None of them joins the default then.
func (s *facts) forgotOtherWorkloads() bool {
	return s.copies.read.Revision > 0 && len(s.ours.routes()) > 0 && !s.renewed &&
		(s.ours.destinationRule == nil || trustOf(s.ours.destinationRule) == blank)
}

func withWorkload(workloads []string, ref WorkloadRef) []string {
	if slices.Contains(workloads, ref.String()) {
		return workloads
	}
	return slices.Sorted(slices.Values(append(slices.Clone(workloads), ref.String())))
}

// current returns what receives the traffic of the default now.
func (s defaultDecision) current() meaning {
	if !s.gone.standIn.isZero() {
		return s.gone.standIn
	}
	return s.record.Default
}

// nameable returns a version by which a user can name m.
func (s *facts) nameable(m meaning) string {
	if m.Version != "" {
		return m.Version
	}
	for _, group := range s.groupsOf(m) {
		if group.Version != "" {
			return group.Version
		}
	}
	return "VERSION"
}
