// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"outrigger.dev/outrigger/api"
)

// gatewayPermitted reports whether the installation lets the exposure use its gateway and port. A list of the administrator's
// always applies. Without one, and for a change of an existing exposure, a Service of the gateway must have the port.
func (s *planner) gatewayPermitted(x exposure) bool {
	if !s.listsPermit(x) {
		return false
	}
	return !x.generated || s.Offline || !slices.ContainsFunc(x.listeners(), func(l listener) bool { return !s.isPortThere(x, l) })
}

// isPortThere reports whether the gateway has one of the exposure's ports, as far as is known.
func (s *planner) isPortThere(x exposure, l listener) bool {
	if s.opensPort(l.port) || s.isServedAt(x, l, x.hosts) {
		return true
	}
	if len(s.Settings.GatewayPorts) > 0 && !s.leavesItsGateway(x, l) {
		return true
	}
	s.checkIngressGateway(x, l, s.refuse)
	return false
}

// leavesItsGateway reports whether an exposure exists and would move to gateway pods, or to a port of theirs, that no Service
// is known to have. A gateway without a Service, on the network of its nodes, may open any port.
func (s *planner) leavesItsGateway(x exposure, l listener) bool {
	was := s.servedNow
	had := slices.ContainsFunc(was.listeners(), func(old listener) bool { return old.port == l.port })
	return was.on && (!was.generated || !maps.Equal(was.selector, x.selector) || !had && len(s.IngressServices) > 0)
}

// listsPermit reports whether the administrator's lists of gateways, gateway pods, and ports permit the exposure.
func (s *planner) listsPermit(x exposure) bool {
	if !x.generated {
		if allowed := s.Settings.Gateways; len(allowed) > 0 && !slices.ContainsFunc(allowed, func(entry string) bool { return namesGateway(entry, x.gateway) }) {
			s.refuse(api.AnnotationGateway, x.gateway, api.RouteGatewayNotAllowed, "This installation does not allow this Gateway (routing.gateways).",
				"Use one that it allows: "+s.annotate(api.AnnotationGateway+"="+allowed[0])+".")
			return false
		}
		return true
	}
	if allowed := s.Settings.GatewaySelectors; len(allowed) > 0 && !slices.ContainsFunc(allowed, func(entry string) bool { return includesAll(x.selector, parsePairs(entry)) }) {
		s.refuse(api.AnnotationGatewaySelector, pairsText(x.selector), api.RouteGatewayNotAllowed, "This installation does not allow these gateway pods (routing.gatewaySelectors).",
			"Use labels that it allows: "+s.annotate(api.AnnotationGatewaySelector+"="+allowed[0])+".")
		return false
	}
	if allowed := s.Settings.GatewayPorts; len(allowed) > 0 {
		for _, l := range x.listeners() {
			if slices.ContainsFunc(allowed, func(entry string) bool { return api.PortInRange(entry, l.port) }) {
				continue
			}
			advice := "Use one that it allows: " + strings.Join(allowed, ", ") + "."
			if l.redirects {
				advice = "Remove the redirect: " + s.annotate(api.AnnotationHTTPSRedirect+"-") + "."
			}
			key, value := l.annotation()
			s.refuse(key, value, api.RouteGatewayNotAllowed, fmt.Sprintf("This installation does not allow port %d (routing.gatewayPorts).", l.port), advice)
			return false
		}
	}
	return true
}

// namesGateway reports whether an entry of routing.gateways, "namespace/name" or "namespace/*", means a Gateway.
func namesGateway(entry, gateway string) bool {
	prefix, all := strings.CutSuffix(entry, "/*")
	return entry == gateway || all && strings.HasPrefix(gateway, prefix+"/")
}

// opensPort reports whether a Service of the ingress gateway has a port, or leads to it.
func (s *facts) opensPort(number uint32) bool {
	for _, service := range s.IngressServices {
		for _, port := range service.Spec.Ports {
			if uint32(port.Port) == number || port.TargetPort.IntValue() == int(number) { //nolint:gosec // a port is not negative
				return true
			}
		}
	}
	return false
}

// listenerPort is the port on which the gateway's pods listen for a server's port: Istio takes the target of the Service's
// port of that number, where there is one.
func (s *facts) listenerPort(number uint32) uint32 {
	for _, service := range s.IngressServices {
		for _, port := range service.Spec.Ports {
			if target := port.TargetPort.IntValue(); uint32(port.Port) == number && target > 0 { //nolint:gosec // a port is not negative
				return uint32(target) //nolint:gosec // likewise
			}
		}
	}
	return number
}
