package routing

import (
	"slices"

	networkingapi "istio.io/api/networking/v1alpha3"

	"outrigger.dev/outrigger/api"
)

// matchRules are the rules of the match annotation whose version is in force. Of two in force with the same condition the
// first counts: Istio says of the second that it is never used.
func (s *situation) matchRules() []rule {
	var out []rule
	var pending []string
	for i, match := range s.Intent.Match {
		m, why := s.destinationOf(match.Version)
		if why != "" {
			pending = append(pending, why)
			continue
		}
		if !slices.ContainsFunc(out, func(r rule) bool { return sameCondition(*r.match, match) }) {
			out = append(out, rule{match: &s.Intent.Match[i], to: normalised(s.expand(m))})
		}
	}
	slices.Sort(pending)
	s.tellPending(api.AnnotationMatch, slices.Compact(pending))
	s.tellUnmatched()
	return out
}

func sameCondition(a, b api.Match) bool {
	return a.Kind == b.Kind && a.Name == b.Name && a.Value == b.Value
}

// tellUnmatched says that conditions on requests do nothing where connections are all that is known.
func (s *situation) tellUnmatched() {
	if s.speaksHTTP() || !slices.ContainsFunc(s.Intent.Match, func(m api.Match) bool { return m.Kind != api.MatchSource }) {
		return
	}
	s.tellAbout(api.AnnotationMatch, s.Intent.Texts[api.AnnotationMatch], api.RouteWithoutEffect,
		"The Service has no HTTP port, and of a TCP connection only the caller is known: conditions on requests do nothing.",
		"Name a port http or set its appProtocol, or match source:version.")
}

// speaksHTTP reports whether any port gets http rules.
func (s *situation) speaksHTTP() bool {
	for _, port := range s.Service.Spec.Ports {
		if portTraffic(port).http() {
			return true
		}
	}
	return false
}

// meshOnly reports whether a rule is for callers in the mesh alone: a gateway's pods have no version of theirs.
func (r rule) meshOnly() bool { return r.match != nil && r.match.Kind == api.MatchSource }

// condition is what the match annotation says, for Istio; empty without a match.
func (s *situation) condition(match *api.Match) *networkingapi.HTTPMatchRequest {
	out := &networkingapi.HTTPMatchRequest{}
	if match == nil {
		return out
	}
	one := func(value *networkingapi.StringMatch) map[string]*networkingapi.StringMatch {
		return map[string]*networkingapi.StringMatch{match.Name: value}
	}
	switch match.Kind {
	case api.MatchHeader:
		out.Headers = one(exact(match.Value))
	case api.MatchHeaderPrefix:
		out.Headers = one(prefix(match.Value))
	case api.MatchCookie:
		regex := api.CookieRegex(match.Name, match.Value)
		out.Headers = map[string]*networkingapi.StringMatch{"cookie": {MatchType: &networkingapi.StringMatch_Regex{Regex: regex}}}
	case api.MatchQuery:
		out.QueryParams = one(exact(match.Value))
	case api.MatchSource:
		out.SourceLabels = map[string]string{s.Intent.VersionLabel: match.Value}
	}
	return out
}

func exact(value string) *networkingapi.StringMatch {
	return &networkingapi.StringMatch{MatchType: &networkingapi.StringMatch_Exact{Exact: value}}
}
