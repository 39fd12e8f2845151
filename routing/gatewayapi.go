// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"outrigger.dev/outrigger/api"
)

const groupGatewayAPI = "gateway.networking.k8s.io"

// RouteKind is a kind of Gateway API whose objects route to Services.
type RouteKind struct {
	schema.GroupKind
	Definition string // the name of its CustomResourceDefinition
}

// RouteKinds returns the kinds of Gateway API that Istio implements, in a fixed order.
func RouteKinds() []RouteKind {
	var out []RouteKind
	for _, kind := range []string{"HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute"} {
		out = append(out, RouteKind{schema.GroupKind{Group: groupGatewayAPI, Kind: kind}, strings.ToLower(kind) + "s." + groupGatewayAPI})
	}
	return out
}

// GrantKind is the kind whose objects permit routes of other namespaces to name a Service.
func GrantKind() RouteKind {
	return RouteKind{schema.GroupKind{Group: groupGatewayAPI, Kind: "ReferenceGrant"}, "referencegrants." + groupGatewayAPI}
}

// GatewayAPIRoute is the part of a Gateway API route that decides where requests go.
type GatewayAPIRoute struct {
	Kind, Namespace, Name string
	// Parents are what requests come through, sorted: "Gateway infra/front", or "Service shop/facade" for callers in the mesh.
	// Those that the parent's controller refuses are left out.
	Parents []string
	// Backends are the Services that get requests, sorted: "Service demo/app". The kind is that of the reference: a
	// ServiceImport, or a Hostname that is a Service's, means its Service.
	Backends []string
	Hosts    []string // of the requests; empty for all
}

// GatewayAPIRouteOf reads a route.
func GatewayAPIRouteOf(object *unstructured.Unstructured, clusterDomain string) GatewayAPIRoute {
	out := GatewayAPIRoute{Kind: object.GetKind(), Namespace: object.GetNamespace(), Name: object.GetName()}
	out.Hosts, _, _ = unstructured.NestedStringSlice(object.Object, "spec", "hostnames")
	refused := refusedParents(object)
	for _, parent := range mapsAt(object.Object, "spec", "parentRefs") {
		if name := parentName(parent, out.Namespace); name != "" && !refused[name] {
			out.Parents = append(out.Parents, name)
		}
	}
	for _, rule := range mapsAt(object.Object, "spec", "rules") {
		for _, backend := range mapsAt(rule, "backendRefs") {
			if weight, written := numberAt(backend, "weight"); !written || weight > 0 {
				out.Backends = append(out.Backends, backendName(backend, out.Namespace, clusterDomain))
			}
		}
		for _, filter := range mapsAt(rule, "filters") {
			if mirrored, is, _ := unstructured.NestedMap(filter, "requestMirror", "backendRef"); is {
				out.Backends = append(out.Backends, backendName(mirrored, out.Namespace, clusterDomain))
			}
		}
	}
	out.Backends = slices.DeleteFunc(out.Backends, func(name string) bool { return name == "" })
	slices.Sort(out.Parents)
	slices.Sort(out.Backends)
	out.Parents, out.Backends = slices.Compact(out.Parents), slices.Compact(out.Backends)
	return out
}

// Services returns the Services that get requests by the route, sorted.
func (r GatewayAPIRoute) Services() []types.NamespacedName {
	var out []types.NamespacedName
	for _, backend := range r.Backends {
		_, service := splitBackend(backend)
		out = append(out, service)
	}
	slices.SortFunc(out, func(a, b types.NamespacedName) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(out)
}

func splitBackend(backend string) (kind string, service types.NamespacedName) {
	kind, name, _ := strings.Cut(backend, " ")
	service.Namespace, service.Name, _ = strings.Cut(name, "/")
	return kind, service
}

// parentName is what a reference to a parent means; empty for kinds through which no requests come to a mesh.
func parentName(parent map[string]any, namespace string) string {
	group, kind := groupGatewayAPI, cmp.Or(textAt(parent, "kind"), "Gateway")
	if written, is := parent["group"].(string); is {
		group = written
	} else if kind == "Service" {
		group = ""
	}
	switch {
	case kind == "Gateway" && group == groupGatewayAPI:
	case strings.HasSuffix(kind, "ListenerSet") && strings.HasPrefix(group, "gateway.networking."):
	case kind == "Service" && group == "":
	case kind == "ServiceEntry" && group == "networking.istio.io":
	default:
		return ""
	}
	return kind + " " + cmp.Or(textAt(parent, "namespace"), namespace) + "/" + textAt(parent, "name")
}

// refusedParents are the parents whose status reports that the route is not accepted, for example because their
// listeners do not allow the route's namespace. A parent without a status may still accept it.
func refusedParents(object *unstructured.Unstructured) map[string]bool {
	refused := map[string]bool{}
	accepted := map[string]bool{}
	for _, status := range mapsAt(object.Object, "status", "parents") {
		ref, _ := status["parentRef"].(map[string]any)
		name := parentName(ref, object.GetNamespace())
		denied := slices.ContainsFunc(mapsAt(status, "conditions"), func(condition map[string]any) bool {
			return textAt(condition, "type") == "Accepted" && textAt(condition, "status") == "False"
		})
		refused[name] = refused[name] || denied
		accepted[name] = accepted[name] || !denied
	}
	for name := range accepted {
		refused[name] = refused[name] && !accepted[name]
	}
	return refused
}

// backendName is the Service that a reference to a backend means, after the kind of the reference; empty for what is none.
func backendName(backend map[string]any, namespace, clusterDomain string) string {
	kind, group, name := cmp.Or(textAt(backend, "kind"), "Service"), textAt(backend, "group"), textAt(backend, "name")
	_, hasPort := numberAt(backend, "port")
	switch {
	case kind == "Hostname" && group == "networking.istio.io":
		short, _ := strings.CutSuffix(name, ".svc."+clusterDomain)
		service, of, found := strings.Cut(short, ".")
		if short == name || !found || strings.Contains(of, ".") {
			return ""
		}
		return kind + " " + of + "/" + service
	case (kind == "Service" && group == "" || kind == "ServiceImport") && hasPort && name != "":
		return kind + " " + cmp.Or(textAt(backend, "namespace"), namespace) + "/" + name
	}
	return ""
}

// Bypasses returns the routes that target a Service, sorted by name. The grants of its namespace permit routes of other namespaces
// to do so, for requests that come through a gateway.
func Bypasses(service types.NamespacedName, routes []GatewayAPIRoute, grants []*unstructured.Unstructured) []Bypass {
	var out []Bypass
	for _, route := range routes {
		parents := map[string]bool{}
		for _, backend := range route.Backends {
			kind, to := splitBackend(backend)
			if to != service {
				continue
			}
			free := kind == "Hostname" || route.Namespace == service.Namespace || slices.ContainsFunc(grants, func(grant *unstructured.Unstructured) bool {
				return permits(grant, route, kind, service)
			})
			for _, parent := range route.Parents {
				if free || strings.HasPrefix(parent, "Service") { // in the mesh, no grant is needed
					parents[parent] = true
				}
			}
		}
		if len(parents) > 0 {
			out = append(out, Bypass{Object: api.ObjectRef{Kind: route.Kind, Namespace: route.Namespace, Name: route.Name}, Parents: sortedKeys(parents), Hosts: route.Hosts})
		}
	}
	slices.SortFunc(out, func(a, b Bypass) int { return strings.Compare(a.Object.String(), b.Object.String()) })
	return out
}

// permits reports whether a ReferenceGrant lets a route name a Service.
func permits(grant *unstructured.Unstructured, route GatewayAPIRoute, kind string, service types.NamespacedName) bool {
	from := slices.ContainsFunc(mapsAt(grant.Object, "spec", "from"), func(from map[string]any) bool {
		return textAt(from, "group") == groupGatewayAPI && textAt(from, "kind") == route.Kind && textAt(from, "namespace") == route.Namespace
	})
	return from && grant.GetNamespace() == service.Namespace && slices.ContainsFunc(mapsAt(grant.Object, "spec", "to"), func(to map[string]any) bool {
		name := textAt(to, "name")
		return textAt(to, "kind") == kind && (name == "" || name == service.Name)
	})
}

// mapsAt returns the maps of a list.
func mapsAt(object map[string]any, path ...string) []map[string]any {
	list, _, _ := unstructured.NestedFieldNoCopy(object, path...)
	items, _ := list.([]any)
	var out []map[string]any
	for _, item := range items {
		if fields, is := item.(map[string]any); is {
			out = append(out, fields)
		}
	}
	return out
}

// numberAt returns a number, however the reader has decoded it.
func numberAt(object map[string]any, key string) (float64, bool) {
	switch number := object[key].(type) {
	case int64:
		return float64(number), true
	case float64:
		return number, true
	}
	return 0, false
}
