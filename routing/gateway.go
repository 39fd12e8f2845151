// SPDX-License-Identifier: Apache-2.0

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
	tls       string // the Secret with the certificate of our Gateway; empty = plain HTTP
	redirect  bool   // our Gateway redirects HTTP on port 80 to HTTPS
	path      string
	rewrite   string // what the Service sees in place of path; empty = the same
}

// key tells one exposure from another, but for its path.
func (x exposure) key() string {
	if !x.on {
		return ""
	}
	text := fmt.Sprintf("%v|%s|%t|%s|%d", x.hosts, x.gateway, x.generated, pairsText(x.selector), x.port)
	if x.tls != "" { // plain exposures have the key that earlier releases recorded
		text += fmt.Sprintf("|%s|%t", x.tls, x.redirect)
	}
	return api.ShortHash(text)
}

// decideExposure takes from the request for exposure what is not permitted and what others already serve.
func (s *planner) decideExposure() {
	defer func() { s.record.KeptHosts = s.keptHosts }()
	request := s.Intent.Expose
	if request == nil {
		s.record.Waiting = ""
		return
	}
	if len(s.badExposure) > 0 {
		s.keepExposure(request)
		return
	}
	if !s.permitExposure(request) {
		return
	}
	s.servedNow = s.findCurrentExposure()
	x := s.resolveExposure(request)
	if s.keepExisting(x) || !x.on {
		return
	}
	if x.generated {
		s.reportIngress(x)
		s.reportRedirect(x)
	}
	s.exposure = x
}

// resolveExposure returns the part of the request that can take effect, which is off if there is none, and reports the rest.
func (s *planner) resolveExposure(request *api.Exposure) exposure {
	if port, speaksHTTP := s.gatewayServicePort(); !speaksHTTP {
		if request.ServicePort != "" {
			s.refuse(api.AnnotationServicePort, request.ServicePort, api.RoutePortNotRouted, fmt.Sprintf("Port %d does not carry plain HTTP, so no gateway can route to it.", port.Port),
				"Choose another port, name it http, or set its appProtocol.")
			return exposure{}
		}
		s.refuse(api.AnnotationExpose, "true", api.RoutePortNotRouted, "The Service has no HTTP port that a gateway could route to.", "Name a port http or set its appProtocol.")
		return exposure{}
	}
	if s.names.barred != "" {
		s.refuse(api.AnnotationExpose, "true", api.RouteNameTaken, s.names.barred+" was not created by Outrigger and has the name that our object needs.", "Rename it.")
		return exposure{}
	}
	x := s.exposureOf(request)
	if !s.gatewayPermitted(x) || x.generated && !s.checkPorts(x) {
		return exposure{}
	}
	if !x.generated && !s.resolveGateway(&x) {
		return exposure{}
	}
	x.hosts = widest(s.claimHosts(x))
	x.on = len(x.hosts) > 0
	return x
}

func (s *planner) permitExposure(request *api.Exposure) bool {
	switch {
	case s.Settings.Expose == api.ExposeDisabled:
		s.reportAbout(api.AnnotationExpose, "true", api.RouteExposeNotPermitted, "This installation exposes no Services (routing.expose is disabled).", "Ask whoever runs Outrigger.")
		return false
	case s.Settings.Expose == api.ExposeNamespaces && request.AllowedHosts == nil:
		s.reportAbout(api.AnnotationExpose, "true", api.RouteExposeNotPermitted, "This installation exposes Services only in Namespaces that list the allowed hosts (routing.expose is namespaces).",
			fmt.Sprintf("Ask for kubectl annotate namespace %s %s=HOSTS.", s.Service.Namespace, api.AnnotationAllowedHosts))
		return false
	}
	return true
}

// refuseForbiddenHosts returns the hosts that Namespace and settings allow, and tells about the others.
func (s *planner) refuseForbiddenHosts(request *api.Exposure) []string {
	var out []string
	for _, host := range request.Hosts {
		switch {
		case request.AllowedHosts != nil && !slices.ContainsFunc(request.AllowedHosts, func(allowed string) bool { return allows(allowed, host) }):
			s.refuseHost(api.AnnotationHosts, host, api.RouteHostNotAllowed, fmt.Sprintf("The Namespace does not allow host %s; it is not exposed.", host),
				"Use one that it allows: "+s.annotate(api.AnnotationHosts+"=HOST")+" (allowed: "+strings.Join(request.AllowedHosts, ", ")+").")
		case !s.Settings.AllowWildcardHost && strings.HasPrefix(host, anyHost) && !grantsWildcard(request.AllowedHosts, host):
			if s.isKept(host) {
				s.keptHosts = append(s.keptHosts, host)
				out = append(out, host)
				s.reportAbout(api.AnnotationHosts, host, api.RouteHostNotAllowed, fmt.Sprintf("This installation does not expose Services for %s (routing.allowWildcardHost); the exposure by an earlier release stays.", host),
					fmt.Sprintf("Name the hosts, or have the Namespace allow it: kubectl annotate namespace %s %s=%s.", s.Service.Namespace, api.AnnotationAllowedHosts, host))
				continue
			}
			s.refuseHost(api.AnnotationHosts, host, api.RouteHostNotAllowed, fmt.Sprintf("This installation does not expose Services for %s (routing.allowWildcardHost); it is not exposed.", host),
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
func (s *facts) isKept(host string) bool {
	if host == anyHost || !s.servesAtGateway(host) {
		return false
	}
	return s.ours.isCombined() && servesHost(s.ours.mesh, host) || slices.Contains(s.copies.read.KeptHosts, host) ||
		s.ours.exposed != nil && slices.Contains(splitList(s.ours.exposed.Annotations[api.AnnotationKeptHosts]), host)
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

// resolveGateway looks at the Gateway that the user names. Its selector and ports are then the exposure's.
func (s *planner) resolveGateway(x *exposure) bool {
	gateway := s.foreignGateway(x.gateway)
	if gateway == nil {
		if s.Offline {
			return true
		}
		const advice = "Name one of kubectl get gateways.networking.istio.io -A."
		if s.isServed(*x, x.hosts) {
			s.reportAbout(api.AnnotationGateway, x.gateway, api.RouteGatewayNotFound, "The Gateway no longer exists. The route is unchanged; nothing reaches the Service through it until the Gateway exists again.", advice)
			return true
		}
		s.refuse(api.AnnotationGateway, x.gateway, api.RouteGatewayNotFound, "There is no such Gateway.", advice)
		return false
	}
	x.selector = gateway.Spec.Selector
	var served []string
	for _, host := range x.hosts {
		if slices.ContainsFunc(gateway.Spec.Servers, func(server *server) bool { return serverIncludes(server, gateway.Namespace, s.Service.Namespace, host) }) {
			served = append(served, host)
			continue
		}
		what, advice := fmt.Sprintf("Gateway %s does not serve host %s for this namespace;", x.gateway, host), "Name a host that it serves: "+s.annotate(api.AnnotationHosts+"=HOST")+"."
		if s.routeFor(*x, host) != nil {
			served = append(served, host)
			s.reportAbout(api.AnnotationHosts, host, api.RouteGatewayHostMissing, what+" the existing route stays, and nothing reaches it there.", advice)
			continue
		}
		s.refuseHost(api.AnnotationHosts, host, api.RouteGatewayHostMissing, what+" it is not exposed.", advice)
	}
	x.hosts = served
	return len(served) > 0
}

// serverIncludes reports whether a Gateway's server lets a VirtualService of the namespace serve a host; of every host, a part
// is enough.
func serverIncludes(server *server, gatewayNamespace, namespace, host string) bool {
	return serverCovers(server, gatewayNamespace, namespace, host) || host == anyHost && len(patternsFor(server, gatewayNamespace, namespace)) > 0
}

// serverCovers reports whether a Gateway's server lets a VirtualService of the namespace serve a host as a whole.
func serverCovers(server *server, gatewayNamespace, namespace, host string) bool {
	return slices.ContainsFunc(patternsFor(server, gatewayNamespace, namespace), func(pattern string) bool { return covers(pattern, host) })
}

// ServedHosts returns the hosts that a Gateway's server offers for a host of a VirtualService of the namespace: the host itself, or
// the narrower ones that the server has for a wildcard.
func ServedHosts(server *server, gatewayNamespace, namespace, host string) []string {
	var out []string
	for _, pattern := range patternsFor(server, gatewayNamespace, namespace) {
		switch {
		case covers(pattern, host):
			out = append(out, host)
		case covers(host, pattern):
			out = append(out, pattern)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// patternsFor are the hosts that a Gateway's server offers to VirtualServices of a namespace.
func patternsFor(server *server, gatewayNamespace, namespace string) []string {
	var out []string
	for _, h := range server.Hosts {
		scope, pattern, scoped := strings.Cut(h, "/")
		if !scoped {
			scope, pattern = "*", h
		}
		if scope == "." {
			scope = gatewayNamespace
		}
		if scope == "*" || scope == namespace {
			out = append(out, pattern)
		}
	}
	return out
}

func (s *facts) foreignGateway(ref string) *networkingv1.Gateway {
	for _, gateway := range append(slices.Clone(s.Foreign.Gateways), s.Existing.Gateways...) {
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

// claimHosts returns the hosts that no other object serves, and those that we served first. What was refused as a "*" does
// not take over by itself.
func (s *planner) claimHosts(x exposure) []string {
	var free []string
	refused := ""
	for _, host := range x.hosts {
		if vs := s.routedByUser(x, host); vs != nil {
			s.reportUserRoute(vs, host)
			continue
		}
		other, first := s.otherClaim(x, host)
		if ingress := s.ingressWith(x, host); other == nil && ingress != "" {
			if first = s.isServed(x, []string{host}); first {
				free = append(free, host)
			}
			s.reportIngressHost(host, ingress, first)
			continue
		}
		waits := host == anyHost && s.record.Waiting == x.key() && !s.isServed(x, []string{host})
		if other == nil && !waits {
			free = append(free, host)
			continue
		}
		if first {
			free = append(free, host)
		} else if host == anyHost && (waits || isOutriggers(other)) { // what a user wrote ends by the user's own hand
			refused = x.key()
		}
		s.reportHost(host, other, first)
	}
	s.record.Waiting = refused
	return free
}

func (s *planner) reportHost(host string, other Object, first bool) {
	what := "Host " + host
	if host == anyHost {
		what = "Every host (*)"
	}
	advice := "Name another host: " + s.annotate(api.AnnotationHosts+"=HOST") + "."
	switch {
	case other == nil:
		s.refuseHost(api.AnnotationHosts, host, api.RouteHostConflict, what+" was taken when this was written. It is free now, and is not exposed by itself.",
			fmt.Sprintf("Write the annotation again: kubectl annotate service -n %s %s %s-, then %s.", s.Service.Namespace, s.Service.Name, api.AnnotationExpose, s.annotate(api.AnnotationExpose+"=true")))
	case first:
		s.reportAbout(api.AnnotationHosts, host, api.RouteHostConflict, fmt.Sprintf("%s is also taken by %s %s/%s, which came later; ours stays.", what, kindOf(other), other.GetNamespace(), other.GetName()), "Take the host out of one of them.")
	default:
		s.refuseHost(api.AnnotationHosts, host, api.RouteHostConflict, fmt.Sprintf("%s is already served by %s %s/%s; it is not exposed.", what, kindOf(other), other.GetNamespace(), other.GetName()), advice)
	}
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

// isServed reports whether our existing objects serve these hosts at this gateway, on each of the exposure's ports.
func (s *facts) isServed(x exposure, hosts []string) bool {
	return !slices.ContainsFunc(x.listeners(), func(l listener) bool { return !s.isServedAt(x, l, hosts) })
}

// isServedAt reports whether our existing objects serve these hosts on one port of this gateway.
func (s *facts) isServedAt(x exposure, l listener, hosts []string) bool {
	for _, host := range hosts {
		if s.routeFor(x, host) == nil {
			return false
		}
		if x.generated && (s.ours.gateway == nil || !maps.Equal(s.ours.gateway.Spec.Selector, x.selector) || !l.isServedBy(s.ours.gateway, s.Service.Namespace+"/"+host)) {
			return false
		}
	}
	return true
}

// routeFor is the existing VirtualService that serves a host at the exposure's gateway; nil if none does. It may be one of
// an earlier release, which serves the mesh as well.
func (s *facts) routeFor(x exposure, host string) *networkingv1.VirtualService {
	for _, vs := range []*networkingv1.VirtualService{s.ours.mesh, s.ours.exposed} {
		if vs != nil && !s.renewed && slices.Contains(vs.Spec.Gateways, x.gateway) && slices.Contains(vs.Spec.Hosts, host) {
			return vs
		}
	}
	return nil
}

// reportIngress warns when the ingress gateway of an exposure is not there, or does not open the port.
func (s *planner) reportIngress(x exposure) {
	for _, l := range x.listeners() {
		s.checkIngressGateway(x, l, func(key, value string, reason api.RouteReason, what, advice string) {
			s.reportAbout(key, value, reason, what+" Nothing reaches the Service there.", advice)
		})
	}
}

// checkIngressGateway calls report if the ingress gateway does not exist, or does not open a port.
func (s *facts) checkIngressGateway(x exposure, l listener, report func(key, value string, reason api.RouteReason, what, advice string)) {
	if s.Offline {
		return
	}
	if len(s.IngressServices) == 0 {
		advice := "Install one, or name its labels: " + s.annotate(api.AnnotationGatewaySelector+"=KEY=VALUE") + "."
		if len(s.IngressSelectors) > 0 {
			advice = "There are: istio=" + strings.Join(s.IngressSelectors, ", istio=") + ". Choose one: " + s.annotate(api.AnnotationGatewaySelector+"=istio="+s.IngressSelectors[0]) + "."
		}
		report(api.AnnotationGatewaySelector, pairsText(x.selector), api.RouteGatewayUnmatched, "No ingress gateway with these labels was found.", advice)
		return
	}
	if s.opensPort(l.port) {
		return
	}
	var open []string
	for _, service := range s.IngressServices {
		for _, port := range service.Spec.Ports {
			if !api.IsProxyPort(uint32(port.Port)) { //nolint:gosec // a port is not negative
				open = append(open, fmt.Sprint(port.Port))
			}
		}
	}
	slices.Sort(open)
	advice := fmt.Sprintf("Choose one that is open (%s), or add it to Service %s/%s.", strings.Join(slices.Compact(open), ", "), s.IngressServices[0].Namespace, s.IngressServices[0].Name)
	if l.redirects {
		advice = fmt.Sprintf("Remove the redirect: %s, or add the port to Service %s/%s.", s.annotate(api.AnnotationHTTPSRedirect+"-"), s.IngressServices[0].Namespace, s.IngressServices[0].Name)
	}
	key, value := l.annotation()
	report(key, value, api.RouteGatewayPortUnexposed, fmt.Sprintf("No Service of the ingress gateway opens port %d.", l.port), advice)
}
