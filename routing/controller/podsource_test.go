// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/routing"
	"outrigger.dev/outrigger/routing/podindex"
)

// podOf is a pod of a Deployment's ReplicaSet.
func podOf(name, app, version, hash string, ready bool) *corev1.Pod {
	controls := true
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "demo", Name: name, CreationTimestamp: metav1.NewTime(begin),
		Labels:          map[string]string{"app": app, "version": version, "pod-template-hash": hash},
		OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: app + "-" + version + "-" + hash, Controller: &controls}},
	}}
	if ready {
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	return pod
}

func TestOnlyWhatThePlanReadsHasAServiceLookedAt(t *testing.T) {
	for _, c := range []struct {
		what     string
		onCounts bool
		change   func(*podindex.Index)
		want     bool
	}{
		{"a pod more, with another template hash", false, add("x", "v1", "2", true), false},
		{"a pod less", false, remove("app-v1-1"), false},
		{"a pod that is no longer ready, beside a ready one", false, add("app-v1-1", "v1", "1", false), false},
		{"the same pod again", false, add("app-v1-1", "v1", "1", true), false},
		{"a pod of another Service", false, func(s *podindex.Index) { _ = s.Add(podindex.EntryOf(podOf("x", "other", "v9", "1", true))) }, false},
		{"another version", false, add("x", "v3", "1", false), true},
		{"the last ready pod is so no longer", false, add("app-v2-1", "v2", "1", false), true},
		{"the last pod of a version goes", false, remove("app-v2-1"), true},
		{"the last pod of a version moves to another", false, add("app-v2-1", "v1", "1", true), true},
		{"a pod more while a version waits for its pods", true, add("x", "v1", "1", false), true},
		{"a ready pod more where shares follow ready pods", true, add("x", "v1", "1", true), true},
	} {
		t.Run(c.what, func(t *testing.T) {
			store, seen := podindex.New(), newPlanDependencies()
			for _, pod := range []*corev1.Pod{
				podOf("app-v1-1", "app", "v1", "1", true), podOf("app-v1-2", "app", "v1", "1", true), podOf("app-v2-1", "app", "v2", "1", true),
			} {
				_ = store.Add(podindex.EntryOf(pod))
			}
			service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "app"}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "app"}}}
			key := client.ObjectKeyFromObject(service)
			on := routing.Dependencies{OnPods: true, VersionLabel: "version"}
			for _, group := range store.Groups("demo", service.Spec.Selector, "version") {
				on.Pods = append(on.Pods, routing.PodDependency{PodGroup: group, OnCounts: c.onCounts})
			}
			source := &podSource{watching: &watches{reader: indexedClient(t, []client.Object{service}), pods: store, dependencies: seen}}
			var looked []client.ObjectKey
			store.Changed = func(before, after *podindex.Shape) {
				looked = append(looked, source.servicesFor(t.Context(), before, after)...)
			}
			seen.note(key, seenPods{Dependencies: on})
			c.change(store)
			if got := slices.Contains(looked, key); got != c.want {
				t.Errorf("looked at: %v, want %v", got, c.want)
			}
		})
	}
}

func add(name, version, hash string, ready bool) func(*podindex.Index) {
	return func(s *podindex.Index) { _ = s.Add(podindex.EntryOf(podOf(name, "app", version, hash, ready))) }
}

func remove(name string) func(*podindex.Index) {
	return func(s *podindex.Index) { _ = s.Delete(podindex.EntryOf(podOf(name, "app", "", "", true))) }
}

// A workload matters to the Services that select its pods, to those whose plans depend on it by its name, and to those that have no
// plan yet.
func TestServicesOfAWorkload(t *testing.T) {
	s := newStage(t, nil)
	w := &watches{reader: s.sources.reader, dependencies: s.dependencies}
	isConcerned := func(name, app string) bool {
		t.Helper()
		keys, err := w.servicesForWorkload(t.Context(), service.Namespace, &routing.Workload{
			WorkloadRef: routing.WorkloadRef{Kind: "Deployment", Name: name}, Labels: map[string]string{"app": app},
		})
		if err != nil {
			t.Fatal(err)
		}
		return slices.Contains(keys, service.NamespacedName)
	}
	if !isConcerned("x", "x") {
		t.Error("a Service without a plan is left out")
	}
	recorded := routing.WorkloadRef{Kind: "Deployment", Name: "recorded"}
	s.dependencies.note(service.NamespacedName, seenPods{Dependencies: routing.Dependencies{Workloads: []routing.WorkloadRef{recorded}}})
	for _, test := range []struct {
		name, app string
		want      bool
	}{{"x", "x", false}, {"x", "app", true}, {"recorded", "x", true}} {
		if got := isConcerned(test.name, test.app); got != test.want {
			t.Errorf("workload %s of app %s concerns the Service: %v, want %v", test.name, test.app, got, test.want)
		}
	}
	read, on := []routing.Workload{{WorkloadRef: recorded, Replicas: 1}}, routing.Dependencies{Workloads: []routing.WorkloadRef{recorded}}
	for _, test := range []struct {
		what    string
		current []routing.Workload
		on      routing.Dependencies
		want    bool
	}{
		{"nothing changed", read, on, false},
		{"it has no replicas now", []routing.Workload{{WorkloadRef: recorded}}, on, true},
		{"it was deleted", nil, on, true},
		{"the plan does not depend on it", nil, routing.Dependencies{}, false},
	} {
		current := func(ref routing.WorkloadRef) (routing.Workload, bool) { return findWorkload(test.current, ref) }
		if got := workloadsDiffer(test.on, read, current); got != test.want {
			t.Errorf("%s: %v, want %v", test.what, got, test.want)
		}
	}
}
