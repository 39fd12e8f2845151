// SPDX-License-Identifier: Apache-2.0

package podindex

import (
	"context"
	"fmt"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/pagedlist"
)

// Watcher keeps an Index while no Controller runs that has one. It runs on the leader, so that pods are watched once.
type Watcher struct {
	pods  corev1client.PodInterface
	index atomic.Pointer[Index] // nil while it does not run
}

// NewWatcher returns a Watcher. It sends no request until Start is called.
func NewWatcher(config *rest.Config) (*Watcher, error) {
	kube, err := pagedlist.NewClient(config)
	if err != nil {
		return nil, fmt.Errorf("client of pods: %w", err)
	}
	return &Watcher{pods: kube.CoreV1().Pods(metav1.NamespaceAll)}, nil
}

// Start lists and watches pods until ctx is done. Failed requests are retried. It may be called again after it has returned.
func (w *Watcher) Start(ctx context.Context) error {
	index := New()
	w.index.Store(index)
	defer w.index.Store(nil)
	NewReflector(w.pods, index).RunWithContext(ctx)
	return nil
}

// PodKinds returns the kinds of all unfinished pods of the cluster. It returns false on a replica that does not watch them.
func (w *Watcher) PodKinds() ([]api.PodKind, bool) {
	index := w.index.Load()
	if index == nil {
		return nil, false
	}
	return index.Kinds()
}

// NewReflector returns a reflector that fills an Index while it runs.
func NewReflector(pods corev1client.PodInterface, index *Index) *toolscache.Reflector {
	return toolscache.NewReflectorWithOptions(newLister(pods), &Entry{}, index, toolscache.ReflectorOptions{
		Name: "pods", TypeDescription: "pods",
	})
}

// unfinished leaves out pods that never run again.
var unfinished = fields.AndSelectors(
	fields.OneTermNotEqualSelector("status.phase", string(corev1.PodSucceeded)),
	fields.OneTermNotEqualSelector("status.phase", string(corev1.PodFailed)),
).String()

func newLister(pods corev1client.PodInterface) toolscache.ListerWatcher {
	return &pagedlist.Lister[*corev1.PodList]{
		FieldSelector: unfinished, ListPage: pods.List, OpenWatch: pods.Watch,
		ToEntries: func(list *corev1.PodList) []runtime.Object {
			out := make([]runtime.Object, len(list.Items))
			var last *Entry // the pods of a workload follow each other and are alike
			for i := range list.Items {
				entry := EntryOf(&list.Items[i])
				if last != nil && last.shape.shapeKey == entry.shape.shapeKey {
					entry.shape.labels = last.shape.labels
				}
				out[i], last = entry, entry
			}
			return out
		},
		ToEntry: func(object runtime.Object) runtime.Object {
			if pod, is := object.(*corev1.Pod); is {
				return EntryOf(pod)
			}
			return object
		},
	}
}
