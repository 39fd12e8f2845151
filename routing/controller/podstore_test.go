// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
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

func TestStoreCountsAsThePlannerDoes(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	store, pods := newPodStore(), map[string]*corev1.Pod{}
	selectors := []map[string]string{{"app": "a"}, {"app": "b"}, {"app": "a", "version": "v1"}, {"version": "v2"}, {"no": "such"}, {}}
	for step := range 5000 {
		name := fmt.Sprintf("pod-%d", random.IntN(40))
		switch held := pods[name]; {
		case random.IntN(3) == 0:
			if held != nil {
				_ = store.Delete(entryOf(held))
			}
			delete(pods, name)
		case random.IntN(200) == 0:
			var items []any
			for _, pod := range pods {
				if random.IntN(2) == 0 {
					delete(pods, pod.Name)
					continue
				}
				items = append(items, entryOf(pod))
			}
			_ = store.Replace(items, "")
		default:
			pods[name] = randomPod(random, name)
			_ = store.Add(entryOf(pods[name]))
		}
		selector := selectors[step%len(selectors)]
		var selected []*corev1.Pod
		for _, pod := range pods {
			if len(selector) > 0 && labels.SelectorFromSet(selector).Matches(labels.Set(pod.Labels)) {
				selected = append(selected, pod)
			}
		}
		want := routing.GroupPods(selected, "version")
		got := store.groups("demo", selector, "version")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("step %d, selector %v: %s", step, selector, diff)
		}
	}
	for _, pod := range pods {
		_ = store.Delete(entryOf(pod))
	}
	if len(store.namespaces) != 0 || len(store.istio) != 0 {
		t.Errorf("without pods it holds %v, %v", store.namespaces, store.istio)
	}
}

func randomPod(random *rand.Rand, name string) *corev1.Pod {
	pod := podOf(name, []string{"a", "b"}[random.IntN(2)], fmt.Sprintf("v%d", random.IntN(3)), fmt.Sprint(random.IntN(2)), random.IntN(2) == 0)
	pod.CreationTimestamp.Time = begin.Add(time.Duration(random.IntN(100)) * time.Second)
	switch random.IntN(6) {
	case 0:
		pod.OwnerReferences[0].Kind = "Job"
	case 1:
		pod.OwnerReferences = nil
	case 2:
		delete(pod.Labels, "version")
	case 3:
		now := metav1.NewTime(begin)
		pod.DeletionTimestamp = &now
	case 4:
		pod.Labels[labelIstio] = "ingressgateway"
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
		change    func(*podStore)
		want      bool
	}{
		{"a pod more, with another template hash", fixed, nil, add("x", "v1", "2", true), false},
		{"a pod less", fixed, nil, remove("app-v1-1"), false},
		{"a pod that is no longer ready, beside a ready one", fixed, nil, add("app-v1-1", "v1", "1", false), false},
		{"the same pod again", fixed, nil, add("app-v1-1", "v1", "1", true), false},
		{"a pod of another Service", fixed, nil, func(s *podStore) { _ = s.Add(entryOf(podOf("x", "other", "v9", "1", true))) }, false},
		{"another version", fixed, nil, add("x", "v3", "1", false), true},
		{"the last ready pod is so no longer", fixed, nil, add("app-v2-1", "v2", "1", false), true},
		{"the last pod of a version goes", fixed, nil, remove("app-v2-1"), true},
		{"the last pod of a version moves to another", fixed, nil, add("app-v2-1", "v1", "1", true), true},
		{"a pod more while a version waits for its pods", fixed, pending, add("x", "v1", "1", false), true},
		{"a ready pod more where shares follow ready pods", rolling, nil, add("x", "v1", "1", true), true},
	} {
		t.Run(c.what, func(t *testing.T) {
			store, seen := newPodStore(), newAttention()
			for _, pod := range []*corev1.Pod{
				podOf("app-v1-1", "app", "v1", "1", true), podOf("app-v1-2", "app", "v1", "1", true), podOf("app-v2-1", "app", "v2", "1", true),
			} {
				_ = store.Add(entryOf(pod))
			}
			service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "app"}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "app"}}}
			key := client.ObjectKeyFromObject(service)
			observed := &routing.Observed{
				Service: service, Workloads: c.workloads, Pods: store.groups("demo", service.Spec.Selector, "version"),
				Intent: api.RouteIntent{VersionLabel: "version"},
			}
			source := &podSource{store: store, attention: seen, services: func(_ context.Context, pod *podShape) ([]*corev1.Service, error) {
				if app, _ := pod.label("app"); app != "app" {
					return nil, nil
				}
				return []*corev1.Service{service}, nil
			}}
			var looked []client.ObjectKey
			store.changed = func(before, after *podShape) {
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

func add(name, version, hash string, ready bool) func(*podStore) {
	return func(s *podStore) { _ = s.Add(entryOf(podOf(name, "app", version, hash, ready))) }
}

func remove(name string) func(*podStore) {
	return func(s *podStore) { _ = s.Delete(entryOf(podOf(name, "app", "", "", true))) }
}

// A gap in the watch is closed by a new list, and what it brings is told.
func TestAGapIsMadeUpFor(t *testing.T) {
	store := newPodStore()
	if err := store.Replace([]any{entryOf(podOf("a", "app", "v1", "1", true)), entryOf(podOf("b", "app", "v2", "1", true))}, ""); err != nil {
		t.Fatal(err)
	}
	var told []string
	store.changed = func(before, after *podShape) {
		text := ""
		for _, shape := range []*podShape{before, after} {
			version := "none"
			if shape != nil {
				version, _ = shape.label("version")
			}
			text += version + " "
		}
		told = append(told, text)
	}
	if err := store.Replace([]any{entryOf(podOf("a", "app", "v1", "1", true)), entryOf(podOf("c", "app", "v3", "1", true))}, ""); err != nil {
		t.Fatal(err)
	}
	slices.Sort(told)
	if diff := cmp.Diff([]string{"none v3 ", "v2 none "}, told); diff != "" {
		t.Error(diff)
	}
}

// The Reflector of client-go takes what the lister hands on, lists and watches.
func TestReflectorFillsTheStore(t *testing.T) {
	clients := fake.NewClientset(podOf("a", "app", "v1", "1", true))
	store := newPodStore()
	var mutex sync.Mutex
	changes := 0
	store.changed = func(_, _ *podShape) { mutex.Lock(); changes++; mutex.Unlock() }
	go podReflector(clients.CoreV1().Pods(""), store).RunWithContext(t.Context())
	pods := func() int {
		sum := 0
		for _, group := range store.groups("demo", map[string]string{"app": "app"}, "version") {
			sum += group.Pods
		}
		return sum
	}
	waitFor(t, "the list is in", func() bool { return store.hasFilled() && pods() == 1 })
	create := func(name string) {
		t.Helper()
		if _, err := clients.CoreV1().Pods("demo").Create(t.Context(), podOf(name, "app", "v2", "1", true), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	names := 0
	waitFor(t, "a pod is created and comes by the watch", func() bool { // the fake server forgets what was before the watch
		names++
		create(fmt.Sprint("b", names))
		mutex.Lock()
		defer mutex.Unlock()
		return changes > 0
	})
	if err := clients.CoreV1().Pods("demo").Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "a pod that is deleted goes", func() bool {
		groups := store.groups("demo", map[string]string{"app": "app"}, "version")
		return !slices.ContainsFunc(groups, func(g routing.PodGroup) bool { return g.Version == "v1" })
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

// Where no routes are kept the kinds of pods are known once they are listed, and not on a replica that does not lead.
func TestPodWatchKnowsKindsOnceTheyAreListed(t *testing.T) {
	clients := fake.NewClientset(podOf("a", "app", "v1", "1", true), podOf("b", "app", "v1", "1", true), podOf("c", "app", "v2", "2", true))
	watch := &PodWatch{pods: clients.CoreV1().Pods("")}
	if kinds, known := watch.PodKinds(); known {
		t.Errorf("%d kinds are known before anything was listed", len(kinds))
	}
	for range 2 { // it leads, loses the lead, and leads again
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- watch.Start(ctx) }()
		var counts []int
		waitFor(t, "the kinds of pods are known", func() bool {
			kinds, known := watch.PodKinds()
			for _, kind := range kinds {
				counts = append(counts, kind.Pods)
			}
			return known
		})
		slices.Sort(counts)
		if diff := cmp.Diff([]int{1, 2}, counts); diff != "" {
			t.Errorf("pods of each kind (-want +got):\n%s", diff)
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("it ends with %v", err)
		}
		if kinds, known := watch.PodKinds(); known {
			t.Errorf("%d kinds are known on a replica that does not lead any more", len(kinds))
		}
	}
}

// What a sidecar depends on comes back out of the store, for pods that are alike together, and without those that end.
func TestPodKinds(t *testing.T) {
	store := newPodStore()
	injected := func(name, image string) *corev1.Pod {
		pod := podOf(name, "a", "v1", "abc", true)
		pod.Annotations = map[string]string{"sidecar.istio.io/status": `{"revision":"default"}`, "example.com/other": name}
		pod.Spec.InitContainers = []corev1.Container{{Name: "istio-proxy", Image: image, Env: []corev1.EnvVar{{Name: "A"}}}}
		return pod
	}
	host := podOf("host", "a", "v1", "abc", true)
	host.Spec.HostNetwork, host.Spec.OS = true, &corev1.PodOS{Name: corev1.Windows}
	ending := injected("ending", "proxy:1")
	ending.DeletionTimestamp = &metav1.Time{Time: begin}
	for _, pod := range []*corev1.Pod{podOf("plain", "a", "v1", "abc", true), injected("one", "proxy:1"), injected("two", "proxy:1"), injected("old", "proxy:0"), host, ending} {
		if err := store.Add(entryOf(pod)); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	ids := map[any]bool{}
	for _, kind := range store.kinds() {
		pod := kind.Pod()
		line := fmt.Sprintf("%d of %s/%s", kind.Pods, pod.Namespace, pod.Labels["app"])
		if pod.Spec.HostNetwork {
			line += " host " + string(pod.Spec.OS.Name)
		}
		for _, proxy := range pod.Spec.InitContainers {
			line += " " + proxy.Name + "=" + proxy.Image
		}
		for key, value := range pod.Annotations {
			line += " " + key + "=" + value
		}
		got, ids[kind.ID()] = append(got, line), true
	}
	slices.Sort(got)
	want := []string{
		"1 of demo/a",
		"1 of demo/a host windows",
		`1 of demo/a istio-proxy=proxy:0 sidecar.istio.io/status={"revision":"default"}`,
		`2 of demo/a istio-proxy=proxy:1 sidecar.istio.io/status={"revision":"default"}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, kind := range store.kinds() {
		if !ids[kind.ID()] {
			t.Error("a kind has another ID at another time")
		}
	}
}
