// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// missing is a thing that happens while Outrigger sees nothing, to a Service of its own: what stands before, what happens,
// what must be there in the end. Where routes is set, it is all that the Service's VirtualService ever said.
type missing struct {
	service, what   string
	before, do, end func(t *testing.T, ns string)
	routes          []string
}

var missed = []missing{
	{
		service: "guest", what: "a version comes, serves and goes",
		before: func(t *testing.T, ns string) {
			apply(t, ns, service("guest")+fixed("guest-v1", "guest", "v1"))
			wantRoutes(t, ns, "guest", "v1=100")
			readyPods(t, ns, "app=guest", 2)
		},
		do: func(t *testing.T, ns string) {
			apply(t, ns, fixed("guest-v9", "guest", "v9"))
			readyPods(t, ns, "app=guest", 4)
			kubectl(t, "-n", ns, "delete", "deployment", "guest-v9")
			readyPods(t, ns, "app=guest", 2)
		},
		end:    func(t *testing.T, ns string) { wantSubsets(t, ns, "guest", "v1") },
		routes: []string{"v1=100"},
	},
	{
		service: "bare", what: "the route is deleted",
		before: func(t *testing.T, ns string) {
			apply(t, ns, service("bare")+fixed("bare-v1", "bare", "v1"))
			wantRoutes(t, ns, "bare", "v1=100")
		},
		do:     func(t *testing.T, ns string) { kubectl(t, "-n", ns, "delete", "virtualservice", "bare") },
		end:    func(t *testing.T, ns string) { wantRoutes(t, ns, "bare", "v1=100") },
		routes: []string{"v1=100", "deleted", "v1=100"},
	},
	{
		// No routes: where the watch of Services comes back last, objects are made for the old one once more, which go with it.
		service: "anew", what: "the Service is another one of the same name",
		before: func(t *testing.T, ns string) {
			apply(t, ns, service("anew")+fixed("anew-v1", "anew", "v1"))
			wantRoutes(t, ns, "anew", "v1=100")
		},
		do: func(t *testing.T, ns string) {
			kubectl(t, "-n", ns, "delete", "virtualservice/anew", "destinationrule/anew", "service/anew")
			apply(t, ns, service("anew"))
		},
		end: func(t *testing.T, ns string) {
			made := &corev1.Service{}
			if err := kube.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "anew"}, made); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the objects are those of the new Service", func() error {
				rule, err := destinationRule(ns, "anew")
				if err != nil {
					return err
				}
				route, err := virtualService(ns, "anew")
				if err != nil {
					return err
				}
				if !metav1.IsControlledBy(rule, made) || !metav1.IsControlledBy(route, made) || subsets(rule) != "v1" || routes(route) != "v1=100" {
					return fmt.Errorf("Service %s, rule %v, route %v", made.UID, rule, route)
				}
				return nil
			})
		},
	},
	{
		service: "taken", what: "somebody else takes the route",
		before: func(t *testing.T, ns string) {
			apply(t, ns, service("taken")+fixed("taken-v1", "taken", "v1"))
			wantRoutes(t, ns, "taken", "v1=100")
		},
		do: func(t *testing.T, ns string) {
			if err := kube.Create(t.Context(), foreignRoute(ns, "theirs", "taken")); err != nil {
				t.Fatal(err)
			}
		},
		end: func(t *testing.T, ns string) {
			wantAbsent(t, &networkingv1.VirtualService{}, ns, "taken")
			wantEvent(t, ns, "taken", "RouteConflict")
			wantSubsets(t, ns, "taken", "v1")
			theirs, err := virtualService(ns, "theirs")
			if err != nil {
				t.Fatal(err)
			}
			if theirs.Generation != 1 || len(theirs.ManagedFields) != 1 {
				t.Errorf("the foreign VirtualService was written: %v", theirs)
			}
		},
		routes: []string{"v1=100", "deleted"},
	},
	{
		// No routes: whether v2 has all before v3 has its share depends on what is seen first.
		service: "app", what: "the default moves, an old version goes and a new one comes",
		before: func(t *testing.T, ns string) {
			apply(t, ns, service("app")+fixed("app-v1", "app", "v1")+fixed("app-v2", "app", "v2"))
			annotate(t, ns, "app", "outrigger.dev/default-version=v1", "outrigger.dev/weights=v1=90,v2=10")
			wantRoutes(t, ns, "app", "v1=90 v2=10")
			readyPods(t, ns, "app=app", 4)
		},
		do: func(t *testing.T, ns string) {
			annotate(t, ns, "app", "outrigger.dev/default-version=v2", "outrigger.dev/weights=v2=50,v3=50")
			apply(t, ns, fixed("app-v3", "app", "v3"))
			kubectl(t, "-n", ns, "delete", "deployment", "app-v1")
			readyPods(t, ns, "app=app", 4)
		},
		end: func(t *testing.T, ns string) {
			wantRoutes(t, ns, "app", "v2=50 v3=50")
			wantSubsets(t, ns, "app", "v2 v3")
		},
	},
}

// All connections of Outrigger's break, and there are no new ones while much happens. Then everything is as it must be, and
// the writes came in their order, as seen by a watch without a gap.
func TestWatchesHaveAGap(t *testing.T) {
	needIstio(t)
	for _, test := range []struct {
		what   string
		refuse func(net.Conn)
		anew   bool
	}{
		{what: "and go on where they were", refuse: reset},   // the client takes it for a network that is back in a moment
		{what: "and begin anew", refuse: answer, anew: true}, // it lists all there is: what came and went is never seen
	} {
		t.Run(test.what, func(t *testing.T) {
			leader, since := holderOfLease(t), noted(t)
			missedIn(t, test.refuse, func() {})
			listed := 0
			for _, r := range requests(t, asker{namespace: outriggerNamespace, account: outriggerName}, since) {
				if r.verb == "list" && r.resource == "pods" && r.status == http.StatusOK {
					listed++
				}
			}
			t.Logf("the lead was kept: %t; the pods were listed %d times", holderOfLease(t) == leader, listed) // on a slow machine it is lost
			if test.anew && listed == 0 {
				t.Error("the watch of pods did not begin anew")
			}
		})
	}
}

// The same where the gap lasts until the lead is lost, so that one who has seen nothing of what was before goes on.
func TestWatchesHaveAGapLongerThanTheLead(t *testing.T) {
	needIstio(t)
	missedIn(t, reset, leaderGivesUp(t)) // the same process may lead again: it does not end
}

// missedIn has all of missed happen while Outrigger's connections are cut and new ones refused, which lasts until wait returns
// at least.
func missedIn(t *testing.T, refuse func(net.Conn), wait func()) {
	t.Helper()
	ns := namespace(t, "outrigger.dev/routing=enabled")
	seen := watchWrites(t, ns)
	// All at once: in the gap, whoever creates a workload waits for our advice in vain.
	atOnce := func(step string, do func(happens missing, t *testing.T)) {
		t.Helper()
		done := t.Run(step, func(t *testing.T) {
			for _, happens := range missed {
				t.Run(happens.what, func(t *testing.T) {
					t.Parallel()
					do(happens, t)
				})
			}
		})
		if !done {
			t.FailNow()
		}
	}
	atOnce("before", func(happens missing, t *testing.T) { happens.before(t, ns) })
	restore := toAPIServer.cut(t, refuse)
	atOnce("in the gap", func(happens missing, t *testing.T) { happens.do(t, ns) })
	wait()
	restore()
	atOnce("after it", func(happens missing, t *testing.T) { happens.end(t, ns) })
	changes := seen.settled(t)
	atOnce("in the end", func(happens missing, t *testing.T) { happens.end(t, ns) })
	for _, happens := range missed {
		var said []string
		for _, change := range changes {
			if what, is := strings.CutPrefix(change, "VirtualService "+happens.service+": "); is {
				said = append(said, what)
			}
		}
		if diff := gocmp.Diff(happens.routes, said); happens.routes != nil && diff != "" {
			t.Errorf("%s: its routes (-want +got):\n%s", happens.what, diff)
		}
	}
	t.Logf("these writes changed what is routed:\n%s", strings.Join(changes, "\n"))
	waitForPodsOfOutrigger(t, 2)
}

// holderOfLease returns who leads routing: another one each time that somebody began to.
func holderOfLease(t *testing.T) string {
	t.Helper()
	leaderOfRouting(t)
	lease := &coordinationv1.Lease{}
	if err := kube.Get(t.Context(), client.ObjectKey{Namespace: outriggerNamespace, Name: "outrigger-routing"}, lease); err != nil {
		t.Fatal(err)
	}
	return ptr.Deref(lease.Spec.HolderIdentity, "")
}
