// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"maps"
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// throughReplaced lets an exposure go on through the Gateway that the user applied over ours: our VirtualService is bound to it
// already, and a second Gateway for the same hosts would be in conflict with it. Where it serves other hosts, another port,
// no TLS although a credential is named, or other gateway pods, the exposure gets a Gateway of its own again.
func (s *facts) throughReplaced(x exposure) exposure {
	ref := s.Service.Namespace + "/" + s.Service.Name
	if !x.generated || x.gateway == ref || len(x.hosts) == 0 || s.renewed ||
		!slices.ContainsFunc(s.ours.routes(), func(vs *networkingv1.VirtualService) bool { return slices.Contains(boundGateways(vs), ref) }) {
		return x
	}
	if allowed := s.Settings.Gateways; len(allowed) > 0 && !slices.ContainsFunc(allowed, func(entry string) bool { return namesGateway(entry, ref) }) {
		return x
	}
	gateway := s.foreignGateway(ref)
	if gateway == nil || !sameIngress(gateway.Spec.Selector, x.selector) {
		return x
	}
	for _, host := range x.hosts {
		if !slices.ContainsFunc(gateway.Spec.Servers, func(server *server) bool {
			return server.GetPort().GetNumber() == x.port && (x.tls == "" || endsTLS(server)) && serverCovers(server, gateway.Namespace, s.Service.Namespace, host)
		}) {
			return x
		}
	}
	x.generated, x.gateway, x.selector = false, ref, maps.Clone(gateway.Spec.Selector)
	x.tls, x.redirect = "", false // it has its own certificate
	return x
}

// isGatewayBorrowed reports whether a VirtualService of the user's routes to the Service through our Gateway. It stays for
// that as long as the Service asks to be exposed.
func (s *facts) isGatewayBorrowed() bool {
	if s.ours.gateway == nil || s.Intent.Expose == nil || s.Settings.Expose == api.ExposeDisabled {
		return false
	}
	ref := s.ours.gateway.Namespace + "/" + s.ours.gateway.Name
	return slices.ContainsFunc(s.Foreign.VirtualServices, func(vs *networkingv1.VirtualService) bool {
		_, outrigger := ServiceOf(vs)
		return !outrigger && vs.Namespace == s.Service.Namespace && slices.Contains(boundGateways(vs), ref) && len(subsetsNamed(vs, s.host, s.Settings.ClusterDomain)) > 0
	})
}
