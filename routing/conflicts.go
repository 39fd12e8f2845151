// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// foreignFindings is what foreign objects mean for ours.
type foreignFindings struct {
	meshTaken bool            // a VirtualService of this namespace has the host in the mesh
	clash     bool            // a DestinationRule uses one of our names for other labels
	named     map[string]bool // subset names that foreign routes use
	supplied  map[string]bool // subset names that a foreign DestinationRule supplies with its own policy
	merged    bool            // a DestinationRule of this namespace is merged with ours
	exportTo  []string        // of the foreign DestinationRule that ours is merged with
	bypasses  []*networkingv1.VirtualService
	wide      []*networkingv1.DestinationRule // for many hosts, in namespaces of callers
	delegate  *networkingv1.VirtualService    // the user's rules that come before ours
}

// noteForeign notes for each foreign object on our host which object applies.
func (s *reader) noteForeign() {
	s.foreign = foreignFindings{named: map[string]bool{}, supplied: map[string]bool{}}
	for _, vs := range s.Foreign.VirtualServices {
		s.noteRoute(vs)
		s.noteDelegate(vs)
	}
	for _, rule := range s.Foreign.DestinationRules {
		switch host := ResolveHost(rule.Spec.Host, rule.Namespace, s.Settings.ClusterDomain); {
		case !visible(rule.Spec.ExportTo):
		case host == s.host:
			s.noteDestinationRule(rule)
		case covers(host, s.host):
			s.noteWideDestinationRule(rule)
		}
	}
	s.reportWideDestinationRules()
}

func (s *reader) noteRoute(vs *networkingv1.VirtualService) {
	for _, name := range subsetsNamed(vs, s.host, s.Settings.ClusterDomain) {
		s.foreign.named[name] = true
	}
	switch {
	case !coversService(vs, s.host, s.Settings.ClusterDomain):
		if len(boundGateways(vs)) > 0 && len(vs.Spec.Hosts) > 0 && visible(vs.Spec.ExportTo) && s.routesToAll(vs) {
			s.foreign.bypasses = append(s.foreign.bypasses, vs)
		}
	case !visible(vs.Spec.ExportTo):
	case vs.Namespace == s.Service.Namespace:
		s.foreign.meshTaken = true
		s.reportForeign(vs, "spec.hosts", strings.Join(vs.Spec.Hosts, ","), api.RouteRouteConflict,
			fmt.Sprintf("This VirtualService routes the host of Service %s, so Outrigger writes no route for callers in the mesh. The subsets are unchanged.", s.Service.Name),
			"Delete it to let Outrigger write the route.")
	default:
		s.noteRouteElsewhere(vs)
	}
}

// noteRouteElsewhere reports which VirtualService Istio applies: one that is exported only to the namespaces of callers, or else
// the oldest.
func (s *reader) noteRouteElsewhere(vs *networkingv1.VirtualService) {
	limited := len(vs.Spec.ExportTo) > 0 && !slices.Contains(vs.Spec.ExportTo, "*")
	if limited {
		s.reportForeign(vs, "spec.exportTo", strings.Join(vs.Spec.ExportTo, ","), api.RouteRouteShadowed,
			fmt.Sprintf("This VirtualService routes the host of Service %s and takes precedence over Outrigger's route for callers in the namespaces to which it is exported.", s.serviceRef().Namespace+"/"+s.Service.Name),
			"Delete it, or remove the host from it.")
		return
	}
	if s.ours.meshRoute != nil && olderObject(s.ours.meshRoute, vs) {
		s.reportForeign(vs, "spec.hosts", strings.Join(vs.Spec.Hosts, ","), api.RouteRouteHijackable,
			fmt.Sprintf("This VirtualService routes the host of Service %s. Outrigger's route applies because it is older. If that is recreated, this one applies.", s.serviceRef().Namespace+"/"+s.Service.Name),
			"Delete it, or remove the host from it.")
		return
	}
	s.reportForeign(vs, "spec.hosts", strings.Join(vs.Spec.Hosts, ","), api.RouteRouteShadowed,
		fmt.Sprintf("This VirtualService routes the host of Service %s and takes precedence over Outrigger's route because it is older.", s.serviceRef().Namespace+"/"+s.Service.Name),
		"Delete it, or remove the host from it.")
}

// visible reports whether an object is exported to any namespace.
func visible(exportTo []string) bool { return !slices.Contains(exportTo, "~") }

func olderObject(a, b Object) bool {
	older, younger := a.GetCreationTimestamp(), b.GetCreationTimestamp()
	return cmp.Or(
		older.Compare(younger.Time),
		cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName())) < 0
}

func (s *reader) noteDestinationRule(rule *networkingv1.DestinationRule) {
	if rule.Spec.WorkloadSelector != nil {
		s.reportForeign(rule, "spec.workloadSelector", pairsText(rule.Spec.WorkloadSelector.MatchLabels), api.RouteShadowedInNamespaces,
			fmt.Sprintf("This DestinationRule is for the host of Service %s: the pods that it selects have no subsets, and routes to a version fail for them.", s.serviceRef().Namespace+"/"+s.Service.Name),
			"Delete it, or copy the subsets into it.")
		return
	}
	if rule.Namespace != s.Service.Namespace {
		if rule.Namespace != s.RootNamespace || slices.Contains(rule.Spec.ExportTo, ".") {
			s.reportForeign(rule, "spec.host", rule.Spec.Host, api.RouteShadowedInNamespaces,
				fmt.Sprintf("This DestinationRule is for the host of Service %s: callers in namespace %s have no subsets, and routes to a version fail there.", s.serviceRef().Namespace+"/"+s.Service.Name, rule.Namespace),
				"Delete it, or copy the subsets into it.")
		}
		return
	}
	for _, subset := range rule.Spec.Subsets {
		version, ours := s.subsets.versions[subset.Name]
		switch {
		case !ours:
		case !maps.Equal(subset.Labels, map[string]string{s.Intent.VersionLabel: version}):
			s.foreign.clash = true
			s.reportForeign(rule, "spec.subsets", subset.Name, api.RouteSubsetConflict,
				fmt.Sprintf("Subset %s has the labels %s there, and means version %s in Outrigger's DestinationRule. Nothing is written, and existing objects are unchanged.", subset.Name, pairsText(subset.Labels), version),
				"Rename that subset.")
			return
		case subset.TrafficPolicy != nil:
			s.foreign.supplied[subset.Name] = true
		}
	}
	if s.foreign.merged = true; s.foreign.exportTo == nil {
		s.foreign.exportTo = slices.Clone(rule.Spec.ExportTo)
	}
	s.reportForeign(rule, "spec.host", rule.Spec.Host, api.RoutePolicyShared,
		fmt.Sprintf("This DestinationRule is for the host of Service %s; Istio merges it with Outrigger's, which has no policy.", s.Service.Name), "")
}

// subsetsNamed returns the subsets of the host that a VirtualService routes to, sorted. It contains the empty name if a
// destination has no subset.
func subsetsNamed(vs *networkingv1.VirtualService, host, clusterDomain string) []string {
	var out []string
	for _, d := range DestinationsOf(vs) {
		if ResolveHost(d.GetHost(), vs.Namespace, clusterDomain) == host {
			out = append(out, d.GetSubset())
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// DestinationsOf returns every destination of a VirtualService, mirrors included.
func DestinationsOf(vs *networkingv1.VirtualService) []*networkingapi.Destination {
	var out []*networkingapi.Destination
	for _, http := range vs.Spec.Http {
		for _, route := range http.Route {
			out = append(out, route.Destination)
		}
		if http.Mirror != nil {
			out = append(out, http.Mirror)
		}
		for _, mirror := range http.Mirrors {
			out = append(out, mirror.Destination)
		}
	}
	for _, tcp := range vs.Spec.Tcp {
		for _, route := range tcp.Route {
			out = append(out, route.Destination)
		}
	}
	for _, tls := range vs.Spec.Tls {
		for _, route := range tls.Route {
			out = append(out, route.Destination)
		}
	}
	return out
}

// endOnSubsetConflict leaves everything as it is while a foreign DestinationRule gives one of our subset names other labels: what a
// route means is uncertain. It restores only what routes name, and a VirtualService that another client edited so that it names a
// subset which does not exist; that one follows the annotations, but no canary advances.
func (s *reader) endOnSubsetConflict() planEnd {
	missing := map[string]string{}
	for _, vs := range s.ours.routes() {
		if name := s.namesMissing(vs); name != "" {
			missing[vs.Name] = name
		}
	}
	if len(missing) == 0 || s.renewed || !s.isRecorded {
		return s.recordedOutcome().unchanged()
	}
	s.reverted = sortedKeys(missing)
	frozen := s.facts
	frozen.Settings.Freeze = true // a canary stays at its step
	decided, found, ok := decide(&frozen)
	end := decided.unchanged()
	if !ok {
		end.found = append(end.found, found...)
		return end
	}
	right, _ := render(decided)
	end.objects.VirtualServices = slices.Clone(end.objects.VirtualServices)
	for i, vs := range end.objects.VirtualServices {
		at := slices.IndexFunc(right.VirtualServices, func(r *networkingv1.VirtualService) bool { return r.Name == vs.Name })
		if name := missing[vs.Name]; name != "" && at >= 0 {
			end.objects.VirtualServices[i] = right.VirtualServices[at]
			s.reportForeign(vs, "spec", "", api.RouteEditReverted, "This VirtualService was edited and routes to subset "+name+", which does not exist. The edit is reverted.", "")
		}
	}
	return end
}
