// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"strings"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
	"outrigger.dev/outrigger/routing/podindex"
)

// watches finds the Services to reconcile when something changes.
type watches struct {
	reader       client.Reader
	options      Options
	pods         *podindex.Index
	dependencies *planDependencies
	names        *serviceNames
	restored     *restoredDestinationRules
	written      *ownWrites
}

// Nearly all changes of our objects are our own writes that come back. They are delayed until both of two writes that belong
// together are back, and reconciled after all else, first reconciliations included.
const (
	echoAfter    = 100 * time.Millisecond
	echoPriority = handler.LowPriority - 1
)

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// findServices returns the Services that a change of an object matters to: from one state to another, of which one is nil where the
// object was created or deleted. With an error, it returns those that it found.
type findServices func(ctx context.Context, before, after client.Object) ([]client.ObjectKey, error)

// ofStates returns the Services that either of two states matters to.
func ofStates(services func(context.Context, client.Object) ([]client.ObjectKey, error)) findServices {
	return func(ctx context.Context, before, after client.Object) ([]client.ObjectKey, error) {
		var keys []client.ObjectKey
		var errs []error
		for _, state := range []client.Object{before, after} {
			if state == nil {
				continue
			}
			found, err := services(ctx, state)
			keys, errs = append(keys, found...), append(errs, err)
		}
		return keys, errors.Join(errs...)
	}
}

func (w *watches) start(loop controller.Controller, objects cache.Cache) error {
	dropNames := func(before, after client.Object) { w.names.drop(current(before, after).GetNamespace()) }
	deleted := func(before, after client.Object) {
		if after == nil {
			w.written.sawDelete(before)
		}
	}
	restored := func(before, after client.Object) {
		w.restored.note(current(before, after))
		w.restored.noteReplaced(before, after)
		deleted(before, after)
	}
	for _, watch := range []struct {
		object client.Object
		watched
	}{
		{&corev1.Service{}, watched{services: ofStates(w.servicesForService), differs: always, note: dropNames}},
		{&corev1.Namespace{}, watched{services: ofStates(w.servicesForNamespace), differs: marksDiffer}},
		{&networkingv1.DestinationRule{}, watched{services: w.servicesForRouteChange, differs: routeDiffers, note: restored}},
		{&networkingv1.VirtualService{}, watched{services: w.servicesForRouteChange, differs: routeDiffers, note: deleted}},
		{&networkingv1.Gateway{}, watched{services: w.servicesForRouteChange, differs: routeDiffers, note: deleted}},
	} {
		if err := loop.Watch(source.Kind(objects, watch.object, enqueue(watch.watched))); err != nil {
			return err
		}
	}
	return nil
}

// watched describes how changes of a kind are handled.
type watched struct {
	services findServices
	differs  func(before, after client.Object) bool
	// note is called with each change, before anything is put into the queue; may be nil.
	note func(before, after client.Object)
}

func current(before, after client.Object) client.Object {
	if after == nil {
		return before
	}
	return after
}

// enqueue adds the concerned Services to the queue.
func enqueue(w watched) handler.EventHandler {
	handle := func(ctx context.Context, q queue, before, after client.Object, concerns func() bool) {
		if w.note != nil {
			w.note(before, after)
		}
		if !concerns() {
			return
		}
		keys, err := w.services(ctx, before, after)
		if err != nil {
			logf.FromContext(ctx).Error(err, "find the Services that an object concerns", "object", client.ObjectKeyFromObject(current(before, after)))
		}
		for _, key := range keys {
			request := reconcile.Request{NamespacedName: key}
			byPriority, is := q.(priorityqueue.PriorityQueue[reconcile.Request])
			switch echo := after != nil && isOurs(after); {
			case echo && is:
				byPriority.AddWithOpts(priorityqueue.AddOpts{After: echoAfter, Priority: ptr.To(echoPriority)}, request)
			case echo:
				q.AddAfter(request, echoAfter)
			default:
				q.Add(request)
			}
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			handle(ctx, q, nil, e.Object, func() bool {
				// At the start, every Service is reconciled after all caches are complete.
				_, isService := e.Object.(*corev1.Service)
				return isService || !e.IsInInitialList
			})
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) {
			handle(ctx, q, e.Object, nil, func() bool { return true })
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			handle(ctx, q, e.ObjectOld, e.ObjectNew, func() bool {
				return e.ObjectOld.GetResourceVersion() != e.ObjectNew.GetResourceVersion() && w.differs(e.ObjectOld, e.ObjectNew)
			})
		},
	}
}

func isOurs(object client.Object) bool {
	route, is := object.(routing.Object)
	if !is {
		return false
	}
	_, ours := routing.ServiceOf(route)
	return ours
}

// servicesForService returns the Service itself and, if it selects pods of an ingress gateway, the Services that are exposed there.
func (w *watches) servicesForService(ctx context.Context, object client.Object) ([]client.ObjectKey, error) {
	keys, err := exposedOn(ctx, w.reader, exposedAt(object.GetName()+"."+object.GetNamespace())) // its short name, which no other Service may expose
	if err != nil {
		return nil, err
	}
	keys = append(keys, client.ObjectKeyFromObject(object))
	selector := object.(*corev1.Service).Spec.Selector
	if len(selector) == 0 {
		return keys, nil
	}
	return append(keys, w.dependencies.atGateways(func(gate map[string]string) bool {
		both, agree := together(selector, gate)
		return agree && w.pods.Any(object.GetNamespace(), both)
	})...), nil
}

// together returns the labels of both selectors; false if a label would have two values.
func together(a, b map[string]string) (map[string]string, bool) {
	both := maps.Clone(a)
	for key, value := range b {
		if is, has := both[key]; has && is != value {
			return nil, false
		}
		both[key] = value
	}
	return both, true
}

// servicesForNamespace returns the Services of the Namespace; of Istio's own, all Services, because it names the network.
func (w *watches) servicesForNamespace(ctx context.Context, object client.Object) ([]client.ObjectKey, error) {
	namespace := object.GetName()
	if namespace == w.options.RootNamespace {
		namespace = ""
	}
	return w.services(ctx, namespace, func(*corev1.Service) bool { return true })
}

// servicesForWorkload returns the Services that select pods of a workload, and those whose plans depend on it by its name.
func (w *watches) servicesForWorkload(ctx context.Context, namespace string, workload *routing.Workload) ([]client.ObjectKey, error) {
	return w.services(ctx, namespace, func(s *corev1.Service) bool {
		return routing.Selects(s.Spec.Selector, workload.Labels) || w.dependencies.onWorkload(client.ObjectKeyFromObject(s), workload.WorkloadRef)
	})
}

// sharingHosts adds the Services that an object concerns by its name and hosts; for a host with a wildcard, all that it covers.
func (w *watches) sharingHosts(ctx context.Context, route routing.Object, keys []client.ObjectKey) ([]client.ObjectKey, error) {
	_, ours := routing.ServiceOf(route)
	for name := route.GetName(); !ours; {
		keys = append(keys, client.ObjectKey{Namespace: route.GetNamespace(), Name: name})
		at := strings.LastIndexByte(name, '-')
		if at <= 0 {
			break
		}
		name = name[:at]
	}
	for _, host := range hostsOf(route, w.options.Settings.ClusterDomain) {
		if hostClass(host) != wildcards {
			if service, is := serviceOfHost(host, w.options.Settings.ClusterDomain); is {
				keys = append(keys, service)
			}
			continue
		}
		if ours {
			continue // "*" at a gateway alone
		}
		all, err := w.services(ctx, "", func(s *corev1.Service) bool {
			return routing.MayConcern(route, s, w.options.Settings.ClusterDomain)
		})
		if err != nil {
			return nil, err
		}
		keys = append(keys, all...)
	}
	delegated, err := w.servicesForDelegates(ctx, route)
	return append(keys, delegated...), err
}

// serviceOfHost returns the Service that a full host name means.
func serviceOfHost(host, clusterDomain string) (client.ObjectKey, bool) {
	short, is := strings.CutSuffix(host, ".svc."+clusterDomain)
	if !is {
		return client.ObjectKey{}, false
	}
	name, namespace, is := strings.Cut(short, ".")
	return client.ObjectKey{Namespace: namespace, Name: name}, is && !strings.Contains(namespace, ".")
}

// services returns the Services of a Namespace, or of all, that are chosen.
func (w *watches) services(ctx context.Context, namespace string, choose func(*corev1.Service) bool) ([]client.ObjectKey, error) {
	var list corev1.ServiceList
	if err := w.reader.List(ctx, &list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	var keys []client.ObjectKey
	for i := range list.Items {
		if choose(&list.Items[i]) {
			keys = append(keys, client.ObjectKeyFromObject(&list.Items[i]))
		}
	}
	return keys, nil
}

func requestsExposure(service *corev1.Service) bool {
	_, requested := service.Annotations[api.AnnotationExpose]
	return requested
}

func always(_, _ client.Object) bool { return true }

func marksDiffer(before, after client.Object) bool {
	return !maps.Equal(before.GetLabels(), after.GetLabels()) || !maps.Equal(before.GetAnnotations(), after.GetAnnotations()) ||
		(before.GetDeletionTimestamp() == nil) != (after.GetDeletionTimestamp() == nil)
}

// routeDiffers ignores changes of the status alone.
func routeDiffers(before, after client.Object) bool {
	return marksDiffer(before, after) || before.GetGeneration() != after.GetGeneration() ||
		!reflect.DeepEqual(before.GetManagedFields(), after.GetManagedFields()) ||
		!reflect.DeepEqual(before.GetOwnerReferences(), after.GetOwnerReferences())
}
