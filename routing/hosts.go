// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
)

// MayConcern reports whether an object that is not the Service's own may matter to its plan: it is for the Service's host or
// routes to it, has one of the names that our objects may have, is a Gateway, or delegates. Gather keeps those objects as
// Foreign; too many do no harm.
func MayConcern(object Object, service *corev1.Service, clusterDomain string) bool {
	if object.GetNamespace() == service.Namespace && slices.Contains(derivedNames(service.Name), object.GetName()) {
		return true
	}
	switch o := object.(type) {
	case *networkingv1.DestinationRule:
		return covers(ResolveHost(o.Spec.Host, o.Namespace, clusterDomain), hostOf(service, clusterDomain))
	case *networkingv1.VirtualService:
		host := hostOf(service, clusterDomain)
		return len(boundGateways(o)) > 0 || len(DelegatesOf(o)) > 0 || coversService(o, host, clusterDomain) || len(subsetsNamed(o, host, clusterDomain)) > 0
	case *networkingv1.Gateway:
		return true
	}
	return false
}

// IsOwn reports whether an object is one that we made for the Service, or for one of its name that is gone.
func IsOwn(object Object, service *corev1.Service) bool {
	name, ours := ServiceOf(object)
	return ours && name == service.Name && object.GetNamespace() == service.Namespace
}

// hostOf returns the Service's full name in the mesh.
func hostOf(service *corev1.Service, clusterDomain string) string {
	return service.Name + "." + service.Namespace + ".svc." + clusterDomain
}

// ResolveHost returns the full name of a host in an object of the namespace, as Istio resolves it: a name without a dot is a Service
// of that namespace, any other is literal.
func ResolveHost(host, namespace, clusterDomain string) string {
	if host == "" || strings.ContainsAny(host, ".*") {
		return host
	}
	return host + "." + namespace + ".svc." + clusterDomain
}

// covers reports whether a host of a route or Gateway, perhaps a wildcard, includes another host.
func covers(pattern, host string) bool {
	if pattern == "*" || pattern == host {
		return true
	}
	suffix, wild := strings.CutPrefix(pattern, "*")
	return wild && strings.HasSuffix(host, suffix) && host != suffix
}

// widest leaves out the hosts that another of them includes: Istio refuses a VirtualService that has both.
func widest(hosts []string) []string {
	return slices.DeleteFunc(slices.Clone(hosts), func(host string) bool {
		return slices.ContainsFunc(hosts, func(other string) bool { return other != host && covers(other, host) })
	})
}

// coversService reports whether a VirtualService is for callers in the mesh and includes the host.
func coversService(vs *networkingv1.VirtualService, host, clusterDomain string) bool {
	if len(vs.Spec.Gateways) > 0 && !slices.Contains(vs.Spec.Gateways, meshGateway) {
		return false
	}
	return slices.ContainsFunc(vs.Spec.Hosts, func(h string) bool {
		return covers(ResolveHost(h, vs.Namespace, clusterDomain), host)
	})
}

const meshGateway = "mesh"

// boundGateways returns the Gateways that a VirtualService is bound to, as namespace/name.
func boundGateways(vs *networkingv1.VirtualService) []string {
	var out []string
	for _, gateway := range vs.Spec.Gateways {
		if gateway == meshGateway {
			continue
		}
		if !strings.Contains(gateway, "/") {
			gateway = vs.Namespace + "/" + gateway
		}
		out = append(out, gateway)
	}
	return out
}

// derivedNames are the names that our objects for a Service may have, and the user's rules.
func derivedNames(service string) []string {
	return []string{service, service + autoSuffix, service + gatewaySuffix, service + gatewaySuffix + autoSuffix, service + extraSuffix}
}

const (
	autoSuffix    = "-auto"
	gatewaySuffix = "-gateway"
)

// withoutNamespace returns the host of a Gateway's entry "namespace/host".
func withoutNamespace(entry string) string {
	if _, host, scoped := strings.Cut(entry, "/"); scoped {
		return host
	}
	return entry
}
