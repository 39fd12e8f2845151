// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"fmt"
	"slices"

	networkingapi "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

// mirror is a version that is sent copies of a rule's requests.
type mirror struct {
	version string
	percent float64 // above 0, at most 100
}

// decideMirrors gives the rules that no match claims their copies, and returns the items of the annotation in effect, to be
// recorded. A version without pods gets none: the copies would be lost silently. Nor does one that receives all of a rule's
// requests itself.
func (s defaultDecision) decideMirrors(rules []rule) (out []rule, inEffect effectiveWeights, found []finding) {
	wanted, inEffect, found := s.decideMirrorWeights()
	if len(wanted) == 0 {
		return rules, inEffect, found
	}
	out = slices.Clone(rules)
	for i, r := range out {
		if r.match == nil || r.sticky || r.unclaimed {
			out[i].mirrors = slices.DeleteFunc(slices.Clone(wanted), func(m mirror) bool { return r.routesOnlyTo(m.version) })
		}
	}
	text := s.Intent.Texts[api.AnnotationMirror]
	switch byDefault := out[len(out)-1]; {
	case !s.speaksHTTP():
		found = append(found, s.problemAbout(api.AnnotationMirror, text, api.RouteWithoutEffect, "The Service has no HTTP port, and TCP connections are not mirrored.",
			"Name a port http or set its appProtocol."))
	case len(byDefault.mirrors) < len(wanted):
		found = append(found, s.problemAbout(api.AnnotationMirror, text, api.RouteWithoutEffect, fmt.Sprintf("Version %s receives the requests itself; they are not copied to it.", byDefault.to[0].version),
			"Remove it from the annotation."))
	}
	return out, inEffect, found
}

// decideMirrorWeights returns which items of the mirror annotation apply, and their versions in natural order.
func (s defaultDecision) decideMirrorWeights() (versions []mirror, followed effectiveWeights, found []finding) {
	percents := map[string]float64{}
	var pending []string
	for _, item := range s.Intent.Mirror {
		if item.Weight == 0 || s.invalid[api.AnnotationMirror] && !s.wasMirrored(item) {
			continue
		}
		m := s.meaningOf(item.Version)
		if why := s.unmirrored(item.Version, m); why != "" {
			pending = append(pending, why)
			continue
		}
		followed = append(followed, effectiveWeight{name: item.Version, weight: item.Weight, bound: m})
	}
	found = s.pending(api.AnnotationMirror, pending, "Until then the versions that had copies keep them; the other items are not affected.")
	if len(pending) > 0 || s.invalid[api.AnnotationMirror] {
		followed = s.withMirrorsBefore(followed)
	}
	for i, item := range followed {
		for _, p := range s.expand(item.bound) {
			percents[p.version] += float64(item.weight) * float64(p.weight) / 4
		}
		if item.bound.equal(meaning{Version: item.name}) {
			followed[i].bound = meaning{}
		}
	}
	if _, everything := percents[""]; everything {
		delete(percents, "")
		found = append(found, s.problemAbout(api.AnnotationMirror, s.Intent.Texts[api.AnnotationMirror], api.RouteWithoutEffect, "A version that it names has all the pods there are; items are not copied to where they go.",
			"Remove it from the annotation."))
	}
	for version, percent := range percents {
		versions = append(versions, mirror{version, min(percent, 100)})
	}
	slices.SortFunc(versions, func(a, b mirror) int {
		return cmp.Or(CompareVersions(a.version, b.version), cmp.Compare(a.percent, b.percent))
	})
	return versions, followed, found
}

// wasMirrored reports whether a version had copies when the record was written; earlier releases did not record that.
func (s *facts) wasMirrored(request api.Weight) bool {
	return s.copies.read.Revision == 0 || slices.ContainsFunc(s.copies.read.Mirrors, func(item effectiveWeight) bool { return item.name == request.Version })
}

// withMirrorsBefore adds the items in effect that the annotation no longer has, while another item is pending or the annotation
// is invalid: what it says takes their place once it can be followed. Versions without pods get no copies.
func (s *facts) withMirrorsBefore(followed effectiveWeights) effectiveWeights {
	for _, was := range s.copies.read.Mirrors {
		was.bound = s.fixedByNow(was.meaning())
		if s.hasPods(was.bound) && !slices.ContainsFunc(followed, func(item effectiveWeight) bool { return overlap(item.bound, was.bound) || item.name == was.name }) {
			followed = append(followed, was)
		}
	}
	return followed
}

// unmirrored returns why a version gets no copies yet; empty if it does.
func (s defaultDecision) unmirrored(name string, m meaning) string {
	if s.hasPods(m) && (s.isEffective(m) || s.isMirrored(m)) {
		return ""
	}
	return s.notYet(name, m)
}

// isMirrored reports whether copies go to m: as recorded, or by one of our existing VirtualServices.
func (s defaultDecision) isMirrored(m meaning) bool {
	if slices.ContainsFunc(s.copies.read.Mirrors, func(item effectiveWeight) bool { return overlap(item.meaning(), m) }) {
		return true
	}
	versions := s.possible(m)
	return slices.ContainsFunc(s.existingMirrors(), func(version string) bool { return slices.Contains(versions, version) })
}

func (s *facts) existingMirrors() []string {
	var out []string
	for _, vs := range s.ours.routes() {
		for _, http := range vs.Spec.Http {
			for _, m := range http.Mirrors {
				if m.GetDestination().GetHost() == s.host {
					out = append(out, s.subsets.versions[m.GetDestination().GetSubset()])
				}
			}
		}
	}
	return out
}

func (r rule) routesOnlyTo(version string) bool { return len(r.to) == 1 && r.to[0].version == version }

func (s *facts) mirrorPolicies(r rule, port corev1.ServicePort) []*networkingapi.HTTPMirrorPolicy {
	var out []*networkingapi.HTTPMirrorPolicy
	for _, m := range r.mirrors {
		out = append(out, &networkingapi.HTTPMirrorPolicy{Destination: s.destination(m.version, port), Percentage: &networkingapi.Percent{Value: m.percent}})
	}
	return out
}
