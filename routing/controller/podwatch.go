// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
)

// PodWatch knows the kinds of pods where no routes are kept, as the Controller does where they are. It runs on the replica
// that leads, so that pods are watched once.
type PodWatch struct {
	pods  corev1client.PodInterface
	store atomic.Pointer[podStore] // nil while it does not run
}

// NewPodWatch returns a PodWatch that asks the cluster for nothing until it is started.
func NewPodWatch(config *rest.Config) (*PodWatch, error) {
	kube, err := kubernetesClient(config)
	if err != nil {
		return nil, fmt.Errorf("client of pods: %w", err)
	}
	return &PodWatch{pods: kube.CoreV1().Pods(metav1.NamespaceAll)}, nil
}

// Start lists and watches pods until ctx is done. What fails is tried again. It may be called again after it has returned.
func (w *PodWatch) Start(ctx context.Context) error {
	store := newPodStore()
	w.store.Store(store)
	defer w.store.Store(nil)
	podReflector(w.pods, store).RunWithContext(ctx)
	return nil
}

// PodKinds returns the kinds of all unfinished pods of the cluster; false on a replica that does not watch them.
func (w *PodWatch) PodKinds() ([]PodKind, bool) {
	store := w.store.Load()
	if store == nil || !store.hasFilled() {
		return nil, false
	}
	return store.kinds(), true
}

// podReflector fills a pod store while it runs.
func podReflector(pods corev1client.PodInterface, store *podStore) *toolscache.Reflector {
	return toolscache.NewReflectorWithOptions(podLister(pods), &podEntry{}, store, toolscache.ReflectorOptions{
		Name: "pods", TypeDescription: "pods",
	})
}
