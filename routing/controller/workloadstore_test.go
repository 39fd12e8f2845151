// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"outrigger.dev/outrigger/routing"
)

func entryOfDeployment(name, version string, replicas int32) *workloadEntry {
	return entryOfWorkload(deploymentFor(name, version, replicas))
}

func deploymentFor(name, version string, replicas int32) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: name, CreationTimestamp: metav1.NewTime(begin)},
		Spec: appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "app"}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "app", "version": version}}}},
	}
}

func TestWorkloadStoreTellsWhatDiffers(t *testing.T) {
	store := newWorkloadStore()
	var told []string
	version := func(w *routing.Workload) string {
		if w == nil {
			return "none"
		}
		return fmt.Sprintf("%s×%d", w.Labels["version"], w.Replicas)
	}
	store.changed = func(namespace string, before, after *routing.Workload) {
		told = append(told, namespace+" "+version(before)+" "+version(after))
	}
	wantTold := func(what string, want ...string) {
		t.Helper()
		slices.Sort(told)
		if diff := cmp.Diff(want, told); diff != "" {
			t.Errorf("%s (-want +told):\n%s", what, diff)
		}
		told = nil
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	deployments := kindStore{store, "Deployment"}
	must(deployments.Replace([]any{entryOfDeployment("b", "v1", 1), entryOfDeployment("a", "v1", 1)}, ""))
	wantTold("the first list")
	if store.hasFilled() {
		t.Error("it is complete with one kind of three")
	}
	stateful := entryOfWorkload(&appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "a"}})
	must(kindStore{store, "StatefulSet"}.Replace([]any{stateful}, ""))
	must(kindStore{store, "DaemonSet"}.Replace(nil, ""))
	if !store.hasFilled() {
		t.Error("it is not complete with all kinds")
	}
	names := func() (out []string) {
		for _, w := range store.of("demo") {
			out = append(out, w.String())
		}
		return out
	}
	if diff := cmp.Diff([]string{"Deployment/a", "Deployment/b", "StatefulSet/a"}, names()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	before := store.of("demo")

	must(deployments.Update(entryOfDeployment("a", "v1", 1)))
	wantTold("nothing that is kept")
	must(deployments.Update(entryOfDeployment("a", "v2", 1)))
	wantTold("another version", "demo v1×1 v2×1")
	must(deployments.Update(entryOfDeployment("a", "v2", 0)))
	wantTold("scaled to 0", "demo v2×1 v2×0")
	if before[0].Labels["version"] != "v1" || store.of("demo")[0].Labels["version"] != "v2" {
		t.Errorf("what was handed out changed, or did not change: %v, %v", before[0], store.of("demo")[0])
	}
	again := entryOfDeployment("a", "v2", 0)
	again.workload.Created = begin.Add(time.Hour)
	must(deployments.Update(again))
	wantTold("created again while the watch was broken", "demo v2×0 v2×0")
	must(deployments.Delete(entryOfDeployment("a", "v2", 0)))
	wantTold("deleted", "demo v2×0 none")
	must(deployments.Delete(entryOfDeployment("a", "v2", 0)))
	wantTold("deleted twice")
	must(deployments.Replace([]any{entryOfDeployment("c", "v3", 1)}, ""))
	wantTold("a list after a gap", "demo none v3×1", "demo v1×1 none")
	if diff := cmp.Diff([]string{"Deployment/c", "StatefulSet/a"}, names()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if len(store.of("other")) > 0 {
		t.Error("another Namespace has workloads")
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
		"Deployment":  {entryOfWorkload(&appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Selector: selector, Template: template}}), 1},
		"StatefulSet": {entryOfWorkload(&appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Selector: selector, Template: template, Replicas: ptr.To(int32(3))}}), 3},
		"DaemonSet": {entryOfWorkload(&appsv1.DaemonSet{ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{Selector: selector, Template: template},
			Status: appsv1.DaemonSetStatus{DesiredNumberScheduled: 2}}), 2},
	} {
		want.Kind, want.Replicas = kind, c.replicas
		if diff := cmp.Diff(want, c.entry.workload); diff != "" || c.entry.namespace != "demo" {
			t.Errorf("%s in %s (-want +got):\n%s", kind, c.entry.namespace, diff)
		}
	}
	if entry := entryOfWorkload(&corev1.Pod{}); entry != nil {
		t.Errorf("a pod is kept as %v", entry)
	}
}

// The Reflectors of client-go take what the listers hand on, list and watch.
func TestReflectorsFillTheWorkloadStore(t *testing.T) {
	clients := fake.NewClientset(deploymentFor("first", "v1", 1), &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "first"}})
	store := newWorkloadStore()
	var mutex sync.Mutex
	changes := 0
	store.changed = func(string, *routing.Workload, *routing.Workload) { mutex.Lock(); changes++; mutex.Unlock() }
	for kind, lister := range workloadKinds {
		reflector := toolscache.NewReflectorWithOptions(lister(clients), &workloadEntry{}, kindStore{store, kind}, toolscache.ReflectorOptions{})
		go reflector.RunWithContext(t.Context())
	}
	waitFor(t, "the lists are in", func() bool { return store.hasFilled() && len(store.of("demo")) == 2 })
	made := 0
	waitFor(t, "a Deployment is created and comes by the watch", func() bool { // the fake server forgets what was before the watch
		made++
		if _, err := clients.AppsV1().Deployments("demo").Create(t.Context(), deploymentFor(fmt.Sprint("next-", made), "v1", 1), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		mutex.Lock()
		defer mutex.Unlock()
		return changes > 0
	})
	if err := clients.AppsV1().Deployments("demo").Delete(t.Context(), "first", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "a Deployment that is deleted goes", func() bool {
		return !slices.ContainsFunc(store.of("demo"), func(w routing.Workload) bool { return w.String() == "Deployment/first" })
	})
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
