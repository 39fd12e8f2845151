// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// routedByUser returns a VirtualService with which the user routes a host at our ingress to the Service: Outrigger's route
// for that host steps back, as it does in the mesh. It is nil if there is none.
func (s *facts) routedByUser(x exposure, host string) *networkingv1.VirtualService {
	for _, vs := range s.Foreign.VirtualServices {
		_, outrigger := ServiceOf(vs)
		leads := len(subsetsNamed(vs, s.host, s.Settings.ClusterDomain)) > 0
		serves := slices.ContainsFunc(vs.Spec.Hosts, func(h string) bool { return covers(h, host) })
		if outrigger || vs.Namespace != s.Service.Namespace || !leads || !serves {
			continue
		}
		if slices.ContainsFunc(boundGateways(vs), func(ref string) bool { return ref == x.gateway || s.sharesIngress(ref, x, x.listeners()...) }) {
			return vs
		}
	}
	return nil
}

// sharesIngress reports whether a Gateway opens one of these ports of the exposure on the same ingress pods.
func (s *facts) sharesIngress(ref string, x exposure, ports ...listener) bool {
	gateway := s.foreignGateway(ref)
	return gateway != nil && sameIngress(gateway.Spec.Selector, x.selector) &&
		slices.ContainsFunc(gateway.Spec.Servers, func(server *server) bool {
			return slices.ContainsFunc(ports, func(l listener) bool { return s.competes(gateway, server, x, l) })
		})
}

func (s *facts) routedAlready(vs *networkingv1.VirtualService, host string) finding {
	return problemOf(vs, "spec.hosts", host, api.RouteRouteConflict,
		fmt.Sprintf("It routes host %s at the ingress gateway to Service %s. Outrigger's route for that host steps back.", host, s.Service.Name),
		fmt.Sprintf("To have Outrigger route: kubectl delete virtualservices.networking.istio.io -n %s %s.", vs.Namespace, vs.Name))
}
