// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"testing"
)

func TestRestartWritesNothing(t *testing.T) {
	needIstio(t)
	ns := namespace(t, injected)
	apply(t, ns, service("app")+fixed("app-v1", "app", "v1")+fixed("app-v2", "app", "v2")+
		service("lone")+rolling("lone", "lone", "v1"))
	annotate(t, ns, "app", "outrigger.dev/expose=true", "outrigger.dev/gateway-port=8104")
	readyPods(t, ns, "app=app", 4)
	readyPods(t, ns, "app=lone", 2)
	wantRoutes(t, ns, "app", "v1=100")
	wantRoutes(t, ns, "app-gateway", "v1=100")
	wantRoutes(t, ns, "lone", "-=100")
	quiet(t, ns)
	before := versions(t, ns)
	restartOutrigger(t)
	other := namespace(t, injected) // only the new leader can have made its objects
	reconciledNow(t, other)
	if after := versions(t, ns); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("a restart wrote objects: before %v, after %v", before, after)
	}
}

func TestEitherReplicaLeadsAndBothServe(t *testing.T) {
	needIstio(t)
	ns := namespace(t, injected)
	apply(t, ns, service("app")+fixed("app-v1", "app", "v1"))
	wantRoutes(t, ns, "app", "v1=100")
	if pods := outriggerPods(t); len(pods) != 2 {
		t.Fatalf("Outrigger has %d replicas, want 2", len(pods))
	}
	leader := leaderOfRouting(t)
	kubectl(t, "-n", outriggerNamespace, "delete", "pod", leader, "--wait=false")
	for i := range 20 { // served without a gap while one replica goes
		pod, err := created(t, ns, fmt.Sprintf("p-%d", i))
		if err != nil {
			t.Fatalf("pod %d of 20 while a replica stops: %v", i, err)
		}
		if !hasSidecar(pod) {
			t.Errorf("pod %d of 20 has no sidecar", i)
		}
	}
	apply(t, ns, fixed("app-v2", "app", "v2"))
	wantSubsets(t, ns, "app", "v1 v2")
	wantRoutes(t, ns, "app", "v1=100")
	if now := leaderOfRouting(t); now == leader {
		t.Errorf("the deleted replica %s still leads", leader)
	}
}

// The controller is stopped while the one Deployment's label changes: nothing needs it, and when it is back it makes
// good what is missing, without a write to the route.
func TestInPlaceRolloutWhileOutriggerIsStopped(t *testing.T) {
	needIstio(t)
	ns := namespace(t, "outrigger.dev/routing=enabled") // routed, not injected: its pods start without the webhook
	apply(t, ns, service("app")+rolling("app", "app", "v1"))
	readyPods(t, ns, "app=app,version=v1", 2)
	wantSubsets(t, ns, "app", "v1")
	wantRoutes(t, ns, "app", "-=100")
	quiet(t, ns)
	route, err := virtualService(ns, "app")
	if err != nil {
		t.Fatal(err)
	}
	scaleOutrigger(t, 0)
	setVersion(t, ns, "app", "v2", true)
	eventually(t, "the rollout stands half way", func() error {
		out := kubectl(t, "-n", ns, "get", "pods", "-l", "version=v2", "-o", "name")
		if out == "" {
			return fmt.Errorf("no pod of v2 is there")
		}
		return nil
	})
	kubectl(t, "-n", ns, "rollout", "undo", "deployment", "app")
	readyPods(t, ns, "app=app,version=v1", 2)
	setVersion(t, ns, "app", "v2", false)
	readyPods(t, ns, "app=app,version=v2", 2)
	scaleOutrigger(t, 2)
	wantSubsets(t, ns, "app", "v2")
	after, err := virtualService(ns, "app")
	if err != nil {
		t.Fatal(err)
	}
	if after.ResourceVersion != route.ResourceVersion || routes(after) != "-=100" {
		t.Errorf("the VirtualService was written: %s", routes(after))
	}
}
