// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"maps"
	"slices"
	"strings"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// renderRule makes the DestinationRule: a subset for each version that has pods or that a route names, and for those
// that had until lately.
func (s decision) renderRule(routes []*networkingv1.VirtualService) (*networkingv1.DestinationRule, []finding) {
	rule := &networkingv1.DestinationRule{ObjectMeta: s.meta(s.names.rule), TypeMeta: typeMeta("DestinationRule")}
	rule.Spec.Host = s.host
	if existing := s.ours.rule; existing != nil && isShortOf(existing.Spec.Host, s.host, s.Service.Namespace) {
		rule.Spec.Host = existing.Spec.Host // whoever shortened it is not contradicted
	}
	rule.Spec.ExportTo = s.exportOfSubsets(routes)
	added, unused := stamps{}, stamps{}
	s = s.after(routes)
	kept, adds, found := s.keptVersions(routes, unused)
	for _, version := range kept {
		name := s.subsets.names[version]
		if s.foreign.supplied[name] {
			continue
		}
		added[name] = s.addedAt(name, version)
		rule.Spec.Subsets = append(rule.Spec.Subsets, &networkingapi.Subset{Name: name, Labels: map[string]string{s.Intent.VersionLabel: version}})
	}
	for _, subset := range s.subsetsOfOthers() {
		if findSubset(rule, subset.Name) == nil {
			rule.Spec.Subsets = append(rule.Spec.Subsets, subset.DeepCopy())
		}
	}
	s.keepNamed(rule, added, routes)
	meanings := map[string]string{}
	for name := range added {
		meanings[name] = s.subsets.versions[name]
	}
	if existing := s.ours.rule; existing != nil {
		mark(&rule.ObjectMeta, map[string]string{api.AnnotationExportedAt: s.exportedText(existing.Spec.ExportTo, rule.Spec.ExportTo, existing)})
	}
	mark(&rule.ObjectMeta, map[string]string{
		api.AnnotationRecord:      s.recordText(s.record),
		api.AnnotationDefault:     s.record.readable(),
		api.AnnotationSubsetAdded: added.String(),
		api.AnnotationSubsets:     pairsText(meanings),
		api.AnnotationWritten:     s.ruleDigest(rule, added),
		api.AnnotationUnusedSince: unused.String(),
		api.AnnotationUnready:     s.unreadyText(),
		api.AnnotationLastRan:     pairsText(s.lastRun(kept, unused, adds)),
		api.AnnotationWaiting:     strings.Join(s.stillWaiting(rule), ","),
	})
	rule.Spec.TrafficPolicy = s.policy.policy
	mark(&rule.ObjectMeta, map[string]string{api.AnnotationInherited: s.policy.mark})
	return rule, found
}

// after returns the decision for the routes as they are written: they say since when they no longer name a subset.
func (s decision) after(routes []*networkingv1.VirtualService) decision {
	written, next := *s.facts, s
	written.left = s.leftBy(routes)
	next.facts = &written
	return next
}

func (s *facts) subsetsOfOthers() []*networkingapi.Subset {
	if s.ours.rule == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(s.ours.rule.Spec.Subsets), func(subset *networkingapi.Subset) bool {
		return !s.foreignSubsetOfOurs(subset)
	})
}

// addedAt is since when a subset has stood with the right labels.
func (s *facts) addedAt(name, version string) time.Time {
	subset := findSubset(s.ours.rule, name)
	if at, stamped := s.ours.added[name]; stamped && subset != nil && len(subset.Labels) == 1 && subset.Labels[s.Intent.VersionLabel] == version {
		return at
	}
	return s.now
}

// keptVersions are the versions that have a subset, in natural order, and whether one is among them that has none yet. One
// that nobody needs any more is marked in unused and stays for the retention. One that a rollout in place replaces is
// marked by the write that adds what replaces it.
func (s decision) keptVersions(routes []*networkingv1.VirtualService, unused stamps) (kept []string, adds bool, found []finding) {
	if s.waitsForSecond() {
		return nil, false, nil
	}
	routed := s.routedVersions(routes)
	needed := s.neededVersions(routed)
	stand := map[string]bool{}
	for version, name := range s.subsets.names {
		if findSubset(s.ours.rule, name) != nil {
			stand[version] = true
		}
	}
	running := s.podVersions()
	others, found := s.limitSubsets(needed, stand, running)
	kept = append(sortedKeys(needed), others...)
	adds = slices.ContainsFunc(kept, func(version string) bool { return !stand[version] && !s.foreign.supplied[s.subsets.names[version]] })
	for version := range stand {
		name := s.subsets.names[version]
		since, marked := s.ours.unused[name]
		if !marked || s.isNamedByRoute(version) || s.isNamed(name) { // also by an edit that is reverted
			since = s.now
		}
		if !routed[version] && s.isReplaced(version, stand, marked) {
			unused[name] = since
		}
		if needed[version] || slices.Contains(running, version) {
			continue
		}
		if left, is := s.leftSince(version); is && !marked {
			if !s.hasElapsed(left, s.Settings.SubsetRetention) || s.isNamedByRoute(version) || adds {
				kept = append(kept, version)
			}
			continue
		}
		if s.hasElapsed(since, s.Settings.SubsetRetention) && !s.isNamedByRoute(version) && !adds {
			continue // never in the write that adds another: that one comes before the routes, this one after them
		}
		unused[name] = since
		kept = append(kept, version)
	}
	slices.SortFunc(kept, compareVersions)
	return slices.Compact(kept), adds, found
}

// isNamed reports whether a VirtualService of ours names a subset as it is now, edited or not.
func (s *facts) isNamed(subset string) bool {
	return slices.ContainsFunc(s.ours.routes(), func(vs *networkingv1.VirtualService) bool {
		return slices.Contains(subsetsNamed(vs, s.host, s.Settings.ClusterDomain), subset)
	})
}

// leftBehind are the subsets that a route names no more as it is written now, since a workload beside others replaces their
// version, and those that it left behind before. Their retention begins with that write, so that the DestinationRule needs
// none of its own for that.
func (s decision) leftBehind(vs, existing *networkingv1.VirtualService) stamps {
	if s.renewed {
		return nil
	}
	was := s.leftBy([]*networkingv1.VirtualService{existing})
	if sameSpec(existing, vs) {
		return was
	}
	for _, d := range destinationsOf(existing) { // also one that another client wrote into it
		if delete(was, d.Subset); s.isSuperseded(s.subsets.versions[d.Subset]) {
			was[d.Subset] = s.now
		}
	}
	for _, d := range destinationsOf(vs) {
		delete(was, d.Subset)
	}
	maps.DeleteFunc(was, func(name string, _ time.Time) bool { return findSubset(s.ours.rule, name) == nil })
	return was
}

// isSuperseded reports whether a rolling workload that the default or a name means ran a version last, or still does, and
// rolls out another.
func (s decision) isSuperseded(version string) bool {
	if version == "" {
		return false
	}
	for _, ref := range s.record.workloads() {
		t, _ := s.trackOf(ref)
		if newest := t.newest(); newest != "" && newest != version && (t.runs(version) || s.ours.lastRan[ref.String()] == version) {
			return true
		}
	}
	return false
}

// isBeingLeft reports whether a route of ours still leads to a version without pods that a workload ran last, or has ceased to
// do so and says since when: the write that takes the subset away records what has replaced it.
func (s *facts) isBeingLeft(version string) bool {
	_, left := s.leftSince(version)
	return left || s.isNamedByRoute(version) && !slices.Contains(s.podVersions(), version)
}

// leftSince is since when no route of ours leads to a version without pods that a workload beside others ran last and has
// replaced. It is false once the DestinationRule has it that the workload ran another last.
func (s *facts) leftSince(version string) (time.Time, bool) {
	at, left := s.left[s.subsets.names[version]]
	ranLast := slices.Contains(slices.Collect(maps.Values(s.ours.lastRan)), version)
	return at, left && ranLast && !slices.Contains(s.podVersions(), version)
}

// isReplaced reports whether a version of the lone default still runs beside the one that its workload rolls out. No route
// of ours names a subset then, so that the retention of what goes can begin: a mark of its own at the last pod's end
// would be one write more in each rollout. What has no subset yet is the one that comes, also where its pod is seen before
// the new template. A mark once made stays while both run, whichever wins.
func (s choice) isReplaced(version string, stand map[string]bool, marked bool) bool {
	if !s.hasUnpinnedRoute() || !s.alone(s.record.Default) {
		return false
	}
	for _, ref := range s.record.Default.Tracks {
		if t, _ := s.trackOf(ref); t.runs(version) && len(t.versions()) > 1 {
			return marked || slices.ContainsFunc(t.versions(), func(other string) bool { return other != "" && !stand[other] })
		}
	}
	return false
}

// routedVersions are those that a route of ours or of others names.
func (s decision) routedVersions(routes []*networkingv1.VirtualService) map[string]bool {
	routed := map[string]bool{}
	for _, r := range s.rules {
		for _, p := range r.to {
			routed[p.version] = true
		}
		for _, m := range r.mirrors {
			routed[m.version] = true
		}
	}
	for _, vs := range routes {
		for _, d := range destinationsOf(vs) {
			routed[s.subsets.versions[d.Subset]] = true
		}
	}
	for name := range s.foreign.named {
		routed[s.subsets.versions[name]] = true
	}
	delete(routed, "")
	return routed
}

// neededVersions are those that a route names, and the default's.
func (s decision) neededVersions(routed map[string]bool) map[string]bool {
	needed := maps.Clone(routed)
	for _, m := range []meaning{s.record.Default, s.gone.standIn} {
		needed[m.Version] = true
		for _, ref := range m.Tracks {
			needed[s.lastRan(ref)] = true
		}
	}
	s.addSuccessors(needed, routed)
	delete(needed, "")
	return needed
}

// lastRun records what each rolling track ran last that is the default, or is meant by a name: where its share stays
// while it has no pods. While the mark on a replaced version tells as much, the record waits for the write that takes the
// version away.
func (s decision) lastRun(kept []string, unused stamps, adds bool) map[string]string {
	out := map[string]string{}
	for _, m := range append(s.record.meanings(), s.gone.standIn) {
		for _, ref := range m.Tracks {
			version, recorded := s.lastRan(ref), s.ours.lastRan[ref.String()]
			_, replaced := unused[s.subsets.names[recorded]]
			if recorded != "" && replaced && !adds && s.alone(m) || s.isBeingLeft(recorded) && slices.Contains(kept, recorded) {
				version = recorded
			}
			if version != "" {
				out[ref.String()] = version
			}
		}
	}
	return out
}

// stillWaiting forgets workloads that are gone, not before their subset goes: one write is enough.
func (s decision) stillWaiting(rule *networkingv1.DestinationRule) []string {
	pruned := s.ours.rule == nil || len(s.ours.rule.Spec.Subsets) > len(rule.Spec.Subsets)
	return slices.DeleteFunc(slices.Clone(s.waiting), func(name string) bool {
		ref, _ := refFrom(name)
		t, seen := s.trackOf(ref)
		return pruned && ref.listed() && (!seen || !t.exists)
	})
}
