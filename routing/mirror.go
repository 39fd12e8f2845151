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

// decideMirrors gives the rules that no match claims their copies. A version without pods gets none: nobody would notice
// that they are lost. Nor does one that receives all of a rule's requests itself.
func (s *situation) decideMirrors() {
	wanted := s.wantedMirrors()
	if len(wanted) == 0 {
		return
	}
	for i, r := range s.rules {
		if r.match == nil || r.sticky || r.unclaimed {
			s.rules[i].mirrors = slices.DeleteFunc(slices.Clone(wanted), func(m mirror) bool { return r.leadsOnlyTo(m.version) })
		}
	}
	text := s.Intent.Texts[api.AnnotationMirror]
	switch byDefault := s.rules[len(s.rules)-1]; {
	case !s.speaksHTTP():
		s.tellAbout(api.AnnotationMirror, text, api.RouteWithoutEffect, "The Service has no HTTP port, and TCP connections are not mirrored.",
			"Name a port http or set its appProtocol.")
	case len(byDefault.mirrors) < len(wanted):
		s.tellAbout(api.AnnotationMirror, text, api.RouteWithoutEffect, fmt.Sprintf("Version %s receives the requests itself; they are not copied to it.", byDefault.to[0].version),
			"Take it out of the annotation.")
	}
}

// wantedMirrors are the versions of the mirror annotation that are in force, in natural order.
func (s *situation) wantedMirrors() []mirror {
	percents := map[string]float64{}
	var pending []string
	for _, wish := range s.Intent.Mirror {
		if wish.Weight == 0 {
			continue
		}
		m := s.meaningOf(wish.Version)
		if why := s.unmirrored(wish.Version, m); why != "" {
			pending = append(pending, why)
			continue
		}
		for _, p := range s.expand(m) {
			percents[p.version] += float64(wish.Weight) * float64(p.weight) / 4
		}
	}
	s.tellPending(api.AnnotationMirror, pending, "They get no copies until then; the other items are not affected.")
	if _, everything := percents[""]; everything {
		delete(percents, "")
		s.tellAbout(api.AnnotationMirror, s.Intent.Texts[api.AnnotationMirror], api.RouteWithoutEffect, "A version that it names has all the pods there are; requests are not copied to where they go.",
			"Take it out of the annotation.")
	}
	var out []mirror
	for version, percent := range percents {
		out = append(out, mirror{version, min(percent, 100)})
	}
	slices.SortFunc(out, func(a, b mirror) int {
		return cmp.Or(compareVersions(a.version, b.version), cmp.Compare(a.percent, b.percent))
	})
	return out
}

// unmirrored says why a name gets no copies yet; empty if it does.
func (s *situation) unmirrored(name string, m meaning) string {
	if pods, _ := s.podsOf(m); pods > 0 && (s.inForce(m) || s.standsMirrored(m)) {
		return ""
	}
	return s.notYet(name, m)
}

// standsMirrored reports whether a standing VirtualService of ours sends copies to what m means.
func (s *situation) standsMirrored(m meaning) bool {
	versions := s.possible(m)
	return slices.ContainsFunc(s.standingMirrors(), func(version string) bool { return slices.Contains(versions, version) })
}

func (s *situation) standingMirrors() []string {
	var out []string
	for _, vs := range s.standing.routes() {
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

func (r rule) leadsOnlyTo(version string) bool { return len(r.to) == 1 && r.to[0].version == version }

func (s *situation) mirrorPolicies(r rule, port corev1.ServicePort) []*networkingapi.HTTPMirrorPolicy {
	var out []*networkingapi.HTTPMirrorPolicy
	for _, m := range r.mirrors {
		out = append(out, &networkingapi.HTTPMirrorPolicy{Destination: s.destination(m.version, port), Percentage: &networkingapi.Percent{Value: m.percent}})
	}
	return out
}
