// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"

	"outrigger.dev/outrigger/api"
)

// decideDefault says which version receives what nothing else claims: the user's word, else what is recorded, else
// what is found at first sight. It is false if nothing can be said yet; then nothing is written.
func (s *planner) decideDefault() bool {
	s.followSelector()
	s.followKinds()
	switch {
	case !s.recorded || s.record.State == stateUndecided:
		if !s.decideFirst() {
			return false
		}
	case s.record.State == stateSplit:
		s.endSplit()
	default:
		s.followAnnotation()
	}
	s.unsplit = s.record.State != ""
	if !s.unsplit {
		s.admitNewcomers()
		s.takeOver()
		s.holdReported = s.failOver()
	}
	return true
}

// followSelector notices that the Service selects other pods than when the record was made. If none of the default's is
// among them, that is the user's word: a change from blue to green by hand.
func (s *planner) followSelector() {
	hash := selectorHash(s.Service.Spec.Selector, s.Intent.VersionLabel)
	if s.recorded && s.record.Selector != hash && s.record.State == "" {
		if !s.hasPods(s.record.Default) {
			s.reselected, s.recorded = true, false
		}
	}
	s.record.Selector = hash
}

// followKinds keeps the recorded default in its form: a workload that was created again with the version in its selector
// is fixed now, and the other way round.
func (s *planner) followKinds() {
	m := s.fixedByNow(s.record.Default)
	if len(m.Tracks) > 0 && !slices.ContainsFunc(s.tracks, func(t track) bool { return t.exists && t.fixed && slices.Contains(t.versions(), m.Version) }) {
		m.Version = ""
	}
	s.record.Default, s.record.Failed = m, s.fixedByNow(s.record.Failed)
	for i, w := range s.record.Weights {
		s.record.Weights[i].bound = s.fixedByNow(w.bound)
	}
	for i, m := range s.record.Mirrors {
		s.record.Mirrors[i].bound = s.fixedByNow(m.bound)
	}
	for condition, kept := range s.record.Kept {
		s.record.Kept[condition] = s.fixedByNow(kept)
	}
}

// fixedByNow puts the version in the place of tracks that were rolling and are fixed by now.
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
func (s *planner) followAnnotation() {
	if s.hasFailed() && (s.record.FailedChoice == s.choiceHash() || s.isChoicePending()) {
		return // what failed does not return by itself, nor by a word that cannot be followed
	}
	if s.invalid[api.AnnotationDefaultVersion] {
		return
	}
	d := s.Intent.Default
	if s.record.Default.All && d.Policy != api.DefaultAll && !s.defaultPending() {
		if s.recorded = false; s.decideFirst() {
			return
		}
	}
	switch d.Policy {
	case api.DefaultLiteral:
		m := s.meaningOf(d.Version)
		if !s.within(m) && s.inForce(m) && !s.isGone(m) {
			s.setDefault(m, byUser)
		}
	case api.DefaultAll:
		s.setDefault(meaning{All: true}, byUser)
	case api.DefaultLowest, api.DefaultHighest:
		if m := s.extreme(); !m.isZero() && !s.within(m) {
			s.setDefault(m, byUser)
		}
	case api.DefaultFirst:
		if s.record.By == byFirst && s.isRevisable() && len(s.record.Weights) == 0 && len(s.podVersions()) > 0 {
			if m := s.first(); !s.within(m) && s.usableNow(m) {
				s.setDefault(m, byFirst)
			}
		}
	}
}

// defaultPending reports whether a version is written as the default that the default does not include and that cannot
// be followed yet.
func (s *planner) defaultPending() bool {
	d := s.Intent.Default
	return !s.invalid[api.AnnotationDefaultVersion] && d.Policy == api.DefaultLiteral && !s.within(s.meaningOf(d.Version))
}

// isChoicePending reports whether what the Service says about shares cannot be followed yet.
func (s *planner) isChoicePending() bool {
	m := s.meaningOf(s.Intent.Default.Version)
	if s.defaultPending() && (!s.inForce(m) || s.isGone(m)) {
		return true
	}
	return len(s.unreadyGrowth(s.writtenWeights(), s.sharesOf(s.record.Weights))) > 0
}

func (s *planner) setDefault(m meaning, by string) {
	if !s.record.Default.equal(m) {
		s.defaultChosen = s.defaultChosen || by == byUser
		s.record.Default, s.record.By = m, by
		s.waiting = nil
	}
}

// within reports whether the recorded default includes all that m means.
func (s *planner) within(m meaning) bool {
	d := s.record.Default
	if d.All || m.All || m.Version != "" && m.Version != d.Version {
		return d.All && m.All
	}
	return !slices.ContainsFunc(m.Tracks, func(ref WorkloadRef) bool { return !slices.Contains(d.Tracks, ref) })
}

// extreme returns the lowest or highest version among those that can receive requests and the default's.
func (s *planner) extreme() meaning {
	versions := slices.DeleteFunc(s.podVersions(), func(version string) bool {
		m := s.runningAs(version)
		return !s.within(m) && !s.inForce(m)
	})
	if len(versions) == 0 {
		return meaning{}
	}
	if s.Intent.Default.Policy == api.DefaultLowest {
		return s.runningAs(versions[0])
	}
	return s.runningAs(versions[len(versions)-1])
}

// isRevisable reports whether the default was recorded so recently that workloads created together with it may still
// be appearing. Only the age of the record counts: workloads are young again after a restore or a replacement. A default
// that serves is not revised.
func (s *planner) isRevisable() bool {
	since, recorded := parseTime(s.record.Since)
	if !recorded || s.hasReady(s.record.Default) {
		return false
	}
	return !s.hasElapsed(since, s.Settings.Settle)
}

// admitNewcomers lets a rolling track that first appears with a version of the default join it; a fixed one is in it by
// its version. Others wait, and are remembered, so that what they roll out later does not make them newcomers.
func (s *planner) admitNewcomers() {
	d := s.record.Default
	if d.All {
		return
	}
	versions := []string{d.Version}
	for _, group := range s.groupsOf(d) {
		versions = append(versions, group.Version)
	}
	for _, t := range s.withPods() {
		if t.fixed || !t.exists || slices.Contains(d.Tracks, t.ref) || slices.Contains(s.waiting, t.ref.String()) {
			continue
		}
		if s.forgotWaiting() {
			s.addWaiting(t.ref)
			continue
		}
		if slices.ContainsFunc(t.groups, func(g podGroup) bool { return g.Version != "" && slices.Contains(versions, g.Version) }) {
			d.Tracks = append(slices.Clone(d.Tracks), t.ref)
			slices.SortFunc(d.Tracks, compareRefs)
			continue
		}
		s.addWaiting(t.ref)
	}
	s.record.Default = d
}

// forgotWaiting reports whether another client deleted or wiped the DestinationRule, so that newcomers can no longer be told
// from workloads that wait already: none of them joins the default.
func (s *planner) forgotWaiting() bool {
	return s.copies.read.Revision > 0 && len(s.ours.routes()) > 0 && !s.renewed && !s.reselected &&
		(s.ours.rule == nil || trustOf(s.ours.rule) == blank)
}

func (s *planner) addWaiting(ref WorkloadRef) {
	if name := ref.String(); !slices.Contains(s.waiting, name) {
		s.waiting = append(s.waiting, name)
		slices.Sort(s.waiting)
	}
}

// current is what has the default's traffic now.
func (s *planner) current() meaning {
	if !s.gone.standIn.isZero() {
		return s.gone.standIn
	}
	return s.record.Default
}

// nameable is a version by which a user can name a meaning.
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
