// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"testing"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
)

// lagging is a cache that does not show what happened to Istio's objects since it was stopped.
type lagging struct {
	client.Reader
	held map[client.ObjectKey]*networkingv1.VirtualService // nil = it does not lag
}

// stop has it show from now on what it shows now.
func (l *lagging) stop(t *testing.T, reader client.Reader) {
	t.Helper()
	var list networkingv1.VirtualServiceList
	if err := reader.List(context.Background(), &list); err != nil {
		t.Fatal(err)
	}
	l.held = map[client.ObjectKey]*networkingv1.VirtualService{}
	for _, vs := range list.Items {
		l.held[client.ObjectKeyFromObject(vs)] = vs
	}
}

func (l *lagging) Get(ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	vs, is := object.(*networkingv1.VirtualService)
	if !is || l.held == nil {
		return l.Reader.Get(ctx, key, object, options...)
	}
	if l.held[key] == nil {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "virtualservices"}, key.Name)
	}
	l.held[key].DeepCopyInto(vs)
	return nil
}

func (l *lagging) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	routes, is := list.(*networkingv1.VirtualServiceList)
	if !is || l.held == nil {
		return l.Reader.List(ctx, list, options...)
	}
	for _, vs := range l.held {
		routes.Items = append(routes.Items, vs.DeepCopy())
	}
	return nil
}

// What was written is not planned for again until the cache shows it, neither after a create nor after an apply or a
// delete.
func TestNothingIsPlannedFromACacheOlderThanOurOwnWrites(t *testing.T) {
	s := newStage(t, nil)
	cluster := s.sources.reader
	cache := &lagging{Reader: cluster}
	s.sources.reader = cache
	s.options.Settings.Settle, s.options.Settings.PropagationDelay = 0, 0
	writesOf := func(what string, want int, again bool) {
		t.Helper()
		before := s.writes
		result := s.reconcile()
		if got := s.writes - before; got != want {
			t.Fatalf("%s: %d writes, want %d", what, got, want)
		}
		if again != (result.RequeueAfter == conflictRetry) {
			t.Fatalf("%s: looked at again after %v", what, result.RequeueAfter)
		}
	}
	cache.stop(t, cluster)
	writesOf("both objects", 2, false)
	writesOf("the cache has no route yet", 0, true)
	cache.held = nil
	writesOf("the cache has it", 0, false)

	s.annotate(map[string]string{api.AnnotationWeights: "v1=90,v2=10"})
	cache.stop(t, cluster)
	writesOf("shift", 2, false)
	writesOf("the cache has the route before", 0, true)
	cache.held = nil
	writesOf("the cache has the route after", 0, false)

	object := s.route()
	s.annotate(map[string]string{api.AnnotationWeights: "v1=50,v2=50"})
	cache.stop(t, cluster)
	writesOf("shift again", 2, false)
	s.now = s.now.Add(awaitFor + time.Second) // the route may have gone meanwhile
	writesOf("the cache is not waited for for ever; the API server refuses", 1, true)
	cache.held = nil

	deleted := writtenState{version: object.ResourceVersion, deleted: true}
	for version, want := range map[string]bool{"": false, object.ResourceVersion: true, "99999": false} {
		if got := deleted.isBehind(version); got != want {
			t.Errorf("a cache with version %q of what was deleted is behind: %v", version, got)
		}
	}
}

// What is read while something changes is not held.
func TestServiceNamesAreReadOnceAndAgainAfterAChange(t *testing.T) {
	names := newServiceNames()
	reads := 0
	read := func(_ context.Context, namespace string) (map[string]bool, error) {
		reads++
		return map[string]bool{namespace + "-app": true}, nil
	}
	readDuringChange := func(ctx context.Context, namespace string) (map[string]bool, error) {
		names.drop(namespace)
		return read(ctx, namespace)
	}
	for _, step := range []struct {
		what   string
		read   func(context.Context, string) (map[string]bool, error)
		change string // a Namespace, before the read
		reads  int    // in all
	}{
		{"first", read, "", 1},
		{"held", read, "", 1},
		{"another Namespace changed", read, "other", 1},
		{"changed", read, "demo", 2},
		{"changed, and again while it is read", readDuringChange, "demo", 3},
		{"so nothing is held", read, "", 4},
		{"held again", read, "", 4},
	} {
		if step.change != "" {
			names.drop(step.change)
		}
		got, err := names.inNamespace(t.Context(), "demo", step.read)
		if err != nil || !got["demo-app"] {
			t.Fatalf("%s: %v, %v", step.what, got, err)
		}
		if reads != step.reads {
			t.Fatalf("%s: %d reads, want %d", step.what, reads, step.reads)
		}
	}
}
