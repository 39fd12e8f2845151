// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"unique"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"outrigger.dev/outrigger/internal/pagedlist"
	"outrigger.dev/outrigger/routing"
)

// workloadCache keeps the workloads of a cluster in client-go's informers, reduced to what routes depend on: 0.6 KB each. The cache
// of controller-runtime requires whole types, 1.8 KB each without their containers (docs/decisions/0030).
type workloadCache struct {
	informers []toolscache.SharedIndexInformer // Deployments, StatefulSets, DaemonSets
}

func newWorkloadCache(kube kubernetes.Interface) *workloadCache {
	deployments, statefulSets, daemonSets := kube.AppsV1().Deployments(""), kube.AppsV1().StatefulSets(""), kube.AppsV1().DaemonSets("")
	return &workloadCache{[]toolscache.SharedIndexInformer{
		workloadInformer("Deployment", deployments.List, deployments.Watch),
		workloadInformer("StatefulSet", statefulSets.List, statefulSets.Watch),
		workloadInformer("DaemonSet", daemonSets.List, daemonSets.Watch),
	}}
}

func workloadInformer[L interface {
	runtime.Object
	metav1.ListInterface
}](kind string, list func(context.Context, metav1.ListOptions) (L, error), watch func(context.Context, metav1.ListOptions) (watch.Interface, error)) toolscache.SharedIndexInformer {
	lister := &pagedlist.Lister[L]{ListPage: list, OpenWatch: watch, ToEntry: func(object runtime.Object) runtime.Object {
		if entry := workloadEntryOf(object); entry != nil {
			return entry
		}
		return object
	}}
	return toolscache.NewSharedIndexInformerWithOptions(lister, &workloadEntry{}, toolscache.SharedIndexInformerOptions{
		ObjectDescription: kind, Indexers: toolscache.Indexers{toolscache.NamespaceIndex: toolscache.MetaNamespaceIndexFunc},
	})
}

// inNamespace returns the workloads of a Namespace, sorted by kind and name. Their maps are shared and must not be changed.
func (c *workloadCache) inNamespace(namespace string) []routing.Workload {
	var all []*workloadEntry
	for _, informer := range c.informers {
		entries, _ := informer.GetIndexer().ByIndex(toolscache.NamespaceIndex, namespace) // fails only without the index
		all = slices.Grow(all, len(entries))
		for _, entry := range entries {
			all = append(all, entry.(*workloadEntry))
		}
	}
	slices.SortFunc(all, func(a, b *workloadEntry) int { return compareWorkloads(&a.workload, &b.workload) })
	out := make([]routing.Workload, len(all))
	for i, entry := range all {
		out[i] = entry.workload
	}
	return out
}

func compareWorkloads(a, b *routing.Workload) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
}

// byRef returns a workload; false if it was deleted.
func (c *workloadCache) byRef(namespace string, ref routing.WorkloadRef) (routing.Workload, bool) {
	if entry := c.entry(namespace, ref); entry != nil {
		return entry.workload, true
	}
	return routing.Workload{}, false
}

// uid returns the UID of a workload; empty if it was deleted.
func (c *workloadCache) uid(namespace string, ref routing.WorkloadRef) types.UID {
	if entry := c.entry(namespace, ref); entry != nil {
		return entry.uid
	}
	return ""
}

func (c *workloadCache) entry(namespace string, ref routing.WorkloadRef) *workloadEntry {
	for _, informer := range c.informers {
		found, _, _ := informer.GetIndexer().GetByKey(namespace + "/" + ref.Name) // fails only for a key without a namespace
		if entry, is := found.(*workloadEntry); is && entry.workload.Kind == ref.Kind {
			return entry
		}
	}
	return nil
}

// workloadEntry is what is kept of a workload.
type workloadEntry struct {
	namespace       string
	workload        routing.Workload
	resourceVersion string
	uid             types.UID
}

// workloadEntryOf returns what is kept of a Deployment, StatefulSet, or DaemonSet; nil for any other object.
func workloadEntryOf(object runtime.Object) *workloadEntry {
	entry := func(kind string, o metav1.Object, replicas int32, selector *metav1.LabelSelector, podLabels map[string]string) *workloadEntry {
		e := &workloadEntry{namespace: o.GetNamespace(), resourceVersion: o.GetResourceVersion(), uid: o.GetUID(), workload: routing.Workload{
			WorkloadRef: routing.WorkloadRef{Kind: kind, Name: o.GetName()}, Created: o.GetCreationTimestamp().Time, Replicas: replicas, Labels: interned(podLabels),
		}}
		switch {
		case selector == nil:
		case maps.Equal(selector.MatchLabels, podLabels):
			e.workload.Selector = e.workload.Labels
		default:
			e.workload.Selector = interned(selector.MatchLabels)
		}
		return e
	}
	switch o := object.(type) {
	case *appsv1.Deployment:
		return entry("Deployment", o, ptr.Deref(o.Spec.Replicas, 1), o.Spec.Selector, o.Spec.Template.Labels)
	case *appsv1.StatefulSet:
		return entry("StatefulSet", o, ptr.Deref(o.Spec.Replicas, 1), o.Spec.Selector, o.Spec.Template.Labels)
	case *appsv1.DaemonSet:
		return entry("DaemonSet", o, o.Status.DesiredNumberScheduled, o.Spec.Selector, o.Spec.Template.Labels)
	}
	return nil
}

// interned returns equal labels whose strings are shared with all others that are equal.
func interned(labels map[string]string) map[string]string {
	if labels == nil {
		return nil
	}
	out := make(map[string]string, len(labels))
	for key, value := range labels {
		out[unique.Make(key).Value()] = unique.Make(value).Value()
	}
	return out
}

// GetObjectKind implements runtime.Object, which an informer requires.
func (e *workloadEntry) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject returns a copy; what entries share is never changed.
func (e *workloadEntry) DeepCopyObject() runtime.Object { out := *e; return &out }

// GetObjectMeta implements metav1.ObjectMetaAccessor, which an informer requires.
func (e *workloadEntry) GetObjectMeta() metav1.Object {
	return &metav1.ObjectMeta{Namespace: e.namespace, Name: e.workload.Name, ResourceVersion: e.resourceVersion}
}

// workloadsDiffer reports whether a workload that a plan depends on by its name has changed since the plan read it. read is sorted.
func workloadsDiffer(on routing.Dependencies, read []routing.Workload, current func(routing.WorkloadRef) (routing.Workload, bool)) bool {
	return slices.ContainsFunc(on.Workloads, func(ref routing.WorkloadRef) bool {
		was, existed := findWorkload(read, ref)
		is, exists := current(ref)
		return existed != exists || !reflect.DeepEqual(was, is)
	})
}

func findWorkload(sorted []routing.Workload, ref routing.WorkloadRef) (routing.Workload, bool) {
	at, found := slices.BinarySearchFunc(sorted, ref, func(w routing.Workload, ref routing.WorkloadRef) int {
		return compareWorkloads(&w, &routing.Workload{WorkloadRef: ref})
	})
	if !found {
		return routing.Workload{}, false
	}
	return sorted[at], true
}

// workloadSource runs the informers of workloads and enqueues the Services that a change concerns.
type workloadSource struct {
	cache *workloadCache
	// services returns the Services to which a workload matters.
	services func(ctx context.Context, namespace string, workload *routing.Workload) ([]client.ObjectKey, error)
	failed   func(err error, what string)
}

// Start runs the informers until ctx is done.
func (w *workloadSource) Start(ctx context.Context, q queue) error {
	enqueue := func(states ...any) {
		for _, state := range states {
			entry := state.(*workloadEntry)
			keys, err := w.services(ctx, entry.namespace, &entry.workload)
			if err != nil {
				w.failed(err, "find the Services of a workload")
			}
			for _, key := range keys {
				q.Add(reconcile.Request{NamespacedName: key})
			}
		}
	}
	handler := toolscache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(object any, isInInitialList bool) {
			if !isInInitialList { // at the start, every Service is reconciled
				enqueue(object)
			}
		},
		UpdateFunc: func(before, after any) {
			if !reflect.DeepEqual(before.(*workloadEntry).workload, after.(*workloadEntry).workload) {
				enqueue(before, after)
			}
		},
		DeleteFunc: func(object any) {
			if missed, is := object.(toolscache.DeletedFinalStateUnknown); is {
				object = missed.Obj
			}
			enqueue(object)
		},
	}
	for _, informer := range w.cache.informers {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
		go informer.RunWithContext(ctx)
	}
	return nil
}

// WaitForSync waits until the first lists are complete.
func (w *workloadSource) WaitForSync(ctx context.Context) error {
	for _, informer := range w.cache.informers {
		if !toolscache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
			return fmt.Errorf("list of workloads: %w", context.Cause(ctx))
		}
	}
	return nil
}
