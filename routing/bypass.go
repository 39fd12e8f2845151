// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// A path bypasses the versions where an object routes requests to the Service itself and not to a subset. Istio routes a
// request once, so neither the default nor the weights apply there, and every pod gets a share. Each kind of object has its
// own reason, since each has another fix:
//
//	VirtualService at a gateway        its destination can name a subset
//	VirtualService for another host    the same, for callers in the mesh
//	delegate of a VirtualService       the same, in the delegate
//	route of Gateway API               has no subsets: a Service for each version, or outrigger.dev/expose
//	Ingress that Istio serves          the same

// Bypass is a route of Gateway API that routes requests to the Service.
type Bypass struct {
	Object  api.ObjectRef
	Parents []string // what requests come through, sorted: "Gateway infra/front"
	Hosts   []string // of the requests; empty for all
}

// bypassed reports each path that bypasses the versions, as long as that makes a difference.
func (s *facts) bypassed(rules []rule, exposed exposureDecision) (found []finding) {
	if !s.splitsVersions(rules) {
		return nil
	}
	namingSubset := s.namingSubset(rules)
	for _, vs := range s.foreign.bypasses {
		found = append(found, problemOf(vs, "spec.http", "", api.RouteGatewayBypasses,
			fmt.Sprintf("Requests through gateway %s reach every version of Service %s: its destination names no subset.", strings.Join(boundGateways(vs), ", "), s.Service.Name),
			namingSubset+s.orExpose(exposed, api.ObjectRef{Kind: "VirtualService", Namespace: vs.Namespace, Name: vs.Name}, vs.Spec.Hosts)))
	}
	for _, vs := range s.Foreign.VirtualServices {
		found = append(found, s.bypassingDelegate(vs, namingSubset)...)
		if len(boundGateways(vs)) == 0 && s.servesOtherHosts(vs) && s.routesToAll(vs) {
			found = append(found, problemOf(vs, "spec.hosts", strings.Join(vs.Spec.Hosts, ","), api.RouteMeshBypasses,
				fmt.Sprintf("Requests of callers in the mesh for %s reach every version of Service %s: its destination names no subset.", strings.Join(vs.Spec.Hosts, ", "), s.Service.Name),
				namingSubset))
		}
	}
	for _, bypass := range s.Bypasses {
		found = append(found, s.bypassingGatewayAPI(exposed, bypass))
	}
	for _, ingress := range s.Ingresses {
		if hosts := s.hostsOfIngress(ingress); ingress.Namespace == s.Service.Namespace && len(hosts) > 0 {
			found = append(found, s.bypassingIngress(exposed, ingress.Name, hosts))
		}
	}
	return found
}

// splitsVersions reports whether our rules choose between versions of several workloads. With a single one, every path reaches
// the same pods.
func (s *facts) splitsVersions(rules []rule) bool {
	named := slices.ContainsFunc(rules, func(r rule) bool {
		return slices.ContainsFunc(r.to, func(p portion) bool { return p.version != "" })
	})
	return named && len(s.withPods()) > 1 && len(s.podVersions()) > 1
}

// namingSubset returns how the destination of a VirtualService follows a version.
func (s *facts) namingSubset(rules []rule) string {
	return fmt.Sprintf("Name a subset: destination {host: %s, subset: %s}, for example. Outrigger does not change it when the weights change.", s.host, s.exampleSubset(rules))
}

func (s *facts) exampleSubset(rules []rule) string {
	for _, r := range rules {
		for _, p := range r.to {
			if name := s.subsets.names[p.version]; p.version != "" && name != "" {
				return name
			}
		}
	}
	return ""
}

// servesOtherHosts reports whether a VirtualService is for callers in the mesh under hosts that are not the Service's.
func (s *facts) servesOtherHosts(vs *networkingv1.VirtualService) bool {
	return len(vs.Spec.Hosts) > 0 && visible(vs.Spec.ExportTo) && !coversService(vs, s.host, s.Settings.ClusterDomain)
}

// routesToAll reports whether a VirtualService routes requests, or copies of them, to the Service's host without a subset.
func (s *facts) routesToAll(vs *networkingv1.VirtualService) bool {
	isBare := func(d *networkingapi.Destination) bool {
		return d.GetSubset() == "" && ResolveHost(d.GetHost(), vs.Namespace, s.Settings.ClusterDomain) == s.host
	}
	for _, http := range vs.Spec.Http {
		if isBare(http.Mirror) || slices.ContainsFunc(http.Mirrors, func(m *networkingapi.HTTPMirrorPolicy) bool { return isBare(m.GetDestination()) }) {
			return true
		}
		for _, route := range http.Route {
			if isBare(route.GetDestination()) && (route.Weight > 0 || len(http.Route) == 1) {
				return true
			}
		}
	}
	for _, tcp := range vs.Spec.Tcp {
		if bareShare(tcp.Route, isBare) {
			return true
		}
	}
	for _, tls := range vs.Spec.Tls {
		if bareShare(tls.Route, isBare) {
			return true
		}
	}
	return false
}

func bareShare(routes []*networkingapi.RouteDestination, isBare func(*networkingapi.Destination) bool) bool {
	return slices.ContainsFunc(routes, func(r *networkingapi.RouteDestination) bool {
		return isBare(r.GetDestination()) && (r.Weight > 0 || len(routes) == 1)
	})
}

// bypassingDelegate reports a delegate that routes to every version: Istio puts its rules in the place of the rule that names it, if
// the delegate is exported to the namespace of that VirtualService.
func (s *facts) bypassingDelegate(vs *networkingv1.VirtualService, namingSubset string) []finding {
	if len(vs.Spec.Hosts) > 0 || !s.routesToAll(vs) {
		return nil
	}
	var roots []string
	for _, root := range slices.Concat(s.Foreign.VirtualServices, s.Existing.VirtualServices) {
		if len(root.Spec.Hosts) > 0 && visible(root.Spec.ExportTo) && exports(vs.Spec.ExportTo, vs.Namespace, root.Namespace) && slices.Contains(DelegatesOf(root), vs.Namespace+"/"+vs.Name) {
			place := "in the mesh"
			if bound := boundGateways(root); len(bound) > 0 {
				place = "at gateway " + strings.Join(bound, ", ")
			}
			roots = append(roots, fmt.Sprintf("VirtualService %s/%s %s", root.Namespace, root.Name, place))
		}
	}
	if s.foreign.delegate == vs && len(roots) == 0 {
		roots = append(roots, "Outrigger's route") // not written yet
	}
	if len(roots) == 0 {
		return nil
	}
	slices.Sort(roots)
	return []finding{problemOf(vs, "spec.http", "", api.RouteDelegateBypasses,
		fmt.Sprintf("Requests that it receives as a delegate of %s reach every version of Service %s: its destination names no subset.", strings.Join(slices.Compact(roots), ", "), s.Service.Name),
		namingSubset)}
}

// DelegatesOf returns the VirtualServices to which one delegates, as namespace/name.
func DelegatesOf(root *networkingv1.VirtualService) []string {
	var out []string
	for _, http := range root.Spec.Http {
		if d := http.GetDelegate(); d.GetName() != "" {
			namespace := d.GetNamespace()
			if namespace == "" {
				namespace = root.Namespace
			}
			out = append(out, namespace+"/"+d.GetName())
		}
	}
	return out
}

func (s *facts) bypassingGatewayAPI(exposed exposureDecision, bypass Bypass) finding {
	return finding{RouteProblem: api.RouteProblem{
		Object: bypass.Object, Field: "spec.rules", Reason: api.RouteGatewayAPIBypasses,
		Message: fmt.Sprintf("Requests through %s reach every version of Service %s: a route of Gateway API cannot name a version.", strings.Join(bypass.Parents, ", "), s.Service.Namespace+"/"+s.Service.Name),
		Advice:  s.perVersion("Name one Service for each version in backendRefs") + s.orExpose(exposed, bypass.Object, bypass.Hosts),
	}}
}

func (s *facts) bypassingIngress(exposed exposureDecision, name string, hosts []string) finding {
	object := api.ObjectRef{Kind: "Ingress", Namespace: s.Service.Namespace, Name: name}
	return finding{RouteProblem: api.RouteProblem{
		Object: object, Field: "spec.rules", Value: strings.Join(hosts, ","), Reason: api.RouteIngressBypasses,
		Message: fmt.Sprintf("Requests through Istio's ingress gateway reach every version of Service %s: an Ingress cannot name a version.", s.Service.Name),
		Advice:  s.perVersion("Name the Service of one version in the backend") + s.orExpose(exposed, object, hosts),
	}}
}

// perVersion returns how an object that cannot name subsets routes to one version.
func (s *facts) perVersion(fix string) string {
	version := s.podVersions()[0]
	selector := maps.Clone(s.Service.Spec.Selector)
	selector[s.Intent.VersionLabel] = version
	return fmt.Sprintf("%s. Example: kubectl expose service -n %s %s --name=%s-%s --selector=%s.",
		fix, s.Service.Namespace, s.Service.Name, s.Service.Name, SubsetName(version), pairsText(selector))
}

// orExpose returns how to have Outrigger route the same requests, by the weights.
func (s *facts) orExpose(exposed exposureDecision, object fmt.Stringer, hosts []string) string {
	if _, speaksHTTP := s.gatewayServicePort(exposed.request); !speaksHTTP || exposed.on {
		return ""
	}
	pairs := []string{api.AnnotationExpose + "=true"}
	if len(hosts) > 0 && !slices.Contains(hosts, anyHost) {
		pairs = append(pairs, api.AnnotationHosts+"="+strings.Join(hosts, ","))
	}
	return fmt.Sprintf(" Or take the Service out of %s and have Outrigger route by the weights: %s.", object, s.annotate(pairs...))
}
