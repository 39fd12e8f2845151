// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingk8s "k8s.io/api/networking/v1"

	"outrigger.dev/outrigger/api"
)

// IngressController is which Ingresses Istio serves and on which gateway pods, by the mesh's configuration. The zero value
// is Istio's default.
type IngressController struct {
	Mode    string // OFF, STRICT or DEFAULT; STRICT if empty
	Class   string // the value of the annotation kubernetes.io/ingress.class that it serves; istio if empty
	Gateway string // the value of the label "istio" of the gateway pods; ingressgateway if empty
}

// The modes in which Istio serves Ingresses.
const (
	IngressOff     = "OFF"     // none
	IngressStrict  = "STRICT"  // those of its class
	IngressDefault = "DEFAULT" // those of its class, and those without a class
)

const (
	annotationIngressClass = "kubernetes.io/ingress.class"
	istioIngressController = "istio.io/ingress-controller"
	labelIstio             = "istio"
	// ingressPort and ingressTLSPort are where Istio serves every Ingress: the second one if it has TLS.
	ingressPort    = 80
	ingressTLSPort = 443
)

// Serves reports whether Istio serves an Ingress, by Istio's own order: the annotation, then the class, then the mode. The
// class is the IngressClass that spec.ingressClassName names; nil if it names none, or one that does not exist.
func (c IngressController) Serves(ingress *networkingk8s.Ingress, class *networkingk8s.IngressClass) bool {
	if c.Mode == IngressOff {
		return false
	}
	if annotated, is := ingress.Annotations[annotationIngressClass]; is {
		return annotated == cmp.Or(c.Class, "istio")
	}
	if class != nil {
		return class.Spec.Controller == istioIngressController
	}
	return c.Mode == IngressDefault
}

func (c IngressController) selector() map[string]string {
	return map[string]string{labelIstio: cmp.Or(c.Gateway, "ingressgateway")}
}

// IngressHostsOf returns the hosts that Istio serves for an Ingress, sorted, "*" for a rule without one. Istio ignores the
// default backend, and rules without paths.
func IngressHostsOf(ingress *networkingk8s.Ingress) []string {
	var out []string
	for _, rule := range ingress.Spec.Rules {
		if rule.HTTP != nil {
			out = append(out, cmp.Or(rule.Host, anyHost))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// IngressBackendsOf returns the names of the Services, in the Ingress's namespace, to which its rules route, sorted.
func IngressBackendsOf(ingress *networkingk8s.Ingress) []string {
	var out []string
	for _, rule := range ingress.Spec.Rules {
		for _, backend := range backendsOf(rule) {
			out = append(out, backend.Name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func backendsOf(rule networkingk8s.IngressRule) []*networkingk8s.IngressServiceBackend {
	if rule.HTTP == nil {
		return nil
	}
	var out []*networkingk8s.IngressServiceBackend
	for _, path := range rule.HTTP.Paths {
		if path.Backend.Service != nil {
			out = append(out, path.Backend.Service)
		}
	}
	return out
}

// hostsOfIngress returns the hosts under which an Ingress routes to a port that the Service has; none if it does not. Istio
// makes of it a VirtualService at the gateway whose destination has no subset: no VirtualService for the mesh applies.
func (s *facts) hostsOfIngress(ingress *networkingk8s.Ingress) []string {
	var out []string
	for _, rule := range ingress.Spec.Rules {
		if slices.ContainsFunc(backendsOf(rule), func(b *networkingk8s.IngressServiceBackend) bool {
			return b.Name == s.Service.Name && (b.Port.Number > 0 || slices.ContainsFunc(s.Service.Spec.Ports, func(port corev1.ServicePort) bool { return port.Name == b.Port.Name }))
		}) {
			out = append(out, cmp.Or(rule.Host, anyHost))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// ingressWith names the first Ingress that serves a host at the exposure's gateway; empty if none does.
func (s *facts) ingressWith(x exposure, host string) string {
	if !sameIngress(x.selector, s.IngressController.selector()) {
		return ""
	}
	for _, ingress := range s.Ingresses {
		if slices.ContainsFunc(x.listeners(), func(l listener) bool {
			return slices.ContainsFunc(s.ingressHostsAt(ingress, x, l), func(theirs string) bool { return s.blocks(theirs, host) })
		}) {
			return "Ingress " + ingress.Namespace + "/" + ingress.Name
		}
	}
	return ""
}

// ingressHostsAt returns the hosts that Istio serves for an Ingress on one of the exposure's ports. With TLS, the hosts of
// the Ingress's certificates count as well, because Istio makes a server for each.
func (s *facts) ingressHostsAt(ingress *networkingk8s.Ingress, x exposure, l listener) []string {
	isTLSPort := len(ingress.Spec.TLS) > 0 && s.listenerPort(l.port) == s.listenerPort(ingressTLSPort)
	if x.generated && s.listenerPort(l.port) != s.listenerPort(ingressPort) && !isTLSPort {
		return nil
	}
	out := IngressHostsOf(ingress)
	if l.tls && isTLSPort {
		for _, tls := range ingress.Spec.TLS {
			if out = append(out, tls.Hosts...); len(tls.Hosts) == 0 {
				out = append(out, anyHost)
			}
		}
	}
	return out
}

func (s *facts) servedByIngress(host, ingress string, first bool) finding {
	report, effect := s.refuseHost, "it is not exposed."
	if first {
		report, effect = s.problemAbout, "its existing exposure is unchanged."
	}
	return report(api.AnnotationHosts, host, api.RouteHostConflict, fmt.Sprintf("Host %s is served by %s at the same gateway; %s", host, ingress, effect),
		"Name another host: "+s.annotate(api.AnnotationHosts+"=HOST")+", or remove it from the Ingress.")
}

// ServedIngresses returns the Ingresses that Istio serves, sorted by namespace and name. The classes are by name.
func (c IngressController) ServedIngresses(ingresses []*networkingk8s.Ingress, classes map[string]*networkingk8s.IngressClass) []*networkingk8s.Ingress {
	var out []*networkingk8s.Ingress
	for _, ingress := range ingresses {
		var class *networkingk8s.IngressClass
		if name := ingress.Spec.IngressClassName; name != nil {
			class = classes[*name]
		}
		if c.Serves(ingress, class) {
			out = append(out, ingress)
		}
	}
	slices.SortFunc(out, func(a, b *networkingk8s.Ingress) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out
}
