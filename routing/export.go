// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"slices"
	"strings"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// decideExport returns to which namespaces our objects are visible, all of them to the same: a route that reaches further than the
// subsets it names fails there. Istio merges a foreign DestinationRule with ours only where they are equal in this; the Service's
// own annotation comes next. What is exposed sets it explicitly, since the mesh's default may hide it from the gateway's namespace.
// While the annotation is invalid, each object stays visible where it is, and a new one is visible no further than the existing
// ones, or than the Service's own namespace.
func (s *facts) decideExport(exposed exposureDecision) (exportTo []string, found []finding) {
	switch {
	case s.foreign.merged:
		exportTo = s.foreign.exportTo
	case s.badExport:
		return s.exportWhileInvalid(), nil
	case s.Intent.ExportTo != nil:
		exportTo = s.Intent.ExportTo
	case exposed.on || s.isStillServed(exposed):
		exportTo = []string{"*"}
	}
	return exportTo, s.hidden(exportTo, exposed)
}

// isStillServed reports whether gateways still serve the exposure by a VirtualService that is not written: it is kept as it is,
// or another client edited it and it belongs to that client now.
func (s *facts) isStillServed(exposed exposureDecision) bool {
	return slices.ContainsFunc(s.ours.routes(), func(vs *networkingv1.VirtualService) bool {
		isKept := exposed.frozen || s.unrecordedExposure || vs == s.ours.gatewayRoute && slices.Contains(s.detached, vs.Name)
		return isKept && len(boundGateways(vs)) > 0
	})
}

// exportWhileInvalid is where a new object is visible while the annotation is invalid.
func (s *facts) exportWhileInvalid() []string {
	if s.ours.destinationRule == nil || s.renewed {
		return []string{"."}
	}
	out := s.ours.destinationRule.Spec.ExportTo
	for _, vs := range s.ours.routes() {
		if narrows(out, vs.Spec.ExportTo, s.Service.Namespace) {
			out = vs.Spec.ExportTo
		}
	}
	return out
}

// exportOfRoute is where a VirtualService is visible now: it is shown to others when the subsets have been shown to them
// for the propagation delay. It is false for one that is not there yet and has to wait for that.
func (s outcome) exportOfRoute(existing *networkingv1.VirtualService) (exportTo []string, may bool) {
	rule := s.ours.destinationRule
	switch {
	case s.badExport && existing != nil && !s.renewed && !s.foreign.merged:
		return existing.Spec.ExportTo, true
	case rule == nil || s.renewed || s.foreign.merged,
		existing != nil && !narrows(s.exportTo, existing.Spec.ExportTo, s.Service.Namespace),
		!narrows(s.exportTo, rule.Spec.ExportTo, s.Service.Namespace) && s.waitElapsed(exportedAt(rule), s.Settings.PropagationDelay):
		return s.exportTo, true
	case existing == nil:
		return nil, false
	}
	return existing.Spec.ExportTo, true
}

// exportOfSubsets is where the DestinationRule is visible: as decided, as far as any route, and as far as a route was that proxies
// may still have. So it widens before the routes do, and narrows after them. With a foreign DestinationRule that Istio merges with
// ours it changes immediately, since two that differ are not merged.
func (s outcome) exportOfSubsets(routes []*networkingv1.VirtualService) []string {
	if rule := s.ours.destinationRule; s.badExport && rule != nil && !s.renewed && !s.foreign.merged {
		return rule.Spec.ExportTo
	}
	out := s.exportTo
	for _, vs := range append(s.ours.routes(), routes...) {
		if narrows(vs.Spec.ExportTo, out, s.Service.Namespace) {
			out = s.together(vs.Spec.ExportTo, out)
		}
	}
	rule := s.ours.destinationRule
	if rule == nil || s.renewed || s.foreign.merged || !narrows(rule.Spec.ExportTo, out, s.Service.Namespace) {
		return out
	}
	for _, vs := range routes {
		if !s.waitElapsed(exportedAt(vs), s.Settings.SubsetRetention) {
			return s.together(rule.Spec.ExportTo, out)
		}
	}
	return out
}

// exportedAt is since when an object has been visible where it is; zero if that never changed.
func exportedAt(object Object) time.Time {
	at, _ := parseTime(object.GetAnnotations()[api.AnnotationExportedAt])
	return at
}

// exportedText marks an object whose exportTo changes with the time of that.
func (s *facts) exportedText(was, is []string, existing Object) string {
	switch namespace := s.Service.Namespace; {
	case narrows(was, is, namespace) || narrows(is, was, namespace):
		return timeText(s.now)
	case s.renewed:
		return ""
	}
	return existing.GetAnnotations()[api.AnnotationExportedAt]
}

// together returns the union of two exportTo lists.
func (s *facts) together(a, b []string) []string {
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

// hidden reports that no ingress gateway sees the routes, or the Service.
func (s *facts) hidden(exportTo []string, exposed exposureDecision) []finding {
	if !exposed.on || len(s.IngressServices) == 0 {
		return nil
	}
	own := s.Intent.ExportTo
	var places, without []string
	for _, ingress := range s.IngressServices {
		seen := exports(own, s.Service.Namespace, ingress.Namespace)
		if seen && exports(exportTo, s.Service.Namespace, ingress.Namespace) {
			return nil
		}
		places = append(places, ingress.Namespace)
		if !seen {
			without = append(without, ingress.Namespace)
		}
	}
	slices.Sort(places)
	where := strings.Join(slices.Compact(places), ", ")
	if len(without) == 0 {
		return []finding{s.problem(api.RouteGatewayNotExported, fmt.Sprintf("Another DestinationRule for the Service is exported to %s, and so is Outrigger's, since Istio merges them; the ingress gateway in %s sees no route.", strings.Join(exportTo, ","), where),
			"Add that namespace to its exportTo.")}
	}
	slices.Sort(without)
	return []finding{s.problemAbout(api.AnnotationExportTo, s.Service.Annotations[api.AnnotationExportTo], api.RouteGatewayNotExported,
		fmt.Sprintf("The Service is not visible in %s, where the ingress gateway is; nothing reaches it there.", where),
		"Add that namespace: "+s.annotate(api.AnnotationExportTo+"="+strings.Join(append(slices.Clone(own), slices.Compact(without)...), ","))+".")}
}

// exports reports whether something of one namespace is visible in another. No list is every namespace.
func exports(to []string, from, in string) bool {
	return len(to) == 0 || slices.Contains(to, "*") || slices.Contains(to, in) || from == in && slices.Contains(to, ".")
}

// narrows reports whether a change of exportTo hides an object from some namespace.
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
