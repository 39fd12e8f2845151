// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

// renderRoute renders one VirtualService; nil if there is none, or none yet.
func (s outcome) renderRoute(view routeView) *networkingv1.VirtualService {
	if view.isKept || slices.Contains(s.detached, view.name) {
		return view.existing
	}
	if !view.mesh && len(view.gateways) == 0 {
		return nil
	}
	vs := &networkingv1.VirtualService{ObjectMeta: s.meta(view.name), TypeMeta: typeMeta("VirtualService")}
	if view.mesh {
		vs.Spec.Hosts = []string{s.host}
	} else {
		vs.Spec.Hosts, vs.Spec.Gateways = widest(view.hosts), slices.Clone(view.gateways)
	}
	vs.Spec.Http, vs.Spec.Tcp = s.httpRoutes(view), s.tcpRoutes(view)
	if len(vs.Spec.Http)+len(vs.Spec.Tcp) == 0 {
		return nil
	}
	exportTo, may := s.exportOfRoute(view.existing)
	if vs.Spec.ExportTo = exportTo; !may || !s.namesUsable(vs) {
		return existingRoute(view.existing, s)
	}
	s.markRoute(vs, view)
	return vs
}

// namesUsable reports whether every subset that a route names may be named now.
func (s outcome) namesUsable(vs *networkingv1.VirtualService) bool {
	return !slices.ContainsFunc(DestinationsOf(vs), func(d *networkingapi.Destination) bool {
		return d.Subset != "" && !s.usable(s.subsets.versions[d.Subset])
	})
}

// existingRoute is an existing VirtualService as it is, nil if there is none.
func existingRoute(vs *networkingv1.VirtualService, s outcome) *networkingv1.VirtualService {
	if vs == nil || s.renewed {
		return nil
	}
	return vs
}

// httpRoutes returns the rules for each HTTP port; at a gateway, only for the port that it routes to.
func (s outcome) httpRoutes(view routeView) []*networkingapi.HTTPRoute {
	gatewayPort, _ := s.gatewayServicePort(s.exposed.request)
	var out []*networkingapi.HTTPRoute
	for _, r := range s.rules {
		for _, port := range s.Service.Spec.Ports {
			atGateway := port.Name == gatewayPort.Name && port.Port == gatewayPort.Port && !r.meshOnly()
			if portTraffic(port).http() && (view.mesh || atGateway) {
				out = append(out, s.httpRoute(r, port, view))
			}
		}
	}
	if s.foreign.delegate != nil && len(out) > 0 {
		out = slices.Insert(out, 0, s.delegateRule(view))
	}
	return out
}

func (s outcome) httpRoute(r rule, port corev1.ServicePort, view routeView) *networkingapi.HTTPRoute {
	route := &networkingapi.HTTPRoute{Name: s.ruleName(r, port), Match: s.httpMatches(r, port, view), Mirrors: s.mirrorPolicies(r, port)}
	if _, replacement := s.exposed.uris(); replacement != "" && !view.mesh {
		route.Name += gatewaySuffix
		route.Rewrite = &networkingapi.HTTPRewrite{Uri: replacement}
	}
	for i, d := range s.destinations(r, port) {
		route.Route = append(route.Route, &networkingapi.HTTPRouteDestination{Destination: d, Weight: weightOf(r.to, i), Headers: s.setCookie(r, r.to[i].version)})
	}
	return route
}

func (s *facts) ruleName(r rule, port corev1.ServicePort) string {
	name := "default"
	switch {
	case r.sticky:
		name = "sticky-" + s.subsetOr(r.match.Value, "all")
	case r.match != nil:
		name = "to-" + s.subsetOr(r.to[len(r.to)-1].version, "all")
	}
	if number := s.portNumber(port); number != 0 {
		name += fmt.Sprintf("-%d", number)
	}
	return name
}

func (s *facts) subsetOr(version, none string) string {
	if version == "" {
		return none
	}
	return s.subsets.names[version]
}

// httpMatches are the port in the mesh, or the path at the gateway, each with the rule's own condition. Nothing to match is
// no match.
func (s outcome) httpMatches(r rule, port corev1.ServicePort, view routeView) []*networkingapi.HTTPMatchRequest {
	var out []*networkingapi.HTTPMatchRequest
	if view.mesh {
		match := s.condition(r.match)
		match.Port = s.portNumber(port)
		out = append(out, match)
	} else {
		uris, _ := s.exposed.uris()
		for _, uri := range uris {
			match := s.condition(r.match)
			match.Uri = uri
			out = append(out, match)
		}
	}
	if len(out) == 1 && proto.Equal(out[0], &networkingapi.HTTPMatchRequest{}) {
		return nil
	}
	return out
}

func (s *facts) destinations(r rule, port corev1.ServicePort) []*networkingapi.Destination {
	var out []*networkingapi.Destination
	for _, p := range r.to {
		out = append(out, s.destination(p.version, port))
	}
	return out
}

func (s *facts) destination(version string, port corev1.ServicePort) *networkingapi.Destination {
	d := &networkingapi.Destination{Host: s.host, Subset: s.subsetOr(version, "")}
	if number := s.portNumber(port); number != 0 {
		d.Port = &networkingapi.PortSelector{Number: number}
	}
	return d
}

// weightOf leaves out the weight of a lone destination, which is 100 in any case.
func weightOf(to []portion, i int) int32 {
	if len(to) == 1 {
		return 0
	}
	return int32(to[i].weight) //nolint:gosec // weights sum to 100
}

// tcpRoutes are the shares for each TCP port, by caller and for all: of a connection nothing else is known, and gateways
// serve HTTP only.
func (s outcome) tcpRoutes(view routeView) []*networkingapi.TCPRoute {
	if !view.mesh {
		return nil
	}
	var out []*networkingapi.TCPRoute
	for _, r := range s.rules {
		if r.match != nil && r.match.Kind != api.MatchSource {
			continue
		}
		for _, port := range s.Service.Spec.Ports {
			if portTraffic(port).tcp() {
				out = append(out, s.tcpRoute(r, port))
			}
		}
	}
	return out
}

func (s *facts) tcpRoute(r rule, port corev1.ServicePort) *networkingapi.TCPRoute {
	match := &networkingapi.L4MatchAttributes{Port: s.portNumber(port), SourceLabels: s.condition(r.match).SourceLabels}
	route := &networkingapi.TCPRoute{}
	if !proto.Equal(match, &networkingapi.L4MatchAttributes{}) {
		route.Match = append(route.Match, match)
	}
	for i, d := range s.destinations(r, port) {
		route.Route = append(route.Route, &networkingapi.RouteDestination{Destination: d, Weight: weightOf(r.to, i)})
	}
	return route
}

// rewrites reports whether the Service sees another path than the gateway.
func (x exposure) rewrites() bool {
	return x.on && x.rewrite != "" && strings.TrimSuffix(x.rewrite, "/") != strings.TrimSuffix(x.path, "/")
}

// uris returns the paths that the gateway matches, and what replaces them; a nil path matches all. Istio replaces exactly the
// matched text: with /hello and the replacement /, it would change /hello/x to //x. Then /hello and /hello/ are matched
// separately.
func (x exposure) uris() (matches []*networkingapi.StringMatch, replacement string) {
	if !x.rewrites() {
		if x.path == "" || x.path == "/" {
			return []*networkingapi.StringMatch{nil}, ""
		}
		return []*networkingapi.StringMatch{prefix(x.path)}, ""
	}
	target := strings.TrimSuffix(x.rewrite, "/")
	switch {
	case x.path == "" || x.path == "/":
		return []*networkingapi.StringMatch{nil}, target + "/"
	case strings.HasSuffix(x.path, "/"):
		return []*networkingapi.StringMatch{prefix(x.path)}, target + "/"
	case target == "":
		return []*networkingapi.StringMatch{exact(x.path), prefix(x.path + "/")}, "/"
	}
	return []*networkingapi.StringMatch{prefix(x.path)}, target
}

func prefix(value string) *networkingapi.StringMatch {
	return &networkingapi.StringMatch{MatchType: &networkingapi.StringMatch_Prefix{Prefix: value}}
}
