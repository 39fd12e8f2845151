// SPDX-License-Identifier: Apache-2.0

// Package pagedlist lists and watches objects of which only a small part is kept. A Lister is a cache.ListerWatcher: pass it to a
// reflector.
package pagedlist

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// pageSize is how many objects are decoded at a time: 500 pods are 8 MB, all pods of a large cluster 1.6 GB.
const pageSize = 500

// Lister lists objects for a reflector one page at a time, and watches them. It converts each object at once into the entry that
// is kept.
type Lister[L interface {
	runtime.Object
	metav1.ListInterface
}] struct {
	FieldSelector string // empty = all
	ListPage      func(ctx context.Context, options metav1.ListOptions) (L, error)
	OpenWatch     func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error)
	ToEntry       func(runtime.Object) runtime.Object // returns an unknown object unchanged
	ToEntries     func(L) []runtime.Object            // of a page; nil = ToEntry for each object
}

// NewClient returns a client that uses protobuf, since no entry needs a field that its types do not have, and no compression: for
// the pods of a large cluster, the API server would compress for half a minute.
func NewClient(config *rest.Config) (kubernetes.Interface, error) {
	config = rest.CopyConfig(config)
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf+","+runtime.ContentTypeJSON
	config.DisableCompression = true
	return kubernetes.NewForConfig(config)
}

// IsWatchListSemanticsUnSupported makes the reflector list in pages instead of streaming all objects at once.
func (l *Lister[L]) IsWatchListSemanticsUnSupported() bool { return true }

// List is ListWithContext without a context.
func (l *Lister[L]) List(options metav1.ListOptions) (runtime.Object, error) {
	return l.ListWithContext(context.Background(), options)
}

// Watch is WatchWithContext without a context.
func (l *Lister[L]) Watch(options metav1.ListOptions) (watch.Interface, error) {
	return l.WatchWithContext(context.Background(), options)
}

// ListWithContext reads all pages of one consistent list. The API server pages only lists of the newest version, which is never
// older than what the reflector asks for.
func (l *Lister[L]) ListWithContext(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	options.FieldSelector, options.ResourceVersion, options.ResourceVersionMatch = l.FieldSelector, "", ""
	options.Limit, options.Continue = pageSize, ""
	out := &entryList{}
	for {
		some, err := l.ListPage(ctx, options)
		if err != nil {
			return nil, err
		}
		if l.ToEntries != nil {
			out.Items = append(out.Items, l.ToEntries(some)...)
		} else if err := meta.EachListItem(some, func(object runtime.Object) error { out.Items = append(out.Items, l.ToEntry(object)); return nil }); err != nil {
			return nil, err
		}
		out.ResourceVersion = some.GetResourceVersion()
		if options.Continue = some.GetContinue(); options.Continue == "" {
			return out, nil
		}
	}
}

// WatchWithContext watches, and converts each object as it arrives.
func (l *Lister[L]) WatchWithContext(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	options.FieldSelector = l.FieldSelector
	changes, err := l.OpenWatch(ctx, options)
	if err != nil {
		return nil, err
	}
	return watch.Filter(changes, func(event watch.Event) (watch.Event, bool) {
		event.Object = l.ToEntry(event.Object)
		return event, true
	}), nil
}

type entryList struct {
	metav1.ListMeta
	Items []runtime.Object
}

// GetObjectKind implements runtime.Object, which a reflector requires.
func (l *entryList) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject returns a copy. Entries are shared and never changed.
func (l *entryList) DeepCopyObject() runtime.Object {
	out := *l
	out.Items = slices.Clone(l.Items)
	return &out
}
