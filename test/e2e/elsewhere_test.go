// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"testing"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// rolloutCRD stands for Argo Rollouts' own: only the kind matters here.
const rolloutCRD = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: rollouts.argoproj.io}
spec:
  group: argoproj.io
  scope: Namespaced
  names: {kind: Rollout, listKind: RolloutList, plural: rollouts, singular: rollout}
  versions:
  - name: v1alpha1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

func TestServiceOfARolloutIsLeftAlone(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t, injected)
	apply(t, ns, rolloutCRD)
	kubectl(t, "wait", "--for=condition=Established", "--timeout=60s", "crd/rollouts.argoproj.io")
	apply(t, ns, `
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: taken}
spec: {strategy: {canary: {stableService: taken, canaryService: taken-canary}}}
`)
	apply(t, ns, service("taken")+fixed("taken-v1", "taken", "v1"))
	wantEvent(t, ns, "taken", "ManagedElsewhere")
	reconciledNow(t, ns)
	if _, err := destinationRule(ns, "taken"); !apierrors.IsNotFound(err) {
		t.Errorf("a DestinationRule was written for a Service that a Rollout takes: %v", err)
	}
	if _, err := virtualService(ns, "taken"); !apierrors.IsNotFound(err) {
		t.Errorf("a VirtualService was written for a Service that a Rollout takes: %v", err)
	}
	// One that comes while ours stands has it stand back at once, and its end brings ours back.
	apply(t, ns, service("later")+fixed("later-v1", "later", "v1"))
	wantRoutes(t, ns, "later", "v1=100")
	apply(t, ns, `
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: later}
spec: {strategy: {blueGreen: {activeService: later}}}
`)
	wantAbsent(t, &networkingv1.VirtualService{}, ns, "later")
	wantEvent(t, ns, "later", "ManagedElsewhere")
	kubectl(t, "-n", ns, "delete", "rollouts.argoproj.io", "later")
	wantRoutes(t, ns, "later", "v1=100")
}

func TestMachinesCountAsPods(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t, injected)
	apply(t, ns, service("app")+fixed("app-v1", "app", "v1"))
	wantRoutes(t, ns, "app", "v1=100")
	apply(t, ns, `
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: machine}
spec: {address: 10.0.0.9, labels: {app: app, version: v9}}
`)
	wantSubsets(t, ns, "app", "v1 v9")
	kubectl(t, "-n", ns, "annotate", "service", "app", "outrigger.dev/weights=v1=1,v9=1")
	wantRoutes(t, ns, "app", "v1=50 v9=50")
	kubectl(t, "-n", ns, "delete", "workloadentry", "machine")
	wantRoutes(t, ns, "app", "v1=100")
}

func TestUsersRulesAndPolicies(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t, injected)
	apply(t, ns, `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: all}
spec: {host: "*.`+ns+`.svc.cluster.local", trafficPolicy: {connectionPool: {tcp: {maxConnections: 33}}}}
`)
	apply(t, ns, service("app")+fixed("app-v1", "app", "v1"))
	wantRoutes(t, ns, "app", "v1=100")
	limit := func(want int32) {
		t.Helper()
		eventually(t, fmt.Sprintf("DestinationRule app allows %d connections", want), func() error {
			rule, err := destinationRule(ns, "app")
			if err != nil {
				return err
			}
			if got := rule.Spec.GetTrafficPolicy().GetConnectionPool().GetTcp().GetMaxConnections(); got != want {
				return fmt.Errorf("it allows %d", got)
			}
			return nil
		})
	}
	limit(33)
	kubectl(t, "-n", ns, "patch", "destinationrule", "all", "--type=merge", "-p", `{"spec":{"trafficPolicy":{"connectionPool":{"tcp":{"maxConnections":34}}}}}`)
	limit(34)
	apply(t, ns, `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: app-extra}
spec: {http: [{match: [{uri: {prefix: /old}}], redirect: {uri: /new}}]}
`)
	leads := func(want bool) {
		t.Helper()
		eventually(t, fmt.Sprintf("the first rule leads to app-extra: %t", want), func() error {
			vs, err := virtualService(ns, "app")
			if err != nil {
				return err
			}
			if is := vs.Spec.Http[0].Delegate.GetName() == "app-extra"; is != want {
				return fmt.Errorf("it does: %t", is)
			}
			return nil
		})
	}
	leads(true)
	kubectl(t, "-n", ns, "delete", "virtualservice", "app-extra")
	leads(false)
	kubectl(t, "-n", ns, "delete", "destinationrule", "all")
	limit(0)
}
