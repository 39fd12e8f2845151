// SPDX-License-Identifier: Apache-2.0

package cli

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

// gaps are what the user has no permission to read. A command continues without it and lists it in one note.
type gaps map[gap]bool

// clusterKinds have no namespace.
var clusterKinds = []string{"IngressClass", "MutatingWebhookConfiguration", "Namespace", "Node"}

// kindIn records that the user may not list a kind in a namespace, or in the whole cluster if namespace is empty.
func (g gaps) kindIn(kind, namespace string) { g[gap{kind: kind, namespace: namespace}] = true }

// object records that the user may not read one object.
func (g gaps) object(kind, namespace, name string) { g[gap{kind, namespace, name}] = true }

// in reports whether any of the kinds may not be listed in a namespace.
func (g gaps) in(namespace string, kinds ...string) bool {
	return slices.ContainsFunc(kinds, func(kind string) bool { return g[gap{kind: kind, namespace: namespace}] })
}

// elsewhere reports whether any of the kinds may not be listed in the whole cluster.
func (g gaps) elsewhere(kinds ...string) bool { return g.in("", kinds...) }

// routeKinds are the kinds that must be readable to know how the Services of a namespace are routed.
var routeKinds = []string{"DaemonSet", "Deployment", "DestinationRule", "Pod", "StatefulSet", "VirtualService"}

// hideRoutes reports whether the routes of a namespace's Services are unknown.
func (g gaps) hideRoutes(namespace string) bool { return g.in(namespace, routeKinds...) }

// hideIntent reports whether it is unknown if routes are requested for a Service: its own labels do not say, and those of its
// Namespace may not be read.
func (g gaps) hideIntent(observed routing.Observed) bool {
	return g[gap{kind: "Namespace", name: observed.Service.Namespace}] && observed.Standing.IsEmpty() &&
		!api.RoutingMode(observed.Service.Labels[api.LabelRouting]).IsWritten()
}

// hideExposure reports whether objects that decide about an exposure may not be read: the gateway's pods and Services, and what
// claims hosts in other namespaces.
func (g gaps) hideExposure() bool {
	return g.elsewhere("Gateway", "Ingress", "Pod", "Service", "ServiceEntry", "VirtualService")
}

// gatewayReasons are the reasons of problems that can result from missing permissions to read the gateway.
var gatewayReasons = []api.RouteReason{api.RouteGatewayNotFound, api.RouteGatewayUnmatched, api.RouteGatewayPortUnexposed}

// visible returns the problems without those that missing permissions can cause.
func (g gaps) visible(observed routing.Observed, problems []api.RouteProblem) []api.RouteProblem {
	if g.hideRoutes(observed.Service.Namespace) || g.hideIntent(observed) {
		return nil
	}
	if !g.hideExposure() {
		return problems
	}
	out := slices.DeleteFunc(slices.Clone(problems), func(p api.RouteProblem) bool { return slices.Contains(gatewayReasons, p.Reason) })
	if len(out) == len(problems) {
		return out
	}
	return slices.DeleteFunc(out, func(p api.RouteProblem) bool { return p.Reason == api.RouteStillExposed }) // its cause is left out
}

// knownChanges returns the changes that the controller has not made yet, or nil if missing permissions hide what they depend on.
func (g gaps) knownChanges(observed routing.Observed, plan routing.Result) []routing.Change {
	if observed.Intent.Expose != nil && g.hideExposure() {
		return nil
	}
	return observed.Changes(plan)
}

// note returns one note that lists all gaps, or "" if there are none. home is the namespace of the command.
func (g gaps) note(home string) string {
	if len(g) == 0 {
		return ""
	}
	var whole, objects []string
	elsewhere, in := []string{}, map[string][]string{}
	for one := range g {
		switch {
		case one.name != "":
			objects = append(objects, strings.TrimSpace(one.kind+" "+strings.TrimPrefix(one.namespace+"/"+one.name, "/")))
		case one.namespace == "" && home != "" && !slices.Contains(clusterKinds, one.kind):
			if !g.in(home, one.kind) {
				elsewhere = append(elsewhere, plural(one.kind))
			}
		case one.namespace == "" || one.namespace == home:
			whole = append(whole, plural(one.kind))
		default:
			in[one.namespace] = append(in[one.namespace], plural(one.kind))
		}
	}
	parts := []string{listed(whole), listed(objects)}
	if len(elsewhere) > 0 {
		parts = append(parts, listed(elsewhere)+" outside namespace "+home)
	}
	for _, namespace := range slices.Sorted(maps.Keys(in)) {
		parts = append(parts, listed(in[namespace])+" in namespace "+namespace)
	}
	parts = slices.DeleteFunc(parts, func(part string) bool { return part == "" })
	return fmt.Sprintf("You have no permission to read %s. What depends on them is unknown. docs/understand/security.md lists the permissions of users.", strings.Join(parts, "; "))
}

func listed(names []string) string {
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}

func pluralsOf(kinds []string) []string {
	var out []string
	for _, kind := range kinds {
		out = append(out, plural(kind))
	}
	return out
}

// plural returns the plural of a kind: Gateways, IngressClasses, ServiceEntries.
func plural(kind string) string {
	switch {
	case strings.HasSuffix(kind, "ss"):
		return kind + "es"
	case strings.HasSuffix(kind, "y") && !strings.HasSuffix(kind, "ay"):
		return strings.TrimSuffix(kind, "y") + "ies"
	}
	return kind + "s"
}
