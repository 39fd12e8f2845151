// SPDX-License-Identifier: Apache-2.0

package routing

import (
	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// extraSuffix is appended to the Service's name; users give that name to a VirtualService with their own rules, which come before
// ours.
const extraSuffix = "-extra"

// noteDelegate finds the user's rules: a VirtualService <service>-extra without hosts, which is a delegate for Istio. It reports
// one that cannot be a delegate.
func (s *reader) noteDelegate(vs *networkingv1.VirtualService) {
	if vs.Namespace != s.Service.Namespace || vs.Name != s.Service.Name+extraSuffix || vs.Labels[api.LabelManagedBy] == api.ManagedBy {
		return
	}
	field, why := "", ""
	switch {
	case len(vs.Spec.Hosts) > 0:
		field, why = "spec.hosts", "it has hosts"
	case len(vs.Spec.Gateways) > 0:
		field, why = "spec.gateways", "it is bound to gateways"
	case len(vs.Spec.Tcp)+len(vs.Spec.Tls) > 0:
		field, why = "spec", "it has tcp or tls rules"
	case len(vs.Spec.Http) == 0:
		field, why = "spec.http", "it has no http rules"
	case !s.speaksHTTP():
		field, why = "spec.http", "the Service has no HTTP port"
	}
	if why == "" {
		s.foreign.delegate = vs
		return
	}
	if !s.ServiceNames[vs.Name] { // else it is that Service's
		s.reportForeign(vs, field, "", api.RouteDelegateUnusable, "By its name it is a delegate whose rules apply before Outrigger's, but "+why+". It is ignored.",
			"Give it only http rules, and neither hosts nor gateways, or rename it.")
	}
}

// delegateRule sends requests to the user's rules first. It matches everything that this VirtualService serves, because Istio
// ignores rules after one without a match. For the same reason it must differ from the matches after it and must not be a prefix
// of their path: below a path it matches the scheme, which every request has and a delegate's rules may narrow.
func (s outcome) delegateRule(view routeView) *networkingapi.HTTPRoute {
	rule := &networkingapi.HTTPRoute{
		Name:     "extra",
		Delegate: &networkingapi.Delegate{Name: s.foreign.delegate.Name, Namespace: s.foreign.delegate.Namespace},
	}
	if path := s.exposed.path; view.mesh || path == "" || path == "/" {
		rule.Match = append(rule.Match, &networkingapi.HTTPMatchRequest{Uri: prefix("/")})
	} else {
		rule.Match = append(rule.Match, &networkingapi.HTTPMatchRequest{Scheme: prefix("http"), Uri: prefix(path)})
	}
	return rule
}
