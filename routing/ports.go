// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

// traffic is how routes can treat a port.
type traffic int

const (
	trafficNone    traffic = iota // UDP and the like: Istio routes nothing
	trafficHTTP                   // http rules
	trafficTCP                    // tcp rules
	trafficGuessed                // Istio looks at each connection: both
	trafficTLS                    // would need server names
)

// portTraffic finds the protocol of a Service's port as Istio does: appProtocol, else the port's name up to the first
// dash, else ports that are known to be TCP, else Istio guesses.
func portTraffic(port corev1.ServicePort) traffic {
	if port.Protocol != corev1.ProtocolTCP && port.Protocol != "" {
		return trafficNone
	}
	name := port.Name
	if port.AppProtocol != nil {
		name = *port.AppProtocol
		switch name {
		case "kubernetes.io/h2c", "kubernetes.io/ws":
			return trafficHTTP
		case "kubernetes.io/wss":
			return trafficTLS
		}
	}
	name = strings.ToLower(name)
	if strings.HasPrefix(name, "grpc-web") {
		return trafficHTTP
	}
	name, _, _ = strings.Cut(name, "-")
	switch name {
	case "http", "http2", "grpc":
		return trafficHTTP
	case "tcp", "mongo", "redis", "mysql", "http_proxy":
		return trafficTCP
	case "https", "tls":
		return trafficTLS
	case "udp":
		return trafficNone
	}
	if slices.Contains([]int32{25, 53, 3306, 27017}, port.Port) {
		return trafficTCP
	}
	return trafficGuessed
}

func (t traffic) http() bool { return t == trafficHTTP || t == trafficGuessed }
func (t traffic) tcp() bool  { return t == trafficTCP || t == trafficGuessed }

// portNumber returns how a destination or match names a port: 0 for a Service with one port, so that a route stays correct when
// that port changes or another is added.
func (s *facts) portNumber(port corev1.ServicePort) uint32 {
	if len(s.Service.Spec.Ports) < 2 {
		return 0
	}
	return uint32(port.Port) //nolint:gosec // a port is not negative
}

// gatewayServicePort returns the port of the Service to which gateways route: the requested one, or else the first that speaks
// HTTP. It is false if that port does not speak HTTP.
func (s *facts) gatewayServicePort(request *api.Exposure) (corev1.ServicePort, bool) {
	if request != nil && request.ServicePort != "" {
		named := corev1.ServicePort{}
		for _, port := range s.Service.Spec.Ports {
			if !api.IsPort(port, request.ServicePort) {
				continue
			}
			if named = port; portTraffic(port).http() {
				return port, true // and not the UDP port of the same number
			}
		}
		return named, false
	}
	for _, want := range []traffic{trafficHTTP, trafficGuessed} {
		for _, port := range s.Service.Spec.Ports {
			if portTraffic(port) == want {
				return port, true
			}
		}
	}
	return corev1.ServicePort{}, false
}

// unroutedPorts reports the ports that cannot be routed by version.
func (s *facts) unroutedPorts() (out []finding) {
	for i, port := range s.Service.Spec.Ports {
		if portTraffic(port) != trafficTLS {
			continue
		}
		out = append(out, finding{RouteProblem: api.RouteProblem{
			Object: s.serviceRef(), Field: fmt.Sprintf("spec.ports[%d]", i), Value: fmt.Sprintf("%d/%s", port.Port, port.Name), Reason: api.RoutePortNotRouted,
			Message: "The port carries TLS, which is not routed by version: every version receives requests there.",
			Advice:  "Let the sidecars encrypt, and name the port http-… or set appProtocol: http.",
		}})
	}
	return out
}
