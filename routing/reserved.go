// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"outrigger.dev/outrigger/api"
)

// clusterSetDomain is the domain of Services that several clusters share.
const clusterSetDomain = "clusterset.local"

// refuseHosts makes the hosts annotation invalid if it names a host that belongs to the cluster or to another owner, so that
// nothing new is exposed. A host that gateways already serve for this Service stays.
func (s *reader) refuseHosts() {
	request := s.Intent.Expose
	if request == nil {
		return
	}
	for _, host := range request.Hosts {
		why := s.reservation(host)
		if why == "" {
			continue
		}
		effect := "Nothing new is exposed, and an existing exposure is unchanged."
		if s.servesAtGateway(host) {
			effect = "The existing exposure stays."
		} else {
			s.Intent.Bad = maps.Clone(s.Intent.Bad)
			s.Intent.Bad[api.AnnotationHosts] = true
		}
		s.reportAbout(api.AnnotationHosts, host, api.RouteHostReserved, fmt.Sprintf("Host %s %s. %s", host, why, effect),
			"Use a host name of your own: "+s.annotate(api.AnnotationHosts+"=HOST")+".")
	}
}

// reservation returns why no Service may expose a host; empty if it is free.
func (s *facts) reservation(host string) string {
	if host == anyHost {
		return ""
	}
	name := strings.TrimPrefix(host, "*.")
	isWild := name != host
	for _, domain := range s.clusterDomains() {
		switch {
		case name == domain || strings.HasSuffix(name, "."+domain):
			return "is below the cluster domain " + domain + ", where Services have their names"
		case isWild && strings.HasSuffix(domain, "."+name):
			return "includes the cluster domain " + domain + ", where Services have their names"
		}
	}
	switch {
	case name == "svc" || strings.HasSuffix(name, ".svc"):
		return "has the form of a Service's name in the cluster"
	case isWild && !strings.Contains(name, "."):
		return "is a wildcard for a whole top-level domain"
	case !strings.Contains(name, "."):
		return "has no domain, so Istio takes it for the name of a Service"
	}
	if owner := s.HostOwners[host]; owner != "" {
		return "belongs to " + owner
	}
	return ""
}

// clusterDomains returns the domains of the names that Services have: as configured here, as Istio is configured, and that of
// Services that clusters share.
func (s *facts) clusterDomains() []string {
	out := []string{s.Settings.ClusterDomain, clusterSetDomain}
	if s.MeshDomain != "" && !slices.Contains(out, s.MeshDomain) {
		out = append(out, s.MeshDomain)
	}
	return out
}

// servesAtGateway reports whether one of our VirtualServices serves a host at any gateway.
func (s *facts) servesAtGateway(host string) bool {
	for _, vs := range s.ours.routes() {
		if !s.renewed && len(boundGateways(vs)) > 0 && servesHost(vs, host) {
			return true
		}
	}
	return false
}

// EntryWithHost names the first ServiceEntry by name that has a host in common with a host to expose; empty if none has.
func EntryWithHost(host string, entries []*networkingv1.ServiceEntry) string {
	owner := ""
	for _, entry := range entries {
		name := "ServiceEntry " + entry.Namespace + "/" + entry.Name
		if host != anyHost && (owner == "" || name < owner) && slices.ContainsFunc(entry.Spec.Hosts, func(h string) bool { return hostsOverlap(h, host) }) {
			owner = name
		}
	}
	return owner
}

// ServiceWithShortHost returns the Service that a host means inside the cluster, where it has the form name.namespace.
func ServiceWithShortHost(host string) (types.NamespacedName, bool) {
	name, namespace, found := strings.Cut(host, ".")
	return types.NamespacedName{Namespace: namespace, Name: name}, found && !strings.Contains(namespace, ".") && name != "*"
}

// hostsOverlap reports whether two hosts, each perhaps with a wildcard, have a name in common. Every host has one with "*".
func hostsOverlap(a, b string) bool { return a == b || covers(a, b) || covers(b, a) }
