// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"slices"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// notYet returns what a name waits for.
func (s *facts) notYet(name string, m meaning) string {
	known := s.knownVersions()
	_, near := api.NearestVersion(name, known)
	switch {
	case !s.hasPods(m) && near:
		return api.UnknownVersion(name, known)
	case !s.hasPods(m):
		return name + " (no pods)"
	case s.isGone(m):
		return name + " (its workload was deleted)"
	case s.isLeftOut(m):
		return fmt.Sprintf("%s (no subset: there are %d of at most %d, routing.maxVersions)", name, s.subsetCount(), s.Settings.MaxVersions)
	case s.isReady(m) && !s.isSeenReady(m):
		return name + " (its pods are on their way to the proxies)"
	case s.isReady(m):
		return name + " (its subset is on its way to the proxies)"
	}
	pods, ready := s.counts(m)
	return fmt.Sprintf("%s (%d of %d pods ready)", name, ready, pods)
}

// isEffective reports whether a version can receive requests: it is routed and has pods, or enough of its pods are ready and proxies
// know them and its subset.
func (s defaultDecision) isEffective(m meaning) bool {
	if !s.hasPods(m) {
		return false
	}
	return s.inRoute(m) || s.isReady(m) && s.isSeenReady(m) && s.usableNow(m)
}

// isSeenReady reports whether the proxies know of a ready pod of m: istiod watches readiness separately from routes. The API
// truncates the time at which a pod became ready to the second.
func (s *facts) isSeenReady(m meaning) bool {
	for _, group := range s.groupsOf(m) {
		if group.hasReady() && s.waitElapsed(group.readySince().Add(time.Second), s.Settings.PropagationDelay) {
			return true
		}
	}
	return false
}

// inRoute reports whether one of our existing VirtualServices routes to what m means.
func (s defaultDecision) inRoute(m meaning) bool {
	if s.hasPods(m) && s.hasUnpinnedRoute() && s.alone(m) {
		return true
	}
	versions := s.possible(m)
	return slices.ContainsFunc(s.existingPortions(), func(p portion) bool { return slices.Contains(versions, p.version) })
}

// isNamedByRoute reports whether one of our existing VirtualServices names the subset of a version.
func (s *facts) isNamedByRoute(version string) bool {
	return version != "" && (slices.Contains(s.existingMirrors(), version) ||
		slices.ContainsFunc(s.existingPortions(), func(p portion) bool { return p.version == version }))
}

// possible returns the versions that m means now, or meant last.
func (s *facts) possible(m meaning) []string {
	var out []string
	for _, group := range s.groupsOf(m) {
		out = append(out, group.Version)
	}
	for _, ref := range m.Tracks {
		out = append(out, s.recordedRun(ref))
	}
	out = append(out, m.Version)
	return slices.DeleteFunc(out, func(version string) bool { return version == "" })
}

// existingPortions are all destinations on our host that our existing VirtualServices have.
func (s *facts) existingPortions() []portion {
	var out []portion
	for _, vs := range s.ours.routes() {
		if slices.Contains(s.reverted, vs.Name) {
			out = append(out, s.writtenPortions(vs)...)
			continue
		}
		for _, http := range vs.Spec.Http {
			for _, d := range withoutZeroWeights(http.Route) {
				out = s.appendPortion(out, d.Destination, d.Weight)
			}
		}
		for _, tcp := range vs.Spec.Tcp {
			for _, d := range withoutZeroWeights(tcp.Route) {
				out = s.appendPortion(out, d.Destination, d.Weight)
			}
		}
	}
	return out
}

func (s *facts) appendPortion(out []portion, d *networkingapi.Destination, weight int32) []portion {
	if ResolveHost(d.GetHost(), s.Service.Namespace, s.Settings.ClusterDomain) != s.host {
		return out
	}
	return append(out, portion{s.subsets.versions[d.GetSubset()], max(int(weight), 1)})
}

// unpinned reports whether an existing VirtualService routes to every pod of the Service.
func unpinned(vs *networkingv1.VirtualService) bool {
	return vs != nil && slices.ContainsFunc(DestinationsOf(vs), func(d *networkingapi.Destination) bool { return d.GetSubset() == "" })
}

// hasUnpinnedRoute reports whether one of our existing routes routes to every pod of the Service.
func (s *facts) hasUnpinnedRoute() bool {
	return slices.ContainsFunc(s.ours.routes(), func(vs *networkingv1.VirtualService) bool {
		if slices.Contains(s.reverted, vs.Name) {
			return slices.ContainsFunc(s.writtenPortions(vs), func(p portion) bool { return p.version == "" })
		}
		return unpinned(vs)
	})
}

// usable reports whether a route may name the subset of a version: the subset has existed for the propagation delay, a
// route names it already, another DestinationRule provides it, or waiting would protect no traffic.
func (s defaultDecision) usable(version string) bool {
	if version == "" {
		return false
	}
	name := s.subsets.names[version]
	if s.foreign.supplied[name] || s.isNamedByRoute(version) || s.nothingServes() || s.isUrgent(version) {
		return true
	}
	if s.Settings.PropagationDelay <= 0 {
		return !s.isBeyondLimit(version)
	}
	if s.isInReplaced(version) || s.isNamedByReplaced(version) {
		return true
	}
	subset := findSubset(s.ours.destinationRule, name)
	if subset == nil || subset.Labels[s.Intent.VersionLabel] != version || len(subset.Labels) != 1 {
		return false
	}
	added, stamped := s.ours.added[name]
	return stamped && s.waitElapsed(added, s.Settings.PropagationDelay)
}

// nothingServes reports whether no endpoint behind the Service is ready, in this cluster or another one. A route that is written
// now affects no request, so waiting would protect none.
func (s *facts) nothingServes() bool {
	return !s.spansClusters() && !slices.ContainsFunc(s.cluster.all(), podGroup.hasReady)
}

// isUrgent reports whether requests fail until the route names this version: a workload runs it and is in the route with
// other versions, none of which has a ready pod. The workload's share fails in any case until the subset arrives.
func (s *facts) isUrgent(version string) bool {
	return slices.ContainsFunc(s.tracks, func(t track) bool {
		if t.fixed || !slices.ContainsFunc(t.groups, func(g podGroup) bool { return g.Version == version && g.hasReady() }) {
			return false
		}
		routed := false
		for _, p := range s.existingPortions() {
			if p.version == "" || p.version == version || !slices.Contains(s.possible(meaning{Tracks: []WorkloadRef{t.ref}}), p.version) {
				continue
			}
			if s.hasReady(meaning{Version: p.version}) {
				return false
			}
			routed = true
		}
		return routed
	})
}

// usableNow reports whether a destination for m could be written now.
func (s defaultDecision) usableNow(m meaning) bool {
	if m.All || s.alone(m) || s.nothingServes() {
		return true
	}
	if len(m.Tracks) == 0 {
		return s.usable(m.Version)
	}
	for version := range s.readyByVersion(m) {
		if s.usable(version) {
			return true
		}
	}
	return false
}

// isReady is the readiness that a name needs to take effect: three quarters of its pods, at least one; one is enough with
// decided-at.
func (s *facts) isReady(m meaning) bool {
	if !s.hasReady(m) {
		return false
	}
	pods, ready := s.counts(m)
	return ready > 0 && (4*ready >= 3*pods || !s.Intent.DecidedAt.IsZero())
}
