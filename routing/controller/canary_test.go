// SPDX-License-Identifier: Apache-2.0

package controller

import (
	gocmp "cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
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
	// kubectl get events lists them by name.
	list := &eventsv1.EventList{}
	if err := s.writer.List(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(list.Items, func(a, b eventsv1.Event) int { return strings.Compare(a.Name, b.Name) })
	var reasons []string
	for _, event := range list.Items {
		if event.Regarding.Kind == "Service" {
			reasons = append(reasons, event.Reason)
		}
	}
	if diff := cmp.Diff([]string{api.CanaryStarted, api.CanaryStepped, api.CanarySucceeded}, reasons); diff != "" {
		t.Errorf("-want +got\n%s", diff)
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

// A leader can stop between the last write of a transition and its Event. The next one reports the transition, unless it is old. No later
// leader reports it again.
func TestANewLeaderReportsTheLastTransition(t *testing.T) {
	steps := map[string]string{api.AnnotationCanary: "v2", api.AnnotationCanarySteps: "50@1h,100@1h"}
	for _, test := range []struct {
		reason string
		to     func(s *stage)
		want   string
	}{
		{api.CanaryStarted, func(s *stage) { s.untilRoute("v1=50 v2=50") }, "Normal CanaryStarted Canary v2 of Service app started: step 1 of 2, 50% for 1h."},
		{api.CanaryStepped, func(s *stage) { s.untilRoute("v2=100") }, "Normal CanaryStep Canary v2 of Service app passed a step, next: step 2 of 2, 100% for 1h."},
		{api.CanarySucceeded, func(s *stage) { s.settle() }, "Normal CanarySucceeded Canary v2 of Service app succeeded: v2 is the default version. It last received 100% of the requests."},
		{string(api.RouteCanaryAborted), func(s *stage) { s.untilRoute("v1=50 v2=50"); s.annotate(nil); s.untilRoute("v1=100") },
			"Normal CanaryAborted Canary v2 was aborted at 50%: outrigger.dev/canary was removed. v1 receives its requests."},
	} {
		restart := func(s *stage) []string {
			s.told()
			s.reporter.clear()
			s.reconcile()
			return s.canaryEvents()
		}
		// killed reconciles until the leader stops at the Event.
		killed := func(s *stage) {
			t := s.t
			s.before = func(o client.Object) error {
				if event, is := o.(*eventsv1.Event); is && event.Reason == test.reason {
					panic(errAway)
				}
				return nil
			}
			defer func() {
				s.before = nil
				if recover() == nil {
					t.Fatal("no such Event")
				}
			}()
			test.to(s)
		}
		t.Run(test.reason+", restarted before the Event", func(t *testing.T) {
			s := newStage(t, steps)
			killed(s)
			if diff := cmp.Diff([]string{test.want, test.want}, restart(s)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if again := restart(s); len(again) > 0 {
				t.Errorf("again: %q", again)
			}
		})
		t.Run(test.reason+", restarted after the Event", func(t *testing.T) {
			s := newStage(t, steps)
			test.to(s)
			if again := restart(s); len(again) > 0 {
				t.Errorf("again: %q", again)
			}
		})
		t.Run(test.reason+", restarted long after", func(t *testing.T) {
			s := newStage(t, steps)
			killed(s)
			s.now = s.now.Add(repeatTransition)
			if late := restart(s); len(late) > 0 {
				t.Errorf("late: %q", late)
			}
		})
	}
}

// An abort is a Problem as long as the version has this pod template. Later leaders do not report it again.
func TestANewLeaderDoesNotRepeatAnAbort(t *testing.T) {
	s := newStage(t, map[string]string{api.AnnotationCanary: "v2", api.AnnotationCanarySteps: "50@1h,100@1h"})
	s.untilRoute("v1=50 v2=50")
	s.told()
	s.setReady("app-v2-abc-1", false)
	s.untilRoute("v1=100")
	told := s.canaryEvents()
	if len(told) != 2 || !strings.HasPrefix(told[0], "Warning CanaryAborted Service demo/app: ") || !strings.Contains(told[0], "--retry") ||
		!strings.HasPrefix(told[1], "Warning CanaryAborted Canary v2 was aborted at 50%: ") {
		t.Errorf("%q", told)
	}
	s.reporter.clear()
	for range 3 {
		s.reconcile()
		s.now = s.now.Add(time.Second)
	}
	if again := s.canaryEvents(); len(again) > 0 {
		t.Errorf("again: %q", again)
	}
}

// shares returns the destinations of the route: "v1=50 v2=50".
func (s *stage) shares() string {
	vs := &networkingv1.VirtualService{}
	if err := s.sources.reader.Get(context.Background(), service.NamespacedName, vs); err != nil || len(vs.Spec.Http) == 0 {
		return ""
	}
	var out []string
	for _, to := range vs.Spec.Http[0].Route {
		if len(vs.Spec.Http[0].Route) == 1 {
			return to.Destination.Subset + "=100"
		}
		out = append(out, fmt.Sprintf("%s=%d", to.Destination.Subset, to.Weight))
	}
	return strings.Join(out, " ")
}

// untilRoute reconciles at the controller's own times until the route has these destinations.
func (s *stage) untilRoute(want string) {
	s.t.Helper()
	for range 100 {
		result := s.reconcile()
		if s.shares() == want {
			return
		}
		s.now = s.now.Add(gocmp.Or(result.RequeueAfter, time.Second))
	}
	s.t.Fatalf("the route is %q, not %q", s.shares(), want)
}

// The API server rejects every write for an hour, or only those of routes: a canary gets no larger share, and none of its steps is left out
// afterwards. One that must be aborted loses its share with the first write.
func TestACanaryWhileTheAPIServerIsAway(t *testing.T) {
	routes := []string{"v1=100", "v1=75 v2=25", "v1=50 v2=50", "v2=100"}
	for _, kind := range []string{"", "VirtualService"} {
		for at, share := range routes {
			for _, isReady := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s %s, ready: %t", share, kind, isReady), func(t *testing.T) {
					s := newStage(t, nil)
					s.settle()
					s.annotate(map[string]string{api.AnnotationCanary: "v2", api.AnnotationCanarySteps: "25@1m,50@1m,100@1m"})
					if at > 0 {
						s.untilRoute(share)
					}
					s.told()
					s.before = func(o client.Object) error {
						if kind == "" || o.GetObjectKind().GroupVersionKind().Kind == kind {
							return apierrors.NewServiceUnavailable("the API server is away")
						}
						return nil
					}
					if !isReady {
						s.setReady("app-v2-abc-1", false)
					}
					for end := s.now.Add(time.Hour); s.now.Before(end); {
						result, err := s.Reconcile(t.Context(), service)
						if got := s.shares(); got != share {
							t.Fatalf("the route is %q", got)
						}
						wait := result.RequeueAfter
						if err != nil || wait == 0 {
							wait = 30 * time.Second // the queue tries again
						}
						s.now = s.now.Add(wait)
					}
					s.before = nil
					got, since := []string{share}, s.now
					for range 200 {
						result := s.reconcile()
						if now := s.shares(); now != got[len(got)-1] {
							if isReady && len(got) > 1 && s.now.Sub(since) < time.Minute {
								t.Errorf("%s lasted %v", got[len(got)-1], s.now.Sub(since))
							}
							got, since = append(got, now), s.now
						}
						s.now = s.now.Add(gocmp.Or(result.RequeueAfter, time.Minute))
					}
					want := routes[at:]
					if !isReady {
						if want = []string{share, "v1=100"}; at == 0 {
							want = want[:1]
						}
					}
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("routes (-want +got)\n%s", diff)
					}
					ends := 0
					for _, event := range s.canaryEvents() {
						if strings.Contains(event, " CanarySucceeded ") || strings.Contains(event, " CanaryAborted ") {
							ends++
						}
					}
					if wantEnds := map[bool]int{true: 2, false: 0}[isReady || at > 0]; ends != wantEnds { // of the Service and the workload
						t.Errorf("%d Events of its end, want %d", ends, wantEnds)
					}
				})
			}
		}
	}
}

// setReady changes the condition of a pod.
func (s *stage) setReady(name string, isReady bool) {
	s.t.Helper()
	pod := &corev1.Pod{}
	if err := s.sources.reader.Get(context.Background(), client.ObjectKey{Namespace: "demo", Name: name}, pod); err != nil {
		s.t.Fatal(err)
	}
	pod.Status.Conditions[0].Status = corev1.ConditionFalse
	if isReady {
		pod.Status.Conditions[0].Status = corev1.ConditionTrue
	}
	if err := s.writer.Status().Update(context.Background(), pod); err != nil {
		s.t.Fatal(err)
	}
	s.fillPods()
}

// Whatever else than one finite number the metrics server answers, the canary stays at its step until its deadline has elapsed. That is also
// true of wrong answers about the default version, with which a relative check compares.
func TestACanaryWithWrongMetrics(t *testing.T) {
	unanswered := func(_ string, r *http.Request) string { <-r.Context().Done(); return "" }
	for name, test := range map[string]struct {
		answer func(promQL string, r *http.Request) string
		why    string
	}{
		"NaN":                   {answering(vector("NaN")), "error-rate: v2 had no requests"},
		"negative":              {answering(vector("-1")), "error-rate: the query returns -1"},
		"infinite":              {answering(vector("+Inf")), "error-rate: the query returns +Inf"},
		"duplicates":            {answering(vector("0", "0")), "error-rate: the query returns 2 series"},
		"no series":             {answering(vector()), "error-rate: the metrics server has no series for v2"},
		"no answer":             {answering(""), "error-rate: the metrics server cannot answer"},
		"slow":                  {unanswered, "error-rate: the metrics server did not answer within 20ms"},
		"the default: NaN":      {wrongBaseline(vector("NaN")), "error-rate: the default version has no value"},
		"the default: negative": {wrongBaseline(vector("-1")), "error-rate: the default version has no value"},
		"the default: several":  {wrongBaseline(vector("1", "1")), "error-rate: the default version has no value"},
	} {
		t.Run(name, func(t *testing.T) {
			check := "error-rate<1%"
			if strings.HasPrefix(name, "the default") {
				check = "error-rate<=1.5x"
			}
			s := newStage(t, map[string]string{
				api.AnnotationCanary: "v2", api.AnnotationCanarySteps: "25@1m,100@1m", api.AnnotationCanaryDeadline: "10m", api.AnnotationCanaryChecks: check,
			})
			s.measuredBy(metricsServer(t, test.answer).URL, func(c *api.RoutingConfig) {
				if name == "slow" {
					c.Metrics.Timeout = 20 * time.Millisecond
				}
			})
			var began time.Time
			var told []string
			for range 500 {
				told = append(told, s.told()...)
				switch now := s.shares(); {
				case now == "v1=75 v2=25" && began.IsZero():
					began = s.now
				case now == "v2=100":
					t.Fatalf("it passed its step; Events: %q", told)
				case now == "v1=100" && !began.IsZero():
					if lasted := s.now.Sub(began); lasted < 11*time.Minute || lasted > 13*time.Minute {
						t.Errorf("it was aborted after %v", lasted)
					}
					s.reconcile()
					text := strings.Join(append(told, s.told()...), "\n")
					for _, want := range []string{
						"Canary v2 stays at 25%: " + test.why,
						"Warning CanaryAborted Canary v2 was aborted at 25%: it could not pass its step of 25% within 10m (" + test.why,
					} {
						if got := strings.Count(text, want); got != 1 {
							t.Errorf("%d Events, not 1, with %q in:\n%s", got, want, text)
						}
					}
					return
				}
				s.evaluate()
			}
			t.Fatalf("it did not end; the route is %q; Events: %q", s.shares(), told)
		})
	}
}

func answering(answer string) func(string, *http.Request) string {
	return func(string, *http.Request) string { return answer }
}

// wrongBaseline answers that the canary is healthy, and this for the default version.
func wrongBaseline(answer string) func(string, *http.Request) string {
	return func(promQL string, _ *http.Request) string {
		switch {
		case strings.HasPrefix(promQL, "sum((max_over_time(istio_requests_total"):
			return vector("100")
		case strings.Contains(promQL, `destination_version="v2"`):
			return vector("0.001")
		}
		return answer
	}
}

// measuredBy has canaries evaluated by a metrics server, at the time of the stage.
func (s *stage) measuredBy(url string, change func(*api.RoutingConfig)) {
	s.t.Helper()
	s.options.Canaries = canaryMetricsOf(s.t, url, change)
	s.options.Canaries.now = func() time.Time { return s.now }
	s.options.Settings.Canary.HasMetrics = true
	s.sources.options.Settings = s.options.Settings
}

// evaluate reconciles once, and waits for the answers that it needs, or else until it is due again.
func (s *stage) evaluate() {
	s.t.Helper()
	before := s.options.Canaries.round(service.NamespacedName)
	result := s.reconcile()
	if after := s.options.Canaries.round(service.NamespacedName); after != nil && after != before {
		<-s.options.Canaries.answered
		return
	}
	s.now = s.now.Add(gocmp.Or(result.RequeueAfter, time.Second))
}

// round returns the last evaluation of a Service; nil if there is none.
func (m *CanaryMetrics) round(service client.ObjectKey) *canaryRound {
	if m == nil {
		return nil
	}
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.rounds[service]
}

// Each evaluation is counted once, with its result: also the one that passes a step, and the one that ends the canary.
func TestEvaluationsAreCounted(t *testing.T) {
	var rate atomic.Value
	rate.Store("0.001")
	server := metricsServer(t, func(promQL string, _ *http.Request) string {
		if strings.HasPrefix(promQL, "sum((max_over_time(istio_requests_total") {
			return vector("100")
		}
		return vector(rate.Load().(string))
	})
	s := newStage(t, map[string]string{api.AnnotationCanary: "v2", api.AnnotationCanarySteps: "50@1m,100@1m"})
	s.measuredBy(server.URL, nil)
	registry := prometheus.NewRegistry()
	registry.MustRegister(s.reporter.evaluations)
	evaluateUntil := func(want string) {
		t.Helper()
		for range 100 {
			if s.shares() == want {
				return
			}
			s.evaluate()
		}
		t.Fatalf("the route is %q, not %q", s.shares(), want)
	}
	isCounted := func(want map[string]float64) {
		t.Helper()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, metric := range families[0].Metric {
			if count := metric.GetCounter().GetValue(); count > 0 {
				got[metric.Label[0].GetValue()] = count
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	}
	evaluateUntil("v1=50 v2=50")
	evaluateUntil("v2=100")
	isCounted(map[string]float64{"passed": 2})
	rate.Store("0.5")
	evaluateUntil("v1=100")
	isCounted(map[string]float64{"passed": 2, "failed": 2})
}
