// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"strings"
	"testing"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"outrigger.dev/outrigger/api"
)

func TestWhatOthersTake(t *testing.T) {
	for _, test := range []struct{ kind, spec, want string }{
		{"Rollout", `{strategy: {canary: {stableService: app, canaryService: app-next}}}`, "demo/app demo/app-next"},
		{"Rollout", `{strategy: {blueGreen: {activeService: app, previewService: app-next}}}`, "demo/app demo/app-next"},
		{"Rollout", `{strategy: {canary: {trafficRouting: {istio: {destinationRule: {name: app}, virtualService: {name: web}}}}}}`, "demo/app demo/web"},
		{"Rollout", `{strategy: {canary: {trafficRouting: {istio: {virtualServices: [{name: a}, {name: b}, {name: a}]}}}}}`, "demo/a demo/b"},
		{"Rollout", `{strategy: {canary: {steps: [{setWeight: 5}]}}}`, ""},
		{"Canary", `{targetRef: {name: app}}`, "demo/app demo/app-canary demo/app-primary"},
		{"Canary", `{targetRef: {name: app}, service: {name: web}}`, "demo/web demo/web-canary demo/web-primary"},
		{"Canary", `{}`, ""},
		{"HTTPRoute", `{parentRefs: [{name: gw}, {kind: Service, name: app}, {kind: Service, name: web, namespace: shop}, {kind: Service, name: api, namespace: demo}]}`, "demo/api demo/app"},
		{"HTTPRoute", `{parentRefs: [{kind: Gateway, name: gw}], rules: [{backendRefs: [{name: app}]}]}`, ""},
	} {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(fmt.Appendf(nil, "{kind: %s, metadata: {namespace: demo, name: x}, spec: %s}", test.kind, test.spec), &object.Object); err != nil {
			t.Fatal(err)
		}
		for _, router := range OtherRouters() {
			if router.Kind != test.kind {
				continue
			}
			var got []string
			for _, name := range router.ServicesOf(object) {
				got = append(got, name.String())
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("%s %s takes %v, want %s", test.kind, test.spec, got, test.want)
			}
		}
	}
}

func TestADestinationRuleThatARolloutHasTaken(t *testing.T) {
	c := twoVersions(t)
	rule := &networkingv1.DestinationRule{
		ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "mine", Annotations: map[string]string{managedByRollouts: "roll"}},
		Spec:       networkingapi.DestinationRule{Host: "app"},
	}
	c.foreign.DestinationRules = []*networkingv1.DestinationRule{rule}
	c.tells(api.RouteManagedElsewhere)
	c.has("v1 v2", "none")
	c.advance(2 * time.Minute)
	c.has("", "none")
	rule.Spec.Host = "other"
	c.advance(time.Minute)
	c.tells(api.RoutePreexistingSplit) // both serve by now
}
