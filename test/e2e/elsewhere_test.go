package e2e

import (
	"testing"

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
}
