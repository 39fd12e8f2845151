// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	networkingk8s "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/routing"
)

// paths finds the objects of other kinds than Istio's own that route to a Service, or that claim a host of it. What is not in
// the cluster, or may not be read, is not there.
type paths interface {
	routesTo(ctx context.Context, service client.ObjectKey) ([]routing.Route, error)
	grantsIn(ctx context.Context, namespace string) ([]*unstructured.Unstructured, error)
	// ingresses returns those that route to the Service and, with all, those of the whole cluster.
	ingresses(ctx context.Context, service client.ObjectKey, all bool) ([]*networkingk8s.Ingress, error)
	classes(ctx context.Context) (map[string]*networkingk8s.IngressClass, error)
}

// readPaths finds the Ingresses and the routes of Gateway API that matter to a Service.
func (r *reconciler) readPaths(ctx context.Context, observed *routing.Observed) error {
	key, exposes := client.ObjectKeyFromObject(observed.Service), observed.Intent.Expose != nil
	ingresses, err := r.paths.ingresses(ctx, key, exposes)
	if err != nil {
		return err
	}
	mesh := routing.Mesh{}
	if r.options.Mesh != nil && (exposes || len(ingresses) > 0) { // nothing else depends on it
		mesh = r.options.Mesh(ctx)
	}
	observed.MeshDomain, observed.IngressController = mesh.Domain, mesh.Ingress
	if len(ingresses) > 0 {
		classes, err := r.paths.classes(ctx)
		if err != nil {
			return err
		}
		observed.Ingresses = mesh.Ingress.ServedIngresses(ingresses, classes)
	}
	routes, err := r.paths.routesTo(ctx, key)
	if err != nil || len(routes) == 0 {
		return err
	}
	var grants []*unstructured.Unstructured
	if slices.ContainsFunc(routes, func(route routing.Route) bool { return route.Namespace != key.Namespace }) {
		if grants, err = r.paths.grantsIn(ctx, key.Namespace); err != nil {
			return err
		}
	}
	observed.Bypasses = routing.Bypasses(key, routes, grants)
	return nil
}

// The caches keep routes and Ingresses by the Services to which they route, "namespace/name".
const indexBackends = "outrigger.backends"

// What is kept of a route of Gateway API.
const (
	fieldParents  = "parents"
	fieldBackends = "backends"
	fieldHosts    = "hosts"
)

// bare keeps of an object which Services it takes, and where it routes requests.
func (k optionalKind) bare(clusterDomain string) func(any) (any, error) {
	return func(object any) (any, error) {
		whole, is := object.(*unstructured.Unstructured)
		if !is {
			return object, nil
		}
		if _, done := whole.Object[fieldTakes]; done {
			return object, nil
		}
		takes := []any{} // also for a kind that takes none: it says that the object is bare
		if k.taker != nil {
			for _, name := range k.taker.ServicesOf(whole) {
				takes = append(takes, name.String())
			}
		}
		out := &unstructured.Unstructured{Object: map[string]any{fieldTakes: takes}}
		if k.routes {
			route := routing.RouteOf(whole, clusterDomain)
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

// bareRoute reads what bare left of a route.
func bareRoute(object *unstructured.Unstructured) routing.Route {
	out := routing.Route{Kind: object.GetKind(), Namespace: object.GetNamespace(), Name: object.GetName()}
	for field, into := range map[string]*[]string{fieldParents: &out.Parents, fieldBackends: &out.Backends, fieldHosts: &out.Hosts} {
		*into, _, _ = unstructured.NestedStringSlice(object.Object, field)
	}
	return out
}

func addPathIndexes(ctx context.Context, indexer fieldIndexer, kinds []optionalKind) error {
	for _, kind := range kinds {
		if !kind.routes && kind.definition != ingressResource {
			continue
		}
		if err := indexer.IndexField(ctx, kind.object(), indexBackends, backendsOf); err != nil {
			return fmt.Errorf("index %s: %w", kind.gvk.Kind, err)
		}
	}
	return nil
}

// backendsOf returns the Services to which a bare route or an Ingress routes.
func backendsOf(object client.Object) []string {
	var out []string
	switch o := object.(type) {
	case *unstructured.Unstructured:
		for _, service := range bareRoute(o).Services() {
			out = append(out, service.String())
		}
	case *networkingk8s.Ingress:
		for _, name := range routing.IngressBackendsOf(o) {
			out = append(out, o.Namespace+"/"+name)
		}
	}
	return out
}

// watchedPaths looks into the caches of those kinds that are there.
type watchedPaths struct {
	reader client.Reader
	kinds  []optionalKind
}

func (w watchedPaths) routesTo(ctx context.Context, service client.ObjectKey) ([]routing.Route, error) {
	var out []routing.Route
	for _, kind := range w.kinds {
		if !kind.routes {
			continue
		}
		list := kind.list()
		if err := w.reader.List(ctx, list, client.MatchingFields{indexBackends: service.String()}); err != nil {
			return nil, fmt.Errorf("list %s: %w", kind.gvk.Kind, err)
		}
		for i := range list.Items {
			out = append(out, bareRoute(&list.Items[i]))
		}
	}
	return out, nil
}

func (w watchedPaths) grantsIn(ctx context.Context, namespace string) ([]*unstructured.Unstructured, error) {
	at := slices.IndexFunc(w.kinds, func(k optionalKind) bool { return k.definition == routing.GrantKind().Definition })
	if at < 0 {
		return nil, nil
	}
	list := w.kinds[at].list()
	if err := w.reader.List(ctx, list, client.InNamespace(namespace)); err != nil {
		return nil, fmt.Errorf("list %s: %w", w.kinds[at].gvk.Kind, err)
	}
	return pointers(list.Items), nil
}

func (w watchedPaths) ingresses(ctx context.Context, service client.ObjectKey, all bool) ([]*networkingk8s.Ingress, error) {
	if !isWatched(w.kinds, ingressResource) {
		return nil, nil
	}
	options := []client.ListOption{client.UnsafeDisableDeepCopy}
	if !all {
		options = append(options, client.MatchingFields{indexBackends: service.String()})
	}
	var list networkingk8s.IngressList
	if err := w.reader.List(ctx, &list, options...); err != nil {
		return nil, fmt.Errorf("list Ingresses: %w", err)
	}
	return pointers(list.Items), nil
}

func (w watchedPaths) classes(ctx context.Context) (map[string]*networkingk8s.IngressClass, error) {
	if !isWatched(w.kinds, ingressClassResource) {
		return nil, nil
	}
	return listClasses(ctx, w.reader)
}

func listClasses(ctx context.Context, reader client.Reader) (map[string]*networkingk8s.IngressClass, error) {
	var list networkingk8s.IngressClassList
	if err := reader.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil && !isUnavailable(err) {
		return nil, fmt.Errorf("list IngressClasses: %w", err)
	}
	out := map[string]*networkingk8s.IngressClass{}
	for i := range list.Items {
		out[list.Items[i].Name] = &list.Items[i]
	}
	return out, nil
}

// askedPaths asks the API server, each thing once, for one who looks once.
type askedPaths struct {
	reader client.Reader
	taken  *askedTakers // has listed some of the kinds
	domain string
}

func (a askedPaths) routesTo(ctx context.Context, service client.ObjectKey) ([]routing.Route, error) {
	var out []routing.Route
	for _, kind := range routing.RouteKinds() {
		items, err := a.taken.everywhere(ctx, kind.GroupKind, service.Namespace)
		if err != nil {
			return nil, err
		}
		for i := range items {
			route := routing.RouteOf(&items[i], a.domain)
			if slices.Contains(route.Services(), service) {
				out = append(out, route)
			}
		}
	}
	return out, nil
}

func (a askedPaths) grantsIn(ctx context.Context, namespace string) ([]*unstructured.Unstructured, error) {
	items, err := a.taken.list(ctx, routing.GrantKind().GroupKind, namespace)
	return pointers(items), err
}

func (a askedPaths) ingresses(ctx context.Context, service client.ObjectKey, all bool) ([]*networkingk8s.Ingress, error) {
	var options []client.ListOption
	if !all {
		options = append(options, client.InNamespace(service.Namespace))
	}
	var list networkingk8s.IngressList
	if err := a.reader.List(ctx, &list, options...); err != nil && !isUnavailable(err) {
		return nil, fmt.Errorf("list Ingresses: %w", err)
	}
	return pointers(list.Items), nil
}

func (a askedPaths) classes(ctx context.Context) (map[string]*networkingk8s.IngressClass, error) {
	return listClasses(ctx, a.reader)
}

// ofTakerOrRoute returns the Services that an object of another controller takes, or to which it routes.
func ofTakerOrRoute(ctx context.Context, object client.Object) ([]client.ObjectKey, error) {
	out, err := ofTaker(ctx, object)
	if route, is := object.(*unstructured.Unstructured); is {
		out = append(out, bareRoute(route).Services()...)
	}
	return out, err
}

// pathsDiffer compares what bare left, without the version of the object: a change of the status alone is none.
func pathsDiffer(before, after client.Object) bool {
	was, isUnstructured := before.(*unstructured.Unstructured)
	is, areBoth := after.(*unstructured.Unstructured)
	if !isUnstructured || !areBoth {
		return true
	}
	return !slices.Equal(takenBy(was), takenBy(is)) || !reflect.DeepEqual(bareRoute(was), bareRoute(is))
}

// ofIngress returns the Services that an Ingress routes to, or whose hosts it may claim.
func (w *watches) ofIngress(ctx context.Context, object client.Object) ([]client.ObjectKey, error) {
	out, err := w.ofHosts(ctx, object)
	for _, name := range routing.IngressBackendsOf(object.(*networkingk8s.Ingress)) {
		out = append(out, client.ObjectKey{Namespace: object.GetNamespace(), Name: name})
	}
	return out, err
}

// ingressDiffers compares what a plan depends on.
func ingressDiffers(before, after client.Object) bool {
	was, is := before.(*networkingk8s.Ingress), after.(*networkingk8s.Ingress)
	return !reflect.DeepEqual(was.Spec, is.Spec) || !reflect.DeepEqual(was.Annotations, is.Annotations)
}

// ofIngressClass returns the Services to which the Ingresses of a class matter.
func (w *watches) ofIngressClass(ctx context.Context, object client.Object) ([]client.ObjectKey, error) {
	var list networkingk8s.IngressList
	if err := w.reader.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	var out []client.ObjectKey
	for i := range list.Items {
		if name := list.Items[i].Spec.IngressClassName; name == nil || *name != object.GetName() {
			continue
		}
		keys, err := w.ofIngress(ctx, &list.Items[i])
		if err != nil {
			return nil, err
		}
		out = append(out, keys...)
	}
	slices.SortFunc(out, compareKeys)
	return slices.Compact(out), nil
}

func ingressClassDiffers(before, after client.Object) bool {
	return before.(*networkingk8s.IngressClass).Spec.Controller != after.(*networkingk8s.IngressClass).Spec.Controller
}

// ofGrant returns the Services of a ReferenceGrant's namespace: it says which routes of other namespaces may name them.
func (w *watches) ofGrant(ctx context.Context, object client.Object) ([]client.ObjectKey, error) {
	return w.services(ctx, object.GetNamespace(), func(*corev1.Service) bool { return true })
}

// ofDelegates returns the Services to which the delegates of a VirtualService route.
func (w *watches) ofDelegates(ctx context.Context, route routing.Object) ([]client.ObjectKey, error) {
	root, is := route.(*networkingv1.VirtualService)
	if !is {
		return nil, nil
	}
	var out []client.ObjectKey
	for _, name := range routing.DelegatesOf(root) {
		var key client.ObjectKey
		key.Namespace, key.Name, _ = strings.Cut(name, "/")
		delegate := &networkingv1.VirtualService{}
		if err := w.reader.Get(ctx, key, delegate); err != nil {
			if apierrors.IsNotFound(err) {
				continue
			}
			return nil, err
		}
		for _, host := range hostsOf(delegate, w.options.Settings.ClusterDomain) {
			if service, is := serviceOfHost(host, w.options.Settings.ClusterDomain); is {
				out = append(out, service)
			}
		}
	}
	return out, nil
}
