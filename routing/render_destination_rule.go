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

// renderDestinationRule renders the DestinationRule: a subset for each version that has pods or that a route names, or for which
// this was true within Settings.SubsetRetention.
func (s outcome) renderDestinationRule(routes []*networkingv1.VirtualService) (*networkingv1.DestinationRule, []finding) {
	rule := &networkingv1.DestinationRule{ObjectMeta: s.meta(s.names.destinationRule), TypeMeta: typeMeta("DestinationRule")}
	rule.Spec.Host = s.host
	if existing := s.ours.destinationRule; existing != nil && isShortOf(existing.Spec.Host, s.host, s.Service.Namespace) {
		rule.Spec.Host = existing.Spec.Host // another client shortened it, which changes nothing
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
	if existing := s.ours.destinationRule; existing != nil {
		mark(&rule.ObjectMeta, map[string]string{api.AnnotationExportedAt: s.exportedText(existing.Spec.ExportTo, rule.Spec.ExportTo, existing)})
	}
	mark(&rule.ObjectMeta, map[string]string{
		api.AnnotationRecord:      s.recordText(s.record),
		api.AnnotationDefault:     s.record.display(),
		api.AnnotationSubsetAdded: added.String(),
		api.AnnotationSubsets:     pairsText(meanings),
		api.AnnotationWritten:     s.destinationRuleDigest(rule, added),
		api.AnnotationUnusedSince: unused.String(),
		api.AnnotationUnready:     s.unreadyText(),
		api.AnnotationLastRan:     pairsText(s.lastRun(kept, unused, adds)),
		api.AnnotationWaiting:     strings.Join(s.remainingWorkloads(rule), ","),
	})
	rule.Spec.TrafficPolicy = s.policy.policy
	mark(&rule.ObjectMeta, map[string]string{api.AnnotationInherited: s.policy.mark})
	return rule, found
}

// after returns the decision for the routes as they are written: they record since when they no longer name a subset.
func (s outcome) after(routes []*networkingv1.VirtualService) outcome {
	written, next := *s.facts, s
	written.left = s.leftBy(routes)
	next.facts = &written
	return next
}

func (s *facts) subsetsOfOthers() []*networkingapi.Subset {
	if s.ours.destinationRule == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(s.ours.destinationRule.Spec.Subsets), func(subset *networkingapi.Subset) bool {
		return !s.foreignSubsetOfOurs(subset)
	})
}

// addedAt returns since when a subset has existed with the right labels.
func (s *facts) addedAt(name, version string) time.Time {
	subset := findSubset(s.ours.destinationRule, name)
	if at, stamped := s.ours.added[name]; stamped && subset != nil && len(subset.Labels) == 1 && subset.Labels[s.Intent.VersionLabel] == version {
		return at
	}
	return s.now
}

// keptVersions returns the versions that have a subset, in natural order, and whether one of them has none yet. A version that is
// no longer needed is marked in unused and kept for the retention. The write that adds the successor of a rollout also marks the
// version that it replaces.
func (s outcome) keptVersions(routes []*networkingv1.VirtualService, unused stamps) (kept []string, adds bool, found []finding) {
	if s.waitsForSecond() {
		return nil, false, nil
	}
	routed := s.routedVersions(routes)
	needed := s.neededVersions(routed)
	existingSubsets := map[string]bool{}
	for version, name := range s.subsets.names {
		if findSubset(s.ours.destinationRule, name) != nil {
			existingSubsets[version] = true
		}
	}
	running := s.podVersions()
	others, found := s.limitSubsets(needed, existingSubsets, running)
	kept = append(sortedKeys(needed), others...)
	adds = slices.ContainsFunc(kept, func(version string) bool {
		return !existingSubsets[version] && !s.foreign.supplied[s.subsets.names[version]]
	})
	for version := range existingSubsets {
		name := s.subsets.names[version]
		since, marked := s.ours.unused[name]
		if !marked || s.isNamedByRoute(version) || s.isNamed(name) { // also by an edit that is reverted
			since = s.now
		}
		if !routed[version] && s.isReplaced(version, existingSubsets, marked) {
			unused[name] = since
		}
		if needed[version] || slices.Contains(running, version) {
			continue
		}
		if left, is := s.leftSince(version); is && !marked {
			if !s.waitElapsed(left, s.Settings.SubsetRetention) || s.isNamedByRoute(version) || adds {
				kept = append(kept, version)
			}
			continue
		}
		if s.waitElapsed(since, s.Settings.SubsetRetention) && !s.isNamedByRoute(version) && !adds {
			continue // never in the write that adds another: that one comes before the routes, this one after them
		}
		unused[name] = since
		kept = append(kept, version)
	}
	slices.SortFunc(kept, CompareVersions)
	return slices.Compact(kept), adds, found
}

// isNamed reports whether one of our VirtualServices names a subset as it is now, edited or not.
func (s *facts) isNamed(subset string) bool {
	return slices.ContainsFunc(s.ours.routes(), func(vs *networkingv1.VirtualService) bool {
		return slices.Contains(subsetsNamed(vs, s.host, s.Settings.ClusterDomain), subset)
	})
}

// leftBehind returns since when the written route no longer names subsets that a rollout replaced, in addition to those that it
// recorded before. Their retention begins with that write, so that the DestinationRule needs no additional one.
func (s outcome) leftBehind(vs, existing *networkingv1.VirtualService) stamps {
	if s.renewed {
		return nil
	}
	was := s.leftBy([]*networkingv1.VirtualService{existing})
	if sameSpec(existing, vs) {
		return was
	}
	for _, d := range DestinationsOf(existing) { // also one that another client wrote into it
		if delete(was, d.Subset); s.isSuperseded(s.subsets.versions[d.Subset]) {
			was[d.Subset] = s.now
		}
	}
	for _, d := range DestinationsOf(vs) {
		delete(was, d.Subset)
	}
	maps.DeleteFunc(was, func(name string, _ time.Time) bool { return findSubset(s.ours.destinationRule, name) == nil })
	return was
}

// isSuperseded reports whether a rolling workload that the default or a name means ran a version last, or still does, and
// rolls out another.
func (s outcome) isSuperseded(version string) bool {
	if version == "" {
		return false
	}
	for _, m := range s.record.meanings() {
		for _, ref := range m.Tracks {
			t, _ := s.trackOf(ref)
			if newest := t.newest(); newest != "" && newest != version && (t.runs(version) || s.ours.lastRan[ref.String()] == version) {
				return true
			}
		}
	}
	return false
}

// isBeingLeft reports whether one of our routes still routes to a version without pods that a workload ran last, or records since
// when it does not. The write that removes the subset records what replaced it.
func (s *facts) isBeingLeft(version string) bool {
	_, left := s.leftSince(version)
	return left || s.isNamedByRoute(version) && !slices.Contains(s.podVersions(), version)
}

// leftSince returns since when none of our routes names a version without pods that a rollout replaced while other workloads
// received traffic. It is false once the DestinationRule records the successor as the version that ran last.
func (s *facts) leftSince(version string) (time.Time, bool) {
	at, left := s.left[s.subsets.names[version]]
	ranLast := slices.Contains(slices.Collect(maps.Values(s.ours.lastRan)), version)
	return at, left && ranLast && !slices.Contains(s.podVersions(), version)
}

// isReplaced reports whether a version of a lone default still runs while its workload rolls out another. None of our routes names
// a subset then, so the retention can begin now: a mark at the end of the last pod would be another write in each rollout. A
// version without a subset is the new one, even if its pod is seen before the new template. A mark stays while both run.
func (s defaultDecision) isReplaced(version string, existingSubsets map[string]bool, marked bool) bool {
	if !s.hasUnpinnedRoute() || !s.alone(s.record.Default) {
		return false
	}
	for _, ref := range s.record.Default.Tracks {
		if t, _ := s.trackOf(ref); t.runs(version) && len(t.versions()) > 1 {
			return marked || slices.ContainsFunc(t.versions(), func(other string) bool { return other != "" && !existingSubsets[other] })
		}
	}
	return false
}

// routedVersions are those that one of our routes or a foreign route names.
func (s outcome) routedVersions(routes []*networkingv1.VirtualService) map[string]bool {
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
		for _, d := range DestinationsOf(vs) {
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
func (s outcome) neededVersions(routed map[string]bool) map[string]bool {
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

// lastRun records which version each rolling workload of the default or of a name ran last: its share stays there while it has no
// pods. While the mark on a replaced version says the same, the record waits for the write that removes that version.
func (s outcome) lastRun(kept []string, unused stamps, adds bool) map[string]string {
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

// remainingWorkloads returns otherWorkloads without those that were deleted, once their subset is removed: then one write is
// enough.
func (s outcome) remainingWorkloads(rule *networkingv1.DestinationRule) []string {
	pruned := s.ours.destinationRule == nil || len(s.ours.destinationRule.Spec.Subsets) > len(rule.Spec.Subsets)
	return slices.DeleteFunc(slices.Clone(s.otherWorkloads), func(name string) bool {
		ref, _ := refFrom(name)
		t, seen := s.trackOf(ref)
		return pruned && ref.listed() && (!seen || !t.exists)
	})
}
