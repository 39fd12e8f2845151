// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
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

// findServices returns the Services that an object, as it was or as it is, matters to.
type findServices func(context.Context, client.Object) ([]client.ObjectKey, error)

func (w *watches) start(loop controller.Controller, objects cache.Cache) error {
	dropNames := func(object client.Object) { w.names.drop(object.GetNamespace()) }
	for _, watch := range []struct {
		object client.Object
		watched
	}{
		{&corev1.Service{}, watched{services: w.servicesForService, differs: always, changed: dropNames}},
		{&corev1.Namespace{}, watched{services: w.servicesForNamespace, differs: marksDiffer}},
		{&networkingv1.DestinationRule{}, watched{services: w.servicesForRoute, between: w.servicesForRouteChange, differs: routeDiffers, changed: w.restored.note, replaced: w.restored.noteReplaced, deleted: w.written.sawDelete}},
		{&networkingv1.VirtualService{}, watched{services: w.servicesForRoute, between: w.servicesForRouteChange, differs: routeDiffers, deleted: w.written.sawDelete}},
		{&networkingv1.Gateway{}, watched{services: w.servicesForRoute, between: w.servicesForRouteChange, differs: routeDiffers, deleted: w.written.sawDelete}},
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
	// between is for an update, where that concerns fewer Services than both states; nil = those of both.
	between func(ctx context.Context, before, after client.Object) ([]client.ObjectKey, error)
	// changed and deleted are called before anything is put into the queue; may be nil. changed is called
	// for deletes as well.
	changed, deleted func(client.Object)
	// replaced is called for updates, before anything is put into the queue; may be nil.
	replaced func(before, after client.Object)
}

// enqueue adds the concerned Services to the queue; for an update, those of both states.
func enqueue(w watched) handler.EventHandler {
	put := func(q queue, echo bool, keys []client.ObjectKey) {
		for _, key := range keys {
			request := reconcile.Request{NamespacedName: key}
			byPriority, is := q.(priorityqueue.PriorityQueue[reconcile.Request])
			switch {
			case echo && is:
				byPriority.AddWithOpts(priorityqueue.AddOpts{After: echoAfter, Priority: ptr.To(echoPriority)}, request)
			case echo:
				q.AddAfter(request, echoAfter)
			default:
				q.Add(request)
			}
		}
	}
	fails := func(ctx context.Context, object client.Object, err error) {
		if err != nil {
			logf.FromContext(ctx).Error(err, "find the Services that an object concerns", "object", client.ObjectKeyFromObject(object))
		}
	}
	add := func(ctx context.Context, q queue, echo bool, objects ...client.Object) {
		for _, object := range objects {
			keys, err := w.services(ctx, object)
			fails(ctx, object, err)
			put(q, echo, keys)
		}
	}
	note := func(object client.Object, do func(client.Object)) {
		if do != nil {
			do(object)
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			note(e.Object, w.changed)
			// At the start, every Service is reconciled after all caches are complete.
			if _, isService := e.Object.(*corev1.Service); isService || !e.IsInInitialList {
				add(ctx, q, isOurs(e.Object), e.Object)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) {
			note(e.Object, w.changed)
			note(e.Object, w.deleted)
			add(ctx, q, false, e.Object)
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			note(e.ObjectNew, w.changed)
			if w.replaced != nil {
				w.replaced(e.ObjectOld, e.ObjectNew)
			}
			if e.ObjectOld.GetResourceVersion() != e.ObjectNew.GetResourceVersion() && w.differs(e.ObjectOld, e.ObjectNew) {
				if w.between == nil {
					add(ctx, q, isOurs(e.ObjectNew), e.ObjectOld, e.ObjectNew)
					return
				}
				keys, err := w.between(ctx, e.ObjectOld, e.ObjectNew)
				fails(ctx, e.ObjectNew, err)
				put(q, isOurs(e.ObjectNew), keys)
			}
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

// servicesForRoute returns the Services that the creation or deletion of an object concerns: its own if it is ours, those whose names
// or hosts it has or routes to, and those that request exposure for a host that it serves. Too many do no harm.
func (w *watches) servicesForRoute(ctx context.Context, object client.Object) ([]client.ObjectKey, error) {
	return w.servicesForRouteChange(ctx, nil, object)
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
