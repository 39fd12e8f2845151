// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"maps"
	"slices"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"

	"outrigger.dev/outrigger/api"
)

// share is what one written name has of the requests that no match claims. The weights are those written, times 4.
type share struct {
	name string
	to   []portion
}

// defaultRules are the rules for what no match claims: one for the holders of each version's cookie where versions
// stick, and the one that shares out the rest. A cookie carries the name that was weighed, not what it means today, so
// that a rollout in place keeps its callers.
func (s defaultDecision) defaultRules(before []rule, shares []share) (out []rule, found []finding) {
	var all []portion
	for _, sh := range shares {
		all = append(all, sh.to...)
	}
	rest := rule{to: normalised(all)}
	if s.Intent.Sticky == nil {
		return []rule{rest}, nil
	}
	if !s.speaksHTTP() {
		return []rule{rest}, []finding{s.problemAbout(api.AnnotationSticky, s.Intent.Texts[api.AnnotationSticky], api.RouteWithoutEffect, "The Service has no HTTP port, and TCP connections carry no cookie.",
			"Name a port http or set its appProtocol.")}
	}
	shares = joined(shares)
	if len(shares) < 2 || len(rest.to) < 2 {
		return []rule{rest}, nil // nothing to stick to
	}
	rest.cookies = map[string]string{}
	for _, sh := range shares {
		match := &api.Match{Version: sh.name, Kind: api.MatchCookie, Name: s.Intent.Sticky.Cookie, Value: sh.name}
		for _, p := range sh.to {
			if rest.cookies[p.version] == "" {
				rest.cookies[p.version] = sh.name
			}
		}
		if !slices.ContainsFunc(before, func(r rule) bool { return sameCondition(*r.match, *match) }) {
			out = append(out, rule{match: match, sticky: true, to: normalised(sh.to)})
		}
	}
	return append(out, rest), nil
}

// joined sums the shares of each name, in natural order of names.
func joined(shares []share) []share {
	byName := map[string][]portion{}
	for _, sh := range shares {
		byName[sh.name] = append(byName[sh.name], sh.to...)
	}
	var out []share
	for _, name := range slices.SortedFunc(maps.Keys(byName), CompareVersions) {
		out = append(out, share{name, byName[name]})
	}
	return out
}

// setCookie returns the response header that sets the sticky cookie for a version; nil if the rule sets none.
func (s *facts) setCookie(r rule, version string) *networkingapi.Headers {
	name := r.cookies[version]
	if name == "" {
		return nil
	}
	sticky := s.Intent.Sticky
	cookie := fmt.Sprintf("%s=%s; Max-Age=%d; Path=/; HttpOnly", sticky.Cookie, name, sticky.TTL/time.Second)
	// Added, not set: cookies of the application stay.
	return &networkingapi.Headers{Response: &networkingapi.Headers_HeaderOperations{Add: map[string]string{"Set-Cookie": cookie}}}
}
