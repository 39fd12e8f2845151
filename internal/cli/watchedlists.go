// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// watchedLists is a client that lists each kind once, and then keeps the list up to date with a watch until the context ends. Kinds that the
// user may list but not watch, and kinds whose watches end at once, are listed each time until a watch is tried again. Items lack the fields
// that lighten removes.
type watchedLists struct {
	client.WithWatch
	ctx     context.Context
	changed chan struct{} // receives a value after a change; holds one
	ordered *orderedChanges
	now     func() time.Time

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
	used int  // the number of the reading that used it last; guarded by watchedLists
	turn turn // to request it

	mu      sync.Mutex
	items   map[client.ObjectKey]item // nil while no watch keeps them up to date
	sorted  []item                    // by namespace and name, shared by all readers; nil after a change
	version string                    // resourceVersion
	failed  int                       // the number of watches in a row that failed or ended before shortestWatch
	retry   time.Time                 // no watch starts earlier
}

const (
	shortestWatch  = 5 * time.Second  // a watch that ends earlier is not repeated at once
	longestPause   = 30 * time.Second // until a watch is tried again
	forbiddenPause = 30 * time.Second // until a watch is tried again that the user was not allowed
)

// turn is a lock whose holder does one thing at a time, and that others wait for until their context ends.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

func (t turn) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t turn) end() { <-t }

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
	lists := &watchedLists{WithWatch: withWatch, ctx: ctx, changed: make(chan struct{}, 1), ordered: ordered, now: time.Now, held: map[watchedKey]*watchedList{}}
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
	if items := held.all(); items != nil {
		return items, nil
	}
	if err := held.turn.take(ctx); err != nil {
		return nil, fmt.Errorf("wait for the %s that is being requested: %w", gvk.Kind, err)
	}
	defer held.turn.end()
	if items := held.all(); items != nil {
		return items, nil
	}
	return w.request(ctx, held, list, wanted)
}

func (w *watchedLists) listOf(key watchedKey) *watchedList {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held[key] == nil {
		held := &watchedList{turn: newTurn()}
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

// request requests a list, and starts to watch it, if the user may do so. The caller has the turn.
func (w *watchedLists) request(ctx context.Context, held *watchedList, list client.ObjectList, wanted client.ListOptions) ([]item, error) {
	empty := list.DeepCopyObject().(client.ObjectList)
	if err := meta.SetList(empty, nil); err != nil {
		return nil, err
	}
	version := ""
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
			return nil, err
		}
		if err := meta.EachListItemWithAlloc(part, func(object runtime.Object) error { // an item must not keep the page in memory
			return put(items, object.(client.Object))
		}); err != nil {
			return nil, err
		}
		if page.Continue = part.GetContinue(); page.Continue == "" {
			version = part.GetResourceVersion()
			break
		}
	}
	sorted := sortedItems(items)
	if !held.mayWatch(w.now()) {
		return sorted, nil
	}
	began := w.now()
	watched, err := w.watch(held.ctx, empty, wanted, version)
	if err != nil {
		held.noteFailure(err, w.now())
		return sorted, nil //nolint:nilerr // it is requested again the next time
	}
	held.mu.Lock()
	held.items, held.sorted, held.version = items, sorted, version
	held.mu.Unlock()
	go w.follow(held, watched, began, empty, wanted)
	return sorted, nil
}

// mayWatch reports whether it is time to try a watch.
func (l *watchedList) mayWatch(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !now.Before(l.retry)
}

// noteFailure sets when a watch is tried again after one that could not start.
func (l *watchedList) noteFailure(err error, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if isForbidden(err) {
		l.retry = now.Add(forbiddenPause)
		return
	}
	l.failed++
	l.retry = now.Add(pauseAfter(l.failed))
}

// noteEnd sets when a watch is tried again after one that has ended, and returns how many in a row have failed or were too short.
func (l *watchedList) noteEnd(began, now time.Time) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(began) >= shortestWatch {
		l.failed = 0
		return 0
	}
	l.failed++
	l.retry = now.Add(pauseAfter(l.failed))
	return l.failed
}

// pauseAfter returns the pause after so many failed watches in a row.
func pauseAfter(failed int) time.Duration {
	pause := shortestWatch
	for range failed - 1 {
		pause = min(2*pause, longestPause)
	}
	return pause
}

func (w *watchedLists) watch(ctx context.Context, list client.ObjectList, wanted client.ListOptions, version string) (watch.Interface, error) {
	wanted.Raw = &metav1.ListOptions{ResourceVersion: version, AllowWatchBookmarks: true}
	return w.Watch(ctx, list, &wanted)
}

// follow keeps a list up to date. API servers end each watch after some minutes; it is then restarted. If that fails, or if a second watch
// in a row ends at once, the list is requested again when it is needed.
func (w *watchedLists) follow(held *watchedList, watched watch.Interface, began time.Time, list client.ObjectList, wanted client.ListOptions) {
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
		failed := held.noteEnd(began, w.now())
		held.mu.Lock()
		version := held.version
		held.mu.Unlock()
		if isIntact && failed < 2 {
			var err error
			began = w.now()
			if watched, err = w.watch(held.ctx, list, wanted, version); err == nil {
				continue
			}
			held.noteFailure(err, w.now())
		}
		held.mu.Lock()
		held.items, held.sorted = nil, nil
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

// all returns the items, sorted, or nil if no watch keeps them up to date.
func (l *watchedList) all() []item {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.items != nil && l.sorted == nil {
		l.sorted = sortedItems(l.items)
	}
	return l.sorted
}

// sortedItems returns items by namespace and name. It is never nil.
func sortedItems(items map[client.ObjectKey]item) []item {
	out := slices.AppendSeq(make([]item, 0, len(items)), maps.Values(items))
	slices.SortFunc(out, compareItems)
	return out
}
