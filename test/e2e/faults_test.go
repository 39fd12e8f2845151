package e2e

import (
	"errors"
	"testing"
)

// The leader is killed, without time to end, while each transition waits for its propagation delay. The next one goes on
// from what is recorded on the objects, and ends where nobody was killed.
func TestTheLeaderIsKilledInTransitions(t *testing.T) {
	needIstio(t)
	ns := namespace(t, "outrigger.dev/routing=enabled") // routed, not injected: its pods start without the webhook
	apply(t, ns, service("app")+fixed("app-v1", "app", "v1"))
	readyPods(t, ns, "app=app,version=v1", 2)
	wantSubsets(t, ns, "app", "v1")
	wantRoutes(t, ns, "app", "v1=100")

	annotate(t, ns, "app", "outrigger.dev/weights=v1=90,v2=10")
	wantEvent(t, ns, "app", "PendingVersions")
	apply(t, ns, fixed("app-v2", "app", "v2"))
	wantSubsets(t, ns, "app", "v1 v2") // the route waits for the proxies to hear of it
	killLeader(t)
	wantRoutes(t, ns, "app", "v1=90 v2=10")

	annotate(t, ns, "app", "outrigger.dev/default-version=v2", "outrigger.dev/weights-")
	killLeader(t)
	wantRoutes(t, ns, "app", "v2=100")

	kubectl(t, "-n", ns, "delete", "deployment", "app-v1")
	killLeader(t) // while the subset that nobody needs waits for its end
	wantSubsets(t, ns, "app", "v2")
	wantRoutes(t, ns, "app", "v2=100")

	quiet(t, ns)
	before := versions(t, ns)
	killLeader(t)
	quiet(t, ns)
	for name, version := range versions(t, ns) {
		if before[name] != version {
			t.Errorf("%s was written by a new leader that had nothing to do", name)
		}
	}
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
