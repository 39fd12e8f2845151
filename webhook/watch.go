// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// watched is a kind that is watched, one object by its name or all of them. Unlike a bare informer, it keeps the error of the last
// list or watch.
type watched struct {
	what     string // for people: "ConfigMap istio-system/istio"
	name     string // of the one object; empty for all
	informer cache.SharedIndexInformer

	mu  sync.Mutex
	err error // of the last list or watch
}

// typedClient is what is needed of the client of a kind.
type typedClient[L runtime.Object] interface {
	List(context.Context, metav1.ListOptions) (L, error)
	Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// watchedBy describes a watch; follow starts it. It lists and watches one object by its name, which a rule with resourceNames permits.
func watchedBy[L runtime.Object](c *IstioConfiguration, what string, client any, from typedClient[L], kind runtime.Object, name string, strip cache.TransformFunc) *watched {
	w := &watched{what: what, name: name}
	one := func(o *metav1.ListOptions) {
		if name != "" {
			o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
		}
	}
	listWatch := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			one(&o)
			found, err := from.List(ctx, o)
			c.noteResult(w, err)
			return found, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			one(&o)
			stream, err := from.Watch(ctx, o)
			c.noteResult(w, err)
			return stream, err
		},
	}
	w.informer = cache.NewSharedIndexInformerWithOptions(cache.ToListWatcherWithWatchListSemantics(listWatch, client), kind,
		cache.SharedIndexInformerOptions{ObjectDescription: what})
	// It fails only for an informer that was started.
	_ = w.informer.SetTransform(strip)
	return w
}

// follow starts a watch that ends with the context.
func (c *IstioConfiguration) follow(ctx context.Context, w *watched) error {
	registration, err := w.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { c.nudge() },
		UpdateFunc: func(before, after any) {
			if changed(before, after) {
				c.nudge()
			}
		},
		DeleteFunc: func(any) { c.nudge() },
	})
	if err != nil {
		return fmt.Errorf("watching %s: %w", w.what, err)
	}
	c.running.Go(func() { w.informer.RunWithContext(ctx) })
	c.running.Go(func() {
		select {
		case <-ctx.Done():
		case <-registration.HasSyncedChecker().Done():
			c.nudge()
		}
	})
	return nil
}

// changed reports whether an update matters: of a node, only the kubelet's version does.
func changed(before, after any) bool {
	was, isNode := before.(*corev1.Node)
	is, stays := after.(*corev1.Node)
	return !isNode || !stays || was.Status.NodeInfo.KubeletVersion != is.Status.NodeInfo.KubeletVersion
}

// noteResult keeps the result of a list or watch, and logs an error once.
func (c *IstioConfiguration) noteResult(w *watched, err error) {
	w.mu.Lock()
	isNew := (err == nil) != (w.err == nil) || apierrors.IsForbidden(err) != apierrors.IsForbidden(w.err)
	w.err = err
	w.mu.Unlock()
	if !isNew {
		return
	}
	if err != nil {
		c.options.Log.Error(err, "watching failed; it is tried again", "what", w.what)
	}
	c.nudge()
}

func (c *IstioConfiguration) nudge() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// objects returns the objects. An error means that they are unknown, because the first list is not complete, and says why.
func (w *watched) objects() ([]any, error) {
	w.mu.Lock()
	err := w.err
	w.mu.Unlock()
	switch {
	case w.informer.HasSynced():
		return w.informer.GetStore().List(), nil
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", w.what, err)
	}
	return nil, fmt.Errorf("%s: not read yet", w.what)
}

// object returns the one object, or nil if it does not exist.
func (w *watched) object() (runtime.Object, error) {
	found, err := w.objects()
	for _, item := range found {
		if named, is := item.(metav1.Object); is && named.GetName() == w.name {
			return item.(runtime.Object), nil
		}
	}
	return nil, err
}

// onlyKubelet drops all of a node but its name and its kubelet's version.
func onlyKubelet(object any) (any, error) {
	node, is := object.(*corev1.Node)
	if !is {
		return object, nil
	}
	slim := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node.Name, UID: node.UID, ResourceVersion: node.ResourceVersion}}
	slim.Status.NodeInfo.KubeletVersion = node.Status.NodeInfo.KubeletVersion
	return slim, nil
}
