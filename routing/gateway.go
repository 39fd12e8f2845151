package routing

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

const anyHost = "*"

// exposure is how the Service is reached through a gateway, after all that forbids it.
type exposure struct {
	on        bool
	hosts     []string // names, or ["*"]
	gateway   string   // namespace/name
	generated bool     // the Gateway is ours
	selector  map[string]string
	port      uint32
	path      string
	rewrite   string // what the Service sees in place of path; empty = the same
}

// key tells one exposure from another, but for its path.
func (x exposure) key() string {
	if !x.on {
		return ""
	}
	return shortHash(fmt.Sprintf("%v|%s|%t|%s|%d", x.hosts, x.gateway, x.generated, pairsText(x.selector), x.port))
}

// decideExposure takes from the wish for exposure what is not permitted and what others already serve.
func (s *situation) decideExposure() {
	defer func() { s.record.KeptHosts = s.keptHosts }()
	wish := s.Intent.Expose
	if wish == nil {
		s.record.Waiting = ""
		return
	}
	if len(s.badExposure) > 0 {
		s.keepExposure(wish)
		return
	}
	if !s.exposurePermitted(wish) {
		return
	}
	if s.portless {
		return
	}
	if port, speaksHTTP := s.gatewayServicePort(); !speaksHTTP {
		if wish.ServicePort != "" {
			s.tellAbout(api.AnnotationServicePort, wish.ServicePort, api.RoutePortNotRouted, fmt.Sprintf("Port %d does not carry plain HTTP, which is what a gateway could lead to; the Service is not exposed.", port.Port),
				"Choose another, or name the port http… or set its appProtocol.")
			return
		}
		s.tellAbout(api.AnnotationExpose, "true", api.RoutePortNotRouted, "The Service has no HTTP port that a gateway could lead to; it is not exposed.", "Name a port http or set its appProtocol.")
		return
	}
	if s.names.barred != "" {
		s.tell(api.RouteNameTaken, s.names.barred+" was not made by Outrigger and has the name that our object needs; the Service is not exposed.", "Rename it.")
		return
	}
	x := s.exposureOf(wish)
	if !s.gatewayPermitted(x) || x.generated && !s.portFree(x) {
		return
	}
	if !x.generated && !s.gatewayServes(&x) {
		return
	}
	x.hosts = widest(s.freeHosts(x))
	if len(x.hosts) == 0 {
		return
	}
	if x.generated {
		s.tellIngress(x)
	}
	s.exposure = x
}

func (s *situation) exposurePermitted(wish *api.Exposure) bool {
	switch {
	case s.Settings.Expose == api.ExposeDisabled:
		s.tellAbout(api.AnnotationExpose, "true", api.RouteExposeNotPermitted, "This installation exposes no Services (routing.expose is disabled).", "Ask whoever runs Outrigger.")
		return false
	case s.Settings.Expose == api.ExposeNamespaces && wish.AllowedHosts == nil:
		s.tellAbout(api.AnnotationExpose, "true", api.RouteExposeNotPermitted, "This installation exposes Services only in Namespaces that list the allowed hosts (routing.expose is namespaces).",
			fmt.Sprintf("Ask for kubectl annotate namespace %s %s=HOSTS.", s.Service.Namespace, api.AnnotationAllowedHosts))
		return false
	}
	return true
}

// allowedOf returns the hosts that Namespace and settings allow, and tells about the others.
func (s *situation) allowedOf(wish *api.Exposure) []string {
	var out []string
	for _, host := range wish.Hosts {
		switch {
		case wish.AllowedHosts != nil && !slices.ContainsFunc(wish.AllowedHosts, func(allowed string) bool { return allows(allowed, host) }):
			s.tellAbout(api.AnnotationHosts, host, api.RouteHostNotAllowed, fmt.Sprintf("The Namespace does not allow host %s; it is not exposed.", host),
				"Use one that it allows: "+s.annotate(api.AnnotationHosts+"=HOST")+" (allowed: "+strings.Join(wish.AllowedHosts, ", ")+").")
		case !s.Settings.AllowWildcardHost && strings.HasPrefix(host, anyHost) && !grantsWildcard(wish.AllowedHosts, host):
			if s.isKept(host) {
				s.keptHosts = append(s.keptHosts, host)
				out = append(out, host)
				s.tellAbout(api.AnnotationHosts, host, api.RouteHostNotAllowed, fmt.Sprintf("This installation does not expose Services for %s (routing.allowWildcardHost); the exposure by an earlier release stays.", host),
					fmt.Sprintf("Name the hosts, or have the Namespace allow it: kubectl annotate namespace %s %s=%s.", s.Service.Namespace, api.AnnotationAllowedHosts, host))
				continue
			}
			s.tellAbout(api.AnnotationHosts, host, api.RouteHostNotAllowed, fmt.Sprintf("This installation does not expose Services for %s (routing.allowWildcardHost); it is not exposed.", host),
				"Name the hosts: "+s.annotate(api.AnnotationHosts+"=HOST")+".")
		default:
			out = append(out, host)
		}
	}
	return out
}

// grantsWildcard reports whether the Namespace's list names a wildcard, or one that includes it; "*" names none.
func grantsWildcard(allowed []string, host string) bool {
	return host != anyHost && slices.ContainsFunc(allowed, func(entry string) bool { return entry != anyHost && allows(entry, host) })
}

// isKept reports whether an earlier release, which knew of no rule about wildcards other than "*", exposed the host.
func (s *situation) isKept(host string) bool {
	if host == anyHost || !s.servesAtGateway(host) {
		return false
	}
	return s.standing.isCombined() && servesHost(s.standing.mesh, host) || slices.Contains(s.copies.read.KeptHosts, host) ||
		s.standing.exposed != nil && slices.Contains(splitList(s.standing.exposed.Annotations[api.AnnotationKeptHosts]), host)
}

// allows reports whether an entry of the Namespace's list includes a host; "*.shop.example.com" includes what is below
// it, also a wildcard.
func allows(entry, host string) bool {
	if entry == host || entry == anyHost {
		return true
	}
	suffix, wild := strings.CutPrefix(entry, "*")
	return wild && host != anyHost && strings.HasSuffix(host, suffix)
}

// gatewayServes looks at the Gateway that the user names. Its selector and ports are then the exposure's.
func (s *situation) gatewayServes(x *exposure) bool {
	gateway := s.foreignGateway(x.gateway)
	if gateway == nil {
		if s.Offline {
			return true
		}
		s.tellAbout(api.AnnotationGateway, x.gateway, api.RouteGatewayNotFound, "There is no such Gateway; the Service is not exposed.", "Name one of kubectl get gateways.networking.istio.io -A.")
		return s.stands(*x, x.hosts)
	}
	x.selector = gateway.Spec.Selector
	var served []string
	for _, host := range x.hosts {
		if slices.ContainsFunc(gateway.Spec.Servers, func(server *server) bool { return serverIncludes(server, gateway.Namespace, s.Service.Namespace, host) }) {
			served = append(served, host)
			continue
		}
		s.tellAbout(api.AnnotationHosts, host, api.RouteGatewayHostMissing, fmt.Sprintf("Gateway %s does not serve host %s for this namespace; it is not exposed.", x.gateway, host),
			"Name a host that it serves: "+s.annotate(api.AnnotationHosts+"=HOST")+".")
	}
	x.hosts = served
	return len(served) > 0
}

// serverIncludes reports whether a Gateway's server lets a VirtualService of the namespace serve a host.
func serverIncludes(server *server, gatewayNamespace, namespace, host string) bool {
	return slices.ContainsFunc(server.Hosts, func(h string) bool {
		scope, pattern, scoped := strings.Cut(h, "/")
		if !scoped {
			scope, pattern = "*", h
		}
		if scope == "." {
			scope = gatewayNamespace
		}
		return (scope == "*" || scope == namespace) && (covers(pattern, host) || host == anyHost)
	})
}

func (s *situation) foreignGateway(ref string) *networkingv1.Gateway {
	for _, gateway := range append(slices.Clone(s.Foreign.Gateways), s.Standing.Gateways...) {
		if gateway.Namespace+"/"+gateway.Name == ref {
			return gateway
		}
	}
	return nil
}

func isOutriggers(object Object) bool {
	_, ours := ServiceOf(object)
	return ours
}

// freeHosts returns the hosts that nobody else serves, and those that we served first. What was refused as a "*" does
// not take over by itself.
func (s *situation) freeHosts(x exposure) []string {
	var free []string
	refused := ""
	for _, host := range x.hosts {
		if vs := s.routedByUser(x, host); vs != nil {
			s.tellUserRoute(vs, host)
			continue
		}
		other, first := s.takenBy(x, host)
		if ingress := s.ingressWith(x, host); other == nil && ingress != "" {
			if first = s.stands(x, []string{host}); first {
				free = append(free, host)
			}
			s.tellIngressHost(host, ingress, first)
			continue
		}
		waits := host == anyHost && s.record.Waiting == x.key() && !s.stands(x, []string{host})
		if other == nil && !waits {
			free = append(free, host)
			continue
		}
		if first {
			free = append(free, host)
		} else if host == anyHost && (waits || isOutriggers(other)) { // what a user wrote ends by the user's own hand
			refused = x.key()
		}
		s.tellHost(host, other, first)
	}
	s.record.Waiting = refused
	return free
}

func (s *situation) tellHost(host string, other Object, first bool) {
	what := "Host " + host
	if host == anyHost {
		what = "Every host (*)"
	}
	advice := "Name another host: " + s.annotate(api.AnnotationHosts+"=HOST") + "."
	switch {
	case other == nil:
		s.tellAbout(api.AnnotationHosts, host, api.RouteHostConflict, what+" was served by another Service; this one waits.",
			fmt.Sprintf("Write the annotation again: kubectl annotate service -n %s %s %s-, then %s.", s.Service.Namespace, s.Service.Name, api.AnnotationExpose, s.annotate(api.AnnotationExpose+"=true")))
	case first:
		s.tellAbout(api.AnnotationHosts, host, api.RouteHostConflict, fmt.Sprintf("%s is also taken by %s %s/%s, which came later; ours stays.", what, kindOf(other), other.GetNamespace(), other.GetName()), "Take the host out of one of them.")
	default:
		s.tellAbout(api.AnnotationHosts, host, api.RouteHostConflict, fmt.Sprintf("%s is already served by %s %s/%s; it is not exposed.", what, kindOf(other), other.GetNamespace(), other.GetName()), advice)
	}
}

// takenBy returns the object that serves a host at our gateway's port, and whether ours was there first.
func (s *situation) takenBy(x exposure, host string) (Object, bool) {
	ours := s.stands(x, []string{host})
	var found Object
	consider := func(other Object, mine Object) bool {
		found = other
		_, outrigger := ServiceOf(other)
		return ours && (!outrigger || mine == nil || claimsEarlier(mine, other, host))
	}
	if x.generated {
		for _, gateway := range s.Foreign.Gateways {
			if sameIngress(gateway.Spec.Selector, x.selector) && s.takesHost(gateway, x.port, host) {
				first := consider(gateway, objectOrNil(s.standing.gateway))
				return found, first
			}
		}
	}
	for _, vs := range s.Foreign.VirtualServices {
		if s.routesHost(vs, x, host) {
			first := consider(vs, objectOrNil(s.carrier(x, host)))
			return found, first
		}
	}
	return nil, false
}

func objectOrNil[T any, P interface {
	*T
	Object
}](object P) Object {
	if object == nil {
		return nil
	}
	return object
}

// sameIngress reports whether two selectors can mean the same gateway pods: one says all that the other says.
func sameIngress(a, b map[string]string) bool { return includesAll(a, b) || includesAll(b, a) }

func includesAll(a, b map[string]string) bool {
	for key, value := range b {
		if is, has := a[key]; !has || is != value {
			return false
		}
	}
	return true
}

// blocks reports whether a host that somebody else serves keeps us from another: the same one, or a wildcard that includes
// it. Every host is no obstacle to a name, which is more specific; nor is any wildcard to a name that an administrator gave to
// the Namespace.
func (s *situation) blocks(theirs, host string) bool {
	if theirs == host {
		return true
	}
	if theirs == anyHost || !covers(theirs, host) {
		return false
	}
	wish := s.Intent.Expose
	return wish == nil || !slices.ContainsFunc(wish.AllowedHosts, func(entry string) bool { return entry != anyHost && allows(entry, host) })
}

// takesHost reports whether a Gateway serves a host on a port so that it is not free.
func (s *situation) takesHost(gateway *networkingv1.Gateway, port uint32, host string) bool {
	return slices.ContainsFunc(gateway.Spec.Servers, func(server *server) bool {
		return server.GetPort().GetNumber() == port && slices.ContainsFunc(server.Hosts, func(h string) bool {
			_, pattern, scoped := strings.Cut(h, "/")
			if !scoped {
				pattern = h
			}
			return s.blocks(pattern, host)
		})
	})
}

// routesHost reports whether a VirtualService serves a host at the same ingress.
func (s *situation) routesHost(vs *networkingv1.VirtualService, x exposure, host string) bool {
	includes := slices.ContainsFunc(vs.Spec.Hosts, func(h string) bool {
		return host != anyHost && s.blocks(h, host)
	})
	if host == anyHost {
		includes = !x.generated && slices.Contains(vs.Spec.Hosts, anyHost)
	}
	return includes && slices.ContainsFunc(boundGateways(vs), func(ref string) bool {
		if ref == x.gateway {
			return true
		}
		gateway := s.foreignGateway(ref)
		return gateway != nil && x.generated && sameIngress(gateway.Spec.Selector, x.selector) &&
			slices.ContainsFunc(gateway.Spec.Servers, func(server *server) bool { return server.GetPort().GetNumber() == x.port })
	})
}

// stands reports whether our standing objects serve these hosts at this gateway.
func (s *situation) stands(x exposure, hosts []string) bool {
	for _, host := range hosts {
		if s.carrier(x, host) == nil {
			return false
		}
		if x.generated && (s.standing.gateway == nil || !maps.Equal(s.standing.gateway.Spec.Selector, x.selector) || !serves(s.standing.gateway, x.port, s.Service.Namespace+"/"+host)) {
			return false
		}
	}
	return true
}

// carrier is the standing VirtualService that serves a host at the exposure's gateway; nil if none does. It may be one of
// an earlier release, which serves the mesh as well.
func (s *situation) carrier(x exposure, host string) *networkingv1.VirtualService {
	for _, vs := range []*networkingv1.VirtualService{s.standing.mesh, s.standing.exposed} {
		if vs != nil && !s.renewed && slices.Contains(vs.Spec.Gateways, x.gateway) && slices.Contains(vs.Spec.Hosts, host) {
			return vs
		}
	}
	return nil
}

// tellIngress warns when the ingress gateway is not there, or does not open the port.
func (s *situation) tellIngress(x exposure) {
	if s.Offline {
		return
	}
	if len(s.IngressServices) == 0 {
		advice := "Install one, or name its labels: " + s.annotate(api.AnnotationGatewaySelector+"=KEY=VALUE") + "."
		if len(s.IngressSelectors) > 0 {
			advice = "There are: istio=" + strings.Join(s.IngressSelectors, ", istio=") + ". Choose one: " + s.annotate(api.AnnotationGatewaySelector+"=istio="+s.IngressSelectors[0]) + "."
		}
		s.tellAbout(api.AnnotationGatewaySelector, pairsText(x.selector), api.RouteGatewayUnmatched, "No ingress gateway with these labels was found; nothing reaches the Service through it.", advice)
		return
	}
	if s.opensPort(x.port) {
		return
	}
	var open []string
	for _, service := range s.IngressServices {
		for _, port := range service.Spec.Ports {
			open = append(open, fmt.Sprint(port.Port))
		}
	}
	slices.Sort(open)
	s.tellAbout(api.AnnotationGatewayPort, fmt.Sprint(x.port), api.RouteGatewayPortUnexposed,
		fmt.Sprintf("No Service of the ingress gateway opens port %d; nothing reaches it there.", x.port),
		fmt.Sprintf("Choose one that is open (%s), or add it to Service %s/%s.", strings.Join(slices.Compact(open), ", "), s.IngressServices[0].Namespace, s.IngressServices[0].Name))
}
