// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"
	"unique"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"outrigger.dev/outrigger/internal/pagedlist"
	"outrigger.dev/outrigger/routing"
)

// workloadStore keeps of Deployments, StatefulSets and DaemonSets what routes depend on: age, replicas, selector and the
// labels of the pod template, where a whole Deployment has 2.6 KB without its template's containers. A Reflector for each
// kind feeds it; gather reads it.
type workloadStore struct {
	// changed is told about a workload that came, went or changed in what is kept, as it was and as it is, either of which
	// may be nil. It is called without the lock, and not for the first list.
	changed func(namespace string, before, after *routing.Workload)

	mutex      sync.Mutex
	namespaces map[string]*workloadNamespace
	filled     map[string]bool // by kind
}

type workloadNamespace struct {
	workloads map[routing.WorkloadRef]routing.Workload
	sorted    []routing.Workload // handed out, so made anew after a change; nil = to be made
}

// workloadEntry is one workload on its way from the API server into the store.
type workloadEntry struct {
	namespace       string
	workload        routing.Workload
	resourceVersion string
	annotations     map[string]string // of a bookmark alone
}

func newWorkloadStore() *workloadStore {
	return &workloadStore{changed: func(string, *routing.Workload, *routing.Workload) {}, namespaces: map[string]*workloadNamespace{}, filled: map[string]bool{}}
}

// of returns the workloads of a Namespace, sorted by kind and name: shared, and not to be changed.
func (s *workloadStore) of(namespace string) []routing.Workload {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	held := s.namespaces[namespace]
	if held == nil {
		return nil
	}
	if held.sorted == nil {
		held.sorted = slices.SortedFunc(maps.Values(held.workloads), compareWorkloads)
	}
	return held.sorted
}

func compareWorkloads(a, b routing.Workload) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
}

// hasFilled reports whether the first lists of all kinds are in.
func (s *workloadStore) hasFilled() bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return len(s.filled) == len(workloadKinds)
}

// put keeps a workload, or forgets it, and returns what was kept before and is kept now. It is called with the lock.
func (s *workloadStore) put(namespace string, ref routing.WorkloadRef, now *routing.Workload) (before, after *routing.Workload) {
	held := s.namespaces[namespace]
	if held == nil {
		if now == nil {
			return nil, nil
		}
		held = &workloadNamespace{workloads: map[routing.WorkloadRef]routing.Workload{}}
		s.namespaces[namespace] = held
	}
	if was, is := held.workloads[ref]; is {
		before = &was
	}
	held.sorted = nil
	if now != nil {
		held.workloads[ref] = *now
		return before, now
	}
	if delete(held.workloads, ref); len(held.workloads) == 0 {
		delete(s.namespaces, namespace)
	}
	return before, nil
}

// tell calls changed where what is kept differs.
func (s *workloadStore) report(namespace string, before, after *routing.Workload) {
	if !reflect.DeepEqual(before, after) {
		s.changed(namespace, before, after)
	}
}

// kindStore is the part of the store that the Reflector of one kind fills.
type kindStore struct {
	*workloadStore
	kind string
}

// Add keeps a workload; it is a method of the Reflector's store, as the next ones are.
func (s kindStore) Add(object any) error {
	entry := object.(*workloadEntry)
	s.mutex.Lock()
	before, after := s.put(entry.namespace, entry.workload.WorkloadRef, &entry.workload)
	s.mutex.Unlock()
	s.report(entry.namespace, before, after)
	return nil
}

// Update does as Add.
func (s kindStore) Update(object any) error { return s.Add(object) }

// Delete forgets a workload.
func (s kindStore) Delete(object any) error {
	entry := object.(*workloadEntry)
	s.mutex.Lock()
	before, after := s.put(entry.namespace, entry.workload.WorkloadRef, nil)
	s.mutex.Unlock()
	s.report(entry.namespace, before, after)
	return nil
}

// Replace makes the store hold exactly these workloads of the kind: at the start, and after a gap in the watch.
func (s kindStore) Replace(items []any, _ string) error {
	type move struct {
		namespace     string
		before, after *routing.Workload
	}
	type place struct{ namespace, name string }
	var moves []move
	listed := map[place]bool{}
	s.mutex.Lock()
	for _, item := range items {
		entry := item.(*workloadEntry)
		listed[place{entry.namespace, entry.workload.Name}] = true
		before, after := s.put(entry.namespace, entry.workload.WorkloadRef, &entry.workload)
		moves = append(moves, move{entry.namespace, before, after})
	}
	for namespace, held := range s.namespaces {
		for ref := range held.workloads {
			if ref.Kind == s.kind && !listed[place{namespace, ref.Name}] {
				before, after := s.put(namespace, ref, nil)
				moves = append(moves, move{namespace, before, after})
			}
		}
	}
	first := !s.filled[s.kind]
	s.filled[s.kind] = true
	s.mutex.Unlock()
	if first {
		return nil // every Service is reconciled at the start
	}
	for _, m := range moves {
		s.report(m.namespace, m.before, m.after)
	}
	return nil
}

// Resync has nothing to do.
func (s kindStore) Resync() error { return nil }

// entryOfWorkload returns what is kept of a workload; nil if the object is none.
func entryOfWorkload(object runtime.Object) *workloadEntry {
	entry := func(kind string, o metav1.Object, replicas int32, selector *metav1.LabelSelector, podLabels map[string]string) *workloadEntry {
		e := &workloadEntry{namespace: o.GetNamespace(), resourceVersion: o.GetResourceVersion(), workload: workload(kind, o, replicas, selector, podLabels)}
		e.workload.Labels = interned(e.workload.Labels)
		if e.workload.Selector = interned(e.workload.Selector); maps.Equal(e.workload.Selector, e.workload.Labels) {
			e.workload.Selector = e.workload.Labels
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

// interned returns equal labels whose texts are kept once for all that have the same.
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

// workloadKinds are the kinds that are watched, each with the Reflector's way to it.
var workloadKinds = map[string]func(kubernetes.Interface) toolscache.ListerWatcher{
	"Deployment": func(c kubernetes.Interface) toolscache.ListerWatcher {
		kind := c.AppsV1().Deployments(metav1.NamespaceAll)
		return &pagedlist.Lister[*appsv1.DeploymentList]{ListPage: kind.List, OpenWatch: kind.Watch, ToEntry: workloadInstead, ToEntries: func(l *appsv1.DeploymentList) []runtime.Object {
			return workloadEntries(pointers(l.Items))
		}}
	},
	"StatefulSet": func(c kubernetes.Interface) toolscache.ListerWatcher {
		kind := c.AppsV1().StatefulSets(metav1.NamespaceAll)
		return &pagedlist.Lister[*appsv1.StatefulSetList]{ListPage: kind.List, OpenWatch: kind.Watch, ToEntry: workloadInstead, ToEntries: func(l *appsv1.StatefulSetList) []runtime.Object {
			return workloadEntries(pointers(l.Items))
		}}
	},
	"DaemonSet": func(c kubernetes.Interface) toolscache.ListerWatcher {
		kind := c.AppsV1().DaemonSets(metav1.NamespaceAll)
		return &pagedlist.Lister[*appsv1.DaemonSetList]{ListPage: kind.List, OpenWatch: kind.Watch, ToEntry: workloadInstead, ToEntries: func(l *appsv1.DaemonSetList) []runtime.Object {
			return workloadEntries(pointers(l.Items))
		}}
	},
}

func workloadEntries[O runtime.Object](objects []O) []runtime.Object {
	out := make([]runtime.Object, len(objects))
	for i, object := range objects {
		out[i] = entryOfWorkload(object)
	}
	return out
}

func workloadInstead(object runtime.Object, bookmark bool) runtime.Object {
	entry := entryOfWorkload(object)
	if entry == nil {
		return object
	}
	if o, is := object.(metav1.Object); is && bookmark {
		entry.annotations = o.GetAnnotations()
	}
	return entry
}

// workloadsDiffer reports whether a workload that a plan depends on by its name differs. Both lists are sorted.
func workloadsDiffer(on routing.Dependencies, before, after []routing.Workload) bool {
	return slices.ContainsFunc(on.Workloads, func(ref routing.WorkloadRef) bool {
		was, existed := findWorkload(before, ref)
		is, exists := findWorkload(after, ref)
		return existed != exists || !reflect.DeepEqual(was, is)
	})
}

func findWorkload(sorted []routing.Workload, ref routing.WorkloadRef) (routing.Workload, bool) {
	at, found := slices.BinarySearchFunc(sorted, routing.Workload{WorkloadRef: ref}, compareWorkloads)
	if !found {
		return routing.Workload{}, false
	}
	return sorted[at], true
}

// workloadSource fills the store while the controller runs, and enqueues the Services that a change concerns.
type workloadSource struct {
	client kubernetes.Interface
	store  *workloadStore
	// services returns the Services to which a workload matters.
	services func(ctx context.Context, namespace string, workload *routing.Workload) ([]client.ObjectKey, error)
	failed   func(err error, what string)
}

// Start begins to list and watch, until ctx is done.
func (w *workloadSource) Start(ctx context.Context, q queue) error {
	w.store.changed = func(namespace string, before, after *routing.Workload) {
		for _, state := range []*routing.Workload{before, after} {
			if state == nil {
				continue
			}
			keys, err := w.services(ctx, namespace, state)
			if err != nil {
				w.failed(err, "find the Services of a workload")
			}
			for _, key := range keys {
				q.Add(reconcile.Request{NamespacedName: key})
			}
		}
	}
	for kind, lister := range workloadKinds {
		reflector := toolscache.NewReflectorWithOptions(lister(w.client), &workloadEntry{}, kindStore{w.store, kind}, toolscache.ReflectorOptions{
			Name: controllerName, TypeDescription: kind,
		})
		go reflector.RunWithContext(ctx)
	}
	return nil
}

// WaitForSync waits until the first lists are in.
func (w *workloadSource) WaitForSync(ctx context.Context) error {
	err := wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(context.Context) (bool, error) { return w.store.hasFilled(), nil })
	if err != nil {
		return fmt.Errorf("list of workloads: %w", err)
	}
	return nil
}

// GetObjectKind makes an entry something that a Reflector takes.
func (e *workloadEntry) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject returns a copy; what entries share is never changed.
func (e *workloadEntry) DeepCopyObject() runtime.Object { out := *e; return &out }

// GetObjectMeta returns what a Reflector reads.
func (e *workloadEntry) GetObjectMeta() metav1.Object {
	return &metav1.ObjectMeta{Namespace: e.namespace, Name: e.workload.Name, ResourceVersion: e.resourceVersion, Annotations: e.annotations}
}
