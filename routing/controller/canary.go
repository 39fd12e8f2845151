// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/reference"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// repeatTransition is how long after a transition a new leader reports it, unless its Event exists. A change of the leader takes less time.
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
// is also a Problem while the canary is requested; the Event of the Service has its advice. If it is recent, the last transition is also
// reported by a leader that did not decide it: the one before may have stopped between the write and the Event. If it did not, the Event
// exists. It returns the Problems of the plan that can be reported now.
func (r *reconciler) reportCanary(ctx context.Context, service *corev1.Service, plan routing.Result, isWritten, hasRoutesLeft bool) []api.RouteProblem {
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
		note := transition.Note
		for _, p := range plan.Problems {
			if isAbort(p) && strings.HasPrefix(p.Message, note) {
				note = p.String()
				break
			}
		}
		r.recordTransition(ctx, service, service, nil, transition, kind, note)
		for _, workload := range transition.Workloads {
			r.recordTransition(ctx, service, r.aboutWorkload(service.Namespace, workload), service, transition, kind, transition.Note)
		}
	}
	return plan.Problems
}

// recordTransition creates the Event of a transition about one object. Its name is derived from the transition, so a later leader that
// reports it as well finds it. If the API server does not accept it now, the recorder tries again, under another name.
func (r *reconciler) recordTransition(ctx context.Context, service *corev1.Service, about, related client.Object, transition routing.CanaryTransition, kind, note string) {
	action := "Canary-" + api.ShortHash(transition.Note)
	event, err := r.transitionEvent(service, about, related, transition)
	if err == nil {
		event.Type, event.Action, event.Note = kind, action, api.EventNote(note)
		err = r.writer.Create(ctx, event)
	}
	if err != nil && !apierrors.IsAlreadyExists(err) {
		r.reporter.recorder.Eventf(about, related, kind, transition.Reason, action, "%s", api.EventNote(note))
	}
}

func (r *reconciler) transitionEvent(service *corev1.Service, about, related client.Object, transition routing.CanaryTransition) (*eventsv1.Event, error) {
	regarding, err := reference.GetReference(r.writer.Scheme(), about)
	if err != nil {
		return nil, err
	}
	hash := fnv.New64a()
	_, _ = fmt.Fprintf(hash, "%s\x00%s\x00%s\x00%s\x00%s", service.UID, regarding.UID, regarding.Kind, transition.Reason, transition.ID) // never fails
	// The API server lists Events by name, so names begin with the time, as those of other Events do.
	id := transition.First.Truncate(time.Millisecond).UnixNano() + int64(hash.Sum64()%uint64(time.Millisecond))
	event := &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: service.Namespace, Name: fmt.Sprintf("%.200s.%x", regarding.Name, id)},
		EventTime:  metav1.NewMicroTime(r.now()), ReportingController: api.ManagedBy, ReportingInstance: api.Shorten(cmp.Or(r.options.Instance, api.ManagedBy), 125),
		Regarding: *regarding, Reason: transition.Reason,
	}
	if related != nil {
		event.Related, err = reference.GetReference(r.writer.Scheme(), related)
	}
	return event, err
}

// aboutWorkload returns a workload with its UID, by which kubectl describe finds Events; without it if it was deleted meanwhile.
func (r *reconciler) aboutWorkload(namespace string, ref routing.WorkloadRef) *metav1.PartialObjectMetadata {
	out := &metav1.PartialObjectMetadata{}
	out.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind(ref.Kind))
	out.Namespace, out.Name, out.UID = namespace, ref.Name, r.uidOf(namespace, ref)
	return out
}
