package routing

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// gatewayPermitted reports whether the installation lets the exposure use its gateway and port. A list of the administrator's
// always applies. Without one, and for a change of an existing exposure, a Service of the gateway must have the port.
func (s *situation) gatewayPermitted(x exposure) bool {
	if !s.listsPermit(x) {
		return false
	}
	if !x.generated || s.Offline || s.opensPort(x.port) || s.stands(x, x.hosts) {
		return true
	}
	if len(s.Settings.GatewayPorts) > 0 && !s.leavesItsGateway(x) {
		return true
	}
	s.reportIngress(x, s.refuse)
	return false
}

// leavesItsGateway reports whether an exposure exists and would move to gateway pods, or to a port of theirs, that no Service
// is known to have. A gateway without a Service, on the network of its nodes, may open any port.
func (s *situation) leavesItsGateway(x exposure) bool {
	was := s.existing
	return was.on && (!was.generated || !maps.Equal(was.selector, x.selector) || was.port != x.port && len(s.IngressServices) > 0)
}

// listsPermit reports whether the administrator's lists of gateways, gateway pods, and ports permit the exposure.
func (s *situation) listsPermit(x exposure) bool {
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
		if slices.ContainsFunc(allowed, func(entry string) bool { return api.PortInRange(entry, x.port) }) {
			return true
		}
		s.refuse(api.AnnotationGatewayPort, fmt.Sprint(x.port), api.RouteGatewayNotAllowed, fmt.Sprintf("This installation does not allow port %d (routing.gatewayPorts).", x.port),
			"Use one that it allows: "+strings.Join(allowed, ", ")+".")
		return false
	}
	return true
}

// namesGateway reports whether an entry of routing.gateways, "namespace/name" or "namespace/*", means a Gateway.
func namesGateway(entry, gateway string) bool {
	prefix, all := strings.CutSuffix(entry, "/*")
	return entry == gateway || all && strings.HasPrefix(gateway, prefix+"/")
}

// opensPort reports whether a Service of the ingress gateway has a port, or leads to it.
func (s *situation) opensPort(number uint32) bool {
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
func (s *situation) listenerPort(number uint32) uint32 {
	for _, service := range s.IngressServices {
		for _, port := range service.Spec.Ports {
			if target := port.TargetPort.IntValue(); uint32(port.Port) == number && target > 0 { //nolint:gosec // a port is not negative
				return uint32(target) //nolint:gosec // likewise
			}
		}
	}
	return number
}

// portFree reports whether our server, which speaks HTTP, may have its port on the gateway's pods: a listener has one
// protocol, so it is a conflict where another Gateway has TLS or TCP there. What is exposed already stays.
func (s *situation) portFree(x exposure) bool {
	for _, gateway := range s.Foreign.Gateways {
		if !sameIngress(gateway.Spec.Selector, x.selector) || !s.occupies(gateway, x.port) {
			continue
		}
		what := fmt.Sprintf("Gateway %s/%s serves another protocol than HTTP on port %d of the same gateway pods.", gateway.Namespace, gateway.Name, x.port)
		advice := "Choose another port: " + s.annotate(api.AnnotationGatewayPort+"=PORT") + "."
		if s.stands(x, x.hosts) {
			s.tellAbout(api.AnnotationGatewayPort, fmt.Sprint(x.port), api.RouteGatewayPortConflict, what+" Existing traffic is unchanged; Istio serves only one of the two protocols.", advice)
			return true
		}
		s.refuse(api.AnnotationGatewayPort, fmt.Sprint(x.port), api.RouteGatewayPortConflict, what, advice)
		return false
	}
	return true
}

// occupies reports whether a Gateway has a server of another protocol than plain HTTP on the listener of a port.
func (s *situation) occupies(gateway *networkingv1.Gateway, port uint32) bool {
	return slices.ContainsFunc(gateway.Spec.Servers, func(server *server) bool {
		number := server.GetPort().GetNumber()
		if number != port && s.listenerPort(number) != s.listenerPort(port) {
			return false
		}
		protocol := strings.ToUpper(server.GetPort().GetProtocol())
		return protocol != "" && protocol != "HTTP" && protocol != "HTTP2" && protocol != "GRPC" && protocol != "GRPC-WEB" && protocol != "HTTP_PROXY"
	})
}
