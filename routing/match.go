// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	networkingapi "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

// matchItem is one item of the match annotation and what becomes of it.
type matchItem struct {
	api.Match
	at      int     // in the annotation
	to      meaning // where its requests go; zero if there is no separate destination
	pending bool    // the version that is written cannot be followed yet
}

// decideMatches returns the rules of the match annotation, and what their conditions route to, to be recorded. An item whose version
// cannot be followed changes nothing: its requests go where they went, and no later item receives them for it. Of two with the same
// condition the first counts that can be followed: Istio reports that the second is never used.
func (s defaultDecision) decideMatches() (rules []rule, kept map[string]meaning, found []finding) {
	items, missing, found := s.matchItems()
	found = append(found, s.pending(api.AnnotationMatch, missing, "Their requests go where they went before; the other items are not affected.")...)
	found = append(found, s.unmatched()...)
	for i, item := range items {
		if slices.ContainsFunc(rules, func(r rule) bool { return sameCondition(*r.match, item.Match) }) {
			continue
		}
		match := s.Intent.Match[item.at]
		switch {
		case !item.to.isZero():
			found = append(found, s.rolloutBesideOthers(item.to)...)
			rules = append(rules, rule{match: &match, to: normalised(s.expand(item.to))})
			if kept == nil {
				kept = map[string]meaning{}
			}
			if kept[conditionText(item.Match)] = item.to; !item.pending {
				kept[conditionText(item.Match)] = s.meaningOf(item.Version)
			}
		case s.mustNotFallThrough(items[i:]):
			var rest []portion
			for _, sh := range s.sharesOf(s.record.Weights) {
				rest = append(rest, sh.to...)
			}
			rules = append(rules, rule{match: &match, to: normalised(rest), unclaimed: true})
		}
	}
	return rules, kept, found
}

// conditionText is an item without its version: "header:end-user:jason".
func conditionText(m api.Match) string {
	m.Version = ""
	return strings.TrimPrefix(m.String(), "=")
}

// matchItems returns where the requests of each item go, and which versions the pending ones wait for.
func (s defaultDecision) matchItems() (items []matchItem, missing []string, found []finding) {
	before := s.matchesBefore()
	for i, match := range s.Intent.Match {
		item := matchItem{Match: match, at: i}
		var why string
		var notes []finding
		item.to, why, notes = s.resolveMatch(match)
		if found = append(found, notes...); why != "" {
			if !s.invalid[api.AnnotationMatch] {
				missing = append(missing, why)
			}
			item.pending, item.to = true, s.keptFor(match, before)
		}
		items = append(items, item)
	}
	slices.Sort(missing)
	return items, slices.Compact(missing), found
}

// resolveMatch returns what the version of an item means, or why it cannot be followed yet. Once followed, an item stays in
// effect.
func (s defaultDecision) resolveMatch(match api.Match) (to meaning, why string, found []finding) {
	m := s.meaningOf(match.Version)
	switch {
	case s.isOfDefault(m):
		return s.replacing(m), "", nil
	case s.isReadyForMore(m) && !s.invalid[api.AnnotationMatch], s.hasPods(m) && s.routesAlready(match, m):
		return m, "", nil
	case s.routesAlready(match, m):
		return m, "", []finding{s.withoutPods(match.Version)}
	}
	return meaning{}, s.notYet(match.Version, m), nil
}

// routesAlready reports whether the requests of this condition go to m: as recorded, or else by one of our existing
// VirtualServices.
func (s defaultDecision) routesAlready(match api.Match, m meaning) bool {
	if kept, is := s.copies.read.Kept[conditionText(match)]; is {
		return kept.equal(m) || overlap(kept, m)
	}
	versions := s.possible(m)
	return slices.ContainsFunc(s.existingVersionsFor(match), func(version string) bool { return slices.Contains(versions, version) })
}

// existingVersionsFor returns the versions to which our existing VirtualServices route the requests of a condition.
func (s *facts) existingVersionsFor(match api.Match) []string {
	condition := s.condition(&match)
	var out []string
	for _, vs := range s.ours.routes() {
		for _, http := range vs.Spec.Http {
			if !slices.ContainsFunc(http.Match, func(m *networkingapi.HTTPMatchRequest) bool { return proto.Equal(bare(m), condition) }) {
				continue
			}
			for _, d := range withoutZeroWeights(http.Route) {
				out = append(out, s.subsets.versions[d.Destination.GetSubset()])
			}
		}
		for _, tcp := range vs.Spec.Tcp {
			if !slices.ContainsFunc(tcp.Match, func(m *networkingapi.L4MatchAttributes) bool {
				return len(m.SourceLabels) > 0 && maps.Equal(m.SourceLabels, condition.SourceLabels)
			}) {
				continue
			}
			for _, d := range withoutZeroWeights(tcp.Route) {
				out = append(out, s.subsets.versions[d.Destination.GetSubset()])
			}
		}
	}
	return out
}

// bare returns a match without port, path, and gateways.
func bare(match *networkingapi.HTTPMatchRequest) *networkingapi.HTTPMatchRequest {
	out := match.DeepCopy()
	out.Name, out.Port, out.Uri, out.Gateways = "", 0, nil, nil
	return out
}

// matchesBefore returns the items that the existing route follows: those of the annotation when the route was written last.
func (s defaultDecision) matchesBefore() []matchItem {
	if !s.isChanged(api.AnnotationMatch) {
		return nil
	}
	matches, err := api.ParseMatches(s.ours.annotations[api.AnnotationMatch])
	if err != nil {
		return nil
	}
	var out []matchItem
	for _, match := range matches {
		m := meaning{Version: match.Version}
		if was, is := s.recorded.Names[match.Version]; is {
			m = was
		}
		if s.isOfDefault(m) || s.routesAlready(match, m) {
			out = append(out, matchItem{Match: match, to: m})
		}
	}
	return out
}

// keptFor returns where the requests of a pending item went before, if a separate condition routed them.
func (s defaultDecision) keptFor(match api.Match, before []matchItem) meaning {
	if kept, is := s.record.Kept[conditionText(match)]; is {
		return kept
	}
	for _, item := range before {
		if item.Covers(match) {
			return item.to
		}
	}
	return meaning{}
}

// mustNotFallThrough reports whether a later item could receive requests of the first one, which is pending. A later item with
// the same condition is meant for them.
func (s *facts) mustNotFallThrough(items []matchItem) bool {
	return slices.ContainsFunc(items[1:], func(later matchItem) bool {
		return !later.to.isZero() && !sameCondition(later.Match, items[0].Match) && !later.Excludes(items[0].Match)
	}) && !slices.ContainsFunc(items[1:], func(later matchItem) bool {
		return !later.to.isZero() && sameCondition(later.Match, items[0].Match)
	})
}

func sameCondition(a, b api.Match) bool {
	return a.Kind == b.Kind && a.Name == b.Name && a.Value == b.Value
}

// unmatched reports that conditions on requests do nothing where connections are all that is known.
func (s *facts) unmatched() []finding {
	if s.speaksHTTP() || !slices.ContainsFunc(s.Intent.Match, func(m api.Match) bool { return m.Kind != api.MatchSource }) {
		return nil
	}
	return []finding{s.problemAbout(api.AnnotationMatch, s.Intent.Texts[api.AnnotationMatch], api.RouteWithoutEffect,
		"The Service has no HTTP port. Only the caller of a TCP connection is known, so conditions on requests have no effect.",
		"Name a port http or set its appProtocol, or match source:version.")}
}

// speaksHTTP reports whether any port gets http rules.
func (s *facts) speaksHTTP() bool {
	return slices.ContainsFunc(s.Service.Spec.Ports, func(port corev1.ServicePort) bool { return portTraffic(port).http() })
}

// meshOnly reports whether a rule is only for callers in the mesh: gateway pods have no version.
func (r rule) meshOnly() bool { return r.match != nil && r.match.Kind == api.MatchSource }

// condition is an item of the match annotation as Istio's match; empty without a match.
func (s *facts) condition(match *api.Match) *networkingapi.HTTPMatchRequest {
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
