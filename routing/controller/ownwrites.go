// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"maps"
	"sync"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/routing"
)

// awaitFor is how long a reconciliation waits for a cache that does not show a write. It never will if another client deleted the
// object immediately.
const awaitFor = 5 * time.Second

// ownWrites remembers what was written for each Service until the caches show it. A plan from caches that are older than our last
// write would create again what exists.
type ownWrites struct {
	mutex   sync.Mutex
	pending map[client.ObjectKey]map[writtenObject]writtenState
}

type writtenObject struct {
	kind string
	key  client.ObjectKey
}

type writtenState struct {
	version string // the resource version after the write; of what was deleted, the one before
	deleted bool
	until   time.Time
}

func newOwnWrites() *ownWrites {
	return &ownWrites{pending: map[client.ObjectKey]map[writtenObject]writtenState{}}
}

func (w *ownWrites) note(service client.ObjectKey, object writtenObject, state writtenState) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.pending[service] == nil {
		w.pending[service] = map[writtenObject]writtenState{}
	}
	w.pending[service][object] = state
}

func (w *ownWrites) forget(service client.ObjectKey) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	delete(w.pending, service)
}

// cachesLag reports whether the caches do not yet show what was written for a Service. One worker at a time reconciles a Service,
// so nothing is noted for it meanwhile.
func (w *ownWrites) cachesLag(ctx context.Context, caches client.Reader, service client.ObjectKey, now time.Time) (bool, error) {
	w.mutex.Lock()
	pending := w.pending[service]
	w.mutex.Unlock()
	for object, state := range pending {
		if now.After(state.until) {
			continue
		}
		version, err := versionOf(ctx, caches, object)
		if err != nil {
			return false, err
		}
		if state.isBehind(version) {
			return true, nil
		}
	}
	if pending != nil {
		w.forget(service)
	}
	return false, nil
}

// sawDelete notes that the caches have shown the deletion of one of our objects, so its writes are no longer awaited.
func (w *ownWrites) sawDelete(object client.Object) {
	route, is := object.(routing.Object)
	if !is {
		return
	}
	name, ours := routing.ServiceOf(route)
	if !ours {
		return
	}
	service := client.ObjectKey{Namespace: object.GetNamespace(), Name: name}
	id := writtenObject{routing.KindOf(route), client.ObjectKeyFromObject(object)}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if state, waits := w.pending[service][id]; waits && !state.isBehind(object.GetResourceVersion()) {
		pending := maps.Clone(w.pending[service]) // a worker may be reading it
		delete(pending, id)
		w.pending[service] = pending
	}
}

// isBehind reports whether a cache with this version of the object is behind; the version is empty if it does not have the object.
func (s writtenState) isBehind(version string) bool {
	if version == "" {
		return !s.deleted
	}
	order, err := resourceversion.CompareResourceVersion(version, s.version)
	return err == nil && (order < 0 || order == 0 && s.deleted)
}

// versionOf returns the resource version of an object in the caches, or "" if they do not have it.
func versionOf(ctx context.Context, caches client.Reader, object writtenObject) (string, error) {
	var cached routing.Object
	switch object.kind {
	case "DestinationRule":
		cached = &networkingv1.DestinationRule{}
	case "VirtualService":
		cached = &networkingv1.VirtualService{}
	default:
		cached = &networkingv1.Gateway{}
	}
	err := caches.Get(ctx, object.key, cached, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	return cached.GetResourceVersion(), err
}
