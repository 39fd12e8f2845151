// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	networkingk8s "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"outrigger.dev/outrigger/routing"
)

// watchOptional enqueues the Services that an object of an optional kind concerns.
func (w *watches) watchOptional(loop controller.Controller, objects cache.Cache, kinds []optionalKind) error {
	for _, kind := range kinds {
		change := watched{services: ofStates(servicesForReduced), differs: reducedDiffer}
		switch kind.definition {
		case workloadEntryDefinition:
			change = watched{services: ofStates(w.servicesForEntry), differs: entryDiffers}
		case serviceEntryDefinition:
			change = watched{services: ofStates(w.servicesForHosts), differs: hostsDiffer}
		case ingressResource:
			change = watched{services: ofStates(w.servicesForIngress), differs: ingressDiffers}
		case ingressClassResource:
			change = watched{services: ofStates(w.servicesForIngressClass), differs: ingressClassDiffers}
		case routing.GrantKind().Definition:
			change = watched{services: ofStates(w.servicesForGrant), differs: always}
		}
		if err := loop.Watch(source.Kind(objects, kind.object(), enqueue(change))); err != nil {
			return err
		}
	}
	return nil
}

// hostsOfOthers returns the hosts that a ServiceEntry or an Ingress claims.
func hostsOfOthers(object client.Object) []string {
	switch o := object.(type) {
	case *networkingv1.ServiceEntry:
		return o.Spec.Hosts
	case *networkingk8s.Ingress:
		return routing.IngressHostsOf(o)
	}
	return nil
}

// servicesForHosts returns the Services that request exposure for a host that the object claims.
func (w *watches) servicesForHosts(ctx context.Context, object client.Object) ([]client.ObjectKey, error) {
	var terms []string
	for _, host := range hostsOfOthers(object) {
		terms = append(append(terms, termsSharing(host)...), exposedAt("*"))
	}
	out, err := exposedOn(ctx, w.reader, terms...)
	slices.SortFunc(out, compareKeys)
	return slices.Compact(out), err
}

// hostsDiffer compares what a plan depends on.
func hostsDiffer(before, after client.Object) bool {
	return !slices.Equal(hostsOfOthers(before), hostsOfOthers(after))
}

// servicesForEntry returns the Services that select a WorkloadEntry.
func (w *watches) servicesForEntry(ctx context.Context, object client.Object) ([]client.ObjectKey, error) {
	entry, is := object.(*networkingv1.WorkloadEntry)
	if !is {
		return nil, nil
	}
	services, err := servicesSelecting(ctx, w.reader, entry.Namespace, routing.EntryLabels(entry))
	if err != nil {
		return nil, err
	}
	var out []client.ObjectKey
	for _, service := range services {
		out = append(out, client.ObjectKeyFromObject(service))
	}
	return out, nil
}

// entryDiffers compares what a plan depends on: labels, and readiness in the status.
func entryDiffers(before, after client.Object) bool {
	a, isA := before.(*networkingv1.WorkloadEntry)
	b, isB := after.(*networkingv1.WorkloadEntry)
	return !isA || !isB || !maps.Equal(routing.EntryLabels(a), routing.EntryLabels(b)) || !proto.Equal(&a.Status, &b.Status) ||
		(a.DeletionTimestamp == nil) != (b.DeletionTimestamp == nil)
}

// reducedDiffer ignores the resource version: a change of the status alone matters to no plan.
func reducedDiffer(before, after client.Object) bool {
	was, isUnstructured := before.(*unstructured.Unstructured)
	is, areBoth := after.(*unstructured.Unstructured)
	if !isUnstructured || !areBoth {
		return true
	}
	return !slices.Equal(reducedServices(was), reducedServices(is)) || !reflect.DeepEqual(reducedRoute(was), reducedRoute(is))
}

// servicesForIngress returns the Services that an Ingress routes to, or whose hosts it may claim.
func (w *watches) servicesForIngress(ctx context.Context, object client.Object) ([]client.ObjectKey, error) {
	out, err := w.servicesForHosts(ctx, object)
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

// servicesForIngressClass returns the Services to which the Ingresses of a class matter.
func (w *watches) servicesForIngressClass(ctx context.Context, object client.Object) ([]client.ObjectKey, error) {
	var list networkingk8s.IngressList
	if err := w.reader.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	var out []client.ObjectKey
	for i := range list.Items {
		if name := list.Items[i].Spec.IngressClassName; name == nil || *name != object.GetName() {
			continue
		}
		keys, err := w.servicesForIngress(ctx, &list.Items[i])
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

// servicesForGrant returns the Services of a ReferenceGrant's namespace, which it lets routes of other namespaces name.
func (w *watches) servicesForGrant(ctx context.Context, object client.Object) ([]client.ObjectKey, error) {
	return w.services(ctx, object.GetNamespace(), func(*corev1.Service) bool { return true })
}

// servicesForDelegates returns the Services to which the delegates of a VirtualService route.
func (w *watches) servicesForDelegates(ctx context.Context, route routing.Object) ([]client.ObjectKey, error) {
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
