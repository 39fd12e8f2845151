// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	networkingk8s "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
	"outrigger.dev/outrigger/routing/controller"
)

// manifestSources are the controller.Sources of manifests. They find what matters to one Service without a look at everything else:
// a file of thousands of Services would take hours.
type manifestSources struct {
	*controller.ObjectIndex // hand-written, and of the Services that were planned before
	cluster                 *manifestCluster
	services                map[string]map[string]*corev1.Service // by namespace and name
	names                   map[string]map[string]bool            // by namespace and name
	workloads               labelIndex[manifestWorkload]
	entries                 labelIndex[*networkingv1.WorkloadEntry]
	gatewayRoutes           map[types.NamespacedName][]routing.GatewayAPIRoute // by the Services of their backends
}

var _ controller.Sources = &manifestSources{}

func sourcesOf(cluster *manifestCluster, clusterDomain string) *manifestSources {
	s := &manifestSources{
		cluster: cluster, ObjectIndex: controller.NewObjectIndex(clusterDomain), services: map[string]map[string]*corev1.Service{}, names: map[string]map[string]bool{},
		workloads: labelIndex[manifestWorkload]{}, entries: labelIndex[*networkingv1.WorkloadEntry]{}, gatewayRoutes: map[types.NamespacedName][]routing.GatewayAPIRoute{},
	}
	for _, service := range cluster.services {
		in := service.Namespace
		if s.services[in] == nil {
			s.services[in], s.names[in] = map[string]*corev1.Service{}, map[string]bool{}
		}
		s.services[in][service.Name], s.names[in][service.Name] = service, true
	}
	for _, found := range cluster.workloads {
		s.workloads.add(found.namespace, found.Labels, found)
	}
	for _, entry := range cluster.entries {
		s.entries.add(entry.Namespace, routing.EntryLabels(entry), entry)
	}
	for _, object := range cluster.gatewayRoutes {
		route := routing.GatewayAPIRouteOf(object, clusterDomain)
		for _, service := range route.Services() {
			s.gatewayRoutes[service] = append(s.gatewayRoutes[service], route)
		}
	}
	s.Add(cluster.routes)
	return s
}

// Service returns a Service and its Namespace, which is labeled for injection if the manifests do not have it.
func (s *manifestSources) Service(_ context.Context, key client.ObjectKey) (*corev1.Service, *corev1.Namespace, error) {
	namespace := s.cluster.namespaces[key.Namespace]
	if namespace == nil {
		namespace = &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: key.Namespace, Labels: map[string]string{api.LabelInjection: "enabled"}}}
	}
	return s.services[key.Namespace][key.Name], namespace, nil
}

func (s *manifestSources) DeletedDestinationRule(client.ObjectKey) *networkingv1.DestinationRule {
	return nil
}

func (s *manifestSources) Pods(_ context.Context, service *corev1.Service, versionLabel string) ([]routing.PodGroup, error) {
	var out []routing.PodGroup
	for _, found := range s.selectedBy(service) {
		if found.Replicas == 0 {
			continue
		}
		out = append(out, routing.PodGroup{
			Workload: found.WorkloadRef, Version: found.Labels[versionLabel],
			Pods: int(found.Replicas), Ready: int(found.Replicas), Created: s.cluster.created,
		})
	}
	entries := s.entries.candidates(service.Namespace, service.Spec.Selector)
	out = append(out, routing.GroupEntries(entries, service.Spec.Selector, versionLabel)...)
	slices.SortFunc(out, func(a, b routing.PodGroup) int {
		return cmp.Or(cmp.Compare(a.Workload.Kind, b.Workload.Kind), cmp.Compare(a.Workload.Name, b.Workload.Name), cmp.Compare(a.Version, b.Version))
	})
	return out, nil
}

// Workloads returns those that the Service selects: no route exists yet, so no other workload matters.
func (s *manifestSources) Workloads(_ context.Context, service *corev1.Service) ([]routing.Workload, error) {
	var out []routing.Workload
	for _, found := range s.selectedBy(service) {
		if slices.Contains([]string{"Deployment", "StatefulSet", "DaemonSet"}, found.Kind) {
			out = append(out, found.Workload)
		}
	}
	slices.SortFunc(out, func(a, b routing.Workload) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return out, nil
}

// selectedBy returns the workloads whose pods a Service selects, in the order of the input.
func (s *manifestSources) selectedBy(service *corev1.Service) []manifestWorkload {
	var out []manifestWorkload
	for _, found := range s.workloads.candidates(service.Namespace, service.Spec.Selector) {
		if routing.Selects(service.Spec.Selector, found.Labels) {
			out = append(out, found)
		}
	}
	return out
}

func (s *manifestSources) ServiceNames(_ context.Context, namespace string) (map[string]bool, error) {
	return s.names[namespace], nil
}

// Gateways returns none: without a cluster, no gateway is missed.
func (s *manifestSources) Gateways(context.Context, map[string]string) ([]string, []*corev1.Service, error) {
	return nil, nil, nil
}

func (s *manifestSources) IsMultiCluster(_ context.Context, observed *routing.Observed) (bool, error) {
	root := s.cluster.namespaces[observed.RootNamespace]
	return root != nil && root.Labels["topology.istio.io/network"] != "", nil
}

func (s *manifestSources) ServiceEntries(context.Context) ([]*networkingv1.ServiceEntry, error) {
	return s.cluster.serviceEntries, nil
}

func (s *manifestSources) ManagedBy(_ context.Context, service client.ObjectKey) (string, error) {
	return s.cluster.managedBy[service], nil
}

// Mesh returns Istio's defaults.
func (s *manifestSources) Mesh(context.Context) routing.Mesh { return routing.Mesh{} }

func (s *manifestSources) Ingresses(context.Context, client.ObjectKey, bool) ([]*networkingk8s.Ingress, map[string]*networkingk8s.IngressClass, error) {
	return s.cluster.ingresses, s.cluster.ingressClasses, nil
}

func (s *manifestSources) GatewayRoutes(_ context.Context, service client.ObjectKey) ([]routing.GatewayAPIRoute, error) {
	return s.gatewayRoutes[service], nil
}

func (s *manifestSources) ReferenceGrants(context.Context, string) ([]*unstructured.Unstructured, error) {
	return s.cluster.grants, nil
}

// labelIndex finds objects by namespace, and there by each of their labels.
type labelIndex[T any] map[string]map[[2]string][]T

func (x labelIndex[T]) add(namespace string, labels map[string]string, item T) {
	if x[namespace] == nil {
		x[namespace] = map[[2]string][]T{}
	}
	for key, value := range labels {
		x[namespace][[2]string{key, value}] = append(x[namespace][[2]string{key, value}], item)
	}
}

// candidates returns the objects that have the rarest label of a selector; none for an empty selector. Whether they have the
// other labels, too, is not checked.
func (x labelIndex[T]) candidates(namespace string, selector map[string]string) []T {
	var out []T
	first := true
	for key, value := range selector {
		if found := x[namespace][[2]string{key, value}]; first || len(found) < len(out) {
			out, first = found, false
		}
	}
	return out
}
