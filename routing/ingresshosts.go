package routing

import (
	"fmt"
	"slices"

	"outrigger.dev/outrigger/api"
)

// ingressSelector is the label of the gateway pods on which Istio serves Ingresses, on port 80, unless its mesh configuration
// names others.
var ingressSelector = map[string]string{"istio": "ingressgateway"}

const ingressPort = 80

// ingressWith names the first Ingress that serves a host at the exposure's gateway; empty if none does.
func (s *situation) ingressWith(x exposure, host string) string {
	if !sameIngress(x.selector, ingressSelector) || x.generated && s.listenerPort(x.port) != s.listenerPort(ingressPort) {
		return ""
	}
	for _, ingress := range s.Ingresses {
		if slices.ContainsFunc(ingress.Hosts, func(theirs string) bool { return s.blocks(theirs, host) }) {
			return "Ingress " + ingress.Namespace + "/" + ingress.Name
		}
	}
	return ""
}

func (s *situation) tellIngressHost(host, ingress string, first bool) {
	effect := "it is not exposed."
	if first {
		effect = "it was exposed before and stays so."
	}
	s.tellAbout(api.AnnotationHosts, host, api.RouteHostConflict, fmt.Sprintf("Host %s is served by %s at the same gateway; %s", host, ingress, effect),
		"Name another host: "+s.annotate(api.AnnotationHosts+"=HOST")+", or take it out of the Ingress.")
}
