// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// rule is one rule of a route, independent of ports and gateways. The last one has no match.
type rule struct {
	match *api.Match
	to    []portion // in natural order; weights above 0
	// mirrors are sent copies of the requests, in natural order.
	mirrors []mirror
	// sticky is true for the rule of callers who have been given a version: match is then their cookie.
	sticky bool
	// unclaimed is true for a rule of requests that no match claims, which stands in for a pending item.
	unclaimed bool
	// cookies are what those whom this rule gives a version are told to carry, by version; nil where nothing sticks.
	cookies map[string]string
}

// portion is a share of a rule's requests.
type portion struct {
	version string // empty: a destination without subset
	weight  int
}

// decideRules gives every rule its destinations: the rules of match as written, then the default.
func (s *situation) decideRules() {
	s.unsplit = s.unsplit || s.endpointsElsewhere()
	if s.unsplit {
		s.decideNoRoute()
		s.rules = []rule{{to: []portion{{weight: 1}}}}
		s.tellUnsplitWeights()
		return
	}
	s.decideWeights()
	s.decideNoRoute()
	s.rules = s.matchRules()
	s.rules = append(s.rules, s.defaultRules(s.rules)...)
	s.decideMirrors()
	s.tellBypasses()
	s.tellAdopted()
	s.tellHold()
	s.tellNames()
}

// decideNoRoute decides whether a route for the mesh may be created. One that was created before and is missing was deleted
// by another client, and comes back.
func (s *situation) decideNoRoute() {
	s.noRoute = s.mayNotCreate() && (s.unsplit || !s.wasRouteLost())
	s.record.Unrouted = s.record.State == "" && (s.noRoute || s.foreign.meshTaken)
}

// wasRouteLost reports whether the record says that callers in the mesh have a route of ours, and another client deleted it
// or took the Service's host out of it.
func (s *situation) wasRouteLost() bool {
	was := s.copies.read
	return (s.standing.mesh == nil || s.lostHost(s.standing.mesh)) && s.recorded && was.Revision > 0 && was.State == "" && !was.Unrouted && !s.reselected && !s.renewed
}

// mayNotCreate reports whether a route for the mesh that is not there must not be made: in a split, and while nothing is
// ready that it would lead to, but something else serves that is no newcomer.
func (s *situation) mayNotCreate() bool {
	if s.standing.mesh != nil && !s.renewed && slices.Contains(s.standing.mesh.Spec.Hosts, s.host) {
		return false
	}
	if s.standing.mesh == nil && s.wasRouted() {
		return false
	}
	if s.unsplit {
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

// sharing says where the requests go that no match claims, by weights in effect.
type sharing struct {
	shares []share
	away   []string // names whose share the default has, since their workload was deleted or scaled to 0
	vacant []string // names without pods whose destination is kept, since the default has no pods either
}

// defaultShares are the weights in effect, else the default's share, which has no name then.
func (s *situation) defaultShares() []share {
	out := s.sharing(s.record.Weights)
	s.away, s.record.Away = out.away, out.away
	for _, name := range s.standing.away {
		if !slices.Contains(out.away, name) && slices.ContainsFunc(s.record.Weights, func(w effectiveWeight) bool { return w.name == name }) {
			s.record.Returned = timeText(s.now)
		}
	}
	for _, name := range out.away {
		s.tellAbout(api.AnnotationWeights, s.record.Weights.String(), api.RoutePendingVersions,
			fmt.Sprintf("The workload of %s was deleted or scaled to 0; the default, %s, receives its share until it is ready again.", name, s.current()),
			"To end that, write the weights without it: "+s.annotate(api.AnnotationWeights+"="+s.weightsWithout(name))+".")
	}
	for _, name := range out.vacant {
		s.tellVacant(name)
	}
	for _, w := range s.record.Weights {
		s.tellRollout(w.meaning())
	}
	if len(s.record.Weights) == 0 {
		s.tellRollout(s.current())
	}
	return out.shares
}

// weightsWithout gives the share of a name to the default.
func (s *situation) weightsWithout(name string) string {
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

func (s *situation) sharesOf(weights effectiveWeights) []share { return s.sharing(weights).shares }

// sharing shares requests out. A version receives what is written for it, and no more, but for two: the default has the
// share of one whose workload was deleted or scaled to 0, and what took over from a default that failed has that one's.
func (s *situation) sharing(weights effectiveWeights) (out sharing) {
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
		case s.isAway(w.name, m):
			out.away = append(out.away, w.name)
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

// isOfDefault reports whether a name means the default, or a part of it.
func (s *situation) isOfDefault(m meaning) bool {
	return s.within(m) || m.Version != "" && m.Version == s.record.Default.Version
}

// nameInWeights is the name by which weights call what m means; where they do not, one by which a user may.
func (s *situation) nameInWeights(weights effectiveWeights, m meaning) string {
	at := slices.IndexFunc(weights, func(w effectiveWeight) bool { return w.weight > 0 && overlap(w.meaning(), m) })
	if at < 0 {
		return s.nameable(m)
	}
	return weights[at].name
}

func (s *situation) tellVacant(name string) {
	s.tell(api.RouteDefaultVersionGone, "Version "+name+" is in the route and has no pod; its destination is kept, and requests to it fail.",
		"Bring it back, or take it out of the annotations.")
}

// replacing is the stand-in for a name that means a deleted default.
func (s *situation) replacing(m meaning) meaning {
	if !s.gone.standIn.isZero() {
		return s.gone.standIn
	}
	return m
}

// notYet says what a name waits for.
func (s *situation) notYet(name string, m meaning) string {
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

// isAway reports whether the default has the share of a version in the weights in effect: its workload was deleted or is
// scaled to 0, or it has no pods for another reason, and it is not back yet. Pods that still drain do not keep the share.
func (s *situation) isAway(name string, m meaning) bool {
	if s.record.Provisional || !s.hasPods(s.current()) && !s.current().All {
		return false
	}
	if s.isScaledToZero(m) {
		return !s.Intent.HoldScaledToZero
	}
	return !s.hasPods(m) || s.isGone(m) || slices.Contains(s.standing.away, name) && !s.mayReturn(m)
}

// returnEvery is how often a version may take its share back: an autoscaler between 0 and 1 must not make routes flap.
const returnEvery = time.Minute

// mayReturn reports whether a version that gave its share to the default takes it back.
func (s *situation) mayReturn(m meaning) bool {
	if !s.isReadyForMore(m) {
		return false
	}
	last, returned := parseTime(s.record.Returned)
	return !returned || s.over(last, returnEvery)
}

// isScaledToZero reports whether the workloads behind a meaning want no pods, and no other workload runs the version.
func (s *situation) isScaledToZero(m meaning) bool {
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

// inForce reports whether a name takes part: it is in the route and has pods, or enough of them are ready, and they and its
// subset have been there long enough.
func (s *situation) inForce(m meaning) bool {
	if !s.hasPods(m) {
		return false
	}
	return s.inRoute(m) || s.isReady(m) && s.isSeenReady(m) && s.usableNow(m)
}

// isSeenReady reports whether the proxies know of a ready pod of m: istiod hears of readiness by another watch than of
// routes. The API cuts the time at which a pod became ready to the second.
func (s *situation) isSeenReady(m meaning) bool {
	for _, group := range s.groupsOf(m) {
		if group.hasReady() && s.over(group.readySince().Add(time.Second), s.Settings.PropagationDelay) {
			return true
		}
	}
	return false
}

// inRoute reports whether a standing VirtualService of ours leads to what m means.
func (s *situation) inRoute(m meaning) bool {
	if s.hasPods(m) && s.standsUnpinned() && s.alone(m) {
		return true
	}
	versions := s.possible(m)
	return slices.ContainsFunc(s.standingPortions(), func(p portion) bool { return slices.Contains(versions, p.version) })
}

// standingNames reports whether a standing VirtualService of ours names the subset of a version.
func (s *situation) standingNames(version string) bool {
	return version != "" && (slices.Contains(s.standingMirrors(), version) ||
		slices.ContainsFunc(s.standingPortions(), func(p portion) bool { return p.version == version }))
}

// possible are the versions that m stands for now, or stood for last.
func (s *situation) possible(m meaning) []string {
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

// standingPortions are all destinations on our host that our standing VirtualServices have.
func (s *situation) standingPortions() []portion {
	var out []portion
	for _, vs := range s.standing.routes() {
		if slices.Contains(s.reverted, vs.Name) {
			out = append(out, s.writtenPortions(vs)...)
			continue
		}
		for _, http := range vs.Spec.Http {
			for _, d := range heavy(http.Route) {
				out = s.appendStanding(out, d.Destination, d.Weight)
			}
		}
		for _, tcp := range vs.Spec.Tcp {
			for _, d := range heavy(tcp.Route) {
				out = s.appendStanding(out, d.Destination, d.Weight)
			}
		}
	}
	return out
}

func (s *situation) appendStanding(out []portion, d *networkingapi.Destination, weight int32) []portion {
	if resolveHost(d.GetHost(), s.Service.Namespace, s.Settings.ClusterDomain) != s.host {
		return out
	}
	return append(out, portion{s.subsets.versions[d.GetSubset()], max(int(weight), 1)})
}

// unpinned reports whether a standing VirtualService leads to every pod of the Service.
func unpinned(vs *networkingv1.VirtualService) bool {
	return vs != nil && slices.ContainsFunc(destinationsOf(vs), func(d *networkingapi.Destination) bool { return d.GetSubset() == "" })
}

func (s *situation) standsUnpinned() bool {
	return slices.ContainsFunc(s.standing.routes(), func(vs *networkingv1.VirtualService) bool {
		if slices.Contains(s.reverted, vs.Name) {
			return slices.ContainsFunc(s.writtenPortions(vs), func(p portion) bool { return p.version == "" })
		}
		return unpinned(vs)
	})
}

// expand turns a meaning into destinations whose weights sum to 4. What means all pods there are needs no subset; a
// rolling track beside others is divided over its versions by ready pods.
func (s *situation) expand(m meaning) []portion {
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
	case s.standsUnpinned() && !s.anyUsable(m):
		return []portion{{weight: 4}}
	case s.inRoute(m):
		return s.held(m)
	case len(ready) > 0:
		return quarters(ready)
	}
	return s.held(m)
}

// alone reports whether m is rolling and has all the pods. Once a route names subsets, others must have been away for
// the retention, too; and a stand-in keeps its subset.
func (s *situation) alone(m meaning) bool {
	if len(m.Tracks) == 0 || m.Version != "" {
		return false
	}
	for _, t := range s.withPods() {
		if !slices.Contains(m.Tracks, t.ref) {
			return false
		}
	}
	routes := s.standing.routes()
	if len(routes) == 0 || s.standsUnpinned() {
		return true
	}
	return s.gone.standIn.isZero() && s.othersAway(m)
}

// othersAway reports whether every subset without pods, but for those that m ran last, has been unused for the
// retention.
func (s *situation) othersAway(m meaning) bool {
	if s.standing.rule == nil {
		return true
	}
	own := s.possible(m)
	for _, subset := range s.standing.rule.Spec.Subsets {
		version, is := s.subsets.versions[subset.Name]
		if !is || slices.Contains(own, version) || s.foreignSubsetOfOurs(subset) {
			continue
		}
		since, unused := s.standing.unused[subset.Name]
		if !unused {
			since = s.now
		}
		if !s.over(since, s.Settings.SubsetRetention) {
			return false
		}
	}
	return true
}

// readyByVersion counts the ready pods that m's share goes to. An old version of a rolling track leaves when it has at
// most one pod and the new one a ready one.
func (s *situation) readyByVersion(m meaning) map[string]int {
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

func (s *situation) anyUsable(m meaning) bool { return slices.ContainsFunc(s.possible(m), s.usable) }

// held is where m's share stays while none of its pods is ready: where it went, else what it ran last, else where most
// of its pods are.
func (s *situation) held(m meaning) []portion {
	versions := s.possible(m)
	counts := map[string]int{}
	for _, p := range s.standingPortions() {
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
func (s *situation) lastRan(ref WorkloadRef) string {
	recorded := s.recordedRun(ref)
	t, _ := s.trackOf(ref)
	if newest := t.newest(); newest != "" && (recorded == "" || !t.runs(recorded)) {
		return newest
	}
	return recorded
}

// recordedRun is the version that is recorded as the one that a rolling track ran last, or what has replaced it: where the
// recorded one is marked as unused and has no pods any more, that is the subset which came last and is not marked.
func (s *situation) recordedRun(ref WorkloadRef) string {
	recorded := s.standing.lastRan[ref.String()]
	t, _ := s.trackOf(ref)
	if recorded == "" || t.runs(recorded) || s.standing.rule == nil {
		return recorded
	}
	if _, left := s.leftSince(recorded); left {
		return cmp.Or(t.newest(), t.next, recorded)
	}
	replaced, successor, latest := false, recorded, time.Time{}
	for _, subset := range s.standing.rule.Spec.Subsets {
		version, is := s.subsets.versions[subset.Name]
		if !is || s.foreignSubsetOfOurs(subset) {
			continue
		}
		_, marked := s.standing.unused[subset.Name]
		replaced = replaced || marked && version == recorded
		if added := s.standing.added[subset.Name]; !marked && added.After(latest) {
			successor, latest = version, added
		}
	}
	if !replaced {
		return recorded
	}
	return successor
}

// usable reports whether a route may name the subset of a version: the subset has existed for the propagation delay, a
// route names it already, another DestinationRule provides it, or waiting would protect no traffic.
func (s *situation) usable(version string) bool {
	if version == "" {
		return false
	}
	name := s.subsets.names[version]
	if s.foreign.supplied[name] || s.standingNames(version) || s.nothingServes() || s.isUrgent(version) {
		return true
	}
	if s.Settings.PropagationDelay <= 0 {
		return !s.isBeyondLimit(version)
	}
	if s.isProvidedByTaken(version) || s.isNamedByTaken(version) {
		return true
	}
	subset := findSubset(s.standing.rule, name)
	if subset == nil || subset.Labels[s.Intent.VersionLabel] != version || len(subset.Labels) != 1 {
		return false
	}
	added, stamped := s.standing.added[name]
	return stamped && s.over(added, s.Settings.PropagationDelay)
}

// nothingServes reports whether no endpoint behind the Service is ready, in this cluster or another one. A route that is
// written now takes no request from anybody, and no wait protects any.
func (s *situation) nothingServes() bool {
	return !s.spansClusters() && !slices.ContainsFunc(s.cluster.all(), podGroup.hasReady)
}

// isUrgent reports whether requests fail until the route names this version: a workload runs it and is in the route with
// other versions, none of which has a ready pod. The workload's share fails in any case until the subset arrives.
func (s *situation) isUrgent(version string) bool {
	return slices.ContainsFunc(s.tracks, func(t track) bool {
		if t.fixed || !slices.ContainsFunc(t.groups, func(g podGroup) bool { return g.Version == version && g.hasReady() }) {
			return false
		}
		routed := false
		for _, p := range s.standingPortions() {
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
func (s *situation) usableNow(m meaning) bool {
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

// quarters divides 4 by counts, by largest remainder, so that a rollout is at most four steps.
func quarters(counts map[string]int) []portion {
	var in []portion
	for version, count := range counts {
		in = append(in, portion{version, count})
	}
	return divide(in, 4)
}

// normalised adds up what leads to the same subset and scales the weights to 100, by largest remainder. Where that
// would leave a version without a share, the weights stay as they are: Istio takes them as relative.
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

func comparePortions(a, b portion) int { return compareVersions(a.version, b.version) }

// pend says that what an annotation says is not in effect yet, since names in it cannot be followed.
func (s *situation) pend(key, value string, missing []string, message string) {
	s.pending = append(s.pending, Pending{Key: key, Value: value, Missing: missing})
	ready := "three quarters of the pods are"
	if !s.Intent.DecidedAt.IsZero() {
		ready = "one pod is"
	}
	advice := "It takes effect when " + ready + " ready; see kubectl get pods -n " + s.Service.Namespace + " -L " + s.Intent.VersionLabel + "."
	if example := s.corrected(key, value); example != "" {
		advice = "Example: " + s.annotate(key+"="+example) + "."
	}
	s.tellAbout(key, value, api.RoutePendingVersions, message, advice)
}

func (s *situation) tellPending(key string, missing []string, until string) {
	if len(missing) > 0 {
		s.pend(key, s.Intent.Texts[key], missing, pendingText(missing)+until)
	}
}

// tellRollout says that a rolling workload changes its version while others are behind the Service.
func (s *situation) tellRollout(m meaning) {
	if s.alone(m) {
		return
	}
	for _, ref := range m.Tracks {
		t, _ := s.trackOf(ref)
		if len(t.groups) > 1 {
			s.tell(api.RouteRolloutBesideOthers, ref.String()+" changes its version beside other workloads; its share follows its ready pods, and needs Outrigger to run.",
				"A rollout of a workload that is alone behind the Service needs nothing.")
		}
	}
}

// tellNames says which names mean a workload that runs another version by now, and a default that waits.
func (s *situation) tellNames() {
	for _, name := range s.writtenNames() {
		m := s.meaningOf(name)
		if !s.hasPods(m) || len(m.Tracks) == 0 || slices.Contains(s.possible(m), name) {
			continue
		}
		var versions []string
		for _, group := range s.groupsOf(m) {
			versions = append(versions, group.Version)
		}
		slices.SortFunc(versions, compareVersions)
		versions = slices.Compact(versions)
		s.tell(api.RouteVersionSucceeded, fmt.Sprintf("The name %s means %s, which runs %s by now; it goes with it.", name, m, strings.Join(versions, ", ")),
			"Write the annotation with the present version to keep it readable.")
	}
	if m := s.meaningOf(s.Intent.Default.Version); s.defaultPending() && (!s.isReady(m) || s.isGone(m)) {
		s.tellPending(api.AnnotationDefaultVersion, []string{s.notYet(s.Intent.Default.Version, m)}, "The default stays "+s.record.Default.String()+".")
	}
}
