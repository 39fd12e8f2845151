// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// page is how many objects are decoded at a time when all are listed: 500 pods are 8 MB, all of a large cluster 1.6 GB.
const page = 500

// entryLister lists and watches objects for a Reflector, one page at a time, and hands on what is kept of each instead.
type entryLister[L interface {
	runtime.Object
	metav1.ListInterface
}] struct {
	fieldSelector string // empty = all
	list          func(ctx context.Context, options metav1.ListOptions) (L, error)
	watch         func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error)
	entries       func(L) []runtime.Object
	entry         func(object runtime.Object, bookmark bool) runtime.Object // what it does not know stays as it is
}

// kubernetesClient returns a client that speaks protobuf, since nobody here needs what its types do not know, and has
// nothing compressed: on the pods of a large cluster the API server would work for half a minute.
func kubernetesClient(config *rest.Config) (kubernetes.Interface, error) {
	config = rest.CopyConfig(config)
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf+","+runtime.ContentTypeJSON
	config.DisableCompression = true
	return kubernetes.NewForConfig(config)
}

// IsWatchListSemanticsUnSupported has the Reflector list in pages: a stream of all objects at once is not one.
func (l *entryLister[L]) IsWatchListSemanticsUnSupported() bool { return true }

// List does as ListWithContext.
func (l *entryLister[L]) List(options metav1.ListOptions) (runtime.Object, error) {
	return l.ListWithContext(context.Background(), options)
}

// Watch does as WatchWithContext.
func (l *entryLister[L]) Watch(options metav1.ListOptions) (watch.Interface, error) {
	return l.WatchWithContext(context.Background(), options)
}

// ListWithContext reads all pages of one consistent list. The API server pages only what it reads at its newest, which
// is never older than what the Reflector asks for.
func (l *entryLister[L]) ListWithContext(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	options.FieldSelector, options.ResourceVersion, options.ResourceVersionMatch = l.fieldSelector, "", ""
	options.Limit, options.Continue = page, ""
	out := &entryList{}
	for {
		some, err := l.list(ctx, options)
		if err != nil {
			return nil, err
		}
		out.Items = append(out.Items, l.entries(some)...)
		out.ResourceVersion = some.GetResourceVersion()
		if options.Continue = some.GetContinue(); options.Continue == "" {
			return out, nil
		}
	}
}

// WatchWithContext watches, and turns each object into an entry as it comes.
func (l *entryLister[L]) WatchWithContext(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	options.FieldSelector = l.fieldSelector
	changes, err := l.watch(ctx, options)
	if err != nil {
		return nil, err
	}
	return watch.Filter(changes, func(event watch.Event) (watch.Event, bool) {
		event.Object = l.entry(event.Object, event.Type == watch.Bookmark)
		return event, true
	}), nil
}

type entryList struct {
	metav1.ListMeta
	Items []runtime.Object
}

// GetObjectKind makes the list something that a Reflector takes.
func (l *entryList) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject returns a copy; what entries share is never changed.
func (l *entryList) DeepCopyObject() runtime.Object {
	out := *l
	out.Items = slices.Clone(l.Items)
	return &out
}
