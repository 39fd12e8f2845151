// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// OtherRouter is a kind of another controller that manages the traffic of Services.
type OtherRouter struct {
	schema.GroupKind
	Definition string // the name of its CustomResourceDefinition
	servicesOf func(object *unstructured.Unstructured) []types.NamespacedName
}

// OtherRouters returns those kinds in a fixed order. An object can name only Services of its own namespace, so that no other
// namespace can have a route withdrawn.
func OtherRouters() []OtherRouter {
	return []OtherRouter{
		{schema.GroupKind{Group: "argoproj.io", Kind: "Rollout"}, "rollouts.argoproj.io", takenByRollout},
		{schema.GroupKind{Group: "flagger.app", Kind: "Canary"}, "canaries.flagger.app", takenByCanary},
		{schema.GroupKind{Group: "gateway.networking.k8s.io", Kind: "HTTPRoute"}, "httproutes.gateway.networking.k8s.io", takenByHTTPRoute},
	}
}

// ServicesOf returns the Services that an object of this kind manages, sorted. It may contain names that are not Services.
func (t OtherRouter) ServicesOf(object *unstructured.Unstructured) []types.NamespacedName {
	out := slices.DeleteFunc(t.servicesOf(object), func(name types.NamespacedName) bool { return name.Name == "" })
	slices.SortFunc(out, func(a, b types.NamespacedName) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(out)
}

// Name is how a user knows an object of this kind, "Rollout demo/reviews".
func (t OtherRouter) Name(object *unstructured.Unstructured) string {
	return t.Kind + " " + object.GetNamespace() + "/" + object.GetName()
}

// takenByRollout returns the Services that a Rollout names, or with subset routing those with the names of its Istio objects.
func takenByRollout(rollout *unstructured.Unstructured) []types.NamespacedName {
	var out []types.NamespacedName
	add := func(name string) {
		out = append(out, types.NamespacedName{Namespace: rollout.GetNamespace(), Name: name})
	}
	for _, path := range []string{
		"canary.stableService", "canary.canaryService", "blueGreen.activeService", "blueGreen.previewService",
		"canary.trafficRouting.istio.destinationRule.name", "canary.trafficRouting.istio.virtualService.name",
	} {
		add(textAt(rollout.Object, append([]string{"spec", "strategy"}, strings.Split(path, ".")...)...))
	}
	several, _, _ := unstructured.NestedSlice(rollout.Object, "spec", "strategy", "canary", "trafficRouting", "istio", "virtualServices")
	for _, item := range several {
		virtual, _ := item.(map[string]any)
		add(textAt(virtual, "name"))
	}
	return out
}

// takenByCanary returns the three Services that Flagger creates and rewrites.
func takenByCanary(canary *unstructured.Unstructured) []types.NamespacedName {
	name := textAt(canary.Object, "spec", "service", "name")
	if name == "" {
		name = textAt(canary.Object, "spec", "targetRef", "name")
	}
	if name == "" {
		return nil
	}
	var out []types.NamespacedName
	for _, suffix := range []string{"", "-primary", "-canary"} {
		out = append(out, types.NamespacedName{Namespace: canary.GetNamespace(), Name: name + suffix})
	}
	return out
}

// takenByHTTPRoute returns the Services among the parents of a route. A route of another namespace is ignored: by Gateway API's
// rules it applies only to callers in that namespace, and the Service's owner did not decide it.
func takenByHTTPRoute(route *unstructured.Unstructured) []types.NamespacedName {
	parents, _, _ := unstructured.NestedSlice(route.Object, "spec", "parentRefs")
	var out []types.NamespacedName
	for _, item := range parents {
		parent, _ := item.(map[string]any)
		if textAt(parent, "kind") != "Service" {
			continue
		}
		if namespace := textAt(parent, "namespace"); namespace != "" && namespace != route.GetNamespace() {
			continue
		}
		out = append(out, types.NamespacedName{Namespace: route.GetNamespace(), Name: textAt(parent, "name")})
	}
	return out
}

func textAt(object map[string]any, path ...string) string {
	out, _, _ := unstructured.NestedString(object, path...)
	return out
}

// managedByRollouts is the mark with which Argo Rollouts makes a DestinationRule its own.
const managedByRollouts = "argo-rollouts.argoproj.io/managed-by-rollouts"

// managerOf names the object of another controller that manages the Service: as observed, or a Rollout that manages a
// DestinationRule of the Service's host.
func (s *facts) managerOf() string {
	if s.ManagedBy != "" {
		return s.ManagedBy
	}
	for _, rule := range s.Foreign.DestinationRules {
		if name := rule.Annotations[managedByRollouts]; name != "" && ResolveHost(rule.Spec.Host, rule.Namespace, s.Settings.ClusterDomain) == s.host {
			return "Rollout " + rule.Namespace + "/" + name
		}
	}
	return ""
}
