// SPDX-License-Identifier: Apache-2.0

package answers

import (
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/test/xdstest"
	"istio.io/istio/pkg/test"
)

// proxy is the configuration of one Envoy, and follows calls as Envoy would. What it cannot judge it reports as a
// refusal, so that no case passes by it.
type proxy struct {
	t         test.Failer
	gateway   bool
	listeners []*listenerv3.Listener
	routes    []*routev3.RouteConfiguration
	clusters  []*clusterv3.Cluster
	endpoints map[string][]string // addresses that take calls, by cluster
}

// takingCalls returns the addresses of the healthy endpoints, sorted.
func takingCalls(assignment *endpointv3.ClusterLoadAssignment) []string {
	out := []string{}
	for _, locality := range assignment.Endpoints {
		for _, e := range locality.LbEndpoints {
			if e.HealthStatus == corev3.HealthStatus_HEALTHY || e.HealthStatus == corev3.HealthStatus_UNKNOWN {
				out = append(out, e.GetEndpoint().GetAddress().GetSocketAddress().GetAddress())
			}
		}
	}
	slices.Sort(out)
	return out
}

// follow says where a call goes.
func (p *proxy) follow(c call) outcome {
	l := p.listenerFor(c)
	if l == nil {
		return outcome{Refused: "no listener"}
	}
	chain := p.chainFor(l, c)
	if chain == nil {
		return outcome{Refused: "no filter chain in listener " + l.Name}
	}
	if tcp := xdstest.ExtractTCPProxy(p.t, chain); tcp != nil {
		return p.connect(tcp)
	}
	manager := xdstest.ExtractHTTPConnectionManager(p.t, chain)
	if manager == nil || c.TCP {
		return outcome{Refused: "listener " + l.Name + " expects HTTP"}
	}
	routes := manager.GetRouteConfig()
	if routes == nil {
		routes = xdstest.ExtractRouteConfigurations(p.routes)[manager.GetRds().GetRouteConfigName()]
	}
	host := virtualHostFor(routes, c.Host)
	if host == nil {
		return outcome{Refused: "no virtual host"}
	}
	for _, r := range host.Routes {
		matches, unknown := takes(r.Match, c)
		if unknown != "" {
			return outcome{Refused: "this oracle knows no " + unknown}
		}
		if matches {
			return p.act(r, c)
		}
	}
	return outcome{Refused: "no route"}
}

// listenerFor prefers the listener of the address that is called; what no listener waits for is taken by the one that
// catches all.
func (p *proxy) listenerFor(c call) *listenerv3.Listener {
	find := func(address string) *listenerv3.Listener {
		for _, l := range p.listeners {
			socket := l.GetAddress().GetSocketAddress()
			if l.TrafficDirection != corev3.TrafficDirection_INBOUND && socket.GetAddress() == address && socket.GetPortValue() == c.Port {
				return l
			}
		}
		return nil
	}
	for _, address := range []string{c.Address, "0.0.0.0"} {
		if l := find(address); l != nil {
			return l
		}
	}
	if p.gateway {
		return nil
	}
	return xdstest.ExtractListener(model.VirtualOutboundListenerName, p.listeners)
}

// chainFor chooses among the filter chains by destination and by what the caller speaks: plain HTTP/1.1, or bytes that
// no inspector recognises.
func (p *proxy) chainFor(l *listenerv3.Listener, c call) *listenerv3.FilterChain {
	chains := slices.DeleteFunc(slices.Clone(l.FilterChains), func(f *listenerv3.FilterChain) bool {
		m := f.GetFilterChainMatch()
		return m.GetTransportProtocol() == "tls" || len(m.GetServerNames()) > 0 ||
			len(m.GetPrefixRanges()) > 0 && !within(m.GetPrefixRanges(), c.Address) ||
			m.GetDestinationPort() != nil && m.GetDestinationPort().GetValue() != c.Port
	})
	byRange := func(f *listenerv3.FilterChain) bool { return len(f.GetFilterChainMatch().GetPrefixRanges()) > 0 }
	if slices.ContainsFunc(chains, byRange) {
		chains = slices.DeleteFunc(chains, func(f *listenerv3.FilterChain) bool { return !byRange(f) })
	}
	var plain *listenerv3.FilterChain
	for _, f := range chains {
		protocols := f.GetFilterChainMatch().GetApplicationProtocols()
		if !c.TCP && slices.Contains(protocols, "http/1.1") {
			return f
		}
		if len(protocols) == 0 && plain == nil {
			plain = f
		}
	}
	if plain == nil {
		return l.DefaultFilterChain
	}
	return plain
}

func within(ranges []*corev3.CidrRange, address string) bool {
	ip, err := netip.ParseAddr(address)
	return err == nil && slices.ContainsFunc(ranges, func(r *corev3.CidrRange) bool {
		base, err := netip.ParseAddr(r.AddressPrefix)
		return err == nil && netip.PrefixFrom(base, int(r.GetPrefixLen().GetValue())).Contains(ip)
	})
}

// virtualHostFor matches a Host header: the whole name first, then the longest of "*.suffix", then "*".
func virtualHostFor(routes *routev3.RouteConfiguration, host string) *routev3.VirtualHost {
	var best *routev3.VirtualHost
	longest := -1
	for _, v := range routes.GetVirtualHosts() {
		for _, domain := range v.Domains {
			suffix, wild := strings.CutPrefix(domain, "*")
			switch {
			case domain == host:
				return v
			case wild && strings.HasSuffix(host, suffix) && len(suffix) > longest:
				best, longest = v, len(suffix)
			}
		}
	}
	return best
}

// takes reports whether a route takes a call, or what about the route is not known here.
func takes(m *routev3.RouteMatch, c call) (matches bool, unknown string) {
	path, query, _ := strings.Cut(c.path(), "?")
	switch specifier := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		matches = strings.HasPrefix(path, specifier.Prefix)
	case *routev3.RouteMatch_PathSeparatedPrefix:
		rest, has := strings.CutPrefix(path, specifier.PathSeparatedPrefix)
		matches = has && (rest == "" || rest[0] == '/')
	case *routev3.RouteMatch_Path:
		matches = path == specifier.Path
	case *routev3.RouteMatch_SafeRegex:
		matches = wholly(specifier.SafeRegex.GetRegex(), path)
	default:
		return false, "such path matcher"
	}
	if m.GetRuntimeFraction() != nil || m.GetGrpc() != nil || m.GetTlsContext() != nil || len(m.GetDynamicMetadata()) > 0 || len(m.GetFilterState()) > 0 {
		return false, "such route matcher"
	}
	for _, h := range m.GetHeaders() {
		value, present := c.header(h.Name)
		var one bool
		switch specifier := h.GetHeaderMatchSpecifier().(type) {
		case *routev3.HeaderMatcher_PresentMatch:
			one = present == specifier.PresentMatch
		case *routev3.HeaderMatcher_StringMatch:
			hit, known := hits(specifier.StringMatch, value)
			if !known {
				return false, "such header matcher"
			}
			one = present && hit
		default:
			return false, "such header matcher"
		}
		matches = matches && one != h.InvertMatch
	}
	given, err := url.ParseQuery(query)
	if err != nil {
		return false, "such query"
	}
	for _, q := range m.GetQueryParameters() {
		one := given.Has(q.Name)
		if specifier, is := q.GetQueryParameterMatchSpecifier().(*routev3.QueryParameterMatcher_StringMatch); is {
			hit, known := hits(specifier.StringMatch, given.Get(q.Name))
			if !known {
				return false, "such query matcher"
			}
			one = one && hit
		}
		matches = matches && one
	}
	return matches, ""
}

func hits(m *matcherv3.StringMatcher, value string) (hit, known bool) {
	if m.IgnoreCase {
		return false, false
	}
	switch pattern := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		return value == pattern.Exact, true
	case *matcherv3.StringMatcher_Prefix:
		return strings.HasPrefix(value, pattern.Prefix), true
	case *matcherv3.StringMatcher_SafeRegex:
		return wholly(pattern.SafeRegex.GetRegex(), value), true
	}
	return false, false
}

// wholly matches as Envoy does: the whole text, by the same regular expressions.
func wholly(pattern, text string) bool {
	compiled, err := regexp.Compile("^(?:" + pattern + ")$")
	return err == nil && compiled.MatchString(text)
}

func (c call) path() string {
	if c.Path == "" {
		return "/"
	}
	return c.Path
}

func (c call) header(name string) (string, bool) {
	switch name {
	case ":method":
		return "GET", true
	case ":path":
		return c.path(), true
	case ":authority":
		return c.Host, true
	}
	for key, value := range c.Headers {
		if strings.EqualFold(key, name) {
			return value, true
		}
	}
	return "", false
}

// act carries the route's action out.
func (p *proxy) act(r *routev3.Route, c call) outcome {
	action := r.GetRoute()
	if action == nil {
		return outcome{Refused: "the proxy answers itself", Rule: r.Name}
	}
	out := outcome{Rule: r.Name, Path: rewritten(r.Match, action, c.path())}
	switch to := action.GetClusterSpecifier().(type) {
	case *routev3.RouteAction_Cluster:
		one := p.portion(to.Cluster, 1, 1)
		one.SetCookie = cookieOf(r.GetResponseHeadersToAdd())
		out.To = append(out.To, one)
	case *routev3.RouteAction_WeightedClusters:
		var sum uint32
		for _, w := range to.WeightedClusters.Clusters {
			sum += w.GetWeight().GetValue()
		}
		for _, w := range to.WeightedClusters.Clusters {
			one := p.portion(w.Name, w.GetWeight().GetValue(), sum)
			one.SetCookie = cookieOf(append(r.GetResponseHeadersToAdd(), w.GetResponseHeadersToAdd()...))
			out.To = append(out.To, one)
		}
	default:
		return outcome{Refused: "this oracle knows no such cluster specifier", Rule: r.Name}
	}
	for _, m := range action.GetRequestMirrorPolicies() {
		fraction := m.GetRuntimeFraction().GetDefaultValue()
		of := uint32(100)
		switch fraction.GetDenominator().String() {
		case "TEN_THOUSAND":
			of = 10_000
		case "MILLION":
			of = 1_000_000
		}
		out.Mirrors = append(out.Mirrors, p.portion(m.Cluster, fraction.GetNumerator(), of))
	}
	return out
}

func rewritten(m *routev3.RouteMatch, action *routev3.RouteAction, path string) string {
	if rewrite := action.GetRegexRewrite(); rewrite != nil {
		compiled, err := regexp.Compile(rewrite.GetPattern().GetRegex())
		if err != nil {
			return err.Error()
		}
		return compiled.ReplaceAllString(path, strings.ReplaceAll(rewrite.Substitution, `\`, "$"))
	}
	if action.PrefixRewrite == "" {
		return path
	}
	matched := m.GetPrefix() + m.GetPathSeparatedPrefix() + m.GetPath()
	return action.PrefixRewrite + strings.TrimPrefix(path, matched)
}

func cookieOf(headers []*corev3.HeaderValueOption) string {
	for _, h := range headers {
		if strings.EqualFold(h.GetHeader().GetKey(), "set-cookie") {
			return h.GetHeader().GetValue()
		}
	}
	return ""
}

// connect follows a connection that is no HTTP.
func (p *proxy) connect(tcp *tcpproxyv3.TcpProxy) outcome {
	if name := tcp.GetCluster(); name != "" {
		return outcome{To: []portion{p.portion(name, 1, 1)}}
	}
	var sum uint32
	for _, w := range tcp.GetWeightedClusters().GetClusters() {
		sum += w.Weight
	}
	var out outcome
	for _, w := range tcp.GetWeightedClusters().GetClusters() {
		out.To = append(out.To, p.portion(w.Name, w.Weight, sum))
	}
	return out
}

func (p *proxy) portion(name string, weight, of uint32) portion {
	out := portion{Cluster: name, Missing: true, Endpoints: p.endpoints[name]}
	if of > 0 {
		out.Percent = 100 * float64(weight) / float64(of)
	}
	for _, c := range p.clusters {
		if c.Name == name {
			out.Missing = false
		}
	}
	return out
}
