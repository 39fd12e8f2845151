// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/util/flowcontrol"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
	"outrigger.dev/outrigger/internal/fairqueue"
)

// OwnerEvents records Events on the top-level owner of a pod, the Deployment or CronJob that a user knows, if the pod is not
// injected or will not work. Requests only add to its queue. It runs on every replica.
type OwnerEvents struct {
	events *Events
	owners metadata.Interface
	log    logr.Logger
	counts *prometheus.CounterVec
	queue  *fairqueue.Queue[ownerEvent]
	more   chan struct{}
	limit  flowcontrol.RateLimiter
	recent *cache.LRUExpireCache // Events that were added to the queue within repeatAfter
}

// The limits of Events. Events beyond them are dropped and counted.
const (
	eventQueue     = 1024            // waiting
	eventQueueEach = 256             // waiting, of one namespace
	eventsEach     = 5               // a second
	eventBurst     = 25              // at once
	repeatAfter    = 5 * time.Minute // the same Event by one replica
	maxRecent      = 4096            // remembered
)

// OwnerEventsOptions are the dependencies of OwnerEvents.
type OwnerEventsOptions struct {
	Events     *Events
	Owners     metadata.Interface    // reads the metadata of ReplicaSets, Jobs and ReplicationControllers
	Registerer prometheus.Registerer // nil = no metrics
	Log        logr.Logger
}

// NewOwnerEvents returns OwnerEvents that writes nothing until it is started.
func NewOwnerEvents(options OwnerEventsOptions) *OwnerEvents {
	o := &OwnerEvents{
		events: options.Events, owners: options.Owners, log: options.Log,
		counts: promauto.With(options.Registerer).NewCounterVec(prometheus.CounterOpts{
			Name: "outrigger_owner_events_total",
			Help: "Events for owners of pods by result: written, known (it already existed), dropped (too many at once), failed.",
		}, []string{"result"}),
		queue:  fairqueue.New[ownerEvent](eventQueueEach, eventQueue),
		more:   make(chan struct{}, 1),
		limit:  flowcontrol.NewTokenBucketRateLimiter(eventsEach, eventBurst),
		recent: cache.NewLRUExpireCache(maxRecent),
	}
	for _, result := range []string{"written", "known", "dropped", "failed"} {
		o.counts.WithLabelValues(result)
	}
	return o
}

// NeedLeaderElection returns false: every replica reviews pods.
func (o *OwnerEvents) NeedLeaderElection() bool { return false }

// Start writes the queued Events until the context ends. Namespaces take turns, so that many Events of one delay no other.
func (o *OwnerEvents) Start(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-o.more:
		}
		for o.queue.Len() > 0 {
			if o.limit.Wait(ctx) != nil {
				return nil // the context ended
			}
			one, _, ok := o.queue.Next(func(string) bool { return false })
			if ok {
				o.write(ctx, one)
			}
		}
	}
}

// ownerEvent is one Event about a pod.
type ownerEvent struct {
	namespace string
	owner     metav1.OwnerReference // the pod's controller
	event     event                 // complete but for the object
}

// enqueue adds the Events about a pod to the queue. It never waits. The pod is the JSON of the request, which is decoded only if
// there are Events.
func (o *OwnerEvents) enqueue(namespace string, pod []byte, report inject.Report) {
	if o == nil {
		return
	}
	events := eventsOf(report)
	if len(events) == 0 {
		return
	}
	about := &metav1.PartialObjectMetadata{}
	if err := json.Unmarshal(pod, about); err != nil {
		return // not a pod
	}
	owner := metav1.GetControllerOfNoCopy(about)
	if owner == nil {
		return // the creator of a bare pod gets a warning instead
	}
	about.Namespace = namespace
	for _, one := range events {
		if !o.remember(string(owner.UID) + one.reason + one.same) {
			continue
		}
		one.note = fmt.Sprintf(one.note, inject.PodRef(about))
		if o.queue.Add(namespace, string(owner.UID)+one.reason+one.same, ownerEvent{namespace, *owner, one}) == fairqueue.Dropped {
			o.counts.WithLabelValues("dropped").Inc()
		}
		select {
		case o.more <- struct{}{}:
		default:
		}
	}
}

// remember records an Event as recent, and returns false if it already was.
func (o *OwnerEvents) remember(id string) bool {
	if _, known := o.recent.Get(id); known {
		return false
	}
	o.recent.Add(id, true, repeatAfter)
	return true
}

func (o *OwnerEvents) write(ctx context.Context, one ownerEvent) {
	one.event.about = o.topOwner(ctx, one.namespace, one.owner)
	written, err := o.events.write(ctx, one.event)
	switch {
	case err != nil:
		o.counts.WithLabelValues("failed").Inc()
		o.log.Error(err, "an Event for the owner of a pod could not be written")
	case written:
		o.counts.WithLabelValues("written").Inc()
	default:
		o.counts.WithLabelValues("known").Inc()
	}
}

// intermediateOwners are the controllers that another controller usually creates.
var intermediateOwners = map[schema.GroupKind]schema.GroupVersionResource{
	{Group: "apps", Kind: "ReplicaSet"}:        {Group: "apps", Version: "v1", Resource: "replicasets"},
	{Group: "batch", Kind: "Job"}:              {Group: "batch", Version: "v1", Resource: "jobs"},
	{Group: "", Kind: "ReplicationController"}: {Group: "", Version: "v1", Resource: "replicationcontrollers"},
}

// topOwner follows controllers up to the one without a controller, or to one that cannot be read. The UID must be right: kubectl
// finds Events by it.
func (o *OwnerEvents) topOwner(ctx context.Context, namespace string, owner metav1.OwnerReference) corev1.ObjectReference {
	for range len(intermediateOwners) {
		version, err := schema.ParseGroupVersion(owner.APIVersion)
		resource, is := intermediateOwners[schema.GroupKind{Group: version.Group, Kind: owner.Kind}]
		if err != nil || !is {
			break
		}
		object, err := o.owners.Resource(resource).Namespace(namespace).Get(ctx, owner.Name, metav1.GetOptions{})
		if err != nil {
			o.log.V(1).Info("the owner of a pod could not be read", "kind", owner.Kind, "namespace", namespace, "name", owner.Name, "error", err.Error())
			break
		}
		next := metav1.GetControllerOfNoCopy(object)
		if object.UID != owner.UID || next == nil {
			break
		}
		owner = *next
	}
	return corev1.ObjectReference{APIVersion: owner.APIVersion, Kind: owner.Kind, Namespace: namespace, Name: owner.Name, UID: owner.UID}
}

// eventsOf returns the Events that a report is worth. Their notes are formats for the name of the pod.
func eventsOf(report inject.Report) []event {
	var out []event
	if report.Result == inject.Failed && report.Reason != api.InjectBadRequest {
		out = append(out, event{
			kind: corev1.EventTypeWarning, reason: string(report.Reason), action: "Inject",
			note: "Failed: %s: " + escaped(report.Message+" "+report.Reason.Advice()),
		})
	}
	if isUnexpectedSkip(report) {
		out = append(out, event{
			kind: corev1.EventTypeNormal, reason: string(report.Reason), action: "Inject",
			note: "Not injected: %s: " + escaped(report.Message+". "+report.Reason.Advice()),
		})
	}
	for _, problem := range report.Problems {
		about := problem
		if about.Object.Kind == "Pod" {
			about.Object = api.ObjectRef{}
		}
		out = append(out, event{
			kind: corev1.EventTypeWarning, reason: string(problem.Reason), action: "Inject",
			note: notePrefixes[report.Result] + escaped(strings.TrimPrefix(about.String(), " : ")),
			same: problem.Field + "=" + problem.Value,
		})
	}
	return out
}

// notePrefixes begin the note about a Problem.
var notePrefixes = map[inject.Result]string{inject.Denied: "Denied: %s: ", inject.Injected: "Injected, but: %s: ", inject.Skipped: "Not injected: %s: "}

func escaped(text string) string { return strings.ReplaceAll(text, "%", "%%") }

// isUnexpectedSkip reports whether a user may wonder why the pod was not injected: not if the pod itself opts out or already has the
// sidecar.
func isUnexpectedSkip(report inject.Report) bool {
	if report.Result != inject.Skipped {
		return false
	}
	switch report.Reason {
	case api.InjectHostNetwork, api.InjectIgnoredNamespace, api.InjectWindowsPod, api.InjectNeverSelector, api.InjectPolicyDisabled, api.InjectPolicyInvalid:
		return true
	}
	return false
}
