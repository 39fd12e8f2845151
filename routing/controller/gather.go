// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"cmp"
	"context"
	"maps"
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

const (
	labelIstio       = "istio"
	labelDataplane   = "istio.io/dataplane-mode"
	dataplaneAmbient = "ambient"
)

// gather reads everything that the plan for a Service depends on, and what is wrong with its annotations. It returns
// nil if there is nothing to keep: the Service or its Namespace is gone or goes, and its objects go with it.
func (r *reconciler) gather(ctx context.Context, key client.ObjectKey) (*routing.Observed, []api.RouteProblem, error) {
	service, namespace := &corev1.Service{}, &corev1.Namespace{}
	if err := r.reader.Get(ctx, key, service); err != nil {
		return nil, nil, client.IgnoreNotFound(err)
	}
	if err := r.reader.Get(ctx, client.ObjectKey{Name: key.Namespace}, namespace); err != nil {
		return nil, nil, err // also if it is not found: its cache is behind
	}
	if service.DeletionTimestamp != nil || namespace.DeletionTimestamp != nil {
		return nil, nil, nil
	}
	intent, problems := r.options.Settings.Limits.IntentOf(service, namespace, nil)
	observed := &routing.Observed{
		Service: service, Namespace: namespace, Intent: intent,
		Ambient:       namespace.Labels[labelDataplane] == dataplaneAmbient,
		RootNamespace: r.options.RootNamespace,
		Settings:      r.options.Settings,
	}
	for _, read := range []func(context.Context, *routing.Observed) error{r.readIngress, r.readObjects} { // what serves a port depends on the gateway
		if err := read(ctx, observed); err != nil {
			return nil, nil, err
		}
	}
	if observed.Existing.IsEmpty() {
		observed.DeletedRule = r.restored.of(key)
	}
	if !dependsOnPods(observed) {
		// Nobody asked for routes, so none of the rest matters, nor what a Namespace says about all its Services.
		problems = slices.DeleteFunc(problems, func(p api.RouteProblem) bool { return p.Object.Kind != "Service" })
		return observed, problems, nil
	}
	for _, read := range []func(context.Context, *routing.Observed) error{
		r.readPods, r.readEntries, r.readMesh, r.readWorkloads, r.readServices, r.readHostOwners, r.readElsewhere, r.readPaths, r.readVersionLabel,
	} {
		if err := read(ctx, observed); err != nil {
			return nil, nil, err
		}
	}
	return observed, api.WithExamples(problems, routing.KnownVersions(*observed)), nil
}

// dependsOnPods is false if no routes are wanted and none exist.
func dependsOnPods(observed *routing.Observed) bool {
	return observed.Intent.Wanted || observed.Intent.Disabled || !observed.Existing.IsEmpty() || observed.HasReplaced()
}

// readObjects sorts Istio's objects into ours and those of others.
func (r *reconciler) readObjects(ctx context.Context, observed *routing.Observed) error {
	service, domain := observed.Service, r.options.Settings.ClusterDomain
	all, err := routesFor(ctx, r.reader, observed, domain)
	if err != nil {
		return err
	}
	all.divide(observed, service, domain)
	return nil
}

// divide sorts the objects that concern a Service into ours and those of others.
func (l *istioObjects) divide(observed *routing.Observed, service *corev1.Service, domain string) {
	concerns := func(o routing.Object) bool {
		return routing.IsOwn(o, service) || routing.MayConcern(o, service, domain)
	}
	observed.Divide(routing.Objects{
		DestinationRules: chosen(l.rules.Items, concerns),
		VirtualServices:  chosen(l.routes.Items, concerns),
		Gateways:         chosen(l.gateways.Items, concerns),
	})
}

// istioObjects are all of Istio's objects that concern routes, as the cache holds them: not to be changed.
type istioObjects struct {
	rules    networkingv1.DestinationRuleList
	routes   networkingv1.VirtualServiceList
	gateways networkingv1.GatewayList
}

func (l *istioObjects) list(ctx context.Context, reader client.Reader, options ...client.ListOption) error {
	options = append(options, client.UnsafeDisableDeepCopy)
	for _, list := range []client.ObjectList{&l.rules, &l.routes, &l.gateways} {
		if err := reader.List(ctx, list, options...); err != nil {
			return err
		}
	}
	return nil
}

// chosen returns copies of the objects that are wanted, sorted by name, then Namespace.
func chosen[O interface {
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

func (r *reconciler) readPods(_ context.Context, observed *routing.Observed) error {
	observed.Pods = r.pods.Groups(observed.Service.Namespace, observed.Service.Spec.Selector, observed.Intent.VersionLabel)
	return nil
}

// readVersionLabel decides which version label applies, once all else is read.
func (r *reconciler) readVersionLabel(ctx context.Context, observed *routing.Observed) error {
	return followVersionLabel(ctx, observed, r.readPods, r.readEntries)
}

func followVersionLabel(ctx context.Context, observed *routing.Observed, reads ...func(context.Context, *routing.Observed) error) error {
	if recorded := routing.RecordedVersionLabel(*observed); recorded != "" {
		before, err := podsBy(ctx, *observed, recorded, reads)
		if err != nil {
			return err
		}
		routing.FollowVersionLabel(observed, recorded, before)
	}
	for _, label := range routing.UntriedVersionLabels(*observed) {
		byLabel, err := podsBy(ctx, *observed, label, reads)
		if err != nil {
			return err
		}
		routing.NoteVersionLabel(observed, label, byLabel)
	}
	return nil
}

// podsBy returns the pods of a Service grouped by another label.
func podsBy(ctx context.Context, observed routing.Observed, label string, reads []func(context.Context, *routing.Observed) error) ([]routing.PodGroup, error) {
	observed.Intent.VersionLabel, observed.Pods = label, nil
	for _, read := range reads {
		if err := read(ctx, &observed); err != nil {
			return nil, err
		}
	}
	return observed.Pods, nil
}

func (r *reconciler) readWorkloads(ctx context.Context, observed *routing.Observed) (err error) {
	if r.workloads != nil {
		observed.Workloads = r.workloads.of(observed.Service.Namespace)
		return nil
	}
	observed.Workloads, err = r.listWorkloads(ctx, observed.Service.Namespace)
	return err
}

func (r *reconciler) listWorkloads(ctx context.Context, namespace string) ([]routing.Workload, error) {
	var deployments appsv1.DeploymentList
	var statefulSets appsv1.StatefulSetList
	var daemonSets appsv1.DaemonSetList
	for _, list := range []client.ObjectList{&deployments, &statefulSets, &daemonSets} {
		if err := r.reader.List(ctx, list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
			return nil, err
		}
	}
	objects := slices.Concat(workloadEntries(pointers(deployments.Items)), workloadEntries(pointers(statefulSets.Items)), workloadEntries(pointers(daemonSets.Items)))
	out := make([]routing.Workload, len(objects))
	for i, object := range objects {
		out[i] = object.(*workloadEntry).workload
	}
	slices.SortFunc(out, compareWorkloads)
	return out, nil
}

func workload(kind string, object metav1.Object, replicas int32, selector *metav1.LabelSelector, podLabels map[string]string) routing.Workload {
	out := routing.Workload{
		WorkloadRef: routing.WorkloadRef{Kind: kind, Name: object.GetName()},
		Created:     object.GetCreationTimestamp().Time,
		Replicas:    replicas,
		Labels:      podLabels,
	}
	if selector != nil {
		out.Selector = selector.MatchLabels
	}
	return out
}

func (r *reconciler) readServices(ctx context.Context, observed *routing.Observed) (err error) {
	observed.ServiceNames, err = r.names.of(ctx, observed.Service.Namespace, r.listServiceNames)
	return err
}

func (r *reconciler) listServiceNames(ctx context.Context, namespace string) (map[string]bool, error) {
	var list corev1.ServiceList
	if err := r.reader.List(ctx, &list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for i := range list.Items {
		out[list.Items[i].Name] = true
	}
	return out, nil
}

// readIngress finds the Services of the wanted ingress gateway, for a Service that is to be exposed.
func (r *reconciler) readIngress(ctx context.Context, observed *routing.Observed) (err error) {
	wish := observed.Intent.Expose
	if wish == nil || wish.Gateway != "" {
		return nil
	}
	for _, value := range r.pods.IstioValues() {
		if value != "" && value != "pilot" { // the control plane bears the label too
			observed.IngressSelectors = append(observed.IngressSelectors, value)
		}
	}
	observed.IngressServices, err = ingressServices(ctx, r.reader, r.pods.LabelSets(wish.GatewaySelector))
	return err
}

// ingressServices returns the gateway's Services, sorted: of those that select any of the pods, whose labels are given by
// Namespace, the ones in the namespace of the oldest. A tenant may label pods like the gateway's; a later Service that selects
// them adds neither ports nor addresses.
func ingressServices(ctx context.Context, reader client.Reader, podLabels map[string][]map[string]string) ([]*corev1.Service, error) {
	var out []*corev1.Service
	for _, namespace := range slices.Sorted(maps.Keys(podLabels)) {
		var services corev1.ServiceList
		if err := reader.List(ctx, &services, client.InNamespace(namespace)); err != nil {
			return nil, err
		}
		for _, service := range pointers(services.Items) {
			if slices.ContainsFunc(podLabels[namespace], func(l map[string]string) bool { return selects(service, l) }) {
				out = append(out, service)
			}
		}
	}
	if len(out) == 0 {
		return nil, nil
	}
	first := slices.MinFunc(out, func(a, b *corev1.Service) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace))
	})
	out = slices.DeleteFunc(out, func(service *corev1.Service) bool { return service.Namespace != first.Namespace })
	slices.SortFunc(out, func(a, b *corev1.Service) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

func (r *reconciler) readElsewhere(ctx context.Context, observed *routing.Observed) (err error) {
	observed.ManagedBy, err = r.others.managerOf(ctx, observed.Service)
	return err
}

// gateOf is the selector of the ingress gateway that a Service is to be exposed at; nil if it is not, or at a Gateway
// of another author.
func gateOf(observed *routing.Observed) map[string]string {
	if wish := observed.Intent.Expose; wish != nil && wish.Gateway == "" {
		return wish.GatewaySelector
	}
	return nil
}

// selects reports whether a Service's selector matches the labels of a pod. A Service without one selects nothing.
func selects(service *corev1.Service, podLabels map[string]string) bool {
	return len(service.Spec.Selector) > 0 && labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(podLabels))
}

func pointers[T any](items []T) []*T {
	out := make([]*T, len(items))
	for i := range items {
		out[i] = &items[i]
	}
	return out
}
