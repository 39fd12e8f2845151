// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"outrigger.dev/outrigger/api"
)

// gatewayForbidden reports why the installation does not let the exposure use its gateway or port; empty if it does. A list of the
// administrator always applies. Without one, and for a change of an existing exposure, a Service of the gateway must have the port.
func (s *facts) gatewayForbidden(x exposure, current currentExposure) []finding {
	o := s.listObjection(x)
	if o == nil && x.generated && !s.Offline {
		for _, l := range x.listeners() {
			if o = s.portObjection(x, l, current); o != nil {
				break
			}
		}
	}
	if o == nil {
		return nil
	}
	return []finding{s.refuse(current, o.key, o.value, o.reason, o.what, o.advice)}
}

// portObjection returns an objection if the gateway lacks one of the exposure's ports; nil if it has it, as far as is known.
func (s *facts) portObjection(x exposure, l listener, current currentExposure) *objection {
	if s.opensPort(l.port) || s.isServedAt(x, l, x.hosts) || len(s.Settings.GatewayPorts) > 0 && !s.changesGateway(x, l, current) {
		return nil
	}
	return s.ingressObjection(x, l)
}

// changesGateway reports whether an exposure exists and would move to gateway pods, or to one of their ports, that no Service is
// known to have. A gateway without a Service, on the network of its nodes, may open any port.
func (s *facts) changesGateway(x exposure, l listener, was currentExposure) bool {
	had := slices.ContainsFunc(was.listeners(), func(old listener) bool { return old.port == l.port })
	return was.on && (!was.generated || !maps.Equal(was.selector, x.selector) || !had && len(s.IngressServices) > 0)
}

// listObjection returns the objection of an administrator's list of gateways, gateway pods, or ports; nil if all permit the exposure.
func (s *facts) listObjection(x exposure) *objection {
	if !x.generated {
		if allowed := s.Settings.Gateways; len(allowed) > 0 && !slices.ContainsFunc(allowed, func(entry string) bool { return namesGateway(entry, x.gateway) }) {
			return &objection{refusal{api.AnnotationGateway, x.gateway, api.RouteGatewayNotAllowed}, "This installation does not allow this Gateway (routing.gateways).",
				"Use one that it allows: " + s.annotate(api.AnnotationGateway+"="+allowed[0]) + "."}
		}
		return nil
	}
	if allowed := s.Settings.GatewaySelectors; len(allowed) > 0 && !slices.ContainsFunc(allowed, func(entry string) bool { return includesAll(x.selector, parsePairs(entry)) }) {
		return &objection{refusal{api.AnnotationGatewaySelector, pairsText(x.selector), api.RouteGatewayNotAllowed}, "This installation does not allow these gateway pods (routing.gatewaySelectors).",
			"Use labels that it allows: " + s.annotate(api.AnnotationGatewaySelector+"="+allowed[0]) + "."}
	}
	allowed := s.Settings.GatewayPorts
	for _, l := range x.listeners() {
		if len(allowed) == 0 || slices.ContainsFunc(allowed, func(entry string) bool { return api.PortInRange(entry, l.port) }) {
			continue
		}
		advice := "Use one that it allows: " + strings.Join(allowed, ", ") + "."
		if l.redirects {
			advice = "Remove the redirect: " + s.annotate(api.AnnotationHTTPSRedirect+"-") + "."
		}
		key, value := l.annotation()
		return &objection{refusal{key, value, api.RouteGatewayNotAllowed}, fmt.Sprintf("This installation does not allow port %d (routing.gatewayPorts).", l.port), advice}
	}
	return nil
}

// namesGateway reports whether an entry of routing.gateways, "namespace/name" or "namespace/*", means a Gateway.
func namesGateway(entry, gateway string) bool {
	prefix, all := strings.CutSuffix(entry, "/*")
	return entry == gateway || all && strings.HasPrefix(gateway, prefix+"/")
}

// opensPort reports whether a Service of the ingress gateway has a port, or targets it.
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
				return uint32(target) //nolint:gosec // a port is not negative
			}
		}
	}
	return number
}
