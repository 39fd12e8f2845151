// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/routing"
	"outrigger.dev/outrigger/routing/controller"
)

// worldIndex finds what matters to one Service of a world without a look at everything else in it: a file of thousands of
// Services would take hours.
type worldIndex struct {
	services  map[string]map[string]bool // their names by namespace
	workloads labelIndex[workload]
	entries   labelIndex[*networkingv1.WorkloadEntry]
	foreign   *controller.Routes
	routes    map[types.NamespacedName][]routing.Route // of Gateway API, by the Services of their backends
}

func indexOf(w *world, clusterDomain string) *worldIndex {
	index := &worldIndex{
		services: map[string]map[string]bool{}, workloads: labelIndex[workload]{}, entries: labelIndex[*networkingv1.WorkloadEntry]{},
		foreign: controller.NewRoutes(clusterDomain), routes: map[types.NamespacedName][]routing.Route{},
	}
	for _, service := range w.services {
		if index.services[service.Namespace] == nil {
			index.services[service.Namespace] = map[string]bool{}
		}
		index.services[service.Namespace][service.Name] = true
	}
	for _, found := range w.workloads {
		index.workloads.add(found.namespace, found.Labels, found)
	}
	for _, entry := range w.entries {
		index.entries.add(entry.Namespace, routing.EntryLabels(entry), entry)
	}
	for _, object := range w.paths.routes {
		route := routing.RouteOf(object, clusterDomain)
		for _, service := range route.Services() {
			index.routes[service] = append(index.routes[service], route)
		}
	}
	index.foreign.Add(w.foreign)
	return index
}

// hasService reports whether the input has a Service.
func (x *worldIndex) hasService(name types.NamespacedName) bool {
	return x.services[name.Namespace][name.Name]
}

// selectedBy returns the workloads whose pods a Service selects, in the order of the input.
func (x *worldIndex) selectedBy(service *corev1.Service) []workload {
	var out []workload
	for _, found := range x.workloads.candidates(service.Namespace, service.Spec.Selector) {
		if diagnose.Selects(service.Spec.Selector, found.Labels) {
			out = append(out, found)
		}
	}
	return out
}

// concerning returns the routes of others that may matter to a Service, each list sorted by namespace and name.
func (x *worldIndex) concerning(observed *routing.Observed) (routing.Objects, error) {
	found, err := x.foreign.Concerning(context.Background(), observed)
	if err != nil {
		return routing.Objects{}, err
	}
	sortByName(found.DestinationRules)
	sortByName(found.VirtualServices)
	sortByName(found.Gateways)
	return found, nil
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
