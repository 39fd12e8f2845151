// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// reporter records Events, each Problem once.
type reporter struct {
	recorder events.EventRecorder
	writes   *prometheus.CounterVec
	problems *prometheus.GaugeVec

	canarySteps *prometheus.GaugeVec
	evaluations *prometheus.CounterVec

	mutex     sync.Mutex
	reported  map[client.ObjectKey]map[api.RouteProblem]bool // without their advice
	evaluated map[client.ObjectKey]time.Time                 // when the canary of a Service was evaluated last
	followed  map[client.ObjectKey]string                    // the last transition of the canary of a Service, by its ID
}

func newReporter() *reporter {
	t := &reporter{
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "outrigger_routing_writes_total", Help: "Routing objects written, by kind and verb (create, apply, delete, release).",
		}, []string{"kind", "verb"}),
		problems: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "outrigger_routing_problems", Help: "Current routing problems, by reason.",
		}, []string{"reason"}),
		canarySteps: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "outrigger_canary_step", Help: "The step of each canary that progresses, from 1 on.",
		}, []string{"namespace", "service"}),
		evaluations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "outrigger_canary_evaluations_total", Help: "Evaluations of the metrics of canaries, by result (passed, failed, noData, fewRequests).",
		}, []string{"result"}),
		reported:  map[client.ObjectKey]map[api.RouteProblem]bool{},
		evaluated: map[client.ObjectKey]time.Time{},
		followed:  map[client.ObjectKey]string{},
	}
	for _, result := range routing.CanaryResults {
		t.evaluations.WithLabelValues(result)
	}
	// Prometheus sees an increase only in a series that existed before.
	for _, kind := range istioKinds {
		for _, verb := range []routing.Action{routing.Create, routing.Apply, routing.Delete, routing.Release} {
			t.writes.WithLabelValues(kind, strings.ToLower(string(verb)))
		}
	}
	for _, doc := range api.RouteReasons() {
		t.problems.WithLabelValues(string(doc.Reason))
	}
	return t
}

// reportProblems records an Event for each Problem that the last reconciliation of the Service did not have. An aborted canary is reported
// as a transition: the Problem lasts, also for a later leader, and can be about a canary that was aborted long ago.
func (t *reporter) reportProblems(service *corev1.Service, problems []api.RouteProblem) {
	identity := func(p api.RouteProblem) api.RouteProblem { p.Advice = ""; return p }
	now := map[api.RouteProblem]bool{}
	for _, p := range problems {
		now[identity(p)] = true
	}
	before := t.replace(client.ObjectKeyFromObject(service), now)
	for _, p := range problems {
		id := identity(p)
		if before[id] || !now[id] || p.Reason == api.RouteCanaryAborted {
			continue
		}
		delete(now, id) // now is ours; a duplicate is reported once
		note := p.String()
		t.event(service, nil, eventType(p.Reason), string(p.Reason), "Plan-"+api.ShortHash(note), note)
	}
}

// noteCanary counts the step and the evaluation of a canary, each evaluation once. canary is nil if there is none.
func (t *reporter) noteCanary(observed *routing.Observed, canary *routing.CanaryStatus) {
	service := client.ObjectKeyFromObject(observed.Service)
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if canary == nil {
		t.forgetCanary(service)
		return
	}
	if canary.Result != "" && !observed.Samples.At.Equal(t.evaluated[service]) {
		t.evaluated[service] = observed.Samples.At
		t.evaluations.WithLabelValues(canary.Result).Inc()
	}
	if canary.State != routing.CanaryProgressing {
		t.canarySteps.DeleteLabelValues(service.Namespace, service.Name)
		return
	}
	t.canarySteps.WithLabelValues(service.Namespace, service.Name).Set(float64(canary.Step))
}

// forgetCanary drops what is kept of a Service's canary. The caller holds the mutex.
func (t *reporter) forgetCanary(service client.ObjectKey) {
	t.canarySteps.DeleteLabelValues(service.Namespace, service.Name)
	delete(t.evaluated, service)
}

// noteTransition notes the last transition of a canary, and returns whether it is new to this leader.
func (t *reporter) noteTransition(service client.ObjectKey, id string) bool {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	isNew := t.followed[service] != id
	t.followed[service] = id
	return isNew
}

// forget drops the Problems and the canary of a deleted Service.
func (t *reporter) forget(service client.ObjectKey) {
	t.replace(service, nil)
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.forgetCanary(service)
	delete(t.followed, service)
}

// clear forgets all Services. The metric of Problems shows 0 on a replica that does not lead.
func (t *reporter) clear() {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.canarySteps.Reset()
	clear(t.evaluated)
	clear(t.followed)
	for service, problems := range t.reported {
		for p := range problems {
			t.problems.WithLabelValues(string(p.Reason)).Dec()
		}
		delete(t.reported, service)
	}
}

// replace stores a copy of the current Problems, and returns those before.
func (t *reporter) replace(service client.ObjectKey, now map[api.RouteProblem]bool) map[api.RouteProblem]bool {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	before := t.reported[service]
	for p := range before {
		t.problems.WithLabelValues(string(p.Reason)).Dec()
	}
	delete(t.reported, service)
	for p := range now {
		t.problems.WithLabelValues(string(p.Reason)).Inc()
		if t.reported[service] == nil {
			t.reported[service] = map[api.RouteProblem]bool{}
		}
		t.reported[service][p] = true
	}
	return before
}

// countWrite counts one write.
func (t *reporter) countWrite(change routing.Change, kind string) {
	t.writes.WithLabelValues(kind, strings.ToLower(string(change.Action))).Inc()
}

// reportWrite records an Event for an object that was written. A write of the record alone changes nothing for callers, so it has no
// Event.
func (t *reporter) reportWrite(service *corev1.Service, change routing.Change, written *unstructured.Unstructured) {
	if change.KeepsSpec {
		return
	}
	note := written.GetKind() + " " + change.Object.GetName()
	if what := summary(change.Object); what != "" && change.Action != routing.Delete {
		note += ": " + what
	}
	reason := map[routing.Action]string{routing.Create: "Created", routing.Apply: "Updated", routing.Delete: "Deleted", routing.Release: "Released"}[change.Action]
	t.event(service, written, corev1.EventTypeNormal, reason, string(change.Action), note)
}

// event sends one Event. The recorder merges Events that differ in the note alone, and keeps the first note, so the action or the
// resource version of the related object must differ.
func (t *reporter) event(service *corev1.Service, related runtime.Object, kind, reason, action, note string) {
	t.recorder.Eventf(service, related, kind, reason, action, "%s", api.EventNote(note))
}

// eventType returns Normal for what requires no action, and Warning otherwise.
func eventType(reason api.RouteReason) string {
	switch reason {
	case api.RouteVersionSucceeded, api.RouteDefaultMoved, api.RouteWeightsAdopted, api.RoutePolicyInherited, api.RouteTelemetryDiffers,
		api.RouteObservedOnly, api.RouteVersionLabelMissing:
		return corev1.EventTypeNormal
	}
	return corev1.EventTypeWarning
}

// summary returns what an object does, in a few words: its subsets, its rules, or its hosts.
func summary(object routing.Object) string {
	var out []string
	switch o := object.(type) {
	case *networkingv1.DestinationRule:
		for _, subset := range o.Spec.Subsets {
			out = append(out, subset.Name)
		}
	case *networkingv1.VirtualService:
		for _, rule := range routing.RulesOf(o) {
			if text := rule.String(); rule.Match == "" {
				out = append(out, text)
			} else {
				out = append(out, rule.Match+" -> "+text)
			}
		}
		return strings.Join(out, "; ")
	case *networkingv1.Gateway:
		for _, server := range o.Spec.Servers {
			for _, host := range server.Hosts {
				out = append(out, fmt.Sprintf("%s on port %d", bareHost(host), server.GetPort().GetNumber()))
			}
		}
	}
	return strings.Join(out, ", ")
}
