// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
)

// While an exposure changes, our Gateway serves what it served before in addition to what is new: add, wait, remove.

// servedBefore is our Gateway as it is, without hosts and certificates that another client wrote into it.
func (s outcome) servedBefore(exposed routeView) *networkingv1.Gateway {
	if !s.gatewayEdited() {
		return s.ours.gateway
	}
	ours := append(s.exposed.servers(s.Service.Namespace), s.exposed.current.servers(s.Service.Namespace)...)
	was := s.ours.gateway.DeepCopy()
	for _, server := range was.Spec.Servers {
		server.Hosts = slices.DeleteFunc(server.Hosts, func(h string) bool {
			host, ours := strings.CutPrefix(h, s.Service.Namespace+"/")
			return !ours || !slices.Contains(exposed.hosts, host)
		})
	}
	was.Spec.Servers = slices.DeleteFunc(was.Spec.Servers, func(old *server) bool {
		return len(old.Hosts) == 0 || old.GetTls() != nil && !slices.ContainsFunc(ours, func(own *server) bool { return samePort(own, old) && proto.Equal(own.GetTls(), old.GetTls()) })
	})
	return was
}

func samePort(a, b *server) bool { return a.GetPort().GetNumber() == b.GetPort().GetNumber() }

// keepServers adds to a Gateway what an existing one serves. On one port:
//
//	before, and now        until the wait is over
//	the same settings      one server has the hosts of both
//	HTTP, and a redirect   the hosts from before are not redirected, because HTTPS may not be there yet
//	a redirect, and HTTP   the new hosts are not redirected
//	two certificates       the new hosts have the new one immediately
//	HTTP, and HTTPS        the new one alone: a port has one protocol
func keepServers(gateway, existing *networkingv1.Gateway) {
	if gateway.Spec.Selector == nil {
		gateway.Spec.Selector = maps.Clone(existing.Spec.Selector)
	}
	for _, old := range existing.Spec.Servers {
		keepServer(gateway, old.DeepCopy())
	}
	gateway.Spec.Servers = slices.DeleteFunc(gateway.Spec.Servers, func(server *server) bool { return len(server.Hosts) == 0 })
}

func keepServer(gateway *networkingv1.Gateway, old *server) {
	for _, server := range gateway.Spec.Servers {
		switch {
		case !samePort(server, old):
			continue
		case hasTLS(server) != hasTLS(old):
			return
		case proto.Equal(server.GetTls(), old.GetTls()):
			server.Hosts = union(server.Hosts, old.Hosts)
			return
		}
		if old.GetTls() == nil { // HTTP, where the Gateway now redirects
			server.Hosts = hostsWithout(server.Hosts, old.Hosts)
		} else {
			old.Hosts = hostsWithout(old.Hosts, server.Hosts)
		}
	}
	if hasPortName(gateway, old.Port.GetName()) {
		old.Port.Name = freePortName(gateway, old)
	}
	gateway.Spec.Servers = append(gateway.Spec.Servers, old)
}

// freePortName is a name for the port of a server that no other server of the Gateway has: Istio refuses two of the same name.
func freePortName(gateway *networkingv1.Gateway, server *server) string {
	base := fmt.Sprintf("http-%d", server.Port.Number)
	if hasTLS(server) {
		base = fmt.Sprintf("https-%d", server.Port.Number)
	}
	name := base
	for n := 2; hasPortName(gateway, name); n++ {
		name = fmt.Sprintf("%s-%d", base, n)
	}
	return name
}

func hasPortName(gateway *networkingv1.Gateway, name string) bool {
	return slices.ContainsFunc(gateway.Spec.Servers, func(s *server) bool { return s.GetPort().GetName() == name })
}

func hostsWithout(hosts, taken []string) []string {
	return slices.DeleteFunc(slices.Clone(hosts), func(host string) bool { return slices.Contains(taken, host) })
}
