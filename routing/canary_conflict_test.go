// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"testing"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// While a foreign DestinationRule gives a subset name other labels, an edit that names a missing subset is reverted to the step that was
// written. The canary does not advance.
func TestCanaryStaysAtItsStepInASubsetConflict(t *testing.T) {
	c := started(t)
	clash := &networkingv1.DestinationRule{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "mine"}}
	clash.Spec.Host = "app"
	clash.Spec.Subsets = []*networkingapi.Subset{{Name: "v1", Labels: map[string]string{"track": "stable"}}}
	clash.CreationTimestamp = metav1.NewTime(c.now)
	c.foreign.DestinationRules = []*networkingv1.DestinationRule{clash}
	c.settle()
	c.advance(20 * time.Minute)
	c.has("v1 v2", "v1=50 v2=50")
	c.editRoute("app", func(vs *networkingv1.VirtualService) {
		for _, route := range vs.Spec.Http[len(vs.Spec.Http)-1].Route {
			if route.Destination.Subset == "v2" {
				route.Destination.Subset = "v7"
			}
		}
	})
	c.settle()
	c.has("v1 v2", "v1=50 v2=50")
	if text := recordOf(c.existing.VirtualServices[0]).text(); text != recordOf(c.existing.DestinationRules[0]).text() {
		t.Errorf("only the VirtualService records %s", text)
	}
}
