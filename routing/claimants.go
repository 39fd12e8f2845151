// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"slices"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
)

// A host belongs to the first claim, host by host: the time at which an object was created says nothing about hosts that were
// added to it later. A claim of the same host ends ours only if it is the earlier one of another Service that Outrigger exposes.
// A wildcard and a more specific host never end each other, because proxies prefer the more specific one: the later of them is
// refused, unless the Namespace's list grants it.

// claimant is an object that serves a host at our ingress, and the host or wildcard that it serves.
type claimant struct {
	Object
	host string
}

// otherClaim returns an object that serves a host at one of our gateway's ports so that it is not free, and whether our claim comes
// first. It is nil if there is none.
func (s *facts) otherClaim(x exposure, host string) (Object, bool) {
	var later Object
	for _, l := range x.listeners() {
		exposed := s.isServedAt(x, l, []string{host})
		for _, other := range s.claimants(x, l, host, exposed) {
			if !exposed || s.claimedBefore(other, x, host) {
				return other.Object, false
			}
			if later == nil {
				later = other.Object
			}
		}
	}
	return later, later != nil
}

// claimants returns the foreign objects that keep us from a host. Unless we serve it already (isServed), those with a more
// specific host keep us from a wildcard.
func (s *facts) claimants(x exposure, l listener, host string, isServed bool) []claimant {
	var out []claimant
	add := func(object Object, hosts []string) {
		for _, theirs := range hosts {
			if s.blocks(theirs, host) || !isServed && s.blocksWildcard(object, theirs, host) {
				out = append(out, claimant{object, theirs})
			}
		}
	}
	if x.generated {
		for _, gateway := range s.Foreign.Gateways {
			if sameIngress(gateway.Spec.Selector, x.selector) {
				add(gateway, s.hostsAt(gateway, x, l))
			}
		}
	}
	for _, vs := range s.Foreign.VirtualServices {
		if host == anyHost && x.generated {
			continue // the Gateway that it is bound to has the claim
		}
		if slices.ContainsFunc(boundGateways(vs), func(ref string) bool { return ref == x.gateway || x.generated && s.sharesIngress(ref, x, l) }) {
			add(vs, vs.Spec.Hosts)
		}
	}
	return out
}

// hostsAt returns the hosts that a Gateway serves on one of the exposure's ports, without their namespaces.
func (s *facts) hostsAt(gateway *networkingv1.Gateway, x exposure, l listener) []string {
	var out []string
	for _, server := range gateway.Spec.Servers {
		if s.competes(gateway, server, x, l) {
			for _, h := range server.Hosts {
				out = append(out, withoutNamespace(h))
			}
		}
	}
	return out
}

// blocks reports whether a foreign host blocks another one: the same one, or a wildcard that includes it. The host * does not block
// a specific name. A wildcard does not block a name that an administrator granted to the Namespace.
func (s *facts) blocks(theirs, host string) bool {
	if theirs == host {
		return true
	}
	return theirs != anyHost && covers(theirs, host) && !s.isGranted(host)
}

// blocksWildcard reports whether a host that another namespace serves keeps us from a wildcard that includes it. It does not
// keep us from every host, "*", nor from a wildcard that an administrator gave to the Namespace.
func (s *facts) blocksWildcard(other Object, theirs, host string) bool {
	return host != anyHost && theirs != host && covers(host, theirs) && other.GetNamespace() != s.Service.Namespace && !s.isGranted(host)
}

// isGranted reports whether the Namespace's list names a host, or a wildcard that includes it; "*" grants none.
func (s *facts) isGranted(host string) bool {
	request := s.Intent.Expose
	return request != nil && slices.ContainsFunc(request.AllowedHosts, func(entry string) bool { return entry != anyHost && allows(entry, host) })
}

// claimedBefore reports whether another Service that Outrigger exposes claimed a host that we serve before we did. Equal times
// are decided by the names, so that both sides come to the same answer.
func (s *facts) claimedBefore(other claimant, x exposure, host string) bool {
	service, outrigger := ServiceOf(other)
	if !outrigger || other.host != host {
		return false
	}
	since, exposed := s.claimOf(other.GetNamespace(), service, host)
	return exposed && cmp.Or(
		since.Compare(claimedAt(s.routeFor(x, host), host)),
		cmp.Compare(other.GetNamespace(), s.Service.Namespace), cmp.Compare(service, s.Service.Name)) < 0
}

// claimOf returns since when another Service claims a host; false if no VirtualService serves it, as while it is being added.
func (s *facts) claimOf(namespace, service, host string) (time.Time, bool) {
	var first time.Time
	found := false
	for _, vs := range s.Foreign.VirtualServices {
		name, outrigger := ServiceOf(vs)
		if !outrigger || name != service || vs.Namespace != namespace || len(boundGateways(vs)) == 0 || !servesHost(vs, host) {
			continue
		}
		if at := claimedAt(vs, host); !found || at.Before(first) {
			first, found = at, true
		}
	}
	return first, found
}
