// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"maps"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// watchedLists is a client that lists each kind once, and then keeps the list up to date with a watch until the context ends. Kinds that the
// user may list but not watch are listed each time. Items lack the fields that lighten removes.
type watchedLists struct {
	client.WithWatch
	ctx     context.Context
	changed chan struct{} // receives a value after a change; holds one
	ordered *orderedChanges

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
	items       map[client.ObjectKey]item // nil while it has to be requested
	sorted      []item                    // by namespace and name, shared by all readers; nil after a change
	version     string                    // resourceVersion
	isWatched   bool
	isUnwatched bool // the user may not watch it
}

// watching returns the cluster with lists that are kept up to date until the context ends, and a channel that receives a value after they
// have changed.
func (l *live) watching(ctx context.Context) (*live, <-chan struct{}) {
	return l.watchingInOrder(ctx, nil)
}

// watchingInOrder is watching with lists that wait until some changes have been read.
func (l *live) watchingInOrder(ctx context.Context, ordered *orderedChanges) (*live, <-chan struct{}) {
	withWatch, is := l.client.(client.WithWatch)
	if !is {
		return l, nil
	}
	lists := &watchedLists{WithWatch: withWatch, ctx: ctx, changed: make(chan struct{}, 1), ordered: ordered, held: map[watchedKey]*watchedList{}}
	out := *l
	out.lists, out.kept = lists, &incremental{}
	return &out, lists.changed
}

// List implements client.Reader. Lists with a field selector or a limit, and lists of metadata, are not kept.
func (w *watchedLists) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	wanted := client.ListOptions{}
	wanted.ApplyOptions(options)
	if !isKept(list, wanted) {
		return w.WithWatch.List(ctx, list, options...)
	}
	items, err := w.listItems(ctx, list, options...)
	if err != nil {
		return err
	}
	return setItems(list, items)
}

func isKept(list client.ObjectList, wanted client.ListOptions) bool {
	_, isMetadata := list.(*metav1.PartialObjectMetadataList)
	return !isMetadata && wanted.FieldSelector == nil && wanted.Limit == 0 && wanted.Continue == ""
}

// listItems implements itemLister.
func (w *watchedLists) listItems(ctx context.Context, list client.ObjectList, options ...client.ListOption) ([]item, error) {
	wanted := client.ListOptions{}
	wanted.ApplyOptions(options)
	if !isKept(list, wanted) {
		if err := w.WithWatch.List(ctx, list, options...); err != nil {
			return nil, err
		}
		return itemsOf(list)
	}
	gvk, err := apiutil.GVKForObject(list, w.Scheme())
	if err != nil {
		return nil, err
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
			return nil, err
		}
	}
	return held.all(), nil
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
	items, page := map[client.ObjectKey]item{}, wanted
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
		if err := meta.EachListItemWithAlloc(part, func(object runtime.Object) error { // an item must not keep the page in memory
			return put(items, object.(client.Object))
		}); err != nil {
			return err
		}
		if page.Continue = part.GetContinue(); page.Continue == "" {
			held.items, held.sorted, held.version = items, nil, part.GetResourceVersion()
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
				w.ordered.wait(held.ctx, event.Object.(client.Object))
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
		held.items, held.sorted, held.isWatched = nil, nil, false
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
		if put(l.items, object) != nil {
			return false
		}
	case watch.Deleted:
		delete(l.items, client.ObjectKeyFromObject(object))
	case watch.Bookmark:
		return true
	default:
		return false
	}
	l.sorted = nil
	return true
}

// put adds an object, or replaces the one with its name.
func put(items map[client.ObjectKey]item, object client.Object) error {
	one, err := pack(object)
	if err != nil {
		return err
	}
	items[client.ObjectKey{Namespace: one.GetNamespace(), Name: one.GetName()}] = one
	return nil
}

// all returns the items, sorted. It forgets them if no watch keeps them up to date.
func (l *watchedList) all() []item {
	out := l.sorted
	if out == nil {
		out = slices.SortedFunc(maps.Values(l.items), compareItems)
	}
	if l.sorted = out; !l.isWatched {
		l.items, l.sorted = nil, nil
	}
	return out
}
