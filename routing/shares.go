// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"outrigger.dev/outrigger/api"
)

// sharing is where the requests go that no match claims, by weights in effect.
type sharing struct {
	shares []share
	absent []string // names whose share the default has, since their workload was deleted or scaled to 0
	vacant []string // names without pods whose destination is kept, since the default has no pods either
}

// shareOut returns the shares of the requests that no match claims: by the weights in effect, or all to the default, which has no
// name then. It also returns when a version last took its share back from the default.
func (s defaultDecision) shareOut() (out sharing, returned string, found []finding) {
	out, returned = s.sharing(s.record.Weights), s.record.Returned
	for _, name := range s.ours.absent {
		if !slices.Contains(out.absent, name) && slices.ContainsFunc(s.record.Weights, func(w effectiveWeight) bool { return w.name == name }) {
			returned = timeText(s.now)
		}
	}
	for _, name := range out.absent {
		found = append(found, s.problemAbout(api.AnnotationWeights, s.record.Weights.String(), api.RoutePendingVersions,
			fmt.Sprintf("The workload of %s was deleted or scaled to 0; the default, %s, receives its share until it is ready again.", name, s.current()),
			"To end that, write the weights without it: "+s.annotate(api.AnnotationWeights+"="+s.weightsWithout(name))+"."))
	}
	for _, name := range out.vacant {
		found = append(found, s.withoutPods(name))
	}
	for _, w := range s.record.Weights {
		found = append(found, s.rolloutBesideOthers(w.meaning())...)
	}
	if len(s.record.Weights) == 0 {
		found = append(found, s.rolloutBesideOthers(s.current())...)
	}
	return out, returned, found
}

// weightsWithout gives the share of a name to the default.
func (s defaultDecision) weightsWithout(name string) string {
	var out effectiveWeights
	byDefault, left := -1, int32(0)
	for _, w := range s.record.Weights {
		if w.name == name {
			left = w.weight
			continue
		}
		if out = append(out, w); overlap(w.meaning(), s.current()) {
			byDefault = len(out) - 1
		}
	}
	if byDefault < 0 {
		out, byDefault = append(out, effectiveWeight{name: s.nameable(s.current())}), len(out)
	}
	out[byDefault].weight += left
	return out.String()
}

func (s defaultDecision) sharesOf(weights effectiveWeights) []share { return s.sharing(weights).shares }

// isOfDefault reports whether a name means the default, or a part of it.
func (s defaultDecision) isOfDefault(m meaning) bool {
	return s.within(m) || m.Version != "" && m.Version == s.record.Default.Version
}

// nameInWeights returns the name for m in the weights, or else one that a user may choose.
func (s *facts) nameInWeights(weights effectiveWeights, m meaning) string {
	at := slices.IndexFunc(weights, func(w effectiveWeight) bool { return w.weight > 0 && overlap(w.meaning(), m) })
	if at < 0 {
		return s.nameable(m)
	}
	return weights[at].name
}

func (s *facts) withoutPods(name string) finding {
	return s.problem(api.RouteDefaultVersionGone, "Version "+name+" is routed and has no pods. Its destination is kept, so requests to it fail.",
		"Restore its workload, or remove the version from the annotations.")
}

// replacing returns the stand-in for a name that means a deleted default, or else what the name means.
func (s defaultDecision) replacing(m meaning) meaning {
	if !s.gone.standIn.isZero() {
		return s.gone.standIn
	}
	return m
}

// isAbsent reports whether the default has the share of a version in the weights: its workload was deleted or scaled to 0, or it
// has no pods for another reason, and it is not back yet. Pods that still terminate do not keep the share.
func (s defaultDecision) isAbsent(name string, m meaning) bool {
	if s.record.Provisional || !s.hasPods(s.current()) && !s.current().All {
		return false
	}
	if s.isScaledToZero(m) {
		return !s.Intent.HoldScaledToZero
	}
	return !s.hasPods(m) || s.isGone(m) || slices.Contains(s.ours.absent, name) && !s.mayReturn(m)
}

// returnEvery is how often a version may take its share back: an autoscaler between 0 and 1 must not make routes flap.
const returnEvery = time.Minute

// mayReturn reports whether a version that gave its share to the default takes it back.
func (s defaultDecision) mayReturn(m meaning) bool {
	if !s.isReadyForMore(m) {
		return false
	}
	last, returned := parseTime(s.record.Returned)
	return !returned || s.waitElapsed(last, returnEvery)
}

// isScaledToZero reports whether the workloads behind a meaning want no pods, and no other workload runs the version.
func (s *facts) isScaledToZero(m meaning) bool {
	if s.Offline {
		return false // manifests may leave replicas out
	}
	wants := map[WorkloadRef]int32{}
	for _, ref := range m.Tracks {
		if w, exists := s.cluster.workload(ref); exists {
			wants[ref] = w.Replicas
		}
	}
	for _, w := range s.cluster.selected() {
		if isFixed := w.Selector[s.Intent.VersionLabel] != ""; isFixed && m.Version != "" && w.Labels[s.Intent.VersionLabel] == m.Version {
			wants[w.WorkloadRef] = w.Replicas
		}
	}
	for _, t := range s.tracks {
		for _, group := range t.groups {
			if _, known := wants[t.ref]; m.includes(t, group.Version) && !known {
				return false
			}
		}
	}
	for _, replicas := range wants {
		if replicas > 0 {
			return false
		}
	}
	return len(wants) > 0
}

func overlap(a, b meaning) bool {
	return a.Version != "" && a.Version == b.Version || slices.ContainsFunc(a.Tracks, func(ref WorkloadRef) bool { return slices.Contains(b.Tracks, ref) })
}

// quarters divides 4 by counts, by largest remainder, so that a rollout is at most four steps.
func quarters(counts map[string]int) []portion {
	var in []portion
	for version, count := range counts {
		in = append(in, portion{version, count})
	}
	return divide(in, 4)
}

// normalised sums the weights for each subset and scales them to 100, by largest remainder. If that would leave a version without
// a share, the weights stay as they are: Istio takes them as relative.
func normalised(portions []portion) []portion {
	sums := map[string]int{}
	for _, p := range portions {
		sums[p.version] += p.weight
	}
	var in []portion
	for version, weight := range sums {
		in = append(in, portion{version, weight})
	}
	if out := divide(in, 100); len(out) == len(in) {
		return out
	}
	slices.SortFunc(in, comparePortions)
	return in
}

// divide shares out total by weight, by largest remainder; what gets nothing is left out.
func divide(in []portion, total int) []portion {
	slices.SortFunc(in, comparePortions)
	sum := 0
	for _, p := range in {
		sum += p.weight
	}
	out, rest := slices.Clone(in), total
	byRemainder := make([]int, len(in))
	for i, p := range in {
		out[i].weight = p.weight * total / sum
		rest -= out[i].weight
		byRemainder[i] = i
	}
	slices.SortStableFunc(byRemainder, func(a, b int) int {
		return cmp.Compare(in[b].weight*total%sum, in[a].weight*total%sum)
	})
	for _, i := range byRemainder[:rest] {
		out[i].weight++
	}
	return slices.DeleteFunc(out, func(p portion) bool { return p.weight == 0 })
}

func comparePortions(a, b portion) int { return CompareVersions(a.version, b.version) }
