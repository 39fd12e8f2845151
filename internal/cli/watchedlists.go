// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"sync"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"outrigger.dev/outrigger/routing"
)

// watchedLists is a client that lists each kind once, and then keeps the list up to date with a watch until the context ends. Kinds that the
// user may list but not watch are listed each time. Items are shared, must not be changed, and lack the fields that lighten removes.
type watchedLists struct {
	client.WithWatch
	ctx     context.Context
	changed chan struct{} // receives a value after a change; holds one

	mu      sync.Mutex
	held    map[watchedKey]*watchedList
	reading int // the number of readings that have ended
}

type watchedKey struct {
	kind, namespace, selector string
}

// watchedList is a list with its watch.
type watchedList struct {
	ctx  context.Context // of its watch
	stop context.CancelFunc
	used int // the number of the reading that used it last; guarded by watchedLists

	mu          sync.Mutex                // held while it is requested, too
	items       map[string]runtime.Object // by namespace/name; nil while it has to be requested
	shared      reflect.Value             // the field Items of the lists that were returned; not valid after a change
	version     string                    // resourceVersion
	isWatched   bool
	isUnwatched bool // the user may not watch it
}

// watching returns the cluster with lists that are kept up to date until the context ends, and a channel that receives a value after they
// have changed.
func (l *live) watching(ctx context.Context) (*live, <-chan struct{}) {
	withWatch, is := l.client.(client.WithWatch)
	if !is {
		return l, nil
	}
	lists := &watchedLists{WithWatch: withWatch, ctx: ctx, changed: make(chan struct{}, 1), held: map[watchedKey]*watchedList{}}
	out := *l
	out.lists, out.kept = lists, &incremental{}
	return &out, lists.changed
}

// List implements client.Reader. Lists with a field selector or a limit, and lists of metadata, are not kept.
func (w *watchedLists) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	wanted := client.ListOptions{}
	wanted.ApplyOptions(options)
	if _, isMetadata := list.(*metav1.PartialObjectMetadataList); isMetadata || wanted.FieldSelector != nil || wanted.Limit != 0 || wanted.Continue != "" {
		return w.WithWatch.List(ctx, list, options...)
	}
	gvk, err := apiutil.GVKForObject(list, w.Scheme())
	if err != nil {
		return err
	}
	key := watchedKey{kind: gvk.String(), namespace: wanted.Namespace}
	if wanted.LabelSelector != nil {
		key.selector = wanted.LabelSelector.String()
	}
	held := w.listOf(key)
	held.mu.Lock()
	defer held.mu.Unlock()
	if held.items == nil {
		if err := w.request(ctx, held, list, wanted); err != nil {
			return err
		}
	}
	return held.fill(list)
}

func (w *watchedLists) listOf(key watchedKey) *watchedList {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held[key] == nil {
		held := &watchedList{}
		held.ctx, held.stop = context.WithCancel(w.ctx)
		w.held[key] = held
	}
	w.held[key].used = w.reading
	return w.held[key]
}

// unusedReadings is after how many readings without use a list is no longer kept: annotations choose selectors, so the number of lists that
// were used once has no limit.
const unusedReadings = 20

// endReading ends the lists and watches that the last readings have not used. Each reading lists all that it depends on.
func (w *watchedLists) endReading() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reading++
	maps.DeleteFunc(w.held, func(_ watchedKey, held *watchedList) bool {
		isUnused := w.reading-held.used > unusedReadings
		if isUnused {
			held.stop()
		}
		return isUnused
	})
}

// listPage is how many items are requested at a time. At most this many are in memory with the fields that lighten removes.
const listPage = 500

// request requests a list, and starts to watch it, if the user may do so.
func (w *watchedLists) request(ctx context.Context, held *watchedList, list client.ObjectList, wanted client.ListOptions) error {
	empty := list.DeepCopyObject().(client.ObjectList)
	if err := meta.SetList(empty, nil); err != nil {
		return err
	}
	items, page := map[string]runtime.Object{}, wanted
	page.Limit = listPage
	for {
		part := empty.DeepCopyObject().(client.ObjectList)
		err := w.WithWatch.List(ctx, part, &page)
		if apierrors.IsResourceExpired(err) && page.Continue != "" { // it took longer than the API server keeps the state of the first page
			clear(items)
			page.Limit, page.Continue = 0, ""
			continue
		}
		if err != nil {
			return err
		}
		found, err := meta.ExtractList(part)
		if err != nil {
			return err
		}
		for _, item := range found {
			lighten(item)
			items[itemKey(item.(client.Object))] = item
		}
		if page.Continue = part.GetContinue(); page.Continue == "" {
			held.items, held.shared, held.version = items, reflect.Value{}, part.GetResourceVersion()
			break
		}
	}
	if held.isUnwatched {
		return nil
	}
	watched, err := w.watch(held.ctx, empty, wanted, held.version)
	if err != nil {
		held.isUnwatched = isForbidden(err)
		return nil //nolint:nilerr // it is requested again the next time
	}
	held.isWatched = true
	go w.follow(held, watched, empty, wanted)
	return nil
}

func (w *watchedLists) watch(ctx context.Context, list client.ObjectList, wanted client.ListOptions, version string) (watch.Interface, error) {
	wanted.Raw = &metav1.ListOptions{ResourceVersion: version, AllowWatchBookmarks: true}
	return w.Watch(ctx, list, &wanted)
}

// follow keeps a list up to date. API servers end each watch after some minutes; it is then restarted. If that fails, the list is
// requested again when it is needed.
func (w *watchedLists) follow(held *watchedList, watched watch.Interface, list client.ObjectList, wanted client.ListOptions) {
	for {
		unused := context.AfterFunc(held.ctx, watched.Stop)
		isIntact := false // a watch that ends without an event is not restarted, to avoid an endless loop of requests
		for event := range watched.ResultChan() {
			if isIntact = held.apply(event); !isIntact {
				break
			}
			if event.Type != watch.Bookmark {
				w.signal()
			}
		}
		unused()
		watched.Stop()
		if held.ctx.Err() != nil {
			return
		}
		held.mu.Lock()
		version := held.version
		held.mu.Unlock()
		if isIntact {
			var err error
			if watched, err = w.watch(held.ctx, list, wanted, version); err == nil {
				continue
			}
		}
		held.mu.Lock()
		held.items, held.shared, held.isWatched = nil, reflect.Value{}, false
		held.mu.Unlock()
		w.signal()
		return
	}
}

// signal reports a change without blocking.
func (w *watchedLists) signal() {
	select {
	case w.changed <- struct{}{}:
	default: // a change is already reported
	}
}

// apply applies a change. It returns false if the list is no longer up to date.
func (l *watchedList) apply(event watch.Event) bool {
	object, is := event.Object.(client.Object)
	if !is {
		return false // a Status
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.version = object.GetResourceVersion()
	switch event.Type {
	case watch.Added, watch.Modified:
		lighten(object)
		l.items[itemKey(object)] = object
	case watch.Deleted:
		delete(l.items, itemKey(object))
	case watch.Bookmark:
		return true
	default:
		return false
	}
	l.shared = reflect.Value{}
	return true
}

// fill sets the items of a list, sorted by name. Until a change, all lists share them.
func (l *watchedList) fill(list client.ObjectList) error {
	list.SetResourceVersion(l.version)
	field, err := meta.GetItemsPtr(list)
	if err != nil {
		return err
	}
	to := reflect.ValueOf(field).Elem()
	if l.shared.IsValid() && l.shared.Type() == to.Type() {
		to.Set(l.shared)
		return nil
	}
	sorted := make([]runtime.Object, 0, len(l.items))
	for _, name := range slices.Sorted(maps.Keys(l.items)) {
		sorted = append(sorted, l.items[name])
	}
	if err := meta.SetList(list, sorted); err != nil {
		return err
	}
	if !l.isWatched {
		l.items = nil
		return nil
	}
	l.shared = reflect.New(to.Type()).Elem()
	l.shared.Set(to)
	return meta.EachListItem(list, func(item runtime.Object) error { // SetList has copied them
		l.items[itemKey(item.(client.Object))] = item
		return nil
	})
}

func itemKey(object client.Object) string { return object.GetNamespace() + "/" + object.GetName() }

// lighten removes fields that use much memory and that no command reads from a watched list: managed fields, except those that reveal edits
// of Istio's objects, and most of the specs of pods and pod templates.
func lighten(item runtime.Object) {
	object, is := item.(client.Object)
	if !is {
		return
	}
	kept := []metav1.ManagedFieldsEntry(nil)
	switch o := item.(type) {
	case *networkingv1.DestinationRule, *networkingv1.VirtualService, *networkingv1.Gateway:
		kept = routing.CompactManagedFields(object.GetManagedFields())
	case *corev1.Node:
		o.Status.Images = nil
	case *corev1.Pod:
		lightenPod(&o.Spec)
		for _, statuses := range [][]corev1.ContainerStatus{o.Status.InitContainerStatuses, o.Status.ContainerStatuses} {
			for i := range statuses {
				statuses[i].ImageID, statuses[i].ContainerID, statuses[i].VolumeMounts, statuses[i].Resources = "", "", nil, nil
			}
		}
	case *appsv1.Deployment:
		lightenPod(&o.Spec.Template.Spec)
	case *appsv1.StatefulSet:
		lightenPod(&o.Spec.Template.Spec)
		o.Spec.VolumeClaimTemplates = nil
	case *appsv1.DaemonSet:
		lightenPod(&o.Spec.Template.Spec)
	case *appsv1.ReplicaSet:
		lightenPod(&o.Spec.Template.Spec)
	}
	object.SetManagedFields(kept)
}

func lightenPod(spec *corev1.PodSpec) {
	for _, containers := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i, c := range containers {
			containers[i] = corev1.Container{Name: c.Name, Image: c.Image, Ports: c.Ports, RestartPolicy: c.RestartPolicy}
		}
	}
	spec.Volumes, spec.Affinity, spec.Tolerations, spec.TopologySpreadConstraints = nil, nil, nil, nil
}
