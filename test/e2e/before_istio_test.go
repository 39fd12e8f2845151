// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"strings"
	"testing"
)

// This test stands first in the order of file names: it needs a cluster without Istio, which every other test brings.
func TestWithoutIstioPodsAreDeniedWithTheReason(t *testing.T) {
	if istioIsThere() {
		t.Fatal("Istio is there already; this test must run first")
	}
	// The chart is installed and ready (TestMain waited for it), and nothing crashes.
	ns := namespace(t, injected)
	out, err := cluster.Kubectl(t.Context(), strings.NewReader("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers: [{name: app, image: registry.example/app:1}]\n"), "-n", ns, "create", "-f", "-")
	if err == nil {
		t.Fatalf("a pod that asks for injection was accepted without Istio: %s", out)
	}
	for _, want := range []string{"NoIstioConfiguration", "istio-sidecar-injector", "istio-system"} {
		if !strings.Contains(out+err.Error(), want) {
			t.Errorf("the denial does not name %s: %s %v", want, out, err)
		}
	}
	if restarts := restartsOfOutrigger(t); restarts != 0 {
		t.Errorf("Outrigger restarted %d times without Istio", restarts)
	}
	// A pod that is opted out starts all the same.
	apply(t, ns, "apiVersion: v1\nkind: Pod\nmetadata: {name: b, labels: {sidecar.istio.io/inject: 'false'}}\nspec:\n  containers: [{name: app, image: registry.example/app:1}]\n")

	// Istio comes later and is picked up without a restart.
	apply(t, ns, service("app")+fixed("app-v1", "app", "v1"))
	needIstio(t)
	for _, pod := range readyPods(t, ns, "app=app", 2) {
		if !hasSidecar(&pod) {
			t.Errorf("pod %s has no sidecar", pod.Name)
		}
	}
	wantRoutes(t, ns, "app", "v1=100")
	if restarts := restartsOfOutrigger(t); restarts != 0 {
		t.Errorf("Outrigger restarted %d times when Istio came", restarts)
	}
}
