package routing

import (
	"fmt"
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// decideExport says to which namespaces our objects are visible, all of them to the same: a route that reaches further
// than the subsets it names fails there. Istio merges a DestinationRule of others with ours only where they are equal in
// this; the Service's own annotation comes next. What is exposed says so outright, since the mesh's default may hide it
// from the gateway's namespace.
func (s *situation) decideExport() {
	switch {
	case s.foreign.merged:
		s.exportTo = s.foreign.exportTo
	case s.Intent.ExportTo != nil:
		s.exportTo = s.Intent.ExportTo
	case s.exposure.on:
		s.exportTo = []string{"*"}
	}
	s.tellHidden()
}

// exportOfSubsets is where the DestinationRule is visible: as decided, and as far as any route that still stands. So it
// widens before the routes do, and narrows after them.
func (s *situation) exportOfSubsets(routes []*networkingv1.VirtualService) []string {
	out := s.exportTo
	for _, vs := range append(s.standing.routes(), routes...) {
		if narrows(vs.Spec.ExportTo, out, s.Service.Namespace) {
			out = s.together(vs.Spec.ExportTo, out)
		}
	}
	return out
}

// together is visible to whom either is.
func (s *situation) together(a, b []string) []string {
	if len(a) == 0 || slices.Contains(a, "*") {
		return a
	}
	out := union(a, b)
	for i, to := range out {
		if to == s.Service.Namespace {
			out[i] = "."
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// tellHidden says that no ingress gateway gets to see the routes, or the Service that they lead to.
func (s *situation) tellHidden() {
	if !s.exposure.on || len(s.IngressServices) == 0 {
		return
	}
	own := s.Intent.ExportTo
	var places, without []string
	for _, ingress := range s.IngressServices {
		seen := exports(own, s.Service.Namespace, ingress.Namespace)
		if seen && exports(s.exportTo, s.Service.Namespace, ingress.Namespace) {
			return
		}
		places = append(places, ingress.Namespace)
		if !seen {
			without = append(without, ingress.Namespace)
		}
	}
	slices.Sort(places)
	where := strings.Join(slices.Compact(places), ", ")
	if len(without) == 0 {
		s.tell(api.RouteGatewayNotExported, fmt.Sprintf("A DestinationRule beside ours is exported to %s, and ours as well, since Istio merges them; the ingress gateway in %s sees no route.", strings.Join(s.exportTo, ","), where),
			"Add that namespace to its exportTo.")
		return
	}
	slices.Sort(without)
	s.tellAbout(api.AnnotationExportTo, s.Service.Annotations[api.AnnotationExportTo], api.RouteGatewayNotExported,
		fmt.Sprintf("The Service is not visible in %s, where the ingress gateway is; nothing reaches it there.", where),
		"Add that namespace: "+fmt.Sprintf("kubectl annotate service -n %s %s %s=%s --overwrite", s.Service.Namespace, s.Service.Name, api.AnnotationExportTo, strings.Join(append(slices.Clone(own), slices.Compact(without)...), ","))+".")
}

// exports reports whether something of one namespace is visible in another. No list is every namespace.
func exports(to []string, from, in string) bool {
	return len(to) == 0 || slices.Contains(to, "*") || slices.Contains(to, in) || from == in && slices.Contains(to, ".")
}

// narrows reports whether a change of exportTo hides an object from somebody.
func narrows(was, is []string, namespace string) bool {
	if exports(is, namespace, "*") {
		return false
	}
	return exports(was, namespace, "*") || slices.ContainsFunc(was, func(to string) bool {
		if to == "." {
			to = namespace
		}
		return !exports(is, namespace, to)
	})
}
