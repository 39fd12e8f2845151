// SPDX-License-Identifier: Apache-2.0

package e2e

import "testing"

// The decisions that the running controller recorded are listed by status, and undo returns to them.
func TestDecisionsAreUndoneByCommand(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := twoVersions(t)
	says(t, refused(t, "undo", "app", "-n", ns), "has no earlier decision to return to; v1 is the first recorded decision")

	cli(t, "shift", "app", "v1=90", "v2=10", "-n", ns, "--wait")
	cli(t, "promote", "app", "v2", "-n", ns, "--wait")
	routesNow(t, ns, "app", "v2=100")
	says(t, cells(cli(t, "status", "app", "-n", ns, "-o", "wide")), "SERVICE UNDO --TO DEFAULT WEIGHTS UNTIL", "app 1 v1 v1=90,v2=10 20", "app 2 v1 - 20")

	for _, mode := range []string{"client", "server"} {
		says(t, cli(t, "undo", "app", "-n", ns, "--dry-run="+mode, "--wait"), "service/app returns to v1=90,v2=10", "service/app: v2=100 -> v1=90 v2=10", "dry run)")
	}
	routesNow(t, ns, "app", "v2=100")
	says(t, cli(t, "undo", "app", "-n", ns, "--wait"), "service/app: v2=100 -> v1=90 v2=10", "service/app annotated")
	routesNow(t, ns, "app", "v1=90 v2=10")
	cli(t, "undo", "app", "-n", ns, "--to=2", "--wait")
	routesNow(t, ns, "app", "v1=100")

	// A version that is gone is named, and nothing is written.
	kubectl(t, "delete", "deployment", "app-v2", "-n", ns)
	readyPods(t, ns, "app=app", 2)
	before := annotationsOf(t, ns, "app")
	says(t, refused(t, "undo", "app", "-n", ns), "cannot return to v1=90,v2=10: it has no version v2; it has v1")
	if after := annotationsOf(t, ns, "app"); after["outrigger.dev/decided-at"] != before["outrigger.dev/decided-at"] {
		t.Errorf("written: %v", after)
	}
}
