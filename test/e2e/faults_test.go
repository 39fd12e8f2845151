// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// transitions are what faults fall into: what is done, and what is there in the end. Where middle is set, the fault comes as
// soon as that is seen; else it comes before what is done.
var transitions = []struct {
	what   string
	do     func(t *testing.T, ns string)
	middle func(t *testing.T, ns string)
	end    func(t *testing.T, ns string)
}{
	{
		what:   "a version is added, and has its share once it is ready",
		do:     func(t *testing.T, ns string) { apply(t, ns, fixed("app-v2", "app", "v2")) },
		middle: func(t *testing.T, ns string) { wantSubsets(t, ns, "app", "v1 v2") }, // the route waits for the proxies
		end:    func(t *testing.T, ns string) { wantRoutes(t, ns, "app", "v1=90 v2=10") },
	},
	{
		what: "its share is shifted",
		do:   func(t *testing.T, ns string) { annotate(t, ns, "app", "outrigger.dev/weights=v1=50,v2=50") },
		end:  func(t *testing.T, ns string) { wantRoutes(t, ns, "app", "v1=50 v2=50") },
	},
	{
		what: "it is promoted",
		do: func(t *testing.T, ns string) {
			annotate(t, ns, "app", "outrigger.dev/default-version=v2", "outrigger.dev/weights-")
		},
		end: func(t *testing.T, ns string) { wantRoutes(t, ns, "app", "v2=100") },
	},
	{
		what: "the old one is removed",
		do: func(t *testing.T, ns string) {
			kubectl(t, "-n", ns, "delete", "deployment", "app-v1")
			readyPods(t, ns, "app=app", 2)
		},
		middle: func(*testing.T, string) {}, // while the subset that nobody needs waits for its end
		end:    func(t *testing.T, ns string) { wantSubsets(t, ns, "app", "v2") },
	},
	{
		what: "a lone workload rolls out in place",
		do: func(t *testing.T, ns string) {
			apply(t, ns, rolling("web", "web", "v2"))
		},
		middle: func(t *testing.T, ns string) { wantSubsets(t, ns, "web", "v1 v2") },
		end:    func(t *testing.T, ns string) { wantSubsets(t, ns, "web", "v2"); wantRoutes(t, ns, "web", "-=100") },
	},
}

// The leader is killed, without time to end, in each transition. The next one goes on from what is recorded on the
// objects: the same writes follow each other as where nobody was killed, and the end is the same.
func TestTheLeaderIsKilledInTransitions(t *testing.T) {
	needIstio(t)
	want := undisturbedTransitions(t)
	got := transitionsIn(t, func(string) { killLeader(t) })
	if diff := gocmp.Diff(want, got.settled(t)); diff != "" {
		t.Errorf("writes (-with one leader +with killed leaders):\n%s", diff)
	}
	before := versions(t, got.ns)
	killLeader(t)
	quiet(t, got.ns)
	for name, version := range versions(t, got.ns) {
		if before[name] != version {
			t.Errorf("%s was written by a leader that had nothing to do", name)
		}
	}
	t.Logf("%d writes changed what is routed:\n%s", len(want), strings.Join(want, "\n"))
}

// The API server stands still in the middle of a transition, until the leader has given up its lead. When it answers
// again somebody leads, and goes on: nothing is lost, and the order is kept. No replica ends with its Lease.
func TestTheAPIServerIsAwayInATransition(t *testing.T) {
	needIstio(t)
	ns := namespace(t, "outrigger.dev/routing=enabled")
	writes := watchWrites(t, ns)
	apply(t, ns, service("app")+fixed("app-v1", "app", "v1"))
	wantRoutes(t, ns, "app", "v1=100")
	annotate(t, ns, "app", "outrigger.dev/weights=v1=90,v2=10")
	wantEvent(t, ns, "app", "PendingVersions")
	apply(t, ns, fixed("app-v2", "app", "v2"))
	wantSubsets(t, ns, "app", "v1 v2") // the route waits for the proxies
	before := processes(t)
	untilGivenUp := leaderGivesUp(t)
	goOn := standStill(t)
	untilGivenUp()
	goOn()
	wantRoutes(t, ns, "app", "v1=90 v2=10")
	annotate(t, ns, "app", "outrigger.dev/default-version=v2", "outrigger.dev/weights-")
	wantRoutes(t, ns, "app", "v2=100")
	waitForPodsOfOutrigger(t, 2)
	if diff := gocmp.Diff(before, processes(t)); diff != "" {
		t.Errorf("replicas ended while the API server was away (-before +after):\n%s", diff)
	}
	want := []string{
		"DestinationRule app: v1", "VirtualService app: v1=100", "DestinationRule app: v1 v2",
		"VirtualService app: v1=90 v2=10", "VirtualService app: v2=100",
	}
	if diff := gocmp.Diff(want, writes.changes(t)); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
}

// processes are Outrigger's pods, with how often each has restarted.
func processes(t *testing.T) map[string]int32 {
	t.Helper()
	out := map[string]int32{}
	for _, pod := range outriggerPods(t) {
		out[pod.Name] = pod.Status.ContainerStatuses[0].RestartCount
	}
	return out
}

// leaderGivesUp returns what waits until a leader has said that it lost its lead, from now on.
func leaderGivesUp(t *testing.T) (wait func()) {
	t.Helper()
	const givenUp = `"msg":"the Lease was lost`
	before := strings.Count(outrigger.Logs(), givenUp)
	return func() {
		t.Helper()
		eventually(t, "the leader gives up", func() error {
			if strings.Count(outrigger.Logs(), givenUp) == before {
				return errors.New("it has not said so")
			}
			return nil
		})
	}
}

// standStill stops the API server without ending it, and returns what lets it go on.
func standStill(t *testing.T) (goOn func()) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(cluster.Dir, "run", "kube-apiserver"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		t.Fatal(err)
	}
	signal := func(s syscall.Signal) {
		if err := syscall.Kill(pid, s); err != nil {
			t.Errorf("kube-apiserver, process %d: %v", pid, err)
		}
	}
	goOn = sync.OnceFunc(func() { signal(syscall.SIGCONT) })
	t.Cleanup(goOn)
	signal(syscall.SIGSTOP)
	return goOn
}

// undisturbed are the writes of the transitions where nothing goes wrong, for the tests that compare with them.
var undisturbed struct {
	once   sync.Once
	writes []string
}

func undisturbedTransitions(t *testing.T) []string {
	t.Helper()
	undisturbed.once.Do(func() { undisturbed.writes = transitionsIn(t, func(string) {}).settled(t) })
	if len(undisturbed.writes) == 0 {
		t.Fatal("the transitions failed with nothing to disturb them; see the test that went through them first")
	}
	return undisturbed.writes
}

// transitionsIn lives through the transitions in a namespace of its own, and returns what was written there.
func transitionsIn(t *testing.T, fault func(ns string)) *writes {
	t.Helper()
	ns := namespace(t, "outrigger.dev/routing=enabled") // routed, not injected: its pods start without the webhook
	seen := watchWrites(t, ns)
	apply(t, ns, service("app")+fixed("app-v1", "app", "v1"))
	wantRoutes(t, ns, "app", "v1=100")
	apply(t, ns, service("web")+rolling("web", "web", "v1"))
	wantRoutes(t, ns, "web", "-=100")
	readyPods(t, ns, "app=app", 2)
	readyPods(t, ns, "app=web", 2)
	annotate(t, ns, "app", "outrigger.dev/weights=v1=90,v2=10")
	wantEvent(t, ns, "app", "PendingVersions")
	for _, transition := range transitions {
		if transition.middle == nil {
			fault(ns)
			transition.do(t, ns)
		} else {
			transition.do(t, ns)
			transition.middle(t, ns)
			fault(ns)
		}
		transition.end(t, ns)
	}
	return seen
}

// writes are all that a watch saw of the objects of a namespace.
type writes struct {
	ns   string
	mu   sync.Mutex
	seen []write
}

// write is one of them; what is what it says about the object's routes.
type write struct {
	version      int // resourceVersion: one order for all kinds
	object, what string
	is           client.Object
	names        []string // subsets that a DestinationRule has, or a VirtualService names
}

func watchWrites(t *testing.T, ns string) *writes {
	t.Helper()
	watching, err := client.NewWithWatch(cluster.Config, client.Options{Scheme: kube.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	out := &writes{ns: ns}
	for _, list := range []client.ObjectList{&networkingv1.DestinationRuleList{}, &networkingv1.VirtualServiceList{}} {
		w, err := watching.Watch(context.Background(), list, client.InNamespace(ns))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Stop)
		go func() {
			for event := range w.ResultChan() {
				out.add(event)
			}
		}()
	}
	return out
}

func (w *writes) add(event watch.Event) {
	object, is := event.Object.(client.Object)
	if !is {
		return
	}
	version, err := strconv.Atoi(object.GetResourceVersion())
	if err != nil {
		return
	}
	one := write{version: version, is: object}
	switch o := object.(type) {
	case *networkingv1.DestinationRule:
		one.object, one.what = "DestinationRule "+o.Name, subsets(o)
		one.names = strings.Fields(one.what)
	case *networkingv1.VirtualService:
		one.object, one.what = "VirtualService "+o.Name, routes(o)
		for _, http := range o.Spec.Http {
			for _, route := range http.Route {
				one.names = append(one.names, route.Destination.Subset)
			}
		}
	}
	if event.Type == watch.Deleted {
		one.what, one.names = "deleted", nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, one)
}

// inOrder returns what was seen so far.
func (w *writes) inOrder() []write {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.SortedFunc(slices.Values(w.seen), func(a, b write) int { return cmp.Compare(a.version, b.version) })
}

// settled returns the changes once there are no more.
func (w *writes) settled(t *testing.T) []string {
	t.Helper()
	quiet(t, w.ns)
	return w.changes(t)
}

// changes returns the writes after which an object says something else about routes, in their order, and holds at each of
// them that the route names only subsets that are there. What a Service leaves behind that is gone, the garbage collector
// takes in an order of its own.
func (w *writes) changes(t *testing.T) []string {
	t.Helper()
	services := &corev1.ServiceList{}
	if err := kube.List(t.Context(), services, client.InNamespace(w.ns)); err != nil {
		t.Fatal(err)
	}
	isLeft := func(object client.Object) bool {
		owner := metav1.GetControllerOf(object)
		return owner != nil && !slices.ContainsFunc(services.Items, func(s corev1.Service) bool { return s.UID == owner.UID })
	}
	last := map[string]write{}
	var out []string
	for _, one := range w.inOrder() {
		if was, known := last[one.object]; known && was.what == one.what {
			continue
		}
		last[one.object] = one
		out = append(out, one.object+": "+one.what)
		_, service, _ := strings.Cut(one.object, " ")
		route := last["VirtualService "+service]
		if len(route.names) == 0 || isLeft(route.is) {
			continue
		}
		for _, name := range route.names {
			if name != "" && !slices.Contains(last["DestinationRule "+service].names, name) {
				t.Errorf("after %s the route names subset %s, which is not there", out[len(out)-1], name)
			}
		}
	}
	return out
}

// killLeader ends the replica that leads without its grace, and waits until another one leads.
func killLeader(t *testing.T) {
	t.Helper()
	leader := leaderOfRouting(t)
	kubectl(t, "-n", outriggerNamespace, "delete", "pod", leader, "--grace-period=0", "--force")
	eventually(t, "another replica leads", func() error {
		if leaderOfRouting(t) == leader {
			return errors.New(leader + " still does")
		}
		return nil
	})
	waitForPodsOfOutrigger(t, 2)
}
