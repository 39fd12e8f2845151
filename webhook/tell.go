// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/util/flowcontrol"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
	"outrigger.dev/outrigger/internal/fairqueue"
)

// OwnerEvents tells the owner of a pod, the Deployment or CronJob that a user knows, why the pod was not injected or will
// not work, as Events. It works beside the requests: they only put something into its queue. It runs on every replica.
type OwnerEvents struct {
	events *Events
	owners metadata.Interface
	log    logr.Logger
	counts *prometheus.CounterVec
	queue  *fairqueue.Queue[toldOfPod]
	more   chan struct{}
	limit  flowcontrol.RateLimiter

	mu   sync.Mutex
	told map[string]time.Time // what was put into the queue lately, and when
}

// The limits of Events. Events beyond them are dropped and counted.
const (
	eventQueue     = 1024            // waiting
	eventQueueEach = 256             // waiting, of one namespace
	eventsEach     = 5               // a second
	eventBurst     = 25              // at once
	toldAgainAfter = 5 * time.Minute // the same of the same owner, by one replica
	maxTold        = 4096            // remembered
)

// OwnerEventsOptions are what OwnerEvents needs to know.
type OwnerEventsOptions struct {
	Events     *Events
	Owners     metadata.Interface    // reads the metadata of ReplicaSets, Jobs and ReplicationControllers
	Registerer prometheus.Registerer // nil counts nowhere
	Log        logr.Logger
}

// NewOwnerEvents returns a writer of Events that writes none until it is started.
func NewOwnerEvents(options OwnerEventsOptions) *OwnerEvents {
	o := &OwnerEvents{
		events: options.Events, owners: options.Owners, log: options.Log,
		counts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "outrigger_owner_events_total",
			Help: "Events for owners of pods by result: written, known (it already existed), dropped (too many at once), failed.",
		}, []string{"result"}),
		queue: fairqueue.New[toldOfPod](eventQueueEach, eventQueue),
		more:  make(chan struct{}, 1),
		limit: flowcontrol.NewTokenBucketRateLimiter(eventsEach, eventBurst),
		told:  map[string]time.Time{},
	}
	for _, result := range []string{"written", "known", "dropped", "failed"} {
		o.counts.WithLabelValues(result)
	}
	if options.Registerer != nil {
		options.Registerer.MustRegister(o.counts)
	}
	return o
}

// NeedLeaderElection returns false: every replica answers pods.
func (o *OwnerEvents) NeedLeaderElection() bool { return false }

// Start writes what is in the queue until the context ends: namespaces take turns, so that a flood from one delays no
// other.
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

// toldOfPod is one Event about a pod.
type toldOfPod struct {
	namespace string
	owner     metav1.OwnerReference // the pod's controller
	event     event                 // complete but for the object
}

// tell puts into the queue what the owner of a pod should hear of it. It never waits. The pod is the JSON of the request,
// which is read only if there is something to tell.
func (o *OwnerEvents) tell(namespace string, pod []byte, report inject.Report) {
	if o == nil {
		return
	}
	news := newsOf(report)
	if len(news) == 0 {
		return
	}
	about := &metav1.PartialObjectMetadata{}
	if err := json.Unmarshal(pod, about); err != nil {
		return // no pod, so nobody's
	}
	owner := metav1.GetControllerOfNoCopy(about)
	if owner == nil {
		return // the creator of a bare pod gets a warning instead
	}
	name := about.Name
	if name == "" {
		name = about.GenerateName + "*"
	}
	for _, one := range news {
		if !o.remember(string(owner.UID) + one.reason + one.same) {
			continue
		}
		one.note = fmt.Sprintf(one.note, "Pod "+namespace+"/"+name)
		if o.queue.Add(namespace, string(owner.UID)+one.reason+one.same, toldOfPod{namespace, *owner, one}) == fairqueue.Dropped {
			o.counts.WithLabelValues("dropped").Inc()
		}
		select {
		case o.more <- struct{}{}:
		default:
		}
	}
}

// remember reports whether this Event was not written recently, and records it.
func (o *OwnerEvents) remember(what string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if at, known := o.told[what]; known && now.Sub(at) < toldAgainAfter {
		return false
	}
	if len(o.told) >= maxTold {
		clear(o.told)
	}
	o.told[what] = now
	return true
}

func (o *OwnerEvents) write(ctx context.Context, one toldOfPod) {
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

// between are the controllers that are themselves made by another one as a rule.
var between = map[schema.GroupKind]schema.GroupVersionResource{
	{Group: "apps", Kind: "ReplicaSet"}:        {Group: "apps", Version: "v1", Resource: "replicasets"},
	{Group: "batch", Kind: "Job"}:              {Group: "batch", Version: "v1", Resource: "jobs"},
	{Group: "", Kind: "ReplicationController"}: {Group: "", Version: "v1", Resource: "replicationcontrollers"},
}

// topOwner follows controllers up to the one that nobody made, or that a user made. Where one cannot be read, it is that
// one that is told. The UID must be right: kubectl finds Events by it.
func (o *OwnerEvents) topOwner(ctx context.Context, namespace string, owner metav1.OwnerReference) corev1.ObjectReference {
	for range len(between) {
		version, err := schema.ParseGroupVersion(owner.APIVersion)
		resource, is := between[schema.GroupKind{Group: version.Group, Kind: owner.Kind}]
		if err != nil || !is {
			break
		}
		object, err := o.owners.Resource(resource).Namespace(namespace).Get(ctx, owner.Name, metav1.GetOptions{})
		if err != nil {
			o.log.V(1).Info("the owner of a pod could not be read", "kind", owner.Kind, "namespace", namespace, "name", owner.Name, "error", err.Error())
			break
		}
		above := metav1.GetControllerOfNoCopy(object)
		if object.UID != owner.UID || above == nil {
			break
		}
		owner = *above
	}
	return corev1.ObjectReference{APIVersion: owner.APIVersion, Kind: owner.Kind, Namespace: namespace, Name: owner.Name, UID: owner.UID}
}

// newsOf returns what is worth an Event. The notes have a place for the pod's name.
func newsOf(report inject.Report) []event {
	var news []event
	if report.Result == inject.Failed && report.Reason != api.InjectBadRequest {
		news = append(news, event{
			kind: corev1.EventTypeWarning, reason: string(report.Reason), action: "Inject",
			note: "Failed: %s: " + escaped(report.Message+" "+report.Reason.Advice()),
		})
	}
	if skipIsNews(report) {
		news = append(news, event{
			kind: corev1.EventTypeNormal, reason: string(report.Reason), action: "Inject",
			note: "Not injected: %s: " + escaped(report.Message+". "+report.Reason.Advice()),
		})
	}
	for _, problem := range report.Problems {
		about := problem
		if about.Object.Kind == "Pod" {
			about.Object = api.ObjectRef{}
		}
		news = append(news, event{
			kind: corev1.EventTypeWarning, reason: string(problem.Reason), action: "Inject",
			note: saidOf[report.Result] + escaped(strings.TrimPrefix(about.String(), " : ")),
			same: problem.Field + "=" + problem.Value,
		})
	}
	return news
}

// saidOf is how a note about a Problem begins.
var saidOf = map[inject.Result]string{inject.Denied: "Denied: %s: ", inject.Injected: "Injected, but: %s: ", inject.Skipped: "Not injected: %s: "}

// escaped escapes a text for a format.
func escaped(text string) string { return strings.ReplaceAll(text, "%", "%%") }

// skipIsNews tells whether a user may wonder why the pod was not injected: not if the pod itself says no, or has the
// sidecar already.
func skipIsNews(report inject.Report) bool {
	if report.Result != inject.Skipped {
		return false
	}
	switch report.Reason {
	case api.InjectHostNetwork, api.InjectIgnoredNamespace, api.InjectWindowsPod, api.InjectNeverSelector, api.InjectPolicyDisabled, api.InjectPolicyInvalid:
		return true
	}
	return false
}
