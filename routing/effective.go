// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"
	"strings"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// Path is how proxies route the requests of some callers to a Service, by one of our VirtualServices or a foreign one.
type Path struct {
	Gateway string        // namespace/name; empty for callers in the mesh
	Hosts   []string      // at the gateway
	Object  api.ObjectRef // the VirtualService; empty if none routes, so that every pod has its share
	Ours    bool          // Outrigger writes it
	Rules   []ReadRule
}

// IsOther reports whether a VirtualService routes that Outrigger does not write.
func (p Path) IsOther() bool { return p.Object.Name != "" && !p.Ours }

// String returns where the requests go that no condition claims: "v1=90 v2=10"; "every pod" where no version is named.
func (p Path) String() string {
	if text := sharesLine(p.shares()); text != "" {
		return text
	}
	return "every pod"
}

func (p Path) shares() []ReadShare { return Reading{Rules: p.Rules}.Shares() }

// InEffect returns what proxies get for a Service: the path of callers in the mesh first, then one for each gateway, in the
// order of the gateways' names. Of several VirtualServices for callers in the mesh the oldest applies.
func InEffect(observed Observed, now time.Time) []Path {
	host, domain := hostOf(observed.Service, observed.Settings.ClusterDomain), observed.Settings.ClusterDomain
	versions := subsetVersions(observed)
	detached := map[string]bool{}
	for _, p := range Plan(observed, now).Problems {
		if p.Reason == api.RouteDrifted {
			detached[p.Object.Name] = true
		}
	}
	mesh := Path{}
	var oldest *networkingv1.VirtualService
	var gateways []Path
	read := func(vs *networkingv1.VirtualService, ours bool) {
		if !visible(vs.Spec.ExportTo) {
			return
		}
		path := Path{
			Object: api.ObjectRef{Kind: "VirtualService", Namespace: vs.Namespace, Name: vs.Name}, Ours: ours && !detached[vs.Name],
			Rules: readRules(rulesFor(vs, host, domain), versions),
		}
		routes := len(subsetsNamed(vs, host, domain)) > 0
		here := len(vs.Spec.ExportTo) == 0 || slices.Contains(vs.Spec.ExportTo, "*") || vs.Namespace == observed.Service.Namespace
		if coversService(vs, host, domain) && here && (oldest == nil || isOlder(vs, oldest)) {
			mesh, oldest = path, vs
		}
		for _, gateway := range boundGateways(vs) {
			if at := path; routes {
				at.Gateway = gateway
				at.Hosts = slices.DeleteFunc(slices.Clone(vs.Spec.Hosts), func(h string) bool { return ResolveHost(h, vs.Namespace, domain) == host })
				gateways = append(gateways, at)
			}
		}
	}
	for _, vs := range observed.Existing.sorted().VirtualServices {
		read(vs, true)
	}
	for _, vs := range observed.Foreign.sorted().VirtualServices {
		if _, others := ServiceOf(vs); !others || carriesMarks(vs, observed.Service) {
			read(vs, false)
		}
	}
	slices.SortStableFunc(gateways, func(a, b Path) int { return strings.Compare(a.Gateway, b.Gateway) })
	return append([]Path{mesh}, gateways...)
}

// ReadInEffect is like Read, but has the rules that proxies apply for callers in the mesh, ours or not.
func ReadInEffect(observed Observed, now time.Time) (Reading, []Path) {
	reading, paths := readExisting(observed), InEffect(observed, now)
	switch {
	case paths[0].Object.Name != "":
		reading.Mesh, reading.Rules = true, paths[0].Rules
	case slices.ContainsFunc(paths, Path.IsOther):
		reading.Mesh, reading.Rules = false, nil // what a gateway has says nothing about the mesh
	}
	return reading, paths
}

// isOlder is the order in which Istio takes VirtualServices for one host. One without a creation time is not created yet.
func isOlder(a, b *networkingv1.VirtualService) bool {
	if a.CreationTimestamp.IsZero() != b.CreationTimestamp.IsZero() {
		return b.CreationTimestamp.IsZero()
	}
	return olderObject(a, b)
}

// rulesFor returns a VirtualService without the rules that route only to other hosts.
func rulesFor(vs *networkingv1.VirtualService, host, domain string) *networkingv1.VirtualService {
	out := vs.DeepCopy()
	elsewhere := func(d interface{ GetHost() string }) bool {
		return ResolveHost(d.GetHost(), vs.Namespace, domain) != host
	}
	http, tcp := out.Spec.Http[:0], out.Spec.Tcp[:0]
	for _, rule := range out.Spec.Http {
		if slices.ContainsFunc(rule.Route, func(r *networkingapi.HTTPRouteDestination) bool { return !elsewhere(r.GetDestination()) }) {
			http = append(http, rule)
		}
	}
	for _, rule := range out.Spec.Tcp {
		if slices.ContainsFunc(rule.Route, func(r *networkingapi.RouteDestination) bool { return !elsewhere(r.GetDestination()) }) {
			tcp = append(tcp, rule)
		}
	}
	out.Spec.Http, out.Spec.Tcp = http, tcp
	return out
}

// subsetVersions returns the version of each subset of the Service, in our DestinationRules and in others.
func subsetVersions(observed Observed) map[string]string {
	out := map[string]string{}
	for version, subset := range readExisting(observed).Subsets {
		out[subset] = version
	}
	host := hostOf(observed.Service, observed.Settings.ClusterDomain)
	for _, rule := range observed.Foreign.DestinationRules {
		for _, subset := range rule.Spec.Subsets {
			if version := subset.GetLabels()[observed.Intent.VersionLabel]; version != "" && out[subset.Name] == "" && ResolveHost(rule.Spec.Host, rule.Namespace, observed.Settings.ClusterDomain) == host {
				out[subset.Name] = version
			}
		}
	}
	return out
}

// OtherRoute is a VirtualService that routes callers to the Service and that Outrigger does not write: a foreign one, or one of
// ours that was edited and is left to the user.
type OtherRoute struct {
	Object   api.ObjectRef
	Gateways []string // namespace/name; empty if it is for the mesh alone
	Mesh     bool     // it is for callers in the mesh
	Edited   bool     // it was Outrigger's
	Shares   []ReadShare
}

// String returns "VirtualService demo/app routes v1=100 in the mesh and at gateway demo/front".
func (r OtherRoute) String() string {
	var places []string
	if r.Mesh {
		places = append(places, "in the mesh")
	}
	if len(r.Gateways) > 0 {
		places = append(places, "at gateway "+strings.Join(r.Gateways, ", "))
	}
	return r.Object.String() + " routes " + sharesLine(r.Shares) + " " + strings.Join(places, " and ")
}

// Overriding returns the VirtualServices that Outrigger does not write and that route callers otherwise than the Service's
// annotations say, in the order of their names.
func Overriding(observed Observed, now time.Time) []OtherRoute {
	wanted := sharesLine(wantedShares(observed, now))
	var out []OtherRoute
	for _, route := range otherRoutes(observed, now) {
		if sharesLine(route.Shares) != wanted {
			out = append(out, route)
		}
	}
	return out
}

// wantedShares are those that would be routed without any other route.
func wantedShares(observed Observed, now time.Time) []ReadShare {
	alone := observed
	alone.Foreign, alone.Intent.Drift = Objects{DestinationRules: observed.Foreign.DestinationRules}, api.DriftRevert
	alone.Settings.Settle, alone.Settings.PropagationDelay = 0, 0
	alone.Existing = Plan(alone, now).Objects
	return readExisting(alone).Shares()
}

func otherRoutes(observed Observed, now time.Time) []OtherRoute {
	host, domain := hostOf(observed.Service, observed.Settings.ClusterDomain), observed.Settings.ClusterDomain
	versions := subsetVersions(observed)
	var out []OtherRoute
	add := func(vs *networkingv1.VirtualService, edited bool) {
		route := OtherRoute{
			Object: api.ObjectRef{Kind: "VirtualService", Namespace: vs.Namespace, Name: vs.Name}, Edited: edited,
			Gateways: boundGateways(vs), Mesh: vs.Namespace == observed.Service.Namespace && coversService(vs, host, domain),
			Shares: Reading{Rules: readRules(vs, versions)}.Shares(),
		}
		routesHere := len(subsetsNamed(vs, host, domain)) > 0
		if visible(vs.Spec.ExportTo) && (edited || routesHere && len(route.Gateways) > 0 || route.Mesh) {
			out = append(out, route)
		}
	}
	for _, vs := range observed.Foreign.sorted().VirtualServices {
		add(vs, false)
	}
	problems := Plan(observed, now).Problems
	for _, vs := range observed.Existing.sorted().VirtualServices {
		if slices.ContainsFunc(problems, func(p api.RouteProblem) bool {
			return p.Reason == api.RouteDrifted && p.Object.Kind == "VirtualService" && p.Object.Name == vs.Name
		}) {
			add(vs, true)
		}
	}
	return out
}
