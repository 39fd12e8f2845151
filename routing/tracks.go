// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"
	"time"

	"outrigger.dev/outrigger/api"
)

// track is one top-level workload behind the Service. Known by kind and name, it stays itself when it is created again.
type track struct {
	ref      WorkloadRef
	exists   bool              // the workload is there, or is of a kind whose absence cannot be seen
	fixed    bool              // its selector contains the version: Kubernetes refuses to change it
	next     string            // the version in the pod template, where it is known
	labels   map[string]string // of the pod template, where they are known
	starts   bool              // it wants pods, its version cannot change, and none of its pods exists yet
	workload *Workload         // nil if it is not observed
	groups   []podGroup        // one per version, in natural order; none at 0 pods
}

// readTracks makes the tracks: the workloads that own the pods, and those without pods whose template the Service
// selects.
func (s *reader) readTracks() {
	byRef := map[WorkloadRef]*track{}
	at := func(ref WorkloadRef) *track {
		if byRef[ref] == nil {
			byRef[ref] = &track{ref: ref, exists: !ref.listed()}
		}
		return byRef[ref]
	}
	for _, group := range s.cluster.all() {
		t := at(group.Workload)
		t.groups = append(t.groups, group)
		t.exists = t.exists || group.Workload.Kind == "Pod" || group.Workload.Kind == kindEntry
	}
	workloads := s.cluster.selected()
	for ref := range byRef {
		if w, exists := s.cluster.workload(ref); exists {
			workloads = append(workloads, w)
		}
	}
	for _, w := range workloads {
		t := at(w.WorkloadRef)
		t.exists, t.workload, t.labels, t.next = true, &w, w.Labels, w.Labels[s.Intent.VersionLabel]
		t.fixed = w.Selector[s.Intent.VersionLabel] != ""
		t.starts = t.fixed && w.Replicas > 0 && len(t.groups) == 0 && !s.waitElapsed(w.Created, youngAge)
	}
	for _, t := range byRef {
		slices.SortFunc(t.groups, func(a, b podGroup) int { return CompareVersions(a.Version, b.Version) })
		s.tracks = append(s.tracks, *t)
	}
	slices.SortFunc(s.tracks, func(a, b track) int { return compareRefs(a.ref, b.ref) })
}

// isDeleted reports whether the workload was deleted together with its pods. Deleting only the workload
// (kubectl delete --cascade=orphan, the way to change an immutable selector) leaves pods that serve.
func (t track) isDeleted() bool {
	return !t.exists && !slices.ContainsFunc(t.groups, func(g podGroup) bool { return !g.allTerminating() })
}

// created returns when the workload was created: that of its oldest pod where the workload itself is not observed.
func (t track) created() time.Time {
	if t.workload != nil {
		return t.workload.Created
	}
	var oldest time.Time
	for _, group := range t.groups {
		if created := group.created(); oldest.IsZero() || created.Before(oldest) {
			oldest = created
		}
	}
	return oldest
}

func (t track) runs(version string) bool {
	return slices.ContainsFunc(t.groups, func(g podGroup) bool { return g.Version == version })
}

// versions are those that the track runs, or would run if it had pods.
func (t track) versions() []string {
	var out []string
	for _, group := range t.groups {
		out = append(out, group.Version)
	}
	if len(out) == 0 {
		out = append(out, t.next)
	}
	return out
}

// newest is the version that the track rolls out: the template's, or that of the pods that came last.
func (t track) newest() string {
	if t.next != "" && t.runs(t.next) {
		return t.next
	}
	if len(t.groups) == 1 {
		return t.groups[0].Version
	}
	newest, latest := "", time.Time{}
	for _, group := range t.groups {
		if created := group.created(); newest == "" || created.After(latest) {
			newest, latest = group.Version, created
		}
	}
	return newest
}

// withPods are the tracks that have a pod.
func (s *facts) withPods() []track {
	return slices.DeleteFunc(slices.Clone(s.tracks), func(t track) bool { return len(t.groups) == 0 })
}

func (s *facts) trackOf(ref WorkloadRef) (track, bool) {
	at := slices.IndexFunc(s.tracks, func(t track) bool { return t.ref == ref })
	if at < 0 {
		return track{}, false
	}
	return s.tracks[at], true
}

// runningAs returns what a version means among the tracks that run it now: rolling tracks as themselves, fixed ones by the
// version.
func (s *facts) runningAs(version string) meaning {
	var m meaning
	for _, t := range s.tracks {
		switch {
		case !t.runs(version) || !t.exists:
		case t.fixed:
			m.Version = version
		default:
			m.Tracks = append(m.Tracks, t.ref)
		}
	}
	if m.isZero() {
		m.Version = version
	}
	return m
}

// includes reports whether a meaning includes the pods of this track that carry this version.
func (m meaning) includes(t track, version string) bool {
	if m.All || slices.Contains(m.Tracks, t.ref) {
		return true
	}
	return m.Version != "" && m.Version == version
}

// groupsOf returns the pods that m means.
func (s *facts) groupsOf(m meaning) []podGroup {
	var out []podGroup
	for _, t := range s.tracks {
		for _, group := range t.groups {
			if m.includes(t, group.Version) {
				out = append(out, group)
			}
		}
	}
	return out
}

func (s *facts) hasPods(m meaning) bool { return len(s.groupsOf(m)) > 0 }

func (s *facts) hasReady(m meaning) bool {
	return slices.ContainsFunc(s.groupsOf(m), podGroup.hasReady)
}

// counts returns how many pods m means, and how many of them are ready.
func (s *facts) counts(m meaning) (pods, ready int) {
	for _, group := range s.groupsOf(m) {
		all, some := group.counts()
		pods, ready = pods+all, ready+some
	}
	return pods, ready
}

// knownVersions are those that the workloads behind the Service run or will run, in natural order.
func (s *facts) knownVersions() []string {
	seen := map[string]bool{}
	for _, t := range s.tracks {
		for _, version := range t.versions() {
			seen[version] = true
		}
		seen[t.next] = true
	}
	delete(seen, "")
	return sortedVersions(seen)
}

// podVersions are the versions that have pods, in natural order.
func (s *facts) podVersions() []string {
	seen := map[string]bool{}
	for _, t := range s.tracks {
		for _, group := range t.groups {
			if group.Version != "" {
				seen[group.Version] = true
			}
		}
	}
	return sortedVersions(seen)
}

// isGone reports whether the workloads behind a meaning were deleted together with their pods, and no other workload
// runs the version. Terminating pods do not count. A workload of a kind that is not watched is never gone.
func (s *facts) isGone(m meaning) bool {
	if m.isZero() || m.All {
		return false
	}
	for _, ref := range m.Tracks {
		if _, exists := s.cluster.workload(ref); exists || !ref.listed() {
			return false
		}
		if t, seen := s.trackOf(ref); seen && !t.isDeleted() {
			return false
		}
	}
	versions := []string{m.Version}
	for _, ref := range m.Tracks {
		versions = append(versions, s.recordedRun(ref))
	}
	for _, t := range s.tracks {
		for _, version := range t.versions() {
			if !t.isDeleted() && version != "" && slices.Contains(versions, version) {
				return false
			}
		}
	}
	return true
}

// bindNames decides what each written name means, once: when a rolling track carries it as it is first seen together
// with a pod, it is that track from then on. A changed text binds again the names that some track carries.
func (s *facts) bindNames() map[string]meaning {
	changed := s.isChanged(api.AnnotationDefaultVersion, api.AnnotationWeights, api.AnnotationMatch, api.AnnotationMirror, api.AnnotationDecidedAt)
	names, old := map[string]meaning{}, s.recorded.Names
	for _, name := range s.writtenNames() {
		bound, has := old[name]
		carried := s.runningAs(name)
		switch {
		case has && (!changed || len(s.groupsOf(meaning{Version: name})) == 0):
			names[name] = s.fixedByNow(bound)
		case len(carried.Tracks) > 0 && !s.literalAlready(name, carried):
			names[name] = carried
		}
	}
	if changed || len(names) > 0 {
		names = s.keepNamesDistinct(names)
	}
	if len(names) == 0 {
		return nil
	}
	return names
}

// literalAlready reports whether a name was a version's before a rolling workload came to carry its text: a fixed
// workload has it, and the route names it.
func (s *facts) literalAlready(name string, carried meaning) bool {
	return carried.Version != "" && s.isNamedByRoute(name)
}

// keepNamesDistinct makes names literal that would mean the same track, because the user distinguishes its versions.
func (s *facts) keepNamesDistinct(names map[string]meaning) map[string]meaning {
	users := map[WorkloadRef]int{}
	for _, m := range names {
		for _, ref := range m.Tracks {
			users[ref]++
		}
	}
	for name, m := range names {
		if slices.ContainsFunc(m.Tracks, func(ref WorkloadRef) bool { return users[ref] > 1 }) {
			names[name] = meaning{Version: name}
		}
	}
	return names
}

func (s defaultDecision) meaningOf(name string) meaning {
	if m, bound := s.record.Names[name]; bound {
		return m
	}
	return meaning{Version: name}
}

// writtenNames are the versions that the annotations name, sorted.
func (s *facts) writtenNames() []string {
	var out []string
	if s.Intent.Default.Policy == api.DefaultLiteral && s.Intent.Default.Version != "" {
		out = append(out, s.Intent.Default.Version)
	}
	for _, w := range s.Intent.Weights {
		out = append(out, w.Version)
	}
	for _, m := range s.Intent.Match {
		out = append(out, m.Version)
	}
	for _, m := range s.Intent.Mirror {
		out = append(out, m.Version)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
