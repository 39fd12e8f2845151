// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/routing"
)

// gatewaysOf returns the gateways through which callers outside the mesh reach the Service.
func gatewaysOf(observed routing.Observed, paths []routing.Path, around Surroundings) []GatewayStatus {
	path, preferredPort := "", uint32(0)
	if x := observed.Intent.Expose; x != nil {
		if preferredPort = x.GatewayPort; x.Path != "/" {
			path = x.Path
		}
	}
	var out []GatewayStatus
	for _, p := range paths {
		status := GatewayStatus{Name: p.Gateway, Hosts: p.Hosts}
		at := slices.IndexFunc(around.Gateways, func(g *networkingv1.Gateway) bool { return g.Namespace+"/"+g.Name == p.Gateway })
		if at >= 0 {
			server := serverOf(around.Gateways[at], p, preferredPort)
			status.Port = server.port
			status.find(around.Ingress[at], around.Node)
			status.Certificate = around.Ingress[at].certificate(server.credential)
			status.URL = status.url(server, path)
		}
		out = append(out, status)
	}
	return out
}

// gatewayServer is a server of a Gateway through which callers reach a Service. The zero value means that there is none.
type gatewayServer struct {
	scheme     string // "http", "https"; empty if no URL reaches it, as with TLS passthrough
	host       string // host of the URL; "*" for any
	port       uint32 // of the gateway's pods
	credential string // the credentialName of the server's certificate; empty if it has none
}

// serverOf returns the server for the hosts of a route: that of the preferred port if it serves them, or else one that responds to
// plain HTTP, or else one to HTTPS. For a server that redirects, it returns the HTTPS server for the same host.
func serverOf(gateway *networkingv1.Gateway, p routing.Path, preferredPort uint32) gatewayServer {
	var best gatewayServer
	for _, host := range p.Hosts {
		plain, secure, other := gatewayServer{}, gatewayServer{}, gatewayServer{}
		hasPreferred, redirects := false, false
		for _, server := range gateway.Spec.Servers {
			for _, pattern := range routing.ServedHosts(server, gateway.Namespace, p.Object.Namespace, host) {
				d := gatewayServer{schemeOf(server), pattern, server.GetPort().GetNumber(), server.GetTls().GetCredentialName()}
				switch {
				case d.scheme == "http" && server.GetTls().GetHttpsRedirect():
					redirects = redirects || d.port == preferredPort || preferredPort == 0
				case d.scheme == "http":
					plain = better(plain, d, preferredPort)
					hasPreferred = hasPreferred || d.port == preferredPort
				case d.scheme == "https":
					secure = better(secure, d, preferredPort)
				default:
					other = better(other, d, preferredPort)
				}
			}
		}
		found := other
		switch {
		case secure.port != 0 && (plain.port == 0 || !hasPreferred && (redirects || secure.port == preferredPort)):
			found = secure
		case plain.port != 0:
			found = plain
		}
		if best.port == 0 || best.scheme == "" && found.scheme != "" {
			best = cmp.Or(found, best)
		}
	}
	return best
}

// better returns the server with the preferred port, or else with the lowest port, and for the same port the one with the broadest
// host.
func better(a, b gatewayServer, preferredPort uint32) gatewayServer {
	switch {
	case a.port == 0 || b.port == preferredPort && a.port != preferredPort:
		return b
	case a.port == preferredPort && b.port != preferredPort || a.port < b.port:
		return a
	case a.port == b.port && b.host != "*":
		return a
	}
	return b
}

// schemeOf returns the scheme of URLs that a server responds to, or "" if no URL reaches it.
func schemeOf(server *networkingapi.Server) string {
	mode := server.GetTls().GetMode()
	ends := server.GetTls() != nil && mode != networkingapi.ServerTLSSettings_PASSTHROUGH && mode != networkingapi.ServerTLSSettings_AUTO_PASSTHROUGH
	switch strings.ToUpper(server.GetPort().GetProtocol()) {
	case "HTTP", "HTTP2", "GRPC", "GRPC-WEB":
		return "http"
	case "HTTPS":
		if ends {
			return "https"
		}
	}
	return ""
}

// certificate returns where the gateway's pods read a certificate: a plain name is a Secret in their own namespace. It returns "" if
// there is none, or if the name has another form.
func (behind Ingress) certificate(credential string) string {
	switch {
	case credential == "" || strings.Contains(credential, "://"):
		return ""
	case len(behind.Services) == 0:
		return "Secret " + credential + " in the namespace of the gateway's pods"
	}
	var secrets []string
	for _, service := range behind.Services {
		secrets = append(secrets, service.Namespace+"/"+credential)
	}
	return "Secret " + strings.Join(slices.Compact(secrets), " and ") // sorted by namespace
}

// find collects the addresses of the Services in front of the gateway's pods for its port, to which a Service may map another
// port.
func (g *GatewayStatus) find(behind Ingress, node string) {
	is := func(port corev1.ServicePort) bool { return uint32(port.Port) == g.Port } //nolint:gosec // a port is not negative
	if !slices.ContainsFunc(behind.Services, func(s *corev1.Service) bool { return slices.ContainsFunc(s.Spec.Ports, is) }) {
		is = func(port corev1.ServicePort) bool { return g.Port != 0 && uint32(port.TargetPort.IntVal) == g.Port } //nolint:gosec // a port is not negative
	}
	for _, service := range behind.Services {
		for _, port := range service.Spec.Ports {
			if !is(port) {
				continue
			}
			for _, point := range service.Status.LoadBalancer.Ingress {
				g.Addresses = append(g.Addresses, hostPort(cmp.Or(point.IP, point.Hostname), port.Port))
			}
			if g.NodePort == 0 && port.NodePort != 0 {
				g.NodePort, g.Node = port.NodePort, cmp.Or(node, "<node>")
			}
		}
	}
	slices.Sort(g.Addresses)
	g.Addresses = slices.Compact(g.Addresses)
}

// url returns the URL for callers, with the host if there is one, or else the address. It returns "" for a wildcard such as
// "*.example.com", and if no server responds.
func (g *GatewayStatus) url(to gatewayServer, path string) string {
	address := ""
	switch {
	case to.scheme == "" || to.host != "*" && strings.HasPrefix(to.host, "*"):
		return ""
	case len(g.Addresses) > 0:
		address = g.Addresses[0]
	case g.NodePort != 0:
		address = hostPort(g.Node, g.NodePort)
	default:
		return ""
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	if to.host != "*" {
		host = to.host
	}
	if port == map[string]string{"http": "80", "https": "443"}[to.scheme] {
		if ip, err := netip.ParseAddr(host); err == nil && ip.Is6() {
			host = "[" + host + "]"
		}
		return to.scheme + "://" + host + path
	}
	return to.scheme + "://" + net.JoinHostPort(host, port) + path
}

func hostPort(host string, port int32) string { return net.JoinHostPort(host, strconv.Itoa(int(port))) }

// PortText returns the port as text, or "-" if there is no such Gateway or it serves no port.
func (g GatewayStatus) PortText() string {
	if g.Port == 0 {
		return "-"
	}
	return strconv.Itoa(int(g.Port))
}

// Surroundings are the facts besides those of the plan that the addresses of a Service depend on.
type Surroundings struct {
	Gaps     Gaps                    // what the user has no permission to read
	Gateways []*networkingv1.Gateway // those that the routes name
	Ingress  []Ingress               // of each of Gateways
	Node     string                  // an address of a node; empty if none is known
}

// Ingress contains the Services that select the pods of one gateway.
type Ingress struct{ Services []*corev1.Service }

// NodeAddress returns an address of a node: of the first ready one by name, and an external one if there is any.
func NodeAddress(nodes []corev1.Node) string {
	nodes = slices.SortedFunc(slices.Values(nodes), func(a, b corev1.Node) int { return cmp.Compare(a.Name, b.Name) })
	for _, kind := range []corev1.NodeAddressType{corev1.NodeExternalIP, corev1.NodeInternalIP} {
		for i := range nodes {
			for _, address := range nodes[i].Status.Addresses {
				if address.Type == kind && nodeReady(&nodes[i]) {
					return address.Address
				}
			}
		}
	}
	return ""
}

func nodeReady(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}
