// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	networkingk8s "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

const (
	labelIstio       = "istio"
	eastWestGateway  = "eastwestgateway" // a value of it
	labelNetwork     = "topology.istio.io/network"
	labelDataplane   = "istio.io/dataplane-mode"
	dataplaneAmbient = "ambient"
)

// Sources are what Gather reads: the caches of the controller, a cluster that a command reads once, or manifests. Kinds that
// are not served, or may not be read, have no objects. Gather changes nothing of what it is given.
type Sources interface {
	// Service returns a Service and its Namespace; nil if there is no such Service. A missing Namespace is an error.
	Service(ctx context.Context, key client.ObjectKey) (*corev1.Service, *corev1.Namespace, error)
	// Objects returns Istio's objects with a term (termsOf), or all of them if the term is empty.
	Objects(ctx context.Context, term string) (routing.Objects, error)
	// DeletedDestinationRule returns the remembered DestinationRule of a Service without objects; nil if there is none.
	DeletedDestinationRule(service client.ObjectKey) *networkingv1.DestinationRule
	// Pods counts the pods and WorkloadEntries that a Service selects, by workload and value of a label.
	Pods(ctx context.Context, service *corev1.Service, versionLabel string) ([]routing.PodGroup, error)
	// Workloads returns the Deployments, StatefulSets, and DaemonSets of the Service's Namespace, sorted by kind and name.
	Workloads(ctx context.Context, service *corev1.Service) ([]routing.Workload, error)
	ServiceNames(ctx context.Context, namespace string) (map[string]bool, error)
	// Gateways returns the values of the label "istio" that pods have, and the Services that select pods with the selector's labels.
	Gateways(ctx context.Context, selector map[string]string) ([]string, []*corev1.Service, error)
	// IsMultiCluster reports whether the mesh shows signs of several clusters. Where that changes nothing, it may return false.
	IsMultiCluster(ctx context.Context, observed *routing.Observed) (bool, error)
	ServiceEntries(ctx context.Context) ([]*networkingv1.ServiceEntry, error)
	// ManagedBy names the other router that a Service belongs to, such as "Rollout demo/reviews"; empty if there is none.
	ManagedBy(ctx context.Context, service client.ObjectKey) (string, error)
	// Mesh returns the part of Istio's configuration that plans depend on.
	Mesh(ctx context.Context) routing.Mesh
	// Ingresses returns at least those that route to a Service, with all those of the cluster, and the IngressClasses by name.
	Ingresses(ctx context.Context, service client.ObjectKey, all bool) ([]*networkingk8s.Ingress, map[string]*networkingk8s.IngressClass, error)
	// GatewayRoutes returns the routes of Gateway API that route to a Service.
	GatewayRoutes(ctx context.Context, service client.ObjectKey) ([]routing.GatewayAPIRoute, error)
	ReferenceGrants(ctx context.Context, namespace string) ([]*unstructured.Unstructured, error)
}

// GatherOptions are what Gather reads, and for whom.
type GatherOptions struct {
	Settings      api.RoutingSettings
	RootNamespace string // of the mesh
	// Unrouted reads all facts also for a Service that neither has nor wants routes. The controller has no use for them.
	Unrouted bool
	// BetweenWrites is true if a controller may still be writing the objects.
	BetweenWrites bool
}

// Gather reads everything that the plan for a Service depends on, except the samples of a canary (addSamples), and returns what is wrong with
// its annotations. It returns nil if there is nothing to plan: the Service or its Namespace is absent or being deleted, and its objects with
// it.
func Gather(ctx context.Context, from Sources, key client.ObjectKey, options GatherOptions) (*routing.Observed, []api.RouteProblem, error) {
	observed, problems, err := gather(ctx, from, key, options)
	if err != nil {
		return nil, nil, fmt.Errorf("read the cluster for Service %s: %w", key, err)
	}
	return observed, problems, nil
}

func gather(ctx context.Context, from Sources, key client.ObjectKey, options GatherOptions) (*routing.Observed, []api.RouteProblem, error) {
	service, namespace, err := from.Service(ctx, key)
	if err != nil || service == nil || service.DeletionTimestamp != nil || namespace.DeletionTimestamp != nil {
		return nil, nil, err
	}
	intent, problems := options.Settings.Limits.IntentOf(service, namespace, nil)
	observed := &routing.Observed{
		Service: service, Namespace: namespace, Intent: intent,
		Ambient:       namespace.Labels[labelDataplane] == dataplaneAmbient,
		RootNamespace: options.RootNamespace,
		Settings:      options.Settings,
		BetweenWrites: options.BetweenWrites,
	}
	facts := reading{from, observed}
	if err := readInOrder(ctx, facts.ingress, facts.objects); err != nil {
		return nil, nil, err
	}
	isRouted := intent.Wanted || intent.Disabled || !observed.Existing.IsEmpty() || observed.HasReplaced()
	if !isRouted { // annotations of a Namespace do not matter
		problems = slices.DeleteFunc(problems, func(p api.RouteProblem) bool { return p.Object.Kind != "Service" })
	}
	if !isRouted && !options.Unrouted {
		return observed, problems, nil
	}
	err = readInOrder(ctx, facts.pods, facts.workloads, facts.multiCluster, facts.serviceNames, facts.hostOwners, facts.otherRouter, facts.paths, facts.versionLabel)
	if err != nil {
		return nil, nil, err
	}
	return observed, api.WithExamples(problems, routing.KnownVersions(*observed)), nil
}

func readInOrder(ctx context.Context, reads ...func(context.Context) error) error {
	for _, read := range reads {
		if err := read(ctx); err != nil {
			return err
		}
	}
	return nil
}

// reading fills the fields of an Observed one after the other. Each step may use what the steps before it have read.
type reading struct {
	from     Sources
	observed *routing.Observed
}

// ingress finds the Services of the ingress gateway that a Service requests exposure at. They decide which ports exist, so the
// step comes before the objects.
func (r reading) ingress(ctx context.Context) error {
	selector := gatewaySelectorOf(r.observed)
	if selector == nil {
		return nil
	}
	labels, services, err := r.from.Gateways(ctx, selector)
	r.observed.IngressSelectors = slices.DeleteFunc(labels, func(value string) bool {
		return value == "" || value == "pilot" // the control plane has the label, too
	})
	r.observed.IngressServices = services
	return err
}

// gatewaySelectorOf returns the selector of the ingress gateway that a Service requests exposure at; nil if it requests none, or at
// an existing Gateway.
func gatewaySelectorOf(observed *routing.Observed) map[string]string {
	if exposure := observed.Intent.Expose; exposure != nil && exposure.Gateway == "" {
		return exposure.GatewaySelector
	}
	return nil
}

// objects reads Istio's objects and sorts them into ours and foreign ones.
func (r reading) objects(ctx context.Context) error {
	service, domain := r.observed.Service, r.observed.Settings.ClusterDomain
	found, err := concerning(ctx, r.from.Objects, r.observed)
	if err != nil {
		return err
	}
	matters := func(o routing.Object) bool {
		return routing.IsOwn(o, service) || routing.MayConcern(o, service, domain)
	}
	r.observed.Divide(routing.Objects{
		DestinationRules: copies(found.DestinationRules, matters),
		VirtualServices:  copies(found.VirtualServices, matters),
		Gateways:         copies(found.Gateways, matters),
	})
	if r.observed.Existing.IsEmpty() {
		r.observed.DeletedDestinationRule = r.from.DeletedDestinationRule(client.ObjectKeyFromObject(service))
	}
	return nil
}

// copies returns copies of the wanted objects, sorted by name and Namespace.
func copies[O interface {
	routing.Object
	DeepCopy() O
}](all []O, wanted func(routing.Object) bool) []O {
	var out []O
	for _, object := range all {
		if wanted(object) {
			out = append(out, object.DeepCopy())
		}
	}
	slices.SortFunc(out, func(a, b O) int {
		return cmp.Or(cmp.Compare(a.GetName(), b.GetName()), cmp.Compare(a.GetNamespace(), b.GetNamespace()))
	})
	return out
}

func (r reading) pods(ctx context.Context) (err error) {
	r.observed.Pods, err = r.from.Pods(ctx, r.observed.Service, r.observed.Intent.VersionLabel)
	return err
}

func (r reading) workloads(ctx context.Context) (err error) {
	r.observed.Workloads, err = r.from.Workloads(ctx, r.observed.Service)
	return err
}

func (r reading) multiCluster(ctx context.Context) (err error) {
	r.observed.MultiCluster, err = r.from.IsMultiCluster(ctx, r.observed)
	return err
}

func (r reading) serviceNames(ctx context.Context) (err error) {
	r.observed.ServiceNames, err = r.from.ServiceNames(ctx, r.observed.Service.Namespace)
	return err
}

// hostOwners finds the ServiceEntries, and the Services with short names, to which the hosts of an exposure belong.
func (r reading) hostOwners(ctx context.Context) error {
	if r.observed.Intent.Expose == nil {
		return nil
	}
	entries, err := r.from.ServiceEntries(ctx)
	if err != nil {
		return err
	}
	r.observed.HostOwners = map[string]string{}
	for _, host := range r.observed.Intent.Expose.Hosts {
		owner := routing.EntryWithHost(host, entries)
		if named, is := routing.ServiceWithShortHost(host); owner == "" && is {
			names, err := r.from.ServiceNames(ctx, named.Namespace)
			if err != nil {
				return err
			}
			if names[named.Name] {
				owner = "Service " + named.String()
			}
		}
		if owner != "" {
			r.observed.HostOwners[host] = owner
		}
	}
	return nil
}

func (r reading) otherRouter(ctx context.Context) (err error) {
	r.observed.ManagedBy, err = r.from.ManagedBy(ctx, client.ObjectKeyFromObject(r.observed.Service))
	return err
}

// paths finds the Ingresses and the routes of Gateway API that matter to the Service.
func (r reading) paths(ctx context.Context) error {
	key, exposes := client.ObjectKeyFromObject(r.observed.Service), r.observed.Intent.Expose != nil
	ingresses, classes, err := r.from.Ingresses(ctx, key, exposes)
	if err != nil {
		return err
	}
	if exposes || len(ingresses) > 0 { // nothing else depends on it
		mesh := r.from.Mesh(ctx)
		r.observed.MeshDomain, r.observed.IngressController = mesh.Domain, mesh.Ingress
		r.observed.Ingresses = mesh.Ingress.ServedIngresses(ingresses, classes)
	}
	routes, err := r.from.GatewayRoutes(ctx, key)
	if err != nil || len(routes) == 0 {
		return err
	}
	var grants []*unstructured.Unstructured
	if slices.ContainsFunc(routes, func(route routing.GatewayAPIRoute) bool { return route.Namespace != key.Namespace }) {
		if grants, err = r.from.ReferenceGrants(ctx, key.Namespace); err != nil {
			return err
		}
	}
	r.observed.Bypasses = routing.Bypasses(key, routes, grants)
	return nil
}

// versionLabel decides which version label applies, now that the other facts are complete.
func (r reading) versionLabel(ctx context.Context) error {
	if recorded := routing.RecordedVersionLabel(*r.observed); recorded != "" {
		before, err := r.from.Pods(ctx, r.observed.Service, recorded)
		if err != nil {
			return err
		}
		routing.FollowVersionLabel(r.observed, recorded, before)
	}
	for _, label := range routing.UntriedVersionLabels(*r.observed) {
		byLabel, err := r.from.Pods(ctx, r.observed.Service, label)
		if err != nil {
			return err
		}
		routing.NoteVersionLabel(r.observed, label, byLabel)
	}
	return nil
}

// servicesOfGateway returns a gateway's Services, sorted: of those that select any of the pods, whose labels are given by
// Namespace, the ones in the Namespace of the oldest. A tenant may label pods like the gateway's; a later Service that selects
// them adds neither ports nor addresses.
func servicesOfGateway(ctx context.Context, reader client.Reader, podLabels map[string][]map[string]string) ([]*corev1.Service, error) {
	var out []*corev1.Service
	for _, namespace := range slices.Sorted(maps.Keys(podLabels)) {
		var services corev1.ServiceList
		if err := reader.List(ctx, &services, client.InNamespace(namespace)); err != nil {
			return nil, err
		}
		for _, service := range pointers(services.Items) {
			if slices.ContainsFunc(podLabels[namespace], func(l map[string]string) bool { return routing.Selects(service.Spec.Selector, l) }) {
				out = append(out, service)
			}
		}
	}
	if len(out) == 0 {
		return nil, nil
	}
	oldest := slices.MinFunc(out, func(a, b *corev1.Service) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace))
	})
	out = slices.DeleteFunc(out, func(service *corev1.Service) bool { return service.Namespace != oldest.Namespace })
	slices.SortFunc(out, func(a, b *corev1.Service) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func pointers[T any](items []T) []*T {
	out := make([]*T, len(items))
	for i := range items {
		out[i] = &items[i]
	}
	return out
}
