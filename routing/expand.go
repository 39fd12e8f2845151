// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"slices"
	"time"
)

// expand returns the destinations of m with weights that sum to 4. If m means all pods, it needs no subset. The share of a rolling
// track among others is divided over its versions by ready pods.
func (s defaultDecision) expand(m meaning) []portion {
	if m.All || s.alone(m) {
		return []portion{{weight: 4}}
	}
	if len(m.Tracks) == 0 {
		return []portion{{m.Version, 4}}
	}
	ready := s.readyByVersion(m)
	usable := map[string]int{}
	for version, count := range ready {
		if s.usable(version) {
			usable[version] = count
		}
	}
	switch {
	case len(usable) > 0:
		return quarters(usable)
	case s.hasUnpinnedRoute() && !s.anyUsable(m):
		return []portion{{weight: 4}}
	case s.inRoute(m):
		return s.keptShares(m)
	case len(ready) > 0:
		return quarters(ready)
	}
	return s.keptShares(m)
}

// alone reports whether m means one or more rolling workloads that have all the pods, so that a route needs no subset. Once a
// route names subsets, the other versions must also have been without pods for the retention. A stand-in keeps its subset.
func (s defaultDecision) alone(m meaning) bool {
	if len(m.Tracks) == 0 || m.Version != "" {
		return false
	}
	for _, t := range s.withPods() {
		if !slices.Contains(m.Tracks, t.ref) {
			return false
		}
	}
	routes := s.ours.routes()
	if len(routes) == 0 || s.hasUnpinnedRoute() {
		return true
	}
	return s.gone.standIn.isZero() && s.othersAbsent(m)
}

// othersAbsent reports whether every subset has been unused for the retention, except those of versions that m ran last.
func (s *facts) othersAbsent(m meaning) bool {
	if s.ours.destinationRule == nil {
		return true
	}
	own := s.possible(m)
	for _, subset := range s.ours.destinationRule.Spec.Subsets {
		version, is := s.subsets.versions[subset.Name]
		if !is || slices.Contains(own, version) || s.foreignSubsetOfOurs(subset) {
			continue
		}
		since, unused := s.ours.unused[subset.Name]
		if !unused {
			since = s.now
		}
		if !s.waitElapsed(since, s.Settings.SubsetRetention) {
			return false
		}
	}
	return true
}

// readyByVersion counts the ready pods that m's share goes to. An old version of a rolling track leaves when it has at
// most one pod and the new one a ready one.
func (s defaultDecision) readyByVersion(m meaning) map[string]int {
	var serving []podGroup
	for _, t := range s.tracks {
		newest := t.newest()
		newReady := slices.ContainsFunc(t.groups, func(g podGroup) bool { return g.Version == newest && g.hasReady() && s.usable(newest) })
		for _, group := range t.groups {
			if group.Version == "" || !group.hasReady() || !m.includes(t, group.Version) {
				continue
			}
			if !t.fixed && group.Version != newest && newReady {
				if all, _ := group.counts(); all <= 1 {
					continue
				}
			}
			serving = append(serving, group)
		}
	}
	out := map[string]int{}
	isOne := !slices.ContainsFunc(serving, func(g podGroup) bool { return g.Version != serving[0].Version })
	for _, group := range serving {
		if isOne {
			out[group.Version] = 1 // has everything, however many there are
			continue
		}
		_, ready := group.counts()
		out[group.Version] += ready
	}
	return out
}

func (s defaultDecision) anyUsable(m meaning) bool {
	return slices.ContainsFunc(s.possible(m), s.usable)
}

// keptShares returns where the share of m stays while none of its pods is ready: where it went, or else what it ran last, or else
// where most of its pods are.
func (s *facts) keptShares(m meaning) []portion {
	versions := s.possible(m)
	counts := map[string]int{}
	for _, p := range s.existingPortions() {
		if p.version != "" && slices.Contains(versions, p.version) {
			counts[p.version] = max(counts[p.version], p.weight)
		}
	}
	if len(counts) > 0 {
		return quarters(counts)
	}
	for _, ref := range m.Tracks {
		if version := s.lastRan(ref); version != "" {
			return []portion{{version, 4}}
		}
	}
	best, most := "", 0
	for _, group := range s.groupsOf(m) {
		if all, _ := group.counts(); group.Version != "" && all > most {
			best, most = group.Version, all
		}
	}
	return []portion{{best, 4}}
}

// lastRan is the version that a rolling track ran last: what is recorded as long as it still runs or nothing does, else
// its newest.
func (s *facts) lastRan(ref WorkloadRef) string {
	recorded := s.recordedRun(ref)
	t, _ := s.trackOf(ref)
	if newest := t.newest(); newest != "" && (recorded == "" || !t.runs(recorded)) {
		return newest
	}
	return recorded
}

// recordedRun is the version that is recorded as the one that a rolling track ran last, or what has replaced it: where the recorded
// one is marked as unused and no longer has pods, that is the subset which came last and is not marked.
func (s *facts) recordedRun(ref WorkloadRef) string {
	recorded := s.ours.lastRan[ref.String()]
	t, _ := s.trackOf(ref)
	if recorded == "" || t.runs(recorded) || s.ours.destinationRule == nil {
		return recorded
	}
	if _, left := s.leftSince(recorded); left {
		return cmp.Or(t.newest(), t.next, recorded)
	}
	replaced, successor, latest := false, recorded, time.Time{}
	for _, subset := range s.ours.destinationRule.Spec.Subsets {
		version, is := s.subsets.versions[subset.Name]
		if !is || s.foreignSubsetOfOurs(subset) {
			continue
		}
		_, marked := s.ours.unused[subset.Name]
		replaced = replaced || marked && version == recorded
		if added := s.ours.added[subset.Name]; !marked && added.After(latest) {
			successor, latest = version, added
		}
	}
	if !replaced {
		return recorded
	}
	return successor
}
