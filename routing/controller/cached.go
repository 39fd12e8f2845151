// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	networkingk8s "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/routing"
	"outrigger.dev/outrigger/routing/podindex"
)

// cachedSources are the caches and indexes of the controller.
type cachedSources struct {
	reader       client.Reader // the caches; optional kinds only if they are in kinds
	kinds        []optionalKind
	options      Options
	index        *podindex.Index
	workloads    func(namespace string) []routing.Workload
	workload     func(namespace string, ref routing.WorkloadRef) (routing.Workload, bool)
	names        *serviceNames
	deletedRules *restoredDestinationRules
}

var _ Sources = &cachedSources{}

func (c *cachedSources) Service(ctx context.Context, key client.ObjectKey) (*corev1.Service, *corev1.Namespace, error) {
	return readService(ctx, c.reader, key)
}

// readService fails if the Namespace is missing: a cache may be behind.
func readService(ctx context.Context, reader client.Reader, key client.ObjectKey) (*corev1.Service, *corev1.Namespace, error) {
	service, namespace := &corev1.Service{}, &corev1.Namespace{}
	if err := reader.Get(ctx, key, service); err != nil {
		return nil, nil, client.IgnoreNotFound(err)
	}
	return service, namespace, reader.Get(ctx, client.ObjectKey{Name: key.Namespace}, namespace)
}

func (c *cachedSources) Objects(ctx context.Context, term string) (routing.Objects, error) {
	if term == "" {
		return ListObjects(ctx, c.reader)
	}
	return ListObjects(ctx, c.reader, client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector(indexConcerns, term)})
}

// ListObjects returns the objects of a reader, which must not be changed.
func ListObjects(ctx context.Context, reader client.Reader, options ...client.ListOption) (routing.Objects, error) {
	var rules networkingv1.DestinationRuleList
	var routes networkingv1.VirtualServiceList
	var gateways networkingv1.GatewayList
	options = append(options, client.UnsafeDisableDeepCopy)
	for _, list := range []client.ObjectList{&rules, &routes, &gateways} {
		if err := reader.List(ctx, list, options...); err != nil {
			return routing.Objects{}, err
		}
	}
	return routing.Objects{DestinationRules: rules.Items, VirtualServices: routes.Items, Gateways: gateways.Items}, nil
}

func (c *cachedSources) DeletedDestinationRule(service client.ObjectKey) *networkingv1.DestinationRule {
	return c.deletedRules.forService(service)
}

func (c *cachedSources) Pods(ctx context.Context, service *corev1.Service, versionLabel string) ([]routing.PodGroup, error) {
	pods := c.index.Groups(service.Namespace, service.Spec.Selector, versionLabel)
	if !isWatched(c.kinds, workloadEntryDefinition) {
		return pods, nil
	}
	entries, err := entryGroups(ctx, c.reader, service, versionLabel)
	return append(pods, entries...), err
}

// entryGroups returns the WorkloadEntries that a Service selects.
func entryGroups(ctx context.Context, reader client.Reader, service *corev1.Service, versionLabel string) ([]routing.PodGroup, error) {
	var list networkingv1.WorkloadEntryList
	if err := reader.List(ctx, &list, client.InNamespace(service.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	return routing.GroupEntries(list.Items, service.Spec.Selector, versionLabel), nil
}

func (c *cachedSources) Workloads(_ context.Context, service *corev1.Service) ([]routing.Workload, error) {
	return c.workloads(service.Namespace), nil
}

func (c *cachedSources) ServiceNames(ctx context.Context, namespace string) (map[string]bool, error) {
	return c.names.inNamespace(ctx, namespace, func(ctx context.Context, namespace string) (map[string]bool, error) {
		return listServiceNames(ctx, c.reader, namespace)
	})
}

func (c *cachedSources) Gateways(ctx context.Context, selector map[string]string) ([]string, []*corev1.Service, error) {
	services, err := servicesOfGateway(ctx, c.reader, c.index.LabelSets(selector))
	return c.index.IstioValues(), services, err
}

func (c *cachedSources) IsMultiCluster(ctx context.Context, _ *routing.Observed) (bool, error) {
	named, err := hasNetwork(ctx, c.reader, c.options.RootNamespace)
	return named || c.index.HasIstio(eastWestGateway), err
}

// hasNetwork reports whether Istio's own Namespace names the network of this cluster.
func hasNetwork(ctx context.Context, reader client.Reader, rootNamespace string) (bool, error) {
	root := &corev1.Namespace{}
	if err := reader.Get(ctx, client.ObjectKey{Name: rootNamespace}, root); err != nil {
		return false, client.IgnoreNotFound(err)
	}
	return root.Labels[labelNetwork] != "", nil
}

func (c *cachedSources) ServiceEntries(ctx context.Context) ([]*networkingv1.ServiceEntry, error) {
	if !isWatched(c.kinds, serviceEntryDefinition) {
		return nil, nil
	}
	var list networkingv1.ServiceEntryList
	err := c.reader.List(ctx, &list, client.UnsafeDisableDeepCopy)
	return list.Items, err
}

func (c *cachedSources) ManagedBy(ctx context.Context, service client.ObjectKey) (string, error) {
	for _, kind := range c.kinds {
		if kind.router == nil {
			continue
		}
		list := kind.list()
		if err := c.reader.List(ctx, list, client.MatchingFields{indexRouted: service.String()}); err != nil {
			return "", fmt.Errorf("list %s: %w", kind.gvk.Kind, err)
		}
		if name := firstName(*kind.router, list.Items); name != "" {
			return name, nil
		}
	}
	return "", nil
}

// firstName is the name of the first object by namespace and name; empty if there is none.
func firstName(router routing.OtherRouter, items []unstructured.Unstructured) string {
	name := ""
	for i := range items {
		if other := router.Name(&items[i]); name == "" || other < name {
			name = other
		}
	}
	return name
}

func (c *cachedSources) Mesh(ctx context.Context) routing.Mesh {
	if c.options.Mesh == nil {
		return routing.Mesh{}
	}
	return c.options.Mesh(ctx)
}

func (c *cachedSources) Ingresses(ctx context.Context, service client.ObjectKey, all bool) ([]*networkingk8s.Ingress, map[string]*networkingk8s.IngressClass, error) {
	if !isWatched(c.kinds, ingressResource) {
		return nil, nil, nil
	}
	options := []client.ListOption{client.UnsafeDisableDeepCopy}
	if !all {
		options = append(options, client.MatchingFields{indexBackends: service.String()})
	}
	var list networkingk8s.IngressList
	if err := c.reader.List(ctx, &list, options...); err != nil {
		return nil, nil, fmt.Errorf("list Ingresses: %w", err)
	}
	if len(list.Items) == 0 || !isWatched(c.kinds, ingressClassResource) {
		return pointers(list.Items), nil, nil
	}
	classes, err := ingressClasses(ctx, c.reader)
	return pointers(list.Items), classes, err
}

// ingressClasses returns the IngressClasses by name.
func ingressClasses(ctx context.Context, reader client.Reader) (map[string]*networkingk8s.IngressClass, error) {
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

func (c *cachedSources) GatewayRoutes(ctx context.Context, service client.ObjectKey) ([]routing.GatewayAPIRoute, error) {
	var out []routing.GatewayAPIRoute
	for _, kind := range c.kinds {
		if !kind.routes {
			continue
		}
		list := kind.list()
		if err := c.reader.List(ctx, list, client.MatchingFields{indexBackends: service.String()}); err != nil {
			return nil, fmt.Errorf("list %s: %w", kind.gvk.Kind, err)
		}
		for i := range list.Items {
			out = append(out, reducedRoute(&list.Items[i]))
		}
	}
	return out, nil
}

func (c *cachedSources) ReferenceGrants(ctx context.Context, namespace string) ([]*unstructured.Unstructured, error) {
	at := slices.IndexFunc(c.kinds, func(k optionalKind) bool { return k.definition == routing.GrantKind().Definition })
	if at < 0 {
		return nil, nil
	}
	list := c.kinds[at].list()
	if err := c.reader.List(ctx, list, client.InNamespace(namespace)); err != nil {
		return nil, fmt.Errorf("list %s: %w", c.kinds[at].gvk.Kind, err)
	}
	return pointers(list.Items), nil
}
