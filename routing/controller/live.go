// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingk8s "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// Live is the Sources of a command that looks at a cluster once. It needs no cache and no index of pods.
type Live struct{ *liveSources }

type liveSources struct {
	reader  client.Reader
	mapper  meta.RESTMapper
	options Options
	objects *ObjectIndex  // nil = not read yet
	mesh    *routing.Mesh // read once
	// mappings are of the kinds of other controllers; nil for one that the cluster does not have.
	mappings map[schema.GroupKind]*meta.RESTMapping
}

var _ Sources = &Live{}

// NewLive returns a Live that reads through a reader, which may keep what it has read. The mapper knows which kinds of other
// controllers the cluster has.
func NewLive(reader client.Reader, mapper meta.RESTMapper, options Options) *Live {
	options.RootNamespace = cmp.Or(options.RootNamespace, defaultRootNamespace)
	return &Live{&liveSources{reader: reader, mapper: mapper, options: options, mappings: map[schema.GroupKind]*meta.RESTMapping{}}}
}

// Gather is like the function Gather. It reads all facts, even for a Service without routes.
func (l *Live) Gather(ctx context.Context, key client.ObjectKey) (*routing.Observed, []api.RouteProblem, error) {
	return l.GatherFrom(ctx, l, key)
}

// GatherFrom is like Gather, but reads from other sources, which wrap this Live.
func (l *Live) GatherFrom(ctx context.Context, from Sources, key client.ObjectKey) (*routing.Observed, []api.RouteProblem, error) {
	return Gather(ctx, from, key, GatherOptions{Settings: l.options.Settings, RootNamespace: l.options.RootNamespace, Unrouted: true, BetweenWrites: true})
}

// OtherKinds returns the kinds of other controllers that the cluster has.
func (l *Live) OtherKinds() ([]schema.GroupVersionKind, error) {
	var out []schema.GroupVersionKind
	for _, kind := range otherKinds() {
		mapping, err := l.mappingOf(kind)
		if err != nil {
			return nil, err
		}
		if mapping != nil {
			out = append(out, mapping.GroupVersionKind)
		}
	}
	return out, nil
}

// otherKinds are the kinds of other controllers that plans depend on.
func otherKinds() []schema.GroupKind {
	out := []schema.GroupKind{routing.GrantKind().GroupKind}
	for _, router := range routing.OtherRouters() {
		out = append(out, router.GroupKind)
	}
	for _, kind := range routing.RouteKinds() {
		out = append(out, kind.GroupKind)
	}
	return out
}

type othersList struct {
	items       []unstructured.Unstructured
	isForbidden bool
}

func (l *liveSources) Service(ctx context.Context, key client.ObjectKey) (*corev1.Service, *corev1.Namespace, error) {
	return readService(ctx, l.reader, key)
}

func (l *liveSources) Objects(ctx context.Context, term string) (routing.Objects, error) {
	if l.objects == nil {
		all, err := ListObjects(ctx, l.reader)
		if err != nil {
			return routing.Objects{}, err
		}
		l.objects = NewObjectIndex(l.options.Settings.ClusterDomain)
		l.objects.Add(all)
	}
	return l.objects.Objects(ctx, term)
}

func (l *liveSources) DeletedDestinationRule(client.ObjectKey) *networkingv1.DestinationRule {
	return nil
}

func (l *liveSources) Pods(ctx context.Context, service *corev1.Service, versionLabel string) ([]routing.PodGroup, error) {
	var pods []routing.PodGroup
	if len(service.Spec.Selector) > 0 {
		var list corev1.PodList
		if err := l.reader.List(ctx, &list, client.InNamespace(service.Namespace), client.MatchingLabels(service.Spec.Selector)); err != nil {
			return nil, err
		}
		pods = routing.GroupPods(pointers(list.Items), versionLabel)
	}
	entries, err := entryGroups(ctx, l.reader, service, versionLabel)
	if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
		err = nil // the cluster does not have the kind
	}
	return append(pods, entries...), err
}

func (l *liveSources) Workloads(ctx context.Context, service *corev1.Service) ([]routing.Workload, error) {
	return listWorkloads(ctx, l.reader, service.Namespace)
}

func listWorkloads(ctx context.Context, reader client.Reader, namespace string) ([]routing.Workload, error) {
	var out []routing.Workload
	for _, list := range []client.ObjectList{&appsv1.DeploymentList{}, &appsv1.StatefulSetList{}, &appsv1.DaemonSetList{}} {
		if err := reader.List(ctx, list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
			return nil, err
		}
		err := meta.EachListItem(list, func(object runtime.Object) error { out = append(out, workloadEntryOf(object).workload); return nil })
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(out, func(a, b routing.Workload) int { return compareWorkloads(&a, &b) })
	return out, nil
}

func (l *liveSources) ServiceNames(ctx context.Context, namespace string) (map[string]bool, error) {
	out, err := listServiceNames(ctx, l.reader, namespace)
	if isUnavailable(err) {
		err = nil
	}
	return out, err
}

func (l *liveSources) Gateways(ctx context.Context, selector map[string]string) ([]string, []*corev1.Service, error) {
	labeled, err := l.istioPods(ctx)
	if err != nil {
		return nil, nil, err
	}
	var values []string
	for i := range labeled {
		values = append(values, labeled[i].Labels[labelIstio])
	}
	slices.Sort(values)
	services, err := GatewayServices(ctx, l.reader, selector)
	return slices.Compact(values), services, err
}

// GatewayServices returns the Services of the gateway whose pods a selector matches, sorted; nil for an empty selector. See servicesOfGateway.
func GatewayServices(ctx context.Context, reader client.Reader, selector map[string]string) ([]*corev1.Service, error) {
	if len(selector) == 0 {
		return nil, nil
	}
	var pods corev1.PodList
	if err := reader.List(ctx, &pods, client.MatchingLabels(selector)); err != nil {
		return nil, err
	}
	podLabels := map[string][]map[string]string{} // by Namespace
	for i := range pods.Items {
		pod := &pods.Items[i]
		if pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
			podLabels[pod.Namespace] = append(podLabels[pod.Namespace], pod.Labels)
		}
	}
	return servicesOfGateway(ctx, reader, podLabels)
}

func (l *liveSources) istioPods(ctx context.Context) ([]corev1.Pod, error) {
	var list corev1.PodList
	err := l.reader.List(ctx, &list, client.HasLabels{labelIstio})
	return list.Items, err
}

// IsMultiCluster reads Istio's Namespace and the pods of the cluster only where the answer matters: a setting decides, or else an
// existing route stays, and one with ready pods waits for nothing.
func (l *liveSources) IsMultiCluster(ctx context.Context, observed *routing.Observed) (bool, error) {
	set := observed.Settings.MultiCluster
	isServed := slices.ContainsFunc(observed.Pods, func(group routing.PodGroup) bool { return group.Ready > 0 })
	if set == api.MultiClusterEnabled || set == api.MultiClusterDisabled || len(observed.Existing.VirtualServices) > 0 && isServed {
		return false, nil
	}
	if named, err := hasNetwork(ctx, l.reader, l.options.RootNamespace); err != nil || named {
		return named, err
	}
	labeled, err := l.istioPods(ctx)
	return slices.ContainsFunc(labeled, func(pod corev1.Pod) bool { return pod.Labels[labelIstio] == eastWestGateway }), err
}

func (l *liveSources) ServiceEntries(ctx context.Context) ([]*networkingv1.ServiceEntry, error) {
	var list networkingv1.ServiceEntryList
	if err := l.reader.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil && !isUnavailable(err) {
		return nil, err
	}
	return list.Items, nil
}

func (l *liveSources) ManagedBy(ctx context.Context, service client.ObjectKey) (string, error) {
	for _, router := range routing.OtherRouters() {
		items, err := l.listOthers(ctx, router.GroupKind, service.Namespace)
		if err != nil {
			return "", err
		}
		ours := slices.DeleteFunc(slices.Clone(items.items), func(item unstructured.Unstructured) bool {
			return !slices.Contains(router.ServicesOf(&item), service)
		})
		if name := firstName(router, ours); name != "" {
			return name, nil
		}
	}
	return "", nil
}

func (l *liveSources) Mesh(ctx context.Context) routing.Mesh {
	if l.mesh == nil {
		l.mesh = &routing.Mesh{}
		if l.options.Mesh != nil {
			*l.mesh = l.options.Mesh(ctx)
		}
	}
	return *l.mesh
}

func (l *liveSources) Ingresses(ctx context.Context, service client.ObjectKey, all bool) ([]*networkingk8s.Ingress, map[string]*networkingk8s.IngressClass, error) {
	var options []client.ListOption
	if !all {
		options = append(options, client.InNamespace(service.Namespace))
	}
	var list networkingk8s.IngressList
	if err := l.reader.List(ctx, &list, options...); err != nil && !isUnavailable(err) {
		return nil, nil, fmt.Errorf("list Ingresses: %w", err)
	}
	if len(list.Items) == 0 {
		return nil, nil, nil
	}
	classes, err := ingressClasses(ctx, l.reader)
	return pointers(list.Items), classes, err
}

// GatewayRoutes looks in all namespaces; where those may not be listed, in that of the Service.
func (l *liveSources) GatewayRoutes(ctx context.Context, service client.ObjectKey) ([]routing.GatewayAPIRoute, error) {
	var out []routing.GatewayAPIRoute
	for _, kind := range routing.RouteKinds() {
		found, err := l.listOthers(ctx, kind.GroupKind, "")
		if err == nil && found.isForbidden {
			found, err = l.listOthers(ctx, kind.GroupKind, service.Namespace)
		}
		if err != nil {
			return nil, err
		}
		for i := range found.items {
			if route := routing.GatewayAPIRouteOf(&found.items[i], l.options.Settings.ClusterDomain); slices.Contains(route.Services(), service) {
				out = append(out, route)
			}
		}
	}
	return out, nil
}

func (l *liveSources) ReferenceGrants(ctx context.Context, namespace string) ([]*unstructured.Unstructured, error) {
	found, err := l.listOthers(ctx, routing.GrantKind().GroupKind, namespace)
	return pointers(found.items), err
}

// listOthers lists objects of another controller in a namespace, or in all if it is empty. A kind that is not served, or may not be
// listed, has none.
func (l *liveSources) listOthers(ctx context.Context, kind schema.GroupKind, namespace string) (othersList, error) {
	mapping, err := l.mappingOf(kind)
	if err != nil || mapping == nil {
		return othersList{}, err
	}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(mapping.GroupVersionKind.GroupVersion().WithKind(kind.Kind + "List"))
	err = l.reader.List(ctx, list, client.InNamespace(namespace))
	if err != nil && !isUnavailable(err) {
		return othersList{}, fmt.Errorf("list %s: %w", kind, err)
	}
	return othersList{items: list.Items, isForbidden: apierrors.IsForbidden(err)}, nil
}

// mappingOf looks a kind up once. It returns nil if the cluster does not have it.
func (l *liveSources) mappingOf(kind schema.GroupKind) (*meta.RESTMapping, error) {
	if mapping, known := l.mappings[kind]; known {
		return mapping, nil
	}
	mapping, err := l.mapper.RESTMapping(kind)
	if isUnavailable(err) {
		mapping, err = nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find the version of %s: %w", kind, err)
	}
	l.mappings[kind] = mapping
	return mapping, nil
}

// isUnavailable reports whether a kind is not served, or may not be listed: then what it decides about a Service is unknown.
func isUnavailable(err error) bool {
	return meta.IsNoMatchError(err) || apierrors.IsNotFound(err) || apierrors.IsForbidden(err)
}
