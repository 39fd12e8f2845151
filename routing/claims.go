// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"slices"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// claims returns since when this Service has exposed each host of a VirtualService, if that differs from its creation: the host
// was added later, or an object of an earlier release served it before.
func (s *facts) claims(hosts []string) stamps {
	out := stamps{}
	created := s.now
	if exposed := s.ours.gatewayRoute; exposed != nil {
		created = exposed.CreationTimestamp.Time
	}
	for _, host := range hosts {
		since := s.now
		for _, vs := range s.ours.routes() {
			if at := claimedAt(vs, host); len(boundGateways(vs)) > 0 && servesHost(vs, host) && at.Before(since) {
				since = at
			}
		}
		if !since.Equal(created) {
			out[host] = since
		}
	}
	return out
}

func servesHost(vs *networkingv1.VirtualService, host string) bool {
	return slices.Contains(vs.Spec.Hosts, host)
}

// HostsLeavingMesh returns the hosts besides the Service's own that a VirtualService of an earlier release binds to mesh, and that
// this release serves at gateways alone. It is empty for foreign objects, and for what this release wrote.
func HostsLeavingMesh(vs *networkingv1.VirtualService, clusterDomain string) []string {
	service, ours := ServiceOf(vs)
	if !ours || len(vs.Spec.Gateways) > 0 && !slices.Contains(vs.Spec.Gateways, meshGateway) {
		return nil
	}
	own := service + "." + vs.Namespace + ".svc." + clusterDomain
	return slices.DeleteFunc(slices.Clone(vs.Spec.Hosts), func(host string) bool { return ResolveHost(host, vs.Namespace, clusterDomain) == own })
}

// claimedAt is since when an object claims a host: as recorded for that host, or for the first recorded wildcard that
// includes it, else since it was created.
func claimedAt(object Object, host string) time.Time {
	claims := parseStamps(object.GetAnnotations()[api.AnnotationClaimedAt])
	if at, recorded := claims[host]; recorded {
		return at
	}
	for _, claimed := range sortedKeys(claims) {
		if covers(claimed, host) {
			return claims[claimed]
		}
	}
	return object.GetCreationTimestamp().Time
}

// routedByUser returns a VirtualService with which the user routes a host at our ingress to the Service; nil if there is none.
// Outrigger does not route that host then, as in the mesh.
func (s *facts) routedByUser(x exposure, host string) *networkingv1.VirtualService {
	for _, vs := range s.Foreign.VirtualServices {
		_, outrigger := ServiceOf(vs)
		routesHere := len(subsetsNamed(vs, s.host, s.Settings.ClusterDomain)) > 0
		serves := slices.ContainsFunc(vs.Spec.Hosts, func(h string) bool { return covers(h, host) })
		if outrigger || vs.Namespace != s.Service.Namespace || !routesHere || !serves {
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
		fmt.Sprintf("This VirtualService routes host %s at the ingress gateway to Service %s. Outrigger does not route that host.", host, s.Service.Name),
		fmt.Sprintf("To let Outrigger route it: kubectl delete virtualservices.networking.istio.io -n %s %s.", vs.Namespace, vs.Name))
}
