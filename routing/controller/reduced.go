// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"strings"

	networkingk8s "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/routing"
)

// The caches keep objects of other controllers reduced to these fields: the Services that belong to the object, and for a route of
// Gateway API, what it is attached to, where it routes, and its hosts.
const (
	fieldServices = "services"
	fieldParents  = "parents"
	fieldBackends = "backends"
	fieldHosts    = "hosts"
)

// They are indexed by Services, "namespace/name".
const (
	indexRouted   = "outrigger.routed"   // other routers by the Services that belong to them
	indexBackends = "outrigger.backends" // routes and Ingresses by the Services to which they route
)

// reduce returns the transform of the kind for a cache.
func (k optionalKind) reduce(clusterDomain string) func(any) (any, error) {
	return func(object any) (any, error) {
		whole, is := object.(*unstructured.Unstructured)
		if !is {
			return object, nil
		}
		if _, done := whole.Object[fieldServices]; done {
			return object, nil
		}
		services := []any{} // also for a kind that is not a router: it marks a reduced object
		if k.router != nil {
			for _, name := range k.router.ServicesOf(whole) {
				services = append(services, name.String())
			}
		}
		out := &unstructured.Unstructured{Object: map[string]any{fieldServices: services}}
		if k.routes {
			route := routing.GatewayAPIRouteOf(whole, clusterDomain)
			for field, texts := range map[string][]string{fieldParents: route.Parents, fieldBackends: route.Backends, fieldHosts: route.Hosts} {
				if err := unstructured.SetNestedStringSlice(out.Object, texts, field); err != nil {
					return nil, err
				}
			}
		}
		out.SetGroupVersionKind(whole.GroupVersionKind())
		out.SetNamespace(whole.GetNamespace())
		out.SetName(whole.GetName())
		out.SetUID(whole.GetUID())
		out.SetResourceVersion(whole.GetResourceVersion())
		return out, nil
	}
}

// reducedServices returns the Services that belong to a reduced object.
func reducedServices(object client.Object) []string {
	reduced, is := object.(*unstructured.Unstructured)
	if !is {
		return nil
	}
	out, _, _ := unstructured.NestedStringSlice(reduced.Object, fieldServices)
	return out
}

// reducedRoute returns the route that a reduced object was.
func reducedRoute(object *unstructured.Unstructured) routing.GatewayAPIRoute {
	out := routing.GatewayAPIRoute{Kind: object.GetKind(), Namespace: object.GetNamespace(), Name: object.GetName()}
	for field, into := range map[string]*[]string{fieldParents: &out.Parents, fieldBackends: &out.Backends, fieldHosts: &out.Hosts} {
		*into, _, _ = unstructured.NestedStringSlice(object.Object, field)
	}
	return out
}

// backendsOf returns the Services to which a reduced route or an Ingress routes.
func backendsOf(object client.Object) []string {
	var out []string
	switch o := object.(type) {
	case *unstructured.Unstructured:
		for _, service := range reducedRoute(o).Services() {
			out = append(out, service.String())
		}
	case *networkingk8s.Ingress:
		for _, name := range routing.IngressBackendsOf(o) {
			out = append(out, o.Namespace+"/"+name)
		}
	}
	return out
}

// servicesForReduced returns the Services that belong to an object of another controller, or to which it routes.
func servicesForReduced(_ context.Context, object client.Object) ([]client.ObjectKey, error) {
	var out []client.ObjectKey
	for _, text := range reducedServices(object) {
		namespace, name, _ := strings.Cut(text, "/")
		out = append(out, client.ObjectKey{Namespace: namespace, Name: name})
	}
	if route, is := object.(*unstructured.Unstructured); is {
		out = append(out, reducedRoute(route).Services()...)
	}
	return out, nil
}
