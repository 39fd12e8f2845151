// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
)

// A canary that needs only readiness goes through its steps by the controller's own times, and each transition is an Event of the Service
// and of the workload.
func TestCanaryThroughItsSteps(t *testing.T) {
	s := newStage(t, map[string]string{api.AnnotationCanary: "v2", api.AnnotationCanarySteps: "50@1m,100@1m"})
	s.settle()
	got := s.canaryEvents()
	var want []string
	for _, event := range []string{
		"Normal CanaryStarted Canary v2 of Service app started: step 1 of 2, 50% for 1m.",
		"Normal CanaryStep Canary v2 of Service app passed a step, next: step 2 of 2, 100% for 1m.",
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

// canaryEvents returns the new Events about canaries.
func (s *stage) canaryEvents() []string {
	return slices.DeleteFunc(s.told(), func(event string) bool {
		return !strings.HasPrefix(event, "Normal Canary") && !strings.HasPrefix(event, "Warning Canary")
	})
}

// The DestinationRule is written first. A transition is reported when the route has it: not while the write of the VirtualService is
// rejected or conflicts, and once after that, also by another leader.
func TestTransitionsAreReportedWithTheRoute(t *testing.T) {
	for what, answer := range map[string]error{
		"rejected": apierrors.NewInvalid(refusedKind, "app", nil),
		"conflict": apierrors.NewConflict(refusedResource, "app", errAway),
	} {
		t.Run(what, func(t *testing.T) {
			s := newStage(t, nil)
			s.settle()
			s.told()
			// follow fails the writes of the route for a while, and then returns the Events.
			follow := func(annotations map[string]string) []string {
				s.annotate(annotations)
				s.before = func(o client.Object) error {
					if o.GetObjectKind().GroupVersionKind().Kind == "VirtualService" {
						return answer
					}
					return nil
				}
				for range 3 {
					s.reconcile()
					s.now = s.now.Add(time.Second)
				}
				if early := s.canaryEvents(); len(early) > 0 {
					t.Errorf("before the route was written: %q", early)
				}
				s.before = nil
				s.reporter.clear()
				for range 3 {
					s.reconcile()
					s.now = s.now.Add(time.Second)
				}
				return s.canaryEvents()
			}
			started := "Normal CanaryStarted Canary v2 of Service app started: step 1 of 2, 50% for 1h."
			got := follow(map[string]string{api.AnnotationCanary: "v2", api.AnnotationCanarySteps: "50@1h,100@1h"})
			if diff := cmp.Diff([]string{started, started}, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			aborted := "Normal CanaryAborted Canary v2 was aborted at 50%: outrigger.dev/canary was removed. v1 receives its requests."
			got = follow(nil)
			if diff := cmp.Diff([]string{aborted, aborted}, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// While an annotation is invalid, the canary stays at its step, and the metric shows the step.
func TestTheStepIsCountedWhileAnAnnotationIsInvalid(t *testing.T) {
	s := newStage(t, map[string]string{api.AnnotationCanary: "v2", api.AnnotationCanarySteps: "50@1h,100@1h"})
	for range 5 {
		s.reconcile()
		s.now = s.now.Add(3 * time.Second)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(s.reporter.canarySteps)
	step := func() float64 {
		families, err := registry.Gather()
		if err != nil || len(families) == 0 {
			return 0
		}
		return families[0].Metric[0].GetGauge().GetValue()
	}
	if got := step(); got != 1 {
		t.Fatalf("the step is %v", got)
	}
	s.annotate(map[string]string{api.AnnotationCanary: "v/2", api.AnnotationCanarySteps: "50@1h,100@1h"})
	s.reconcile()
	if got := step(); got != 1 {
		t.Errorf("the step is %v while canary is invalid", got)
	}
}
