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

// decideExposure decides what gateways serve: what the annotations request, without what is not permitted and what others serve
// already.
func (s *facts) decideExposure() (exposureDecision, []finding) {
	out := exposureDecision{request: s.Intent.Expose, annotations: s.Intent.Texts, lastValid: s.recorded.LastValid, refusedExposure: s.recorded.RefusedExposure}
	if out.request == nil {
		out.refusedExposure = ""
		return out, nil
	}
	if forbidden := s.exposureForbidden(out.request); len(forbidden) > 0 {
		return out, forbidden
	}
	if len(s.badExposure) > 0 {
		return s.keepExposure(out)
	}
	out.current = s.findCurrentExposure()
	x, found := s.resolveExposure(&out)
	if kept, still := s.keepCurrent(out, x, found); len(still) > 0 {
		return kept, append(found, still...)
	}
	if x.on && x.generated {
		found = slices.Concat(found, s.unreachable(x), s.misdirected(x))
	}
	if x.on {
		out.exposure = x
	}
	return out, found
}

// resolveExposure returns the part of the request that can take effect, which is off if there is none, and reports the rest. It
// sets in out which hosts are kept and which exposure is refused.
func (s *facts) resolveExposure(out *exposureDecision) (exposure, []finding) {
	request, current := out.request, out.current
	if port, speaksHTTP := s.gatewayServicePort(request); !speaksHTTP {
		if request.ServicePort != "" {
			return exposure{}, []finding{s.refuse(current, api.AnnotationServicePort, request.ServicePort, api.RoutePortNotRouted, fmt.Sprintf("Port %d does not carry plain HTTP, so no gateway can route to it.", port.Port),
				"Choose another port, name it http, or set its appProtocol.")}
		}
		return exposure{}, []finding{s.refuse(current, api.AnnotationExpose, "true", api.RoutePortNotRouted, "The Service has no HTTP port that a gateway could route to.", "Name a port http or set its appProtocol.")}
	}
	if s.names.conflictingExposedName != "" {
		return exposure{}, []finding{s.refuse(current, api.AnnotationExpose, "true", api.RouteNameTaken, s.names.conflictingExposedName+" was not created by Outrigger and has the name of the object to write.", giveOtherName(s.names.conflictingExposedName))}
	}
	x, kept, found := s.exposureOf(request)
	out.keptHosts = kept
	refused := s.gatewayForbidden(x, current)
	if len(refused) == 0 && x.generated {
		var notes []finding
		refused, notes = s.checkPorts(x, current)
		found = append(found, notes...)
	}
	if len(refused) > 0 {
		return exposure{}, append(found, refused...)
	}
	if !x.generated {
		named, ok, notes := s.resolveGateway(x, current)
		if x, found = named, append(found, notes...); !ok {
			return exposure{}, found
		}
	}
	var claims []finding
	x.hosts, out.refusedExposure, claims = s.claimHosts(x)
	x.hosts = widest(x.hosts)
	x.on = len(x.hosts) > 0
	return x, append(found, claims...)
}

// exposureForbidden reports why the installation does not let the Service be exposed; empty if it does.
func (s *facts) exposureForbidden(request *api.Exposure) []finding {
	switch {
	case s.Settings.Expose == api.ExposeDisabled:
		return []finding{s.problemAbout(api.AnnotationExpose, "true", api.RouteExposeNotPermitted, "This installation exposes no Services (routing.expose is disabled).", "Ask the administrator of Outrigger.")}
	case s.Settings.Expose == api.ExposeNamespaces && request.AllowedHosts == nil:
		return []finding{s.problemAbout(api.AnnotationExpose, "true", api.RouteExposeNotPermitted, "This installation exposes Services only in Namespaces that list the allowed hosts (routing.expose is namespaces).",
			fmt.Sprintf("Ask for kubectl annotate namespace %s %s=HOSTS.", s.Service.Namespace, api.AnnotationAllowedHosts))}
	}
	return nil
}

// permittedHosts returns the hosts that Namespace and settings allow, and those of them that are allowed only because an earlier
// release exposed them. It reports the others.
func (s *facts) permittedHosts(request *api.Exposure) (hosts, kept []string, found []finding) {
	for _, host := range request.Hosts {
		switch {
		case request.AllowedHosts != nil && !slices.ContainsFunc(request.AllowedHosts, func(allowed string) bool { return allows(allowed, host) }):
			found = append(found, s.refuseHost(api.AnnotationHosts, host, api.RouteHostNotAllowed, fmt.Sprintf("The Namespace does not allow host %s; it is not exposed.", host),
				"Use one that it allows: "+s.annotate(api.AnnotationHosts+"=HOST")+" (allowed: "+strings.Join(request.AllowedHosts, ", ")+")."))
		case s.Settings.AllowWildcardHost || !strings.HasPrefix(host, anyHost) || grantsWildcard(request.AllowedHosts, host):
			hosts = append(hosts, host)
		case s.isKept(host):
			hosts, kept = append(hosts, host), append(kept, host)
			found = append(found, s.problemAbout(api.AnnotationHosts, host, api.RouteHostNotAllowed, fmt.Sprintf("This installation does not expose Services for %s (routing.allowWildcardHost); the exposure by an earlier release is unchanged.", host),
				fmt.Sprintf("Name the hosts, or have the Namespace allow it: kubectl annotate namespace %s %s.", s.Service.Namespace, api.ShellWord(api.AnnotationAllowedHosts+"="+host))))
		default:
			found = append(found, s.refuseHost(api.AnnotationHosts, host, api.RouteHostNotAllowed, fmt.Sprintf("This installation does not expose Services for %s (routing.allowWildcardHost); it is not exposed.", host),
				"Name the hosts: "+s.annotate(api.AnnotationHosts+"=HOST")+"."))
		}
	}
	return hosts, kept, found
}

// grantsWildcard reports whether the Namespace's list names a wildcard that includes the host; "*" does not count.
func grantsWildcard(allowed []string, host string) bool {
	return host != anyHost && slices.ContainsFunc(allowed, func(entry string) bool { return entry != anyHost && allows(entry, host) })
}

// isKept reports whether a release that restricted no wildcard but "*" exposed the host.
func (s *facts) isKept(host string) bool {
	if host == anyHost || !s.servesAtGateway(host) {
		return false
	}
	return s.ours.isCombined() && servesHost(s.ours.meshRoute, host) || slices.Contains(s.copies.read.KeptHosts, host) ||
		s.ours.gatewayRoute != nil && slices.Contains(splitList(s.ours.gatewayRoute.Annotations[api.AnnotationKeptHosts]), host)
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

// resolveGateway returns an exposure with the selector of the Gateway that the user names, and with the hosts that it serves. It
// returns false if it serves none of them.
func (s *facts) resolveGateway(x exposure, current currentExposure) (out exposure, ok bool, found []finding) {
	gateway := s.foreignGateway(x.gateway)
	if gateway == nil {
		const advice = "Name one of kubectl get gateways.networking.istio.io -A."
		switch {
		case s.Offline:
			return x, true, nil
		case s.isServed(x, x.hosts):
			return x, true, []finding{s.problemAbout(api.AnnotationGateway, x.gateway, api.RouteGatewayNotFound, "The Gateway no longer exists. The route is unchanged; nothing reaches the Service through it until the Gateway exists again.", advice)}
		}
		return exposure{}, false, []finding{s.refuse(current, api.AnnotationGateway, x.gateway, api.RouteGatewayNotFound, "There is no such Gateway.", advice)}
	}
	out = x
	out.selector, out.hosts = gateway.Spec.Selector, nil
	for _, host := range x.hosts {
		if slices.ContainsFunc(gateway.Spec.Servers, func(server *server) bool { return serverIncludes(server, gateway.Namespace, s.Service.Namespace, host) }) {
			out.hosts = append(out.hosts, host)
			continue
		}
		what, advice := fmt.Sprintf("Gateway %s does not serve host %s for this namespace;", x.gateway, host), "Name a host that it serves: "+s.annotate(api.AnnotationHosts+"=HOST")+"."
		if s.routeFor(x, host) != nil {
			out.hosts = append(out.hosts, host)
			found = append(found, s.problemAbout(api.AnnotationHosts, host, api.RouteGatewayHostMissing, what+" the existing route stays, and nothing reaches it there.", advice))
			continue
		}
		found = append(found, s.refuseHost(api.AnnotationHosts, host, api.RouteGatewayHostMissing, what+" it is not exposed.", advice))
	}
	return out, len(out.hosts) > 0, found
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
// not apply automatically later: waiting is the key of that exposure.
func (s *facts) claimHosts(x exposure) (free []string, refusedExposure string, found []finding) {
	for _, host := range x.hosts {
		if vs := s.routedByUser(x, host); vs != nil {
			found = append(found, s.routedAlready(vs, host))
			continue
		}
		other, first := s.otherClaim(x, host)
		if ingress := s.ingressWith(x, host); other == nil && ingress != "" {
			if first = s.isServed(x, []string{host}); first {
				free = append(free, host)
			}
			found = append(found, s.servedByIngress(host, ingress, first))
			continue
		}
		waits := host == anyHost && s.recorded.RefusedExposure == x.key() && !s.isServed(x, []string{host})
		if other == nil && !waits {
			free = append(free, host)
			continue
		}
		if first {
			free = append(free, host)
		} else if host == anyHost && (waits || isOutriggers(other)) { // the user ends what the user wrote
			refusedExposure = x.key()
		}
		found = append(found, s.claimed(host, other, first))
	}
	return free, refusedExposure, found
}

func (s *facts) claimed(host string, other Object, first bool) finding {
	what := "Host " + host
	if host == anyHost {
		what = "Every host (*)"
	}
	advice := "Name another host: " + s.annotate(api.AnnotationHosts+"=HOST") + "."
	switch {
	case other == nil:
		return s.refuseHost(api.AnnotationHosts, host, api.RouteHostConflict, what+" was claimed by another object when this was written. It is free now, but is not exposed automatically.",
			fmt.Sprintf("Write the annotation again: kubectl annotate service -n %s %s %s-, then %s.", s.Service.Namespace, s.Service.Name, api.AnnotationExpose, s.annotate(api.AnnotationExpose+"=true")))
	case first:
		return s.problemAbout(api.AnnotationHosts, host, api.RouteHostConflict, fmt.Sprintf("%s is also claimed by %s %s/%s, which claimed it later. The existing exposure is unchanged.", what, KindOf(other), other.GetNamespace(), other.GetName()), "Remove the host from one of them.")
	}
	return s.refuseHost(api.AnnotationHosts, host, api.RouteHostConflict, fmt.Sprintf("%s is already served by %s %s/%s; it is not exposed.", what, KindOf(other), other.GetNamespace(), other.GetName()), advice)
}

// sameIngress reports whether two selectors can select the same gateway pods: one includes the other.
func sameIngress(a, b map[string]string) bool { return includesAll(a, b) || includesAll(b, a) }

func includesAll(a, b map[string]string) bool {
	for key, value := range b {
		if is, has := a[key]; !has || is != value {
			return false
		}
	}
	return true
}

// isServed reports whether our existing objects serve these hosts at this gateway, on each port of the exposure.
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

// routeFor returns the existing VirtualService that serves a host at the gateway of an exposure; nil if there is none. One of an
// earlier release may serve the mesh as well.
func (s *facts) routeFor(x exposure, host string) *networkingv1.VirtualService {
	for _, vs := range []*networkingv1.VirtualService{s.ours.meshRoute, s.ours.gatewayRoute} {
		if vs != nil && !s.renewed && slices.Contains(vs.Spec.Gateways, x.gateway) && slices.Contains(vs.Spec.Hosts, host) {
			return vs
		}
	}
	return nil
}

// unreachable reports that the ingress gateway of an exposure does not exist, or does not open its port.
func (s *facts) unreachable(x exposure) (found []finding) {
	for _, l := range x.listeners() {
		if o := s.ingressObjection(x, l); o != nil {
			found = append(found, s.problemAbout(o.key, o.value, o.reason, o.what+" Nothing reaches the Service there.", o.advice))
		}
	}
	return found
}

// objection is why a gateway cannot serve an exposure.
type objection struct {
	refusal
	what, advice string
}

// ingressObjection returns an objection if the ingress gateway does not exist, or does not open a port; nil if it does.
func (s *facts) ingressObjection(x exposure, l listener) *objection {
	if s.Offline {
		return nil
	}
	if len(s.IngressServices) == 0 {
		advice := "Install one, or name its labels: " + s.annotate(api.AnnotationGatewaySelector+"=KEY=VALUE") + "."
		if len(s.IngressSelectors) > 0 {
			advice = "Available: istio=" + strings.Join(s.IngressSelectors, ", istio=") + ". Choose one: " + s.annotate(api.AnnotationGatewaySelector+"=istio="+s.IngressSelectors[0]) + "."
		}
		return &objection{refusal{api.AnnotationGatewaySelector, pairsText(x.selector), api.RouteGatewayUnmatched}, "No ingress gateway with these labels was found.", advice}
	}
	if s.opensPort(l.port) {
		return nil
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
	return &objection{refusal{key, value, api.RouteGatewayPortUnexposed}, fmt.Sprintf("No Service of the ingress gateway opens port %d.", l.port), advice}
}
