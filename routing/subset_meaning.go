// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// Each of our subsets means the version for which it was made. That is recorded on the DestinationRule, and on each VirtualService
// for the subsets that it names; the labels that another client wrote into the DestinationRule do not change it.

// isNameOf reports whether we give a version this subset name.
func isNameOf(name, version string) bool {
	return name == SubsetName(version) || name == hashedName(version)
}

// ownSubsets are the names of our subsets, sorted: also of those that another client removed.
func (s *facts) ownSubsets() []string {
	seen := map[string]bool{}
	for name := range s.ours.added {
		seen[name] = true
	}
	for name := range s.ours.meanings {
		seen[name] = true
	}
	return sortedKeys(seen)
}

// meaningOfSubset returns the version of one of our subsets: as recorded, or else by its labels if they fit its name, or else the
// version with that name. It is empty for a subset that was created for another version label.
func (s *facts) meaningOfSubset(name string, versions []string) string {
	subset := findSubset(s.ours.destinationRule, name)
	version, labeled := "", false
	if subset != nil {
		if version, labeled = s.versionOf(subset); !labeled && !s.destinationRuleEdited() {
			return ""
		}
	}
	if recorded := s.ours.meanings[name]; recorded != "" {
		return recorded
	}
	if labeled && isNameOf(name, version) {
		return version
	}
	for _, version := range versions {
		if isNameOf(name, version) {
			return version
		}
	}
	if SubsetName(name) == name {
		return name
	}
	return version
}

// meaningsIn returns the versions of the subsets that one of our VirtualServices names.
func (s *facts) meaningsIn(vs *networkingv1.VirtualService) map[string]string {
	out := map[string]string{}
	for _, name := range subsetsNamed(vs, s.host, s.Settings.ClusterDomain) {
		if version := s.subsets.versions[name]; version != "" {
			out[name] = version
		}
	}
	return out
}

// keepNamed adds the subsets that one of our routes names, as it is or as it will be, and that the DestinationRule would lack.
func (s *facts) keepNamed(rule *networkingv1.DestinationRule, added stamps, routes []*networkingv1.VirtualService) {
	for _, vs := range append(s.ours.routes(), routes...) {
		meanings := s.meaningsIn(vs)
		for _, name := range sortedKeys(meanings) {
			if s.foreign.supplied[name] || findSubset(rule, name) != nil || findSubset(s.ours.destinationRule, name) == nil && s.ours.meanings[name] == "" {
				continue
			}
			added[name] = s.addedAt(name, meanings[name])
			rule.Spec.Subsets = append(rule.Spec.Subsets, &networkingapi.Subset{Name: name, Labels: map[string]string{s.Intent.VersionLabel: meanings[name]}})
		}
	}
}

// destinationRuleDigest is a digest of what we write into a DestinationRule: its host, its exportTo, and our subsets.
func (s *facts) destinationRuleDigest(rule *networkingv1.DestinationRule, ours stamps) string {
	parts := []string{ResolveHost(rule.Spec.Host, rule.Namespace, s.Settings.ClusterDomain), strings.Join(rule.Spec.ExportTo, ",")}
	for _, name := range slices.Sorted(maps.Keys(ours)) {
		subset := findSubset(rule, name)
		if subset == nil {
			subset = &networkingapi.Subset{}
		}
		parts = append(parts, name+canonical(subset))
	}
	return api.ShortHash(strings.Join(parts, ";"))
}

// destinationRuleEdited reports whether another client changed the host or one of our subsets in our DestinationRule.
func (s *facts) destinationRuleEdited() bool {
	rule := s.ours.destinationRule
	if rule == nil {
		return false
	}
	written := rule.Annotations[api.AnnotationWritten]
	return written != "" && written != s.destinationRuleDigest(rule, s.ours.added)
}

// destinationRuleDrift reports what another client changed in our DestinationRule. It is written back whatever outrigger.dev/drift
// says: requests for one version would reach another, or none.
func (s *facts) destinationRuleDrift() []finding {
	if s.renewed || !s.destinationRuleEdited() {
		return nil
	}
	rule := s.ours.destinationRule
	if host := ResolveHost(rule.Spec.Host, rule.Namespace, s.Settings.ClusterDomain); host != s.host {
		return []finding{problemOf(rule, "spec.host", rule.Spec.Host, api.RouteEditReverted,
			"The host was edited. The edit is reverted, because routes name the subsets of this DestinationRule.", "For another host, create your own DestinationRule.")}
	}
	if edits := s.subsetEdits(); len(edits) > 0 {
		return []finding{problemOf(rule, "spec.subsets", "", api.RouteEditReverted,
			"Subsets were edited: "+strings.Join(edits, ", ")+". The edit is reverted, so that each route reaches its version.",
			"To send requests to another version: "+s.annotate(api.AnnotationDefaultVersion+"=VERSION")+".")}
	}
	return []finding{problemOf(rule, "spec.exportTo", strings.Join(rule.Spec.ExportTo, ","), api.RouteEditReverted,
		"The field exportTo was edited. The edit is reverted, so that the subsets are visible wherever the route is.",
		"To limit where the Service is visible: "+s.annotate(api.AnnotationExportTo+"=NAMESPACES")+".")}
}

// subsetEdits returns what another client changed in our subsets.
func (s *facts) subsetEdits() (edits []string) {
	rule := s.ours.destinationRule
	for _, name := range slices.Sorted(maps.Keys(s.ours.added)) {
		version := s.subsets.versions[name]
		switch subset := findSubset(rule, name); {
		case version == "":
		case subset == nil:
			edits = append(edits, name+" was removed")
		case !maps.Equal(subset.Labels, map[string]string{s.Intent.VersionLabel: version}):
			edits = append(edits, fmt.Sprintf("%s has the labels %s instead of %s=%s", name, pairsText(subset.Labels), s.Intent.VersionLabel, version))
		case subset.TrafficPolicy != nil:
			edits = append(edits, name+" has a trafficPolicy")
		}
	}
	return edits
}

// namesMissing returns a subset of our host that a VirtualService names and that no DestinationRule has; empty if there is none.
func (s *facts) namesMissing(vs *networkingv1.VirtualService) string {
	own := s.ownSubsets()
	for _, name := range subsetsNamed(vs, s.host, s.Settings.ClusterDomain) {
		_, raw := s.subsets.names[name]
		if name == "" || raw || slices.Contains(own, name) || findSubset(s.ours.destinationRule, name) != nil {
			continue
		}
		if !slices.ContainsFunc(s.Foreign.DestinationRules, func(rule *networkingv1.DestinationRule) bool {
			return rule.Namespace == s.Service.Namespace && ResolveHost(rule.Spec.Host, rule.Namespace, s.Settings.ClusterDomain) == s.host && findSubset(rule, name) != nil
		}) {
			return name
		}
	}
	return ""
}

// restoreSubsets restores the host and our subsets in a DestinationRule, and reports whether that changes it.
func (s *facts) restoreSubsets(rule *networkingv1.DestinationRule) bool {
	edited := s.destinationRuleEdited()
	before := canonical(&rule.Spec)
	if ResolveHost(rule.Spec.Host, rule.Namespace, s.Settings.ClusterDomain) != s.host {
		rule.Spec.Host = s.host
	}
	for _, name := range s.ownSubsets() {
		version := s.subsets.versions[name]
		if version == "" || s.foreign.supplied[name] {
			continue
		}
		right := &networkingapi.Subset{Name: name, Labels: map[string]string{s.Intent.VersionLabel: version}}
		at := slices.IndexFunc(rule.Spec.Subsets, func(subset *networkingapi.Subset) bool { return subset.Name == name })
		_, added := s.ours.added[name]
		switch {
		case at < 0 && (edited && added || s.isNamed(name)):
			rule.Spec.Subsets = append(rule.Spec.Subsets, right)
		case at >= 0 && edited && added:
			rule.Spec.Subsets[at] = right
		}
	}
	return canonical(&rule.Spec) != before
}

// restoreMeanings gives the subsets of a DestinationRule that waits for its end the labels that they had: foreign routes may still
// name them.
func (s *facts) restoreMeanings(rule *networkingv1.DestinationRule) []finding {
	before := canonical(&rule.Spec)
	for _, name := range slices.Sorted(maps.Keys(s.ours.added)) {
		version := s.ours.meanings[name]
		if version == "" {
			continue
		}
		right := &networkingapi.Subset{Name: name, Labels: map[string]string{s.Intent.VersionLabel: version}}
		at := slices.IndexFunc(rule.Spec.Subsets, func(subset *networkingapi.Subset) bool { return subset.GetName() == name })
		if at < 0 {
			rule.Spec.Subsets = append(rule.Spec.Subsets, right)
			continue
		}
		rule.Spec.Subsets[at] = right
	}
	if canonical(&rule.Spec) != before {
		return []finding{problemOf(rule, "spec.subsets", "", api.RouteEditReverted,
			"Subsets were edited. The edit is reverted until the DestinationRule is deleted, because routes may name them.", "")}
	}
	return nil
}
