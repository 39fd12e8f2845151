// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// watchStage is a cluster whose watches the test controls.
type watchStage struct {
	*live
	t       *testing.T
	changed <-chan struct{}

	mu       sync.Mutex
	lists    int // that the API server answered
	versions []string
	time     time.Time
	watches  []*watch.FakeWatcher
	refused  error // of watches
}

func newWatchStage(t *testing.T, objects ...client.Object) *watchStage {
	t.Helper()
	w := &watchStage{t: t, time: noon}
	s := newLiveStage(t, objects...).through(interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.lists++
			return c.List(ctx, list, options...)
		},
		Watch: func(_ context.Context, _ client.WithWatch, _ client.ObjectList, options ...client.ListOption) (watch.Interface, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.refused != nil {
				return nil, w.refused
			}
			wanted := client.ListOptions{}
			wanted.ApplyOptions(options)
			w.versions = append(w.versions, wanted.Raw.ResourceVersion)
			one := watch.NewFakeWithChanSize(10, false)
			w.watches = append(w.watches, one)
			return one, nil
		},
	})
	w.live, w.changed = s.watching(t.Context())
	w.live.lists.(*watchedLists).now = func() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.time }
	return w
}

func (w *watchStage) after(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.time = w.time.Add(d)
}

// watched compares how many watches have started.
func (w *watchStage) watched(want int) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.watches) != want {
		w.t.Errorf("%d watches, want %d", len(w.watches), want)
	}
}

// pods lists the pods of namespace demo, and compares how many lists the API server has answered so far.
func (w *watchStage) pods(lists int, want ...string) {
	w.t.Helper()
	var list corev1.PodList
	if err := w.live.lists.List(w.t.Context(), &list, client.InNamespace("demo")); err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for i := range list.Items {
		names = append(names, list.Items[i].Name+"@"+list.Items[i].ResourceVersion)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(names, want) || w.lists != lists {
		w.t.Errorf("pods %v after %d lists, want %v after %d", names, w.lists, want, lists)
	}
}

func (w *watchStage) watch(number int) *watch.FakeWatcher {
	w.t.Helper()
	for {
		w.mu.Lock()
		if len(w.watches) > number {
			defer w.mu.Unlock()
			return w.watches[number]
		}
		w.mu.Unlock()
		select {
		case <-w.t.Context().Done():
			w.t.Fatal("no watch")
		case <-time.After(time.Millisecond):
		}
	}
}

func numbered(name, version string) *corev1.Pod {
	pod := podOf(name, map[string]string{"app": "app"}, true)
	pod.ResourceVersion = version
	return pod
}

func TestAListIsRequestedOnceAndKeptUpToDate(t *testing.T) {
	t.Parallel()
	w := newWatchStage(t, podOf("a", nil, true), podOf("b", nil, true))
	w.pods(1, "a@999", "b@999")
	w.watch(0).Modify(numbered("b", "1001"))
	<-w.changed
	w.pods(1, "a@999", "b@1001")
	w.watch(0).Add(numbered("aa", "1002"))
	<-w.changed
	w.watch(0).Delete(numbered("b", "1003"))
	<-w.changed
	w.pods(1, "a@999", "aa@1002")
}

// API servers end watches. They continue after the last change or bookmark.
func TestAWatchContinues(t *testing.T) {
	t.Parallel()
	w := newWatchStage(t, podOf("a", nil, true))
	w.pods(1, "a@999")
	first := w.watch(0)
	bookmark := numbered("", "1005")
	first.Action(watch.Bookmark, bookmark)
	first.Stop()
	w.watch(1).Add(numbered("b", "1006"))
	<-w.changed
	w.pods(1, "a@999", "b@1006")
	if w.versions[1] != "1005" {
		t.Errorf("it continues after %s", w.versions[1])
	}
}

// A list whose watch fails is requested again.
func TestAFailedWatchRequestsTheListAgain(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(*watchStage){
		"expired": func(w *watchStage) { w.watch(0).Error(&metav1.Status{Code: 410, Reason: metav1.StatusReasonExpired}) },
		"the API server is away": func(w *watchStage) {
			w.mu.Lock()
			w.refused = errors.New("connection refused")
			w.mu.Unlock()
			w.watch(0).Stop()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWatchStage(t, podOf("a", nil, true))
			w.pods(1, "a@999")
			fail(w)
			<-w.changed
			w.pods(2, "a@999")
			w.mu.Lock()
			w.refused = nil
			w.mu.Unlock()
		})
	}
}

// A list is requested in pages, or as a whole if the API server has dropped the state of the first page.
func TestListsAreRequestedInPages(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		expires bool
		want    []string
	}{
		"in pages":     {false, []string{"limit 500", "limit 500 after a"}},
		"when expired": {true, []string{"limit 500", "limit 500 after a", "limit 0"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests, names []string
			s := newLiveStage(t).through(interceptor.Funcs{
				List: func(_ context.Context, _ client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
					wanted := client.ListOptions{}
					wanted.ApplyOptions(options)
					request := fmt.Sprintf("limit %d", wanted.Limit)
					if wanted.Continue != "" {
						request += " after " + wanted.Continue
					}
					requests = append(requests, request)
					pods := list.(*corev1.PodList)
					switch {
					case wanted.Limit == 0:
						pods.Items = []corev1.Pod{*numbered("a", "1"), *numbered("b", "2")}
					case wanted.Continue == "":
						pods.Items, pods.Continue = []corev1.Pod{*numbered("a", "1")}, "a"
					case c.expires:
						return apierrors.NewResourceExpired("the continue parameter is too old")
					default:
						pods.Items = []corev1.Pod{*numbered("b", "2")}
					}
					return nil
				},
				Watch: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) (watch.Interface, error) {
					return watch.NewFake(), nil
				},
			})
			kept, _ := s.watching(t.Context())
			for range 2 {
				var list corev1.PodList
				if err := kept.lists.List(t.Context(), &list, client.InNamespace("demo")); err != nil {
					t.Fatal(err)
				}
				names = nil
				for i := range list.Items {
					names = append(names, list.Items[i].Name)
				}
			}
			if !slices.Equal(names, []string{"a", "b"}) || !slices.Equal(requests, c.want) {
				t.Errorf("pods %v by %q, want %q", names, requests, c.want)
			}
		})
	}
}

// Without permission to watch, each list is requested, and a watch is tried again after a pause.
func TestListsWithoutPermissionToWatch(t *testing.T) {
	t.Parallel()
	w := newWatchStage(t, podOf("a", nil, true))
	w.refused = forbidden
	w.pods(1, "a@999")
	w.refused = nil
	w.after(forbiddenPause - 1)
	w.pods(2, "a@999")
	w.watched(0)
	w.after(1)
	w.pods(3, "a@999")
	w.watched(1)
	w.pods(3, "a@999")
}

// A watch that ends at once is tried again after a pause, which doubles until a watch lasts. Until then, each list is requested.
func TestWatchesThatEndAtOnce(t *testing.T) {
	t.Parallel()
	w := newWatchStage(t, podOf("a", nil, true))
	w.pods(1, "a@999")
	lists := 1
	for i, pause := range []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, 30 * time.Second, 30 * time.Second} {
		w.watch(i).Stop()
		<-w.changed
		w.after(pause - 1)
		w.pods(lists+1, "a@999")
		w.watched(i + 1)
		w.after(1)
		w.pods(lists+2, "a@999")
		w.watched(i + 2)
		lists += 2
	}
	w.after(shortestWatch)
	w.watch(5).Stop()
	<-w.changed
	w.pods(lists+1, "a@999")
	w.watched(7)
	w.watch(6).Stop() // the pause is the shortest one again
	<-w.changed
	w.after(shortestWatch)
	w.pods(lists+2, "a@999")
	w.watched(8)
}

// A watch that ends after one change each time is not repeated without a pause.
func TestWatchesThatEndAfterAChange(t *testing.T) {
	t.Parallel()
	w := newWatchStage(t, podOf("a", nil, true))
	w.pods(1, "a@999")
	for i := range 2 {
		one := w.watch(i)
		one.Action(watch.Bookmark, numbered("", "1005"))
		one.Stop()
	}
	<-w.changed
	w.pods(2, "a@999")
	w.watched(2)
}

// A reader that waits for a list that another reader requests waits until its own context ends.
func TestWaitingForAListEndsWithTheContext(t *testing.T) {
	t.Parallel()
	started, answer := make(chan struct{}), make(chan struct{})
	s := newLiveStage(t, podOf("a", nil, true)).through(interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
			close(started)
			<-answer
			return c.List(ctx, list, options...)
		},
		Watch: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) (watch.Interface, error) {
			return watch.NewFake(), nil
		},
	})
	kept, _ := s.watching(t.Context())
	first := make(chan error, 1)
	go func() { first <- kept.lists.List(t.Context(), &corev1.PodList{}, client.InNamespace("demo")) }()
	<-started
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := kept.lists.List(ctx, &corev1.PodList{}, client.InNamespace("demo"))
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "wait for the PodList that is being requested") {
		t.Errorf("%v", err)
	}
	close(answer)
	if err := <-first; err != nil {
		t.Error(err)
	}
	var list corev1.PodList
	if err := kept.lists.List(t.Context(), &list, client.InNamespace("demo")); err != nil || len(list.Items) != 1 {
		t.Errorf("%d pods, %v", len(list.Items), err)
	}
}

// Parts of a list are requested, and lists that may not be read are tried again.
func TestPartsOfAListAreNotKept(t *testing.T) {
	t.Parallel()
	w := newWatchStage(t, podOf("a", nil, true))
	for range 2 {
		var list corev1.PodList
		if err := w.live.lists.List(t.Context(), &list, client.InNamespace("demo"), client.Limit(1)); err != nil {
			t.Fatal(err)
		}
	}
	if w.lists != 2 || len(w.watches) > 0 {
		t.Errorf("%d lists, %d watches", w.lists, len(w.watches))
	}
}

// Lists that no reading uses any more end with their watches; the others stay.
func TestUnusedListsEnd(t *testing.T) {
	t.Parallel()
	w := newWatchStage(t, podOf("a", nil, true))
	lists := w.live.lists.(*watchedLists)
	read := func(selector string) {
		for _, option := range []client.ListOption{client.MatchingLabels{"istio": selector}, client.InNamespace("demo")} {
			if err := lists.List(t.Context(), &corev1.PodList{}, option); err != nil {
				t.Fatal(err)
			}
		}
		lists.endReading()
	}
	const more = 5
	for i := range unusedReadings + more {
		read(fmt.Sprint("x", i))
	}
	if want := unusedReadings + 1; len(lists.held) != want || w.lists != unusedReadings+more+1 {
		t.Errorf("%d lists are kept after %d requests, want %d", len(lists.held), w.lists, want)
	}
	for _, ended := range append(w.watches[:1:1], w.watches[2:more+1]...) { // the second is that of the namespace
		for range ended.ResultChan() {
			t.Error("an event")
		}
	}
	if w.watches[1].IsStopped() {
		t.Error("the watch of a list that is used has ended")
	}
}

// A stream of readings keeps no list of a gateway selector that no Service has any more.
func TestReadingsEndUnusedLists(t *testing.T) {
	t.Parallel()
	s := shop(t, ingressGateway()...)
	kept, _ := s.watching(t.Context())
	for i := range 2 * unusedReadings {
		s.annotate("app", "outrigger.dev/expose=true", "outrigger.dev/hosts=a.example.com", fmt.Sprintf("outrigger.dev/gateway-selector=istio=x%d", i))
		if _, err := kept.status(t.Context(), false); err != nil {
			t.Fatal(err)
		}
	}
	found := 0
	for key := range kept.lists.(*watchedLists).held {
		if strings.HasPrefix(key.selector, "istio=x") {
			found++
		}
	}
	if found == 0 || found > unusedReadings+1 {
		t.Errorf("%d lists of gateway selectors are kept", found)
	}
}

// With kept lists, status and explain say the same as without.
func TestStatusFromKeptLists(t *testing.T) {
	t.Parallel()
	s := shop(t, ingressGateway()...)
	s.annotate("app", "outrigger.dev/weights=v1=90,v2=10", "outrigger.dev/expose=true", "outrigger.dev/hosts=a.example.com")
	s.reconcile("app")
	for _, all := range []bool{false, true} {
		want, err := s.status(t.Context(), all)
		if err != nil {
			t.Fatal(err)
		}
		kept, _ := s.watching(t.Context())
		for range 2 {
			got, err := kept.status(t.Context(), all)
			if err != nil {
				t.Fatal(err)
			}
			if w, g := toJSON(t, want), toJSON(t, got); w != g {
				t.Errorf("all=%v: want\n%s\ngot\n%s", all, w, g)
			}
		}
	}
}
