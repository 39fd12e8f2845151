// SPDX-License-Identifier: Apache-2.0

package podindex

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes/fake"

	"outrigger.dev/outrigger/routing"
)

var begin = time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)

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
	store, pods := New(), map[string]*corev1.Pod{}
	selectors := []map[string]string{{"app": "a"}, {"app": "b"}, {"app": "a", "version": "v1"}, {"version": "v2"}, {"no": "such"}, {}}
	for step := range 5000 {
		name := fmt.Sprintf("pod-%d", random.IntN(40))
		switch held := pods[name]; {
		case random.IntN(3) == 0:
			if held != nil {
				_ = store.Delete(EntryOf(held))
			}
			delete(pods, name)
		case random.IntN(200) == 0:
			var items []any
			for _, pod := range pods {
				if random.IntN(2) == 0 {
					delete(pods, pod.Name)
					continue
				}
				items = append(items, EntryOf(pod))
			}
			_ = store.Replace(items, "")
		default:
			pods[name] = randomPod(random, name)
			_ = store.Add(EntryOf(pods[name]))
		}
		selector := selectors[step%len(selectors)]
		var selected []*corev1.Pod
		for _, pod := range pods {
			if len(selector) > 0 && labels.SelectorFromSet(selector).Matches(labels.Set(pod.Labels)) {
				selected = append(selected, pod)
			}
		}
		want := routing.GroupPods(selected, "version")
		got := store.Groups("demo", selector, "version")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("step %d, selector %v: %s", step, selector, diff)
		}
	}
	for _, pod := range pods {
		_ = store.Delete(EntryOf(pod))
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
		pod.Labels[istioLabel] = "ingressgateway"
	}
	if random.IntN(3) == 0 {
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: int32(random.IntN(3))}, {RestartCount: 1}}
	}
	return pod
}

// A gap in the watch is closed by a new list, and what it brings is told.
func TestAGapIsMadeUpFor(t *testing.T) {
	store := New()
	if err := store.Replace([]any{EntryOf(podOf("a", "app", "v1", "1", true)), EntryOf(podOf("b", "app", "v2", "1", true))}, ""); err != nil {
		t.Fatal(err)
	}
	var told []string
	store.Changed = func(before, after *Shape) {
		text := ""
		for _, shape := range []*Shape{before, after} {
			version := "none"
			if shape != nil {
				version, _ = shape.Label("version")
			}
			text += version + " "
		}
		told = append(told, text)
	}
	if err := store.Replace([]any{EntryOf(podOf("a", "app", "v1", "1", true)), EntryOf(podOf("c", "app", "v3", "1", true))}, ""); err != nil {
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
	store := New()
	var mutex sync.Mutex
	changes := 0
	store.Changed = func(_, _ *Shape) { mutex.Lock(); changes++; mutex.Unlock() }
	go NewReflector(clients.CoreV1().Pods(""), store).RunWithContext(t.Context())
	pods := func() int {
		sum := 0
		for _, group := range store.Groups("demo", map[string]string{"app": "app"}, "version") {
			sum += group.Pods
		}
		return sum
	}
	waitFor(t, "the list is in", func() bool { return store.HasSynced() && pods() == 1 })
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
		groups := store.Groups("demo", map[string]string{"app": "app"}, "version")
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
	watch := &Watcher{pods: clients.CoreV1().Pods("")}
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
	store := New()
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
	var items []any
	for _, pod := range []*corev1.Pod{podOf("plain", "a", "v1", "abc", true), injected("one", "proxy:1"), injected("two", "proxy:1"), injected("old", "proxy:0"), host, ending} {
		items = append(items, EntryOf(pod))
	}
	if kinds, known := store.Kinds(); known {
		t.Errorf("before the first list, it returns %v", kinds)
	}
	if err := store.Replace(items, ""); err != nil {
		t.Fatal(err)
	}
	var got []string
	ids := map[any]bool{}
	kinds, _ := store.Kinds()
	for _, kind := range kinds {
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
		got, ids[kind.ID] = append(got, line), true
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
	kinds, _ = store.Kinds()
	for _, kind := range kinds {
		if !ids[kind.ID] {
			t.Error("a kind has another ID at another time")
		}
	}
}

// The number of restarts of a pod takes no memory.
func TestRestartsTakeNoMemory(t *testing.T) {
	const name, times, flags = unsafe.Sizeof(""), 2 * unsafe.Sizeof(seconds(0)), 8 // flags and restarts, with padding
	if got := unsafe.Sizeof(member{}); got > name+times+flags {
		t.Errorf("a pod takes %d bytes", got)
	}
	pod := podOf("a", "app", "v1", "1", true)
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 1 << 20}}
	if got := EntryOf(pod).member.restarts; got != math.MaxUint16 {
		t.Errorf("%d restarts", got)
	}
}
