// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"slices"
	"strings"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// An exposure through one of our Gateways has one port: plain HTTP, or HTTPS with the certificate of a Secret. With a redirect it
// has port 80 as well. Istio merges the servers of all Gateways for the same pods and port:
//
//   - HTTP and HTTPS cannot share a port. Istio serves the older Gateway.
//   - Servers with TLS on one port are distinguished by host name alone. Two with the same host make Envoy reject the whole port.
//   - A redirect of a host applies to every Gateway that serves the host on port 80.
//
// So each port of an exposure must be permitted and free, and a host must be free on all of them.

// listener is one port of an exposure.
type listener struct {
	port      uint32
	tls       bool
	redirects bool // to the exposure's other port
}

// listeners returns the ports of an exposure. One through a Gateway of the user has a single, unspecified one.
func (x exposure) listeners() []listener {
	out := []listener{{port: x.port, tls: x.tls != ""}}
	if x.redirect {
		out = append(out, listener{port: api.HTTPPort, redirects: true})
	}
	return out
}

// annotation returns the annotation that requests the port, with its value.
func (l listener) annotation() (key, value string) {
	if l.redirects {
		return api.AnnotationHTTPSRedirect, "true"
	}
	return api.AnnotationGatewayPort, fmt.Sprint(l.port)
}

// isServedBy reports whether a Gateway serves a host, "namespace/host", on the port with the listener's protocol.
func (l listener) isServedBy(gateway *networkingv1.Gateway, host string) bool {
	return slices.ContainsFunc(gateway.Spec.Servers, func(server *server) bool {
		return server.GetPort().GetNumber() == l.port && hasTLS(server) == l.tls && slices.Contains(server.Hosts, host)
	})
}

// hasTLS reports whether a server speaks TLS. One that redirects HTTP has settings for TLS, but does not.
func hasTLS(server *server) bool { return server.GetTls() != nil && !isHTTP(server) }

// endsTLS reports whether a server terminates TLS rather than pass the connection through.
func endsTLS(server *server) bool {
	mode := server.GetTls().GetMode()
	return hasTLS(server) && strings.EqualFold(server.GetPort().GetProtocol(), "HTTPS") &&
		mode != networkingapi.ServerTLSSettings_PASSTHROUGH && mode != networkingapi.ServerTLSSettings_AUTO_PASSTHROUGH
}

func isHTTP(server *server) bool {
	switch strings.ToUpper(server.GetPort().GetProtocol()) {
	case "", "HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTP_PROXY":
		return true
	}
	return false
}

// servers returns the servers of our Gateway for an exposure. The redirect is the second.
func (x exposure) servers(namespace string) []*server {
	hosts := make([]string, len(x.hosts))
	for i, host := range x.hosts {
		hosts[i] = namespace + "/" + host
	}
	if x.tls == "" {
		return []*server{{Port: &networkingapi.Port{Number: x.port, Name: "http", Protocol: "HTTP"}, Hosts: hosts}}
	}
	out := []*server{{
		Port: &networkingapi.Port{Number: x.port, Name: "https", Protocol: "HTTPS"}, Hosts: hosts,
		Tls: &networkingapi.ServerTLSSettings{Mode: networkingapi.ServerTLSSettings_SIMPLE, CredentialName: x.tls},
	}}
	if x.redirect {
		out = append(out, &server{
			Port: &networkingapi.Port{Number: api.HTTPPort, Name: "http", Protocol: "HTTP"}, Hosts: slices.Clone(hosts),
			Tls: &networkingapi.ServerTLSSettings{HttpsRedirect: true},
		})
	}
	return out
}

// checkPorts reports in refused why our servers may not have their ports on the gateway's pods; empty if they may. Conflicts that
// change nothing are in found.
func (s *facts) checkPorts(x exposure, current currentExposure) (refused, found []finding) {
	if x.redirect && s.listenerPort(x.port) == s.listenerPort(api.HTTPPort) {
		return []finding{s.refuse(current, api.AnnotationHTTPSRedirect, "true", api.RouteGatewayPortConflict,
			fmt.Sprintf("Ports %d and %d are the same port of the gateway pods, so one of them cannot redirect to the other.", api.HTTPPort, x.port),
			"Choose another port: "+s.annotate(api.AnnotationGatewayPort+"=PORT")+".")}, nil
	}
	for _, l := range x.listeners() {
		o := s.protocolObjection(x, l)
		switch {
		case o == nil:
		case s.isServedAt(x, l, x.hosts) && !s.yieldsTo(s.otherProtocol(x, l)):
			found = append(found, s.problemAbout(o.key, o.value, o.reason, o.what+" Existing traffic is unchanged; Istio serves only one of the two protocols.", o.advice))
		default:
			return []finding{s.refuse(current, o.key, o.value, o.reason, o.what, o.advice)}, found
		}
	}
	return nil, found
}

// protocolObjection returns an objection if another Gateway has another protocol on a port: it is a conflict where one has TLS or TCP
// and ours is for HTTP, or the other way around. It is nil if there is none. What is exposed already stays, except where two Gateways
// of Outrigger were created at the same time.
func (s *facts) protocolObjection(x exposure, l listener) *objection {
	gateway := s.otherProtocol(x, l)
	if gateway == nil {
		return nil
	}
	key, value := l.annotation()
	what := fmt.Sprintf("Gateway %s/%s serves another protocol than %s on port %d of the same gateway pods.", gateway.Namespace, gateway.Name, map[bool]string{false: "HTTP", true: "HTTPS"}[l.tls], l.port)
	advice := "Choose another port: " + s.annotate(api.AnnotationGatewayPort+"=PORT") + "."
	if l.redirects {
		advice = "Remove the redirect: " + s.annotate(api.AnnotationHTTPSRedirect+"-") + "."
	}
	return &objection{refusal{key, value, api.RouteGatewayPortConflict}, what, advice}
}

// ServerPort is a port of a gateway with what a server speaks on it: "HTTP", "TLS", or "TCP".
type ServerPort struct {
	Number uint32
	Speaks string
}

// ServerPorts returns the ports of a Gateway, each once for each protocol.
func ServerPorts(gateway *networkingv1.Gateway) []ServerPort {
	var out []ServerPort
	for _, server := range gateway.Spec.Servers {
		port := ServerPort{server.GetPort().GetNumber(), "TCP"}
		switch {
		case isHTTP(server):
			port.Speaks = "HTTP"
		case hasTLS(server):
			port.Speaks = "TLS"
		}
		if !slices.Contains(out, port) {
			out = append(out, port)
		}
	}
	return out
}

// Excludes returns what no other server for the same gateway pods may speak on the port of an exposure.
func (p ServerPort) Excludes() []ServerPort {
	var out []ServerPort
	for _, speaks := range []string{"HTTP", "TLS", "TCP"} {
		if speaks != p.Speaks {
			out = append(out, ServerPort{p.Number, speaks})
		}
	}
	return out
}

// ExcludedPorts returns what no other Gateway may serve together with the exposure that a Service requests, also by another number
// for the same port of the gateway's pods.
func (o *Observed) ExcludedPorts() []ServerPort {
	request := o.Intent.Expose
	if request == nil || request.Gateway != "" {
		return nil
	}
	s := &facts{Observed: *o}
	var out []ServerPort
	x, _, _ := s.exposureOf(request)
	for _, l := range x.listeners() {
		numbers := []uint32{l.port}
		for _, service := range o.IngressServices {
			for _, port := range service.Spec.Ports {
				if number := uint32(port.Port); number != l.port && s.listenerPort(number) == s.listenerPort(l.port) { //nolint:gosec // a port is not negative
					numbers = append(numbers, number)
				}
			}
		}
		speaks := map[bool]string{false: "HTTP", true: "TLS"}[l.tls]
		for _, number := range numbers {
			out = append(out, ServerPort{number, speaks}.Excludes()...)
		}
	}
	return out
}

// otherProtocol returns another Gateway that has another protocol on a port of the same gateway pods; nil if there is none.
func (s *facts) otherProtocol(x exposure, l listener) *networkingv1.Gateway {
	for _, gateway := range s.Foreign.Gateways {
		if sameIngress(gateway.Spec.Selector, x.selector) && slices.ContainsFunc(ServerPorts(gateway), func(port ServerPort) bool {
			return ((port.Speaks == "TLS") != l.tls || port.Speaks == "TCP") && (port.Number == l.port || s.listenerPort(port.Number) == s.listenerPort(l.port))
		}) {
			return gateway
		}
	}
	return nil
}

// yieldsTo reports whether our Gateway gives up a port on which a Gateway of another Service that Outrigger exposes has
// another protocol: to the older one, which Istio serves. Neither was refused where both were written before either was seen.
func (s *facts) yieldsTo(gateway *networkingv1.Gateway) bool {
	ours := s.ours.gateway
	isWritten := gateway.Annotations[api.AnnotationWritten] == gatewayDigest(gateway) // no edit of another client
	return ours != nil && isOutriggers(gateway) && isWritten && olderObject(gateway, ours)
}

// yieldsPort reports whether our Gateway gives up one of the ports of an exposure.
func (s *facts) yieldsPort(x exposure) bool {
	return x.generated && slices.ContainsFunc(x.listeners(), func(l listener) bool {
		gateway := s.otherProtocol(x, l)
		return gateway != nil && s.yieldsTo(gateway)
	})
}

// competes reports whether a server of another Gateway for the same pods serves its hosts where the exposure's port l does. Where
// TLS or a redirect is involved, the port of the pods decides, since two numbers can mean the same one. HTTP and HTTPS for a host
// belong to one namespace, whatever the ports, so that no other namespace can claim https:// for a host that Outrigger exposes at
// http://.
func (s *facts) competes(gateway *networkingv1.Gateway, server *server, x exposure, l listener) bool {
	if number := server.GetPort().GetNumber(); number == l.port || (x.tls != "" || server.GetTls() != nil) && s.listenerPort(number) == s.listenerPort(l.port) {
		return true
	}
	return isOutriggers(gateway) && gateway.Namespace != s.Service.Namespace && (x.tls != "") != hasTLS(server)
}

// misdirected reports a redirect to a port that the exposure does not serve: Envoy changes only http:// to https://.
func (s *facts) misdirected(x exposure) []finding {
	if !x.redirect || s.listenerPort(x.port) == s.listenerPort(api.HTTPSPort) {
		return nil
	}
	return []finding{s.problemAbout(api.AnnotationHTTPSRedirect, "true", api.RouteWithoutEffect,
		fmt.Sprintf("The redirect goes to port %d, and HTTPS is served on port %d. Redirected callers do not reach the Service, unless a load balancer maps port %d to it.", api.HTTPSPort, x.port, api.HTTPSPort),
		fmt.Sprintf("Serve HTTPS on port %d: %s.", api.HTTPSPort, s.annotate(api.AnnotationGatewayPort+"="+fmt.Sprint(api.HTTPSPort))))}
}
