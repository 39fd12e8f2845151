// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"outrigger.dev/outrigger/api"
)

// A canary that needs only readiness goes through its steps by the controller's own times, and each transition is an Event of the Service
// and of the workload.
func TestCanaryThroughItsSteps(t *testing.T) {
	s := newStage(t, map[string]string{api.AnnotationCanary: "v2", api.AnnotationCanarySteps: "50@1m,100@1m"})
	s.settle()
	var got []string
	for _, event := range s.told() {
		if strings.HasPrefix(event, "Normal Canary") {
			got = append(got, event)
		}
	}
	var want []string
	for _, event := range []string{
		"Normal CanaryStarted Canary v2 of Service app started: step 1 of 2, 50% for 1m0s.",
		"Normal CanaryStep Canary v2 of Service app passed a step, next: step 2 of 2, 100% for 1m0s.",
		"Normal CanarySucceeded Canary v2 of Service app succeeded: v2 is the default version. It last received 100% of the requests.",
	} {
		want = append(want, event, event)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if to := s.route().Spec.Http[0].Route; len(to) != 1 || to[0].Destination.Subset != "v2" {
		t.Errorf("the route is %v", to)
	}
}
