// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
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

// goneDefault is a version that stands in for a default whose workload was deleted.
type goneDefault struct {
	at      time.Time
	standIn meaning // zero if nothing stands in
}

// decideDefault says which version receives what nothing else claims: the user's word, else what is recorded, else
// what is found at first sight. It is false if nothing can be said yet; then nothing is written.
func (s *situation) decideDefault() bool {
	s.followSelector()
	s.followKinds()
	switch {
	case !s.recorded || s.record.State == stateUndecided:
		if !s.firstSight() {
			return false
		}
	case s.record.State == stateSplit:
		s.endSplit()
	default:
		s.followWord()
	}
	s.unsplit = s.record.State != ""
	if !s.unsplit {
		s.admitNewcomers()
		s.takeOver()
		s.holdTold = s.failOver()
	}
	return true
}

// followSelector notices that the Service selects other pods than when the record was made. If none of the default's is
// among them, that is the user's word: a change from blue to green by hand.
func (s *situation) followSelector() {
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
func (s *situation) followKinds() {
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
func (s *situation) fixedByNow(m meaning) meaning {
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

// firstSight decides for a Service about which nothing is recorded. What flows, flows on: the user's word, else a split
// that serves, else what is old, else the first.
func (s *situation) firstSight() bool {
	if len(s.podVersions()) == 0 {
		s.tellUnlabeled()
		return false
	}
	if !s.settled() {
		return false
	}
	chosen, by := s.choose()
	was := s.record
	s.record = record{Names: was.Names, Selector: was.Selector, Waiting: was.Waiting, Held: was.Held, History: was.History}
	if !s.reselected {
		s.record.Weights, s.record.Adopted, s.record.Provisional, s.record.Kept = was.Weights, was.Adopted, was.Provisional, was.Kept
	}
	s.waiting = nil
	if chosen.isZero() {
		s.record.State = stateSplit
		s.rememberUnseen()
		s.tellSplit()
		return true
	}
	if pods := s.starving(chosen); pods != "" {
		s.record.State = stateUndecided
		s.tell(api.RouteUnversionedPods, "Ready pods of "+pods+" carry no label "+s.Intent.VersionLabel+" and would get no traffic from a default route to "+chosen.String()+"; none is written.",
			"Label their pod template, or accept it with "+s.annotate(api.AnnotationUnversioned+"=ignore")+".")
		return true
	}
	s.record.Default, s.record.By = chosen, by
	if by == byFirst && s.Settings.Settle > 0 {
		s.record.Since = timeText(s.now)
	}
	return true
}

// settled waits a moment after a Service is first seen, so that what is created together is seen together. While
// nothing serves there is no traffic to protect: the choice is made at once and may be revised.
func (s *situation) settled() bool {
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
	return s.over(first, s.Settings.Settle)
}

// choose returns the default at first sight and how it was found; nothing if there is a split to be kept.
func (s *situation) choose() (meaning, string) {
	if word := s.wordAtFirstSight(); !word.isZero() {
		return word, byWord
	}
	if s.splitServes() {
		return meaning{}, ""
	}
	if old := s.oldest(); !old.isZero() {
		return old, byOld
	}
	return s.byPolicy(), byFirst
}

// wordAtFirstSight is the Service's own default-version, or weights, where they can be followed.
func (s *situation) wordAtFirstSight() meaning {
	if d := s.Intent.Default; d.OnService && d.Policy != api.DefaultLiteral {
		return s.byPolicy()
	} else if d.OnService && s.isReady(s.meaningOf(d.Version)) {
		return s.meaningOf(d.Version)
	}
	return s.impliedDefault()
}

// isReady is the readiness that a name needs to come into force: three quarters of its pods, at least one; one is enough
// where somebody said the moment.
func (s *situation) isReady(m meaning) bool {
	if !s.hasReady(m) {
		return false
	}
	pods, ready := s.counts(m)
	return ready > 0 && (4*ready >= 3*pods || !s.Intent.DecidedAt.IsZero())
}

// splitServes reports whether versions of two different tracks receive traffic already.
func (s *situation) splitServes() bool {
	if !s.isOld(s.Service.CreationTimestamp.Time) {
		return false
	}
	tracks := s.withPods()
	for i, a := range tracks {
		for _, b := range tracks[i+1:] {
			if (s.isOld(a.created()) || s.isOld(b.created())) && differ(s.flowing(a), s.flowing(b)) {
				return true
			}
		}
	}
	return false
}

// isOld reports whether something is older than the split age; at that moment the answer changes.
func (s *situation) isOld(created time.Time) bool {
	return !created.Add(s.Settings.SplitAge).After(s.now)
}

// flowing are the versions of a track that receive traffic as long as nothing routes: ready ones, and those of an old
// track.
func (s *situation) flowing(t track) []string {
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
func (s *situation) oldest() meaning {
	var best *track
	for _, t := range s.withPods() {
		if s.isOld(t.created()) && len(s.flowing(t)) > 0 && (best == nil || t.created().Before(best.created())) {
			best = &t
		}
	}
	if best == nil {
		return meaning{}
	}
	return s.startingFrom(*best)
}

// startingFrom is the default that a track gives: everything that carries its version.
func (s *situation) startingFrom(t track) meaning {
	version := t.newest()
	if flowing := s.flowing(t); version == "" && len(flowing) > 0 {
		version = flowing[0]
	}
	if version == "" {
		return meaning{Tracks: []WorkloadRef{t.ref}}
	}
	return s.carriers(version)
}

// byPolicy chooses by @first, @lowest, @highest or @all. A literal that is not in force is as if unwritten.
func (s *situation) byPolicy() meaning {
	versions := s.podVersions()
	switch s.Intent.Default.Policy {
	case api.DefaultAll:
		return meaning{All: true}
	case api.DefaultLowest:
		return s.carriers(versions[0])
	case api.DefaultHighest:
		return s.carriers(versions[len(versions)-1])
	}
	return s.first()
}

// first is the version of the workload that was created first; of those created together, the lowest version. While
// nothing serves, workloads whose pods do not exist yet count as well.
func (s *situation) first() meaning {
	var candidates []track
	for _, t := range s.tracks {
		if t.firstVersion() != "" && (len(t.groups) > 0 || s.nothingServes()) {
			candidates = append(candidates, t)
		}
	}
	if len(candidates) == 0 {
		return s.carriers(s.podVersions()[0])
	}
	earliest := slices.MinFunc(candidates, func(a, b track) int { return a.created().Compare(b.created()) }).created()
	candidates = slices.DeleteFunc(candidates, func(t track) bool { return t.created().After(earliest.Add(tieWindow)) })
	lowest := slices.MinFunc(candidates, func(a, b track) int { return compareVersions(a.firstVersion(), b.firstVersion()) })
	return s.carriers(lowest.firstVersion())
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

// starving names the tracks whose ready pods a default route would cut off because they have no version.
func (s *situation) starving(chosen meaning) string {
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

func (s *situation) tellSplit() {
	versions := s.podVersions()
	s.tell(api.RoutePreexistingSplit, "Versions "+strings.Join(versions, ", ")+" already received traffic before Outrigger. They keep it, new versions receive traffic as well, and no route is written.", s.deciding(versions))
}

// rememberUnseen notes workloads in a split whose absence cannot be told from having no pods.
func (s *situation) rememberUnseen() {
	for _, t := range s.withPods() {
		if !t.ref.listed() {
			s.addWaiting(t.ref)
		}
	}
}

// endSplit ends a split by the user's word, or when everything but one track, or one version, was deleted. Readiness,
// scale and restarts end nothing.
func (s *situation) endSplit() {
	word := meaning{}
	switch d := s.Intent.Default; {
	case d.OnService && d.Policy == api.DefaultLiteral && s.inForce(s.meaningOf(d.Version)):
		word = s.meaningOf(d.Version)
	case d.OnService && d.Policy != api.DefaultLiteral && len(s.podVersions()) > 0:
		word = s.byPolicy()
	default:
		word = s.impliedDefault()
	}
	if !word.isZero() && s.usableNow(word) && (word.All || s.isSeenReady(word)) {
		s.record.State, s.record.Default, s.record.By = "", word, byWord
		s.waiting = nil
		return
	}
	if left := s.leftOfSplit(); !left.isZero() && s.usableNow(left) {
		s.record.State, s.record.Default, s.record.By = "", left, byLeft
		s.waiting = nil
		return
	}
	s.rememberUnseen()
	s.tellSplit()
}

// leftOfSplit is what remains when all tracks but one, or all but those of one version, are deleted.
func (s *situation) leftOfSplit() meaning {
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
	for _, name := range s.waiting {
		if !slices.ContainsFunc(tracks, func(t track) bool { return t.ref.String() == name }) {
			return meaning{}
		}
	}
	if len(tracks) == 0 || len(tracks) > 1 && (len(versions) > 1 || versions[""] || !s.lostVersion(versions)) {
		return meaning{}
	}
	return s.wholeTracks(tracks)
}

// lostVersion reports whether a subset stands for a version other than those of the tracks that are left: without one,
// nothing was deleted.
func (s *situation) lostVersion(left map[string]bool) bool {
	for _, subset := range s.subsetNames() {
		if version := s.subsets.versions[subset]; version != "" && !left[version] {
			return true
		}
	}
	return false
}

// subsetNames are the names of our subsets that exist.
func (s *situation) subsetNames() []string {
	return slices.DeleteFunc(s.ownSubsets(), func(name string) bool { return findSubset(s.standing.rule, name) == nil })
}

// wholeTracks is the meaning that includes these tracks: fixed ones by their version.
func (s *situation) wholeTracks(tracks []track) meaning {
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

// followWord lets the user's word change a recorded default: a version that is in force, or a policy.
func (s *situation) followWord() {
	if s.hasFailed() && (s.record.FailedWords == s.failedWords() || s.wordPending()) {
		return // what failed does not return by itself, nor by a word that cannot be followed
	}
	if s.unsaid[api.AnnotationDefaultVersion] {
		return
	}
	d := s.Intent.Default
	if s.record.Default.All && d.Policy != api.DefaultAll && !s.defaultPending() {
		if s.recorded = false; s.firstSight() {
			return
		}
	}
	switch d.Policy {
	case api.DefaultLiteral:
		m := s.meaningOf(d.Version)
		if !s.within(m) && s.inForce(m) && !s.isGone(m) {
			s.setDefault(m, byWord)
		}
	case api.DefaultAll:
		s.setDefault(meaning{All: true}, byWord)
	case api.DefaultLowest, api.DefaultHighest:
		if m := s.extreme(); !m.isZero() && !s.within(m) {
			s.setDefault(m, byWord)
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
func (s *situation) defaultPending() bool {
	d := s.Intent.Default
	return !s.unsaid[api.AnnotationDefaultVersion] && d.Policy == api.DefaultLiteral && !s.within(s.meaningOf(d.Version))
}

// wordPending reports whether what the Service says about shares cannot be followed yet.
func (s *situation) wordPending() bool {
	m := s.meaningOf(s.Intent.Default.Version)
	if s.defaultPending() && (!s.inForce(m) || s.isGone(m)) {
		return true
	}
	return len(s.unreadyGrowth(s.writtenWeights(), s.sharesOf(s.record.Weights))) > 0
}

func (s *situation) setDefault(m meaning, by string) {
	if !s.record.Default.equal(m) {
		s.defaultChosen = s.defaultChosen || by == byWord
		s.record.Default, s.record.By = m, by
		s.waiting = nil
	}
}

// within reports whether the recorded default includes all that m means.
func (s *situation) within(m meaning) bool {
	d := s.record.Default
	if d.All || m.All || m.Version != "" && m.Version != d.Version {
		return d.All && m.All
	}
	return !slices.ContainsFunc(m.Tracks, func(ref WorkloadRef) bool { return !slices.Contains(d.Tracks, ref) })
}

// extreme is the lowest or highest version among those in force and the default's.
func (s *situation) extreme() meaning {
	versions := slices.DeleteFunc(s.podVersions(), func(version string) bool {
		m := s.carriers(version)
		return !s.within(m) && !s.inForce(m)
	})
	if len(versions) == 0 {
		return meaning{}
	}
	if s.Intent.Default.Policy == api.DefaultLowest {
		return s.carriers(versions[0])
	}
	return s.carriers(versions[len(versions)-1])
}

// isRevisable reports whether the default was recorded so recently that workloads created together with it may still
// be appearing. Only the age of the record counts: workloads are young again after a restore or a replacement. A default
// that serves is not revised.
func (s *situation) isRevisable() bool {
	since, recorded := parseTime(s.record.Since)
	if !recorded || s.hasReady(s.record.Default) {
		return false
	}
	return !s.over(since, s.Settings.Settle)
}

// admitNewcomers lets a rolling track that first appears with a version of the default join it; a fixed one is in it by
// its version. Others wait, and are remembered, so that what they roll out later does not make them newcomers.
func (s *situation) admitNewcomers() {
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
func (s *situation) forgotWaiting() bool {
	return s.copies.read.Revision > 0 && len(s.standing.routes()) > 0 && !s.renewed && !s.reselected &&
		(s.standing.rule == nil || trustOf(s.standing.rule) == blank)
}

func (s *situation) addWaiting(ref WorkloadRef) {
	if name := ref.String(); !slices.Contains(s.waiting, name) {
		s.waiting = append(s.waiting, name)
		slices.Sort(s.waiting)
	}
}

// takeOver finds what takes a deleted default's place: the one version, or the one track, whose ready pods are left. For
// a while that is provisional; then it is recorded.
func (s *situation) takeOver() {
	defer func() { s.record.Gone = s.goneText() }()
	at, standIn := s.standingIn()
	isGone := s.isGone(s.record.Default)
	back := s.hasReady(s.record.Default)
	if !isGone && (at.IsZero() || back && s.isSeenReady(s.record.Default)) {
		return
	}
	if standIn.isZero() || s.within(standIn) || s.isGone(standIn) {
		if !isGone || s.Intent.HoldDeleted {
			return
		}
		at, standIn = s.now, s.leftOver()
	}
	if standIn.isZero() || !s.usableNow(standIn) {
		return
	}
	was := s.record.Default.String()
	if s.over(at, s.Settings.DefaultGoneWindow) && (isGone || !back) {
		s.setDefault(standIn, byLeft)
		s.tell(api.RouteDefaultMoved, "The workload of "+was+" was deleted and did not come back; "+standIn.String()+" is the default from now on.",
			"To choose otherwise: "+s.annotate(api.AnnotationDefaultVersion+"=VERSION")+".")
		return
	}
	s.gone = goneDefault{at: at, standIn: standIn}
	s.tell(api.RouteDefaultVersionGone,
		fmt.Sprintf("The workload of %s was deleted; %s receives its traffic. It becomes the default at %s unless the workload comes back.", was, standIn, timeText(at.Add(s.Settings.DefaultGoneWindow))),
		"To decide now: "+s.annotate(api.AnnotationDefaultVersion+"="+s.nameable(standIn))+".")
}

// standingIn reads from the VirtualServices which version stands in, and since when.
func (s *situation) standingIn() (time.Time, meaning) {
	if s.renewed || !s.recorded {
		return time.Time{}, meaning{}
	}
	said := []string{s.copies.read.Gone}
	if s.copies.read.Revision == 0 { // as earlier releases recorded it
		for _, vs := range s.standing.routes() {
			said = append(said, vs.Annotations[api.AnnotationDefaultGone])
		}
	}
	for _, text := range said {
		text, rest, _ := strings.Cut(text, " ")
		if at, ok := parseTime(text); ok {
			return at, parseMeaning(rest)
		}
	}
	return time.Time{}, meaning{}
}

// goneText is the record of the version that replaces a deleted default; empty if none does.
func (s *situation) goneText() string {
	if s.gone.standIn.isZero() {
		return ""
	}
	return timeText(s.gone.at) + " " + s.gone.standIn.String()
}

// leftOver is what the ready pods are of when the default's are left out: one version, or one track.
func (s *situation) leftOver() meaning {
	var tracks []track
	versions := map[string]bool{}
	for _, t := range s.tracks {
		ready := slices.DeleteFunc(slices.Clone(t.groups), func(g podGroup) bool { return !g.hasReady() || s.record.Default.includes(t, g.Version) })
		if t.isDeleted() || len(ready) == 0 {
			continue
		}
		tracks = append(tracks, t)
		for _, group := range ready {
			versions[group.Version] = true
		}
	}
	if len(tracks) == 0 || len(tracks) > 1 && len(versions) > 1 {
		return meaning{}
	}
	return s.wholeTracks(tracks)
}

// current is what has the default's traffic now.
func (s *situation) current() meaning {
	if !s.gone.standIn.isZero() {
		return s.gone.standIn
	}
	return s.record.Default
}

// nameable is a version by which a user can name a meaning.
func (s *situation) nameable(m meaning) string {
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

// tellHold says that the default has a share and no ready pod, once that is no mere moment.
func (s *situation) tellHold() {
	m := s.current()
	if s.holdTold || len(s.record.Weights) > 0 && !slices.ContainsFunc(s.record.Weights, func(w effectiveWeight) bool { return w.weight > 0 && overlap(w.meaning(), m) }) {
		return
	}
	groups := s.groupsOf(m)
	if m.All || s.hasReady(m) {
		return
	}
	if len(groups) > 0 {
		oldest := slices.MinFunc(groups, func(a, b podGroup) int { return a.created().Compare(b.created()) }).created()
		if !s.over(oldest, s.Settings.DefaultGoneAfter) {
			return
		}
	}
	others := slices.DeleteFunc(s.podVersions(), func(version string) bool { return !s.hasReady(meaning{Version: version}) })
	s.tell(api.RouteDefaultVersionGone, "The default, "+m.String()+", has no ready pod; its route is kept, and requests fail until it has.", s.deciding(others))
}
