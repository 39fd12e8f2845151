// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"outrigger.dev/outrigger/routing"
)

func deploymentFor(name, version string, replicas int32) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: name, CreationTimestamp: metav1.NewTime(begin)},
		Spec: appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "app"}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "app", "version": version}}}},
	}
}

func TestWhatIsKeptOfAWorkload(t *testing.T) {
	labels := map[string]string{"app": "app", "version": "v1"}
	meta, selector := metav1.ObjectMeta{Namespace: "demo", Name: "app", CreationTimestamp: metav1.NewTime(begin)}, &metav1.LabelSelector{MatchLabels: map[string]string{"app": "app"}}
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}}
	want := routing.Workload{WorkloadRef: routing.WorkloadRef{Name: "app"}, Created: begin, Labels: labels, Selector: selector.MatchLabels}
	for kind, c := range map[string]struct {
		entry    *workloadEntry
		replicas int32
	}{
		"Deployment":  {workloadEntryOf(&appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Selector: selector, Template: template}}), 1},
		"StatefulSet": {workloadEntryOf(&appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Selector: selector, Template: template, Replicas: ptr.To(int32(3))}}), 3},
		"DaemonSet": {workloadEntryOf(&appsv1.DaemonSet{ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{Selector: selector, Template: template},
			Status: appsv1.DaemonSetStatus{DesiredNumberScheduled: 2}}), 2},
	} {
		want.Kind, want.Replicas = kind, c.replicas
		if diff := cmp.Diff(want, c.entry.workload); diff != "" || c.entry.namespace != "demo" {
			t.Errorf("%s in %s (-want +got):\n%s", kind, c.entry.namespace, diff)
		}
	}
	if entry := workloadEntryOf(&corev1.Pod{}); entry != nil {
		t.Errorf("a pod is kept as %v", entry)
	}
}

// The informers keep what the listers convert, and a change has the right Services reconciled.
func TestWorkloadsAreWatched(t *testing.T) {
	clients := fake.NewClientset(deploymentFor("a", "v1", 1), deploymentFor("b", "v1", 1), &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "a"}},
		&appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "a"}})
	var watched sync.WaitGroup // the fake server forgets what happens before a watch
	watched.Add(3)
	clients.PrependWatchReactor("*", func(action clienttesting.Action) (bool, watch.Interface, error) {
		defer watched.Done()
		w, err := clients.Tracker().Watch(action.GetResource(), action.GetNamespace())
		return true, w, err
	})
	kept := newWorkloadCache(clients)
	var mutex sync.Mutex
	var seen []string
	source := &workloadSource{cache: kept, services: func(_ context.Context, namespace string, w *routing.Workload) ([]client.ObjectKey, error) {
		mutex.Lock()
		defer mutex.Unlock()
		seen = append(seen, fmt.Sprintf("%s %s %s×%d", namespace, w.Name, w.Labels["version"], w.Replicas))
		return []client.ObjectKey{{Namespace: namespace, Name: w.Labels["app"]}}, nil
	}}
	q := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer q.ShutDown()
	if err := source.Start(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if err := source.WaitForSync(t.Context()); err != nil {
		t.Fatal(err)
	}
	watched.Wait()
	names := func(namespace string) string {
		out := []string{}
		for _, w := range kept.inNamespace(namespace) {
			out = append(out, w.String())
		}
		return strings.Join(out, " ")
	}
	if got := names("demo") + "; " + names("other"); got != "Deployment/a Deployment/b StatefulSet/a; DaemonSet/a" {
		t.Errorf("kept: %s", got)
	}
	wantSeen := func(what string, want ...string) {
		t.Helper()
		waitFor(t, what+": "+strings.Join(want, ", "), func() bool {
			mutex.Lock()
			defer mutex.Unlock()
			if !slices.Equal(seen, want) {
				return false
			}
			seen = nil
			return true
		})
	}
	apps := clients.AppsV1().Deployments("demo")
	update := func(version string, replicas int32) {
		t.Helper()
		if _, err := apps.Update(t.Context(), deploymentFor("a", version, replicas), metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	update("v1", 1) // changes nothing that is kept
	before := kept.inNamespace("demo")[0]
	update("v2", 1)
	wantSeen("another version", "demo a v1×1", "demo a v2×1")
	if after := kept.inNamespace("demo")[0]; before.Labels["version"] != "v1" || after.Labels["version"] != "v2" {
		t.Errorf("what was returned changed, or the cache did not: %v, %v", before, after)
	}
	update("v2", 0)
	wantSeen("scaled to 0", "demo a v2×1", "demo a v2×0")
	if err := apps.Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	wantSeen("deleted", "demo a v2×0")
	if _, err := apps.Create(t.Context(), deploymentFor("c", "v3", 1), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	wantSeen("created", "demo c v3×1")
	if got := names("demo"); got != "Deployment/b Deployment/c StatefulSet/a" {
		t.Errorf("kept: %s", got)
	}
	if q.Len() != 1 {
		t.Errorf("%d Services are enqueued, want the one that was concerned", q.Len())
	}
}

// waitFor waits for what another goroutine does.
func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// kubectl describe finds Events by the UID of their object.
func TestTheUIDOfAWorkload(t *testing.T) {
	cache := newWorkloadCache(fake.NewClientset())
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "web", UID: "1"}}
	if err := cache.informers[0].GetIndexer().Add(workloadEntryOf(deployment)); err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[routing.WorkloadRef]types.UID{
		{Kind: "Deployment", Name: "web"}: "1", {Kind: "StatefulSet", Name: "web"}: "", {Kind: "Deployment", Name: "other"}: "",
	} {
		if got := cache.uid("demo", ref); got != want {
			t.Errorf("%s: %q, not %q", ref, got, want)
		}
	}
}
