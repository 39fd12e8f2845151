// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"slices"
	"strings"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

// endWithoutRoutes ends the plan for Services that get no routes, and for those whose routes must stay as they are. An existing
// route is withdrawn only by a decision about it; otherwise it stays.
func (s *reader) endWithoutRoutes() (planEnd, bool) {
	if s.Intent.Disabled {
		return s.withdraw(), true
	}
	exists := !s.Existing.IsEmpty()
	if !s.Intent.Wanted && !exists && len(s.replaced.all) == 0 {
		return planEnd{}, true
	}
	if why, advice := s.skipReason(); why != "" {
		if exists || s.hasRoutingSettings() || why == headless && s.anyVersion() && !s.isOfStatefulSets() {
			s.report(api.RouteServiceSkipped, why, advice)
		}
		return s.withdraw(), true
	}
	if router := s.managerOf(); router != "" {
		s.report(api.RouteManagedElsewhere, router+" manages the traffic of the Service, so Outrigger creates no route.", "Remove "+router+", or end Outrigger's routes: "+s.disableRoutes()+".")
		return s.withdraw(), true
	}
	if s.Ambient {
		s.report(api.RouteAmbientUnsupported, "The Namespace is in Istio's ambient mode, where routes for sidecars do not apply. Nothing is written, and existing objects are unchanged.",
			"Remove the label istio.io/dataplane-mode from the Namespace, or set outrigger.dev/routing=disabled.")
		return planEnd{objects: s.Existing}, true
	}
	if s.invalidLabel && !exists {
		return planEnd{}, true // nothing is created from an invalid label
	}
	if s.names.conflictingName != "" {
		s.report(api.RouteNameTaken, s.names.conflictingName+" was not created by Outrigger and has the name of the object to write. Nothing is written.", giveOtherName(s.names.conflictingName))
		return planEnd{objects: s.Existing}, true
	}
	return planEnd{}, false
}

const headless = "A headless Service has no cluster IP to route. Each caller selects a pod itself."

// skipReason returns why routes cannot serve this Service, and what would allow them; empty if they can.
func (s *facts) skipReason() (why, advice string) {
	spec := s.Service.Spec
	switch {
	case s.Service.Namespace == "kube-system" || s.Service.Namespace == s.RootNamespace || s.Service.Namespace == "default" && s.Service.Name == "kubernetes":
		return "A Service of the cluster itself gets no routes.", ""
	case s.Service.Labels[api.LabelGatewayManaged] != "":
		return "A Service that Istio created for a Gateway gets no routes.", ""
	case spec.Type == corev1.ServiceTypeExternalName:
		return "An ExternalName Service has no pods.", ""
	case spec.ClusterIP == corev1.ClusterIPNone:
		return headless, "Give it a cluster IP, or write routes yourself."
	case len(spec.Selector) == 0:
		return "A Service without a selector has no pods whose versions could be read.", ""
	case spec.Selector[s.Intent.VersionLabel] != "" || spec.Selector["pod-template-hash"] != "" || spec.Selector["rollouts-pod-template-hash"] != "":
		return s.selectsOneVersion()
	}
	return "", ""
}

// selectsOneVersion explains that a version label is in the Service's selector.
func (s *facts) selectsOneVersion() (why, advice string) {
	label := s.Intent.VersionLabel
	if s.Intent.Texts[api.AnnotationVersionLabel] == label && s.Service.Spec.Selector[label] != "" {
		return fmt.Sprintf("%s is %s, and the Service selects its pods by %s=%s, so all of them have the same version. No route is created.",
				api.AnnotationVersionLabel, label, label, s.Service.Spec.Selector[label]),
			"Name the label that distinguishes the versions. Example: " + s.annotate(api.AnnotationVersionLabel+"="+defaultVersionLabel) + "."
	}
	return "The Service's selector already selects one version.", "Remove the version from the selector to route between versions."
}

// isOfStatefulSets reports whether all pods belong to StatefulSets, which need a headless Service without routes.
func (s *facts) isOfStatefulSets() bool {
	groups := s.cluster.all()
	return len(groups) > 0 && !slices.ContainsFunc(groups, func(g podGroup) bool { return g.Workload.Kind != "StatefulSet" })
}

// Unroutable returns skipReason without a plan: why Outrigger creates no routes for this Service, and what would change that.
func Unroutable(observed Observed) (why, advice string) {
	return read(observed, time.Time{}, newPodsAndWorkloads(observed)).skipReason()
}

func (s *facts) anyVersion() bool {
	return slices.ContainsFunc(s.cluster.all(), func(g podGroup) bool { return g.Version != "" })
}

// hasRoutingSettings reports whether the user wrote anything about routing on the Service itself.
func (s *facts) hasRoutingSettings() bool {
	for key := range s.Service.Annotations {
		if strings.HasPrefix(key, api.Domain+"/") {
			return true
		}
	}
	return s.Service.Labels[api.LabelRouting] != ""
}

// withdraw removes our objects in order: the VirtualServices and the Gateway immediately, the DestinationRule when no proxy can still
// have the routes. Subsets that a foreign route names stay.
func (s *facts) withdraw() planEnd {
	out := planEnd{isConcluded: true}
	for _, rule := range s.Existing.DestinationRules {
		since, marked := parseTime(rule.Annotations[api.AnnotationWithdrawn])
		if !marked {
			since = s.now
		}
		used := s.namedByOthers(rule)
		if s.waitElapsed(since, s.Settings.SubsetRetention) && len(s.Existing.VirtualServices) == 0 && len(used) == 0 {
			continue
		}
		if len(used) > 0 {
			out.found = append(out.found, s.problem(api.RouteSubsetsInUse, fmt.Sprintf("%s names the subsets of DestinationRule %s; it stays.", used[0], rule.Name), "Change that VirtualService first."))
		}
		kept, found := s.withdrawn(rule, since)
		out.objects.DestinationRules, out.found = append(out.objects.DestinationRules, kept), append(out.found, found...)
	}
	return out
}

// withdrawn is an existing DestinationRule until it is deleted. It keeps its record: routing may be enabled again.
func (s *facts) withdrawn(rule *networkingv1.DestinationRule, since time.Time) (*networkingv1.DestinationRule, []finding) {
	kept := &networkingv1.DestinationRule{ObjectMeta: s.meta(rule.Name), TypeMeta: typeMeta("DestinationRule")}
	kept.Spec = *rule.Spec.DeepCopy()
	if rule.Annotations[api.AnnotationInherited] == "" {
		kept.Spec.TrafficPolicy = nil // its user's
	}
	found := s.restoreMeanings(kept)
	mark(&kept.ObjectMeta, ownMarks(rule.Annotations))
	kept.Annotations[api.AnnotationWithdrawn] = timeText(since)
	return kept, found
}

// namedByOthers returns the foreign VirtualServices that name one of our subsets.
func (s *facts) namedByOthers(rule *networkingv1.DestinationRule) []string {
	var out []string
	for _, vs := range s.Foreign.VirtualServices {
		for _, subset := range subsetsNamed(vs, s.host, s.Settings.ClusterDomain) {
			if findSubset(rule, subset) != nil {
				out = append(out, "VirtualService "+vs.Namespace+"/"+vs.Name)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
