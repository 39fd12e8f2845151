// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"fmt"
	"hash/fnv"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"outrigger.dev/outrigger/api"
)

// Events writes each Event once for all replicas: the name of an Event is derived from its content, so a second write finds
// it. The Event is written again after the API server deleted it, by default after an hour, if it still applies.
type Events struct {
	Client   kubernetes.Interface
	Instance string // the reporting instance: the name of this pod
}

// event is the content of one Event.
type event struct {
	about                corev1.ObjectReference
	kind                 string // corev1.EventTypeNormal or EventTypeWarning
	reason, action, note string
	// same makes the Event one with those of the same object and reason that have the same text here.
	same string
}

// write reports whether this call wrote the Event; false without an error means that it already exists.
func (e *Events) write(ctx context.Context, what event) (bool, error) {
	now := time.Now()
	namespace := what.about.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	_, err := e.Client.EventsV1().Events(namespace).Create(ctx, &eventsv1.Event{
		ObjectMeta:          metav1.ObjectMeta{Namespace: namespace, Name: what.name()},
		EventTime:           metav1.NewMicroTime(now),
		ReportingController: api.Outrigger,
		ReportingInstance:   api.Shorten(e.Instance, 128-len("...")),
		Regarding:           what.about,
		Type:                what.kind,
		Reason:              what.reason,
		Action:              what.action,
		Note:                api.EventNote(what.note),
	}, metav1.CreateOptions{})
	switch {
	case apierrors.IsAlreadyExists(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("writing Event %s on %s %s/%s: %w", what.reason, what.about.Kind, what.about.Namespace, what.about.Name, err)
	}
	return true, nil
}

// Record writes an Event about an object, the same note once for all replicas. kind is corev1.EventTypeNormal or EventTypeWarning;
// action names what was done or tried.
func (e *Events) Record(ctx context.Context, about corev1.ObjectReference, kind, reason, action, note string) error {
	_, err := e.write(ctx, event{about: about, kind: kind, reason: reason, action: action, note: note, same: note})
	return err
}

// name returns the name of the Event, which is the object's and a hash.
func (e event) name() string {
	hash := fnv.New64a()
	_, _ = fmt.Fprintf(hash, "%s\x00%s\x00%s", e.about.UID, e.reason, e.same) // never fails
	return fmt.Sprintf("%.200s.%016x", e.about.Name, hash.Sum64())
}
