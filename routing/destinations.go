// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"

	"outrigger.dev/outrigger/api"
)

// rule is one rule of a route, independent of ports and gateways. The last one has no match.
type rule struct {
	match *api.Match
	to    []portion // in natural order; weights above 0
	// mirrors are sent copies of the requests, in natural order.
	mirrors []mirror
	// sticky is true for the rule of callers that have a cookie with a version; match is then that cookie.
	sticky bool
	// unclaimed is true for the rule that replaces a pending item: its requests are treated as those that no match claims.
	unclaimed bool
	// cookies are the values of the sticky cookie that responses set, by the version that responds; nil for other rules.
	cookies map[string]string
}

// portion is a share of a rule's requests.
type portion struct {
	version string // empty: a destination without subset
	weight  int
}

// withholdsMeshRoute reports whether no route for the mesh may be created. A missing route that existed before is recreated.
func (s defaultDecision) withholdsMeshRoute(unversioned bool) bool {
	return s.mayNotCreate(unversioned) && (unversioned || !s.wasRouteLost())
}

// wasRouteLost reports whether callers in the mesh have a route according to the record, and another client deleted it or took the
// Service's host out of it.
func (s defaultDecision) wasRouteLost() bool {
	was := s.copies.read
	return (s.ours.meshRoute == nil || s.lostHost(s.ours.meshRoute)) && s.isRecorded && was.Revision > 0 && was.State == "" && !was.Unrouted && !s.reselected && !s.renewed
}

// mayNotCreate reports whether a missing route for the mesh must not be created: in a split, and while no destination of it is
// ready but another workload, which is not new, serves.
func (s defaultDecision) mayNotCreate(unversioned bool) bool {
	if s.ours.meshRoute != nil && !s.renewed && slices.Contains(s.ours.meshRoute.Spec.Hosts, s.host) {
		return false
	}
	if s.ours.meshRoute == nil && s.wasRouted() {
		return false
	}
	if unversioned {
		return true
	}
	to := []meaning{s.current()}
	if len(s.record.Weights) > 0 {
		to = nil
	}
	for _, w := range s.record.Weights {
		if w.weight > 0 {
			to = append(to, w.meaning())
		}
	}
	if slices.ContainsFunc(to, func(m meaning) bool { return m.All || s.isSeenReady(m) }) {
		return false
	}
	return slices.ContainsFunc(s.withPods(), func(t track) bool {
		return s.isOld(t.created()) && slices.ContainsFunc(t.groups, func(g podGroup) bool { return g.hasReady() && !s.current().includes(t, g.Version) })
	})
}

// sharing divides requests by weights. A version receives its weight, with two exceptions: the default receives the share of a version
// whose workload was deleted or scaled to 0, and the share of a default that failed.
func (s defaultDecision) sharing(weights effectiveWeights) (out sharing) {
	add := func(weight int32, name string, m meaning) {
		sh := share{name: name}
		for _, p := range s.expand(m) {
			sh.to = append(sh.to, portion{p.version, p.weight * int(weight)})
		}
		out.shares = append(out.shares, sh)
	}
	failed := s.record.Failed
	if !failed.isZero() && s.record.Default.All {
		return sharing{shares: []share{{to: s.expand(s.record.Default)}}}
	}
	for _, w := range weights {
		m := w.meaning()
		switch {
		case w.weight == 0:
		case overlap(m, failed) && !overlap(m, s.current()):
			add(w.weight, s.nameInWeights(weights, s.current()), s.current())
		case s.isOfDefault(m):
			add(w.weight, w.name, s.replacing(m))
		case s.isAbsent(w.name, m):
			out.absent = append(out.absent, w.name)
			add(w.weight, s.nameInWeights(weights, s.current()), s.current())
		default:
			if !s.hasPods(m) {
				out.vacant = append(out.vacant, w.name)
			}
			add(w.weight, w.name, m)
		}
	}
	if len(out.shares) == 0 {
		out.shares = append(out.shares, share{to: s.expand(s.current())})
	}
	return out
}
