// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// repeatTransition is how long after a transition a new leader reports it again. A change of the leader takes less time.
const repeatTransition = 5 * time.Minute

// addSamples adds the answers of the metrics server to what was observed, if an evaluation of a canary is due.
func (r *reconciler) addSamples(ctx context.Context, observed *routing.Observed, now time.Time) {
	if r.options.Canaries == nil {
		return
	}
	query, isDue := routing.CanaryQueryOf(*observed, now)
	if !isDue {
		r.options.Canaries.forget(client.ObjectKeyFromObject(observed.Service))
		return
	}
	observed.Samples = r.options.Canaries.samples(ctx, observed.Service, query)
}

// reportCanary records what a plan decided about a canary, as Events of the Service and of the workloads that run the version. It does so
// once all routes are written: until then the requests are not where the Event says, and the next plan has the same transition. An abort
// is also a Problem while the canary is requested, of which the Service gets an Event anyway. If it is recent, the last transition is also
// reported by a leader that did not decide it: the one before may have stopped between the write and the Event. It returns the Problems of
// the plan that can be reported now.
func (r *reconciler) reportCanary(service *corev1.Service, plan routing.Result, isWritten, hasRoutesLeft bool) []api.RouteProblem {
	isAbort := func(p api.RouteProblem) bool { return p.Reason == api.RouteCanaryAborted }
	if hasRoutesLeft {
		if slices.ContainsFunc(plan.Transitions, func(t routing.CanaryTransition) bool { return t.Reason == string(api.RouteCanaryAborted) }) {
			return slices.DeleteFunc(slices.Clone(plan.Problems), isAbort)
		}
		return plan.Problems
	}
	key, transitions := client.ObjectKeyFromObject(service), plan.Transitions
	switch {
	case len(transitions) > 0 && !isWritten:
		return plan.Problems
	case len(transitions) > 0:
		r.reporter.noteTransition(key, transitions[len(transitions)-1].ID)
	case plan.Latest != nil && r.reporter.noteTransition(key, plan.Latest.ID) && r.now().Sub(plan.Latest.At) < repeatTransition:
		transitions = []routing.CanaryTransition{*plan.Latest}
	}
	for _, transition := range transitions {
		kind := corev1.EventTypeNormal
		if transition.IsWarning {
			kind = corev1.EventTypeWarning
		}
		action, note := "Canary-"+api.ShortHash(transition.Note), api.EventNote(transition.Note)
		if transition.Reason != string(api.RouteCanaryAborted) || !slices.ContainsFunc(plan.Problems, isAbort) {
			r.reporter.event(service, nil, kind, transition.Reason, action, transition.Note)
		}
		for _, workload := range transition.Workloads {
			r.reporter.recorder.Eventf(r.aboutWorkload(service.Namespace, workload), service, kind, transition.Reason, action, "%s", note)
		}
	}
	return plan.Problems
}

// aboutWorkload returns a workload with its UID, by which kubectl describe finds Events; without it if it was deleted meanwhile.
func (r *reconciler) aboutWorkload(namespace string, ref routing.WorkloadRef) *metav1.PartialObjectMetadata {
	out := &metav1.PartialObjectMetadata{}
	out.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind(ref.Kind))
	out.Namespace, out.Name, out.UID = namespace, ref.Name, r.uidOf(namespace, ref)
	return out
}
