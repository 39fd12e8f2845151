// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// Limits keep what is generated for one Service bounded. They apply to what is new: an object or subset that exists stays,
// whatever the limit is today.

// limitSubsets returns the running versions that have a subset besides those that are needed: every one that exists, then those
// that the default or an annotation means, then the others, as far as routing.maxVersions allows.
func (s defaultDecision) limitSubsets(needed, existingSubsets map[string]bool, running []string) (in []string, found []finding) {
	count := len(needed)
	for version := range existingSubsets { // also one that drains
		if !needed[version] {
			count++
		}
	}
	var out []string
	for _, version := range s.byUrgency(running) {
		switch {
		case needed[version]:
		case existingSubsets[version] || s.Settings.MaxVersions <= 0:
			in = append(in, version)
		case count < s.Settings.MaxVersions:
			in, count = append(in, version), count+1
		default:
			out = append(out, version)
		}
	}
	if len(out) > 0 {
		slices.SortFunc(out, CompareVersions)
		found = append(found, s.problem(api.RouteTooManyVersions,
			fmt.Sprintf("The Service has %d versions, more than the %d of routing.maxVersions; no subset for %s.", len(running), s.Settings.MaxVersions, api.Shorten(strings.Join(out, ", "), 300)),
			"Remove old versions, or raise routing.maxVersions."))
	}
	return in, found
}

// byUrgency sorts the versions that the default or an annotation means before the others.
func (s defaultDecision) byUrgency(versions []string) []string {
	meant := map[string]bool{}
	for _, m := range []meaning{s.record.Default, s.gone.standIn} {
		for _, version := range s.possible(m) {
			meant[version] = true
		}
	}
	for _, name := range s.writtenNames() {
		for _, version := range s.possible(s.meaningOf(name)) {
			meant[version] = true
		}
	}
	if s.Intent.Canary != nil {
		meant[s.Intent.Canary.Version] = true
	}
	out := slices.Clone(versions)
	slices.SortStableFunc(out, func(a, b string) int { return boolOrder(meant[a], meant[b]) })
	return out
}

// addSuccessors adds what the workloads of the default and of routed names roll out: their share must be able to move to
// it.
func (s defaultDecision) addSuccessors(needed, routed map[string]bool) {
	means := []meaning{s.record.Default, s.gone.standIn}
	for _, name := range sortedKeys(s.record.Names) {
		m := s.record.Names[name]
		if slices.ContainsFunc(s.possible(m), func(version string) bool { return routed[version] }) {
			means = append(means, m)
		}
	}
	for _, m := range means {
		for _, ref := range m.Tracks {
			t, _ := s.trackOf(ref)
			needed[t.newest()] = true
		}
	}
}

// subsetCount counts our subsets that exist.
func (s *facts) subsetCount() int {
	count := 0
	for _, name := range s.subsets.names {
		if findSubset(s.ours.destinationRule, name) != nil {
			count++
		}
	}
	return count
}

// isLeftOut reports whether there is no room for the subsets of what a name means.
func (s *facts) isLeftOut(m meaning) bool {
	if s.Settings.MaxVersions <= 0 || s.subsetCount() < s.Settings.MaxVersions {
		return false
	}
	groups := s.groupsOf(m)
	return len(groups) > 0 && !slices.ContainsFunc(groups, func(g podGroup) bool {
		return findSubset(s.ours.destinationRule, s.subsets.names[g.Version]) != nil
	})
}

// isBeyondLimit reports whether a version would have no subset where all are created together.
func (s defaultDecision) isBeyondLimit(version string) bool {
	if s.Settings.MaxVersions <= 0 || findSubset(s.ours.destinationRule, s.subsets.names[version]) != nil {
		return false
	}
	at := slices.Index(s.byUrgency(s.podVersions()), version)
	return at >= s.Settings.MaxVersions
}

// withinSize returns the object to write: wanted, or what exists where wanted is larger than routing.maxObjectBytes and
// larger than what exists. With nil nothing is written.
func withinSize[T any, P interface {
	*T
	Object
}](s *facts, wanted, existing P) (P, []finding) {
	limit := s.Settings.MaxObjectBytes
	if wanted == nil || limit <= 0 {
		return wanted, nil
	}
	size := sizeOf(wanted)
	if size <= limit || existing != nil && size <= sizeOf(existing) {
		return wanted, nil
	}
	instead := "it is not written"
	if existing != nil {
		instead = "it stays as it is"
	}
	return existing, []finding{s.problem(api.RouteObjectTooLarge,
		fmt.Sprintf("%s %s would have %d bytes, more than the %d of routing.maxObjectBytes; %s.", KindOf(wanted), wanted.GetName(), size, limit, instead),
		fmt.Sprintf("Shorten %s, expose fewer hosts, or give the Service fewer ports; %s holds rules of your own.", api.AnnotationMatch, "VirtualService "+s.Service.Name+extraSuffix))}
}

// destinationRuleWithinSize is withinSize for a DestinationRule. One that gives one of our routes back a subset that it names is
// written whatever its size.
func (s *facts) destinationRuleWithinSize(wanted *networkingv1.DestinationRule) (rules []*networkingv1.DestinationRule, found []finding) {
	repairs := slices.ContainsFunc(wanted.Spec.Subsets, func(subset *networkingapi.Subset) bool {
		return s.ours.destinationRule != nil && findSubset(s.ours.destinationRule, subset.Name) == nil && s.isNamedByRoute(s.subsets.versions[subset.Name])
	})
	if !repairs {
		wanted, found = withinSize(s, wanted, s.ours.destinationRule)
	}
	if wanted == nil {
		return nil, found
	}
	return []*networkingv1.DestinationRule{wanted}, found
}

// sizeOf is how long an object is as we write it.
func sizeOf(object Object) int {
	spec := 0
	switch o := object.(type) {
	case *networkingv1.DestinationRule:
		spec = jsonSize(&o.Spec)
	case *networkingv1.VirtualService:
		spec = jsonSize(&o.Spec)
	case *networkingv1.Gateway:
		spec = jsonSize(&o.Spec)
	}
	marks := map[string]string{}
	for _, key := range writtenKeys {
		if text, has := object.GetAnnotations()[key]; has {
			marks[key] = text
		}
	}
	return spec + jsonSize(marks)
}

func jsonSize(value any) int {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // Istio's types and maps of texts
	}
	return len(text)
}
