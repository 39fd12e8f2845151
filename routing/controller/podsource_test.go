// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
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
	v1 := routing.Workload{WorkloadRef: routing.WorkloadRef{Kind: "Deployment", Name: "app-v1"}, Selector: map[string]string{"version": "v1"}}
	v2 := routing.Workload{WorkloadRef: routing.WorkloadRef{Kind: "Deployment", Name: "app-v2"}, Selector: map[string]string{"version": "v2"}}
	rollingV1, rollingV2 := v1, v2
	rollingV1.Selector, rollingV2.Selector = nil, nil
	fixed, rolling := []routing.Workload{v1, v2}, []routing.Workload{rollingV1, rollingV2}
	pending := []api.RouteProblem{{Reason: api.RoutePendingVersions}}
	for _, c := range []struct {
		what      string
		workloads []routing.Workload
		problems  []api.RouteProblem
		change    func(*podindex.Index)
		want      bool
	}{
		{"a pod more, with another template hash", fixed, nil, add("x", "v1", "2", true), false},
		{"a pod less", fixed, nil, remove("app-v1-1"), false},
		{"a pod that is no longer ready, beside a ready one", fixed, nil, add("app-v1-1", "v1", "1", false), false},
		{"the same pod again", fixed, nil, add("app-v1-1", "v1", "1", true), false},
		{"a pod of another Service", fixed, nil, func(s *podindex.Index) { _ = s.Add(podindex.EntryOf(podOf("x", "other", "v9", "1", true))) }, false},
		{"another version", fixed, nil, add("x", "v3", "1", false), true},
		{"the last ready pod is so no longer", fixed, nil, add("app-v2-1", "v2", "1", false), true},
		{"the last pod of a version goes", fixed, nil, remove("app-v2-1"), true},
		{"the last pod of a version moves to another", fixed, nil, add("app-v2-1", "v1", "1", true), true},
		{"a pod more while a version waits for its pods", fixed, pending, add("x", "v1", "1", false), true},
		{"a ready pod more where shares follow ready pods", rolling, nil, add("x", "v1", "1", true), true},
	} {
		t.Run(c.what, func(t *testing.T) {
			store, seen := podindex.New(), newAttention()
			for _, pod := range []*corev1.Pod{
				podOf("app-v1-1", "app", "v1", "1", true), podOf("app-v1-2", "app", "v1", "1", true), podOf("app-v2-1", "app", "v2", "1", true),
			} {
				_ = store.Add(podindex.EntryOf(pod))
			}
			service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "app"}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "app"}}}
			key := client.ObjectKeyFromObject(service)
			observed := &routing.Observed{
				Service: service, Workloads: c.workloads, Pods: store.Groups("demo", service.Spec.Selector, "version"),
				Intent: api.RouteIntent{VersionLabel: "version"},
			}
			source := &podSource{store: store, attention: seen, services: func(_ context.Context, pod *podindex.Shape) ([]*corev1.Service, error) {
				if app, _ := pod.Label("app"); app != "app" {
					return nil, nil
				}
				return []*corev1.Service{service}, nil
			}}
			var looked []client.ObjectKey
			store.Changed = func(before, after *podindex.Shape) {
				looked = append(looked, source.concerned(t.Context(), before, after)...)
			}
			seen.note(key, seenPods{versionLabel: "version", groups: observed.Pods, closely: closely(observed, c.problems)})
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
