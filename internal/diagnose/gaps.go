// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// gap is something that the user has no permission to read: a kind in a namespace, a kind in the whole cluster, or one object.
type gap struct{ kind, namespace, name string }

// Gaps are what the user has no permission to read. A command continues without it and lists it in one note.
type Gaps map[gap]bool

// ClusterKinds have no namespace.
var ClusterKinds = []string{"IngressClass", "MutatingWebhookConfiguration", "Namespace", "Node"}

// AddKind records that the user may not list a kind in a namespace, or in the whole cluster if namespace is empty.
func (g Gaps) AddKind(kind, namespace string) { g[gap{kind: kind, namespace: namespace}] = true }

// AddObject records that the user may not read one object.
func (g Gaps) AddObject(kind, namespace, name string) { g[gap{kind, namespace, name}] = true }

// Hides reports whether any of the kinds may not be listed in a namespace.
func (g Gaps) Hides(namespace string, kinds ...string) bool {
	return slices.ContainsFunc(kinds, func(kind string) bool { return g[gap{kind: kind, namespace: namespace}] })
}

// HidesClusterWide reports whether any of the kinds may not be listed in the whole cluster.
func (g Gaps) HidesClusterWide(kinds ...string) bool { return g.Hides("", kinds...) }

// routeKinds are the kinds that must be readable to know how the Services of a namespace are routed.
var routeKinds = []string{"DaemonSet", "Deployment", "DestinationRule", "Pod", "StatefulSet", "VirtualService"}

// RouteKindsText lists the kinds that must be readable to know the routes of a namespace.
func RouteKindsText() string {
	var out []string
	for _, kind := range routeKinds {
		out = append(out, Plural(kind))
	}
	return strings.Join(out, ", ")
}

// HidesRoutes reports whether the routes of a namespace's Services are unknown.
func (g Gaps) HidesRoutes(namespace string) bool { return g.Hides(namespace, routeKinds...) }

// HidesIntent reports whether it is unknown if routes are requested for a Service: its own labels do not say, and those of its
// Namespace may not be read.
func (g Gaps) HidesIntent(observed routing.Observed) bool {
	return g[gap{kind: "Namespace", name: observed.Service.Namespace}] && observed.Existing.IsEmpty() &&
		!api.RoutingMode(observed.Service.Labels[api.LabelRouting]).IsWritten()
}

// HidesExposure reports whether objects that decide about an exposure may not be read: the gateway's pods and Services, and what
// claims hosts in other namespaces.
func (g Gaps) HidesExposure() bool {
	return g.HidesClusterWide("Gateway", "Ingress", "Pod", "Service", "ServiceEntry", "VirtualService")
}

// gatewayReasons are the reasons of problems that can result from missing permissions to read the gateway.
var gatewayReasons = []api.RouteReason{api.RouteGatewayNotFound, api.RouteGatewayUnmatched, api.RouteGatewayPortUnexposed}

// visible returns the problems without those that missing permissions can cause.
func (g Gaps) visible(observed routing.Observed, problems []api.RouteProblem) []api.RouteProblem {
	if g.HidesRoutes(observed.Service.Namespace) || g.HidesIntent(observed) {
		return nil
	}
	if !g.HidesExposure() {
		return problems
	}
	out := slices.DeleteFunc(slices.Clone(problems), func(p api.RouteProblem) bool { return slices.Contains(gatewayReasons, p.Reason) })
	if len(out) == len(problems) {
		return out
	}
	return slices.DeleteFunc(out, func(p api.RouteProblem) bool { return p.Reason == api.RouteStillExposed }) // its cause is left out
}

// knownChanges returns the changes that the controller has not made yet, or nil if missing permissions hide what they depend on.
func (g Gaps) knownChanges(observed routing.Observed, plan routing.Result) []routing.Change {
	if observed.Intent.Expose != nil && g.HidesExposure() {
		return nil
	}
	return observed.Changes(plan)
}

// Note returns one note that lists all gaps, or "" if there are none. home is the namespace of the command.
func (g Gaps) Note(home string) string {
	if len(g) == 0 {
		return ""
	}
	var whole, objects []string
	elsewhere, in := []string{}, map[string][]string{}
	for one := range g {
		switch {
		case one.name != "":
			objects = append(objects, strings.TrimSpace(one.kind+" "+strings.TrimPrefix(one.namespace+"/"+one.name, "/")))
		case one.namespace == "" && home != "" && !slices.Contains(ClusterKinds, one.kind):
			if !g.Hides(home, one.kind) {
				elsewhere = append(elsewhere, Plural(one.kind))
			}
		case one.namespace == "" || one.namespace == home:
			whole = append(whole, Plural(one.kind))
		default:
			in[one.namespace] = append(in[one.namespace], Plural(one.kind))
		}
	}
	parts := []string{joinSorted(whole), joinSorted(objects)}
	if len(elsewhere) > 0 {
		parts = append(parts, joinSorted(elsewhere)+" outside namespace "+home)
	}
	for _, namespace := range slices.Sorted(maps.Keys(in)) {
		parts = append(parts, joinSorted(in[namespace])+" in namespace "+namespace)
	}
	parts = slices.DeleteFunc(parts, func(part string) bool { return part == "" })
	return fmt.Sprintf("You have no permission to read %s. What depends on them is unknown. docs/understand/security.md lists the permissions of users.", strings.Join(parts, "; "))
}

func joinSorted(names []string) string {
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}

// Plural returns the plural of a kind: Gateways, IngressClasses, ServiceEntries.
func Plural(kind string) string {
	switch {
	case strings.HasSuffix(kind, "ss"):
		return kind + "es"
	case strings.HasSuffix(kind, "y") && !strings.HasSuffix(kind, "ay"):
		return strings.TrimSuffix(kind, "y") + "ies"
	}
	return kind + "s"
}
