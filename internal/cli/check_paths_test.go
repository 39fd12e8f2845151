// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/internal/diagnose"
)

func TestCheckListsPathsThatBypassTheVersions(t *testing.T) {
	vs := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "inside"}}
	vs.Spec.Hosts = []string{"api.internal"}
	vs.Spec.Http = []*networkingapi.HTTPRoute{{Route: []*networkingapi.HTTPRouteDestination{{Destination: &networkingapi.Destination{Host: "app"}}}}}
	s := shop(t, vs)
	s.reconcile("app")
	c := &checker{client: s.client, live: s.live, namespace: "demo", config: s.config}
	found := c.bypasses(t.Context())
	if len(found) != 1 || found[0].State != diagnose.CheckWarning || !strings.Contains(found[0].Text, "VirtualService demo/inside") || !strings.Contains(found[0].Text, "(MeshBypassesSubsets)") {
		t.Errorf("found %v", found)
	}
	if err := s.client.Delete(t.Context(), vs); err != nil {
		t.Fatal(err)
	}
	if found := c.bypasses(t.Context()); len(found) > 0 {
		t.Errorf("found %v after it was deleted", found)
	}
	c.config.Routing.Enabled = false
	if found := c.bypasses(t.Context()); found != nil {
		t.Errorf("found %v without routing", found)
	}
}
