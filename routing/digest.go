// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// digest returns the shape and the shares of a VirtualService. It ignores what a client may change without effect: names, ports
// that the match already names, the order of hosts and gateways, short names, destinations of weight 0, versions in place of
// subset names. uneven is true if rules without a condition differ in their shares.
func (s *facts) digest(vs *networkingv1.VirtualService) (digest written, to []portion, tcpTo string, uneven bool) {
	spec := vs.Spec.DeepCopy()
	for i, host := range spec.Hosts {
		spec.Hosts[i] = ResolveHost(host, vs.Namespace, s.Settings.ClusterDomain)
	}
	slices.Sort(spec.Hosts)
	spec.Gateways = s.plainGateways(vs.Namespace, spec.Gateways)
	if len(spec.Gateways) == 0 {
		spec.Gateways = []string{meshGateway}
	}
	if slices.Sort(spec.ExportTo); slices.Equal(spec.ExportTo, []string{"*"}) {
		spec.ExportTo = nil
	}
	var extras, copies []string
	shares := map[string]bool{}
	for _, http := range spec.Http {
		http.Name = ""
		s.plainMatches(vs.Namespace, http)
		for _, d := range http.Route {
			s.plainDestination(vs.Namespace, d.Destination, func(port uint32) bool {
				return slices.ContainsFunc(http.Match, func(m *networkingapi.HTTPMatchRequest) bool { return m.Port == port })
			})
		}
		if http.Route = withoutZeroWeights(http.Route); isConditional(http) || len(http.Route) == 0 {
			continue
		}
		to = sharesOf(http.Route, s.subsets.versions)
		shares[sharesText(http.Route)] = true
		extras = append(extras, extrasOf(http.Route))
		if http.Mirror != nil || len(http.Mirrors) > 0 {
			copies = append(copies, canonical(&networkingapi.HTTPRoute{Mirror: http.Mirror, Mirrors: http.Mirrors, MirrorPercentage: http.MirrorPercentage}))
		}
		http.Route, http.Mirror, http.Mirrors, http.MirrorPercentage = nil, nil, nil, nil
	}
	tcp := s.digestTCP(vs.Namespace, spec)
	digest.TCP, tcpTo = tcp.shape, tcp.to
	if len(shares) == 0 && tcpTo != "" {
		to, shares[tcpTo] = tcp.shares, true
	}
	spec.Tcp = nil
	uneven = len(shares) > 1 || strings.Contains(tcpTo, ";")
	for text := range shares {
		digest.To = text
	}
	if len(copies) > 0 {
		digest.Copy = api.ShortHash(strings.Join(copies, ";"))
	}
	digest.Shape = api.ShortHash(canonical(spec) + strings.Join(extras, ";"))
	return digest, to, tcpTo, uneven
}

// tcpDigest is the digest of the tcp rules. The shares of those without a condition are joined by semicolons where they
// differ.
type tcpDigest struct {
	shape, to string
	shares    []portion
}

func (s *facts) digestTCP(namespace string, spec *networkingapi.VirtualService) (digest tcpDigest) {
	var parts []string
	shares := map[string]bool{}
	for _, tcp := range spec.Tcp {
		for _, d := range tcp.Route {
			s.plainDestination(namespace, d.Destination, func(port uint32) bool {
				return slices.ContainsFunc(tcp.Match, func(m *networkingapi.L4MatchAttributes) bool { return m.Port == port })
			})
		}
		for _, match := range tcp.Match {
			match.Gateways = s.plainGateways(namespace, match.Gateways)
		}
		tcp.Route = withoutZeroWeights(tcp.Route)
		if slices.ContainsFunc(tcp.Match, isForSomeCallers) {
			parts = append(parts, canonical(tcp))
			continue
		}
		digest.shares = sharesOf(tcp.Route, s.subsets.versions)
		shares[sharesText(tcp.Route)] = true
		rest := tcp.DeepCopy()
		rest.Route = nil
		parts = append(parts, canonical(rest)+extrasOf(tcp.Route))
	}
	if len(parts) > 0 {
		digest.shape, digest.to = api.ShortHash(strings.Join(parts, ";")), strings.Join(slices.Sorted(maps.Keys(shares)), ";")
	}
	return digest
}

func isForSomeCallers(match *networkingapi.L4MatchAttributes) bool {
	return len(match.SourceLabels)+len(match.DestinationSubnets) > 0 || match.SourceNamespace != ""
}

func (s *facts) plainGateways(namespace string, gateways []string) []string {
	out := slices.Clone(gateways)
	for i, gateway := range out {
		if gateway != meshGateway && !strings.Contains(gateway, "/") {
			out[i] = namespace + "/" + gateway
		}
	}
	slices.Sort(out)
	return out
}

// plainMatches removes names; a match of everything becomes no match.
func (s *facts) plainMatches(namespace string, http *networkingapi.HTTPRoute) {
	for _, match := range http.Match {
		match.Name, match.Gateways = "", s.plainGateways(namespace, match.Gateways)
	}
	if len(http.Match) == 1 && canonical(http.Match[0]) == "{}" {
		http.Match = nil
	}
}

// plainDestination sets the full host and our name of the subset, and removes a port that the match already names.
func (s *facts) plainDestination(namespace string, d *networkingapi.Destination, matched func(port uint32) bool) {
	d.Host = ResolveHost(d.Host, namespace, s.Settings.ClusterDomain)
	if _, ours := s.subsets.versions[d.Subset]; !ours {
		if name, raw := s.subsets.names[d.Subset]; raw {
			d.Subset = name
		}
	}
	if d.Port.GetNumber() == 0 || matched(d.Port.GetNumber()) {
		d.Port = nil
	}
}

// isConditional reports whether an http rule is only for some requests, or does not route to pods. Ports, paths, and gateways are
// not conditions of users.
func isConditional(http *networkingapi.HTTPRoute) bool {
	if http.Delegate != nil || http.Redirect != nil || http.DirectResponse != nil {
		return true
	}
	return slices.ContainsFunc(http.Match, func(m *networkingapi.HTTPMatchRequest) bool {
		return len(m.Headers)+len(m.WithoutHeaders)+len(m.QueryParams)+len(m.SourceLabels) > 0 ||
			m.Method != nil || m.Authority != nil || m.Scheme != nil || m.SourceNamespace != ""
	})
}

// weighted is a destination of an http or a tcp rule.
type weighted interface {
	GetDestination() *networkingapi.Destination
	GetWeight() int32
}

// withoutZeroWeights removes destinations of weight 0, unless there is only one destination.
func withoutZeroWeights[D weighted](routes []D) []D {
	if !slices.ContainsFunc(routes, func(d D) bool { return d.GetWeight() > 0 }) {
		return routes
	}
	return slices.DeleteFunc(slices.Clone(routes), func(d D) bool { return d.GetWeight() == 0 })
}

// sharesText returns the share of each subset in lowest terms, sorted: "v1=9,v2=1". "-" means no subset.
func sharesText[D weighted](routes []D) string {
	counts := map[string]int{}
	divisor := 0
	for _, d := range routes {
		counts[cmp.Or(d.GetDestination().GetSubset(), "-")] += int(d.GetWeight())
	}
	for _, count := range counts {
		divisor = gcd(divisor, count)
	}
	pairs := map[string]string{}
	for name, count := range counts {
		if len(counts) == 1 {
			count, divisor = 1, 1 // a lone destination needs no weight
		}
		pairs[name] = fmt.Sprint(count / max(divisor, 1))
	}
	return pairsText(pairs)
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// extrasOf returns what destinations have besides subset and weight, each once, without the cookie, which differs for each version.
func extrasOf[D interface {
	weighted
	json.Marshaler
}](routes []D) string {
	seen := map[string]bool{}
	for _, d := range routes {
		tree := treeOf(d)
		delete(tree, "weight")
		delete(below(tree, "destination"), "subset")
		response := below(tree, "headers", "response")
		for _, verb := range []string{"set", "add"} {
			headers := below(response, verb)
			maps.DeleteFunc(headers, func(name string, _ any) bool { return strings.EqualFold(name, "set-cookie") })
			if len(headers) == 0 {
				delete(response, verb)
			}
		}
		if len(response) == 0 {
			delete(below(tree, "headers"), "response")
		}
		if len(below(tree, "headers")) == 0 {
			delete(tree, "headers")
		}
		seen[textOf(tree)] = true
	}
	return strings.Join(slices.Sorted(maps.Keys(seen)), ",")
}

func below(tree map[string]any, path ...string) map[string]any {
	for _, step := range path {
		tree, _ = tree[step].(map[string]any)
	}
	return tree
}

// canonical returns an Istio object as JSON with sorted keys, because Istio's own encoding is not stable.
func canonical(object json.Marshaler) string { return textOf(treeOf(object)) }

func treeOf(object json.Marshaler) map[string]any {
	raw, err := json.Marshal(object)
	if err != nil {
		panic(err) // what the API server took
	}
	var tree map[string]any
	if err := json.Unmarshal(raw, &tree); err != nil {
		panic(err) // just encoded
	}
	return tree
}

func textOf(tree map[string]any) string {
	out, err := json.Marshal(tree) // sorted by key
	if err != nil {
		panic(err) // just decoded
	}
	return string(out)
}
