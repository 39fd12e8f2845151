// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"
	"strings"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// OtherRoute is a VirtualService that routes callers to the Service and that Outrigger does not write: another author's, or
// one of ours that was edited and is left to the user.
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
		leads := len(subsetsNamed(vs, host, domain)) > 0
		if visible(vs.Spec.ExportTo) && (edited || leads && len(route.Gateways) > 0 || route.Mesh) {
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
