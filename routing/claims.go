// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// claims are since when this Service has exposed each host of the VirtualService that serves them, where its creation does
// not say so: the host was added later, or an object of an earlier release served it before.
func (s *facts) claims(hosts []string) stamps {
	out := stamps{}
	created := s.now
	if exposed := s.ours.exposed; exposed != nil {
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

// HostsLeavingMesh returns the hosts beside the Service's own that a VirtualService of an earlier release binds to mesh, and that
// this release serves at gateways alone. It is empty for objects of others, and for what this release wrote.
func HostsLeavingMesh(vs *networkingv1.VirtualService, clusterDomain string) []string {
	service, ours := ServiceOf(vs)
	if !ours || len(vs.Spec.Gateways) > 0 && !slices.Contains(vs.Spec.Gateways, meshGateway) {
		return nil
	}
	own := service + "." + vs.Namespace + ".svc." + clusterDomain
	return slices.DeleteFunc(slices.Clone(vs.Spec.Hosts), func(host string) bool { return resolveHost(host, vs.Namespace, clusterDomain) == own })
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
