package controller

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/reference"
)

// How many Events are sent: what users do is told at once, and what a first start does, thousands of times, does not
// take the API server from the objects themselves, but is told when no more comes. The recorder would drop what it
// cannot send.
const (
	eventsAtOnce    = 20
	eventsPerSecond = 50
	eventsWhileBusy = 2           // a second
	quietAfter      = time.Second // without a new one
)

// pacedRecorder hands Events on to a recorder, in their order and not too fast. Of the objects it keeps references.
type pacedRecorder struct {
	recorder events.EventRecorder
	scheme   *runtime.Scheme
	limit    *rate.Limiter

	mutex   sync.Mutex
	last    time.Time // when one came
	waiting []pacedEvent
	more    chan struct{}
}

type pacedEvent struct {
	regarding, related         *corev1.ObjectReference
	kind, reason, action, note string
}

func newPacedRecorder(recorder events.EventRecorder, scheme *runtime.Scheme) *pacedRecorder {
	return &pacedRecorder{recorder: recorder, scheme: scheme, limit: rate.NewLimiter(eventsPerSecond, eventsAtOnce), more: make(chan struct{}, 1)}
}

// Eventf keeps an Event until its turn.
func (p *pacedRecorder) Eventf(regarding, related runtime.Object, kind, reason, action, note string, args ...any) {
	event := pacedEvent{
		regarding: p.refer(regarding), related: p.refer(related),
		kind: kind, reason: reason, action: action, note: fmt.Sprintf(note, args...),
	}
	p.mutex.Lock()
	p.waiting, p.last = append(p.waiting, event), time.Now()
	p.mutex.Unlock()
	select {
	case p.more <- struct{}{}:
	default:
	}
}

// refer returns a reference to an object, or nil where there is none: the recorder drops what regards nothing.
func (p *pacedRecorder) refer(object runtime.Object) *corev1.ObjectReference {
	if object == nil {
		return nil
	}
	out, err := reference.GetReference(p.scheme, object)
	if err != nil {
		return nil
	}
	return out
}

// run sends until ctx is done. What waits then is sent without delay: it is told once.
func (p *pacedRecorder) run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-p.more:
			p.send(func() bool {
				p.limit.SetLimit(p.pace(time.Now()))
				return p.limit.Wait(ctx) == nil
			})
		}
	}
	p.send(func() bool { return true })
}

// pace is how many Events a second may be sent beyond those at once.
func (p *pacedRecorder) pace(now time.Time) rate.Limit {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if now.Sub(p.last) < quietAfter {
		return eventsWhileBusy
	}
	return eventsPerSecond
}

func (p *pacedRecorder) send(may func() bool) {
	for p.isWaiting() && may() {
		p.mutex.Lock()
		event := p.waiting[0]
		p.waiting = p.waiting[1:]
		p.mutex.Unlock()
		var related runtime.Object
		if event.related != nil {
			related = event.related
		}
		p.recorder.Eventf(event.regarding, related, event.kind, event.reason, event.action, "%s", event.note)
	}
}

func (p *pacedRecorder) isWaiting() bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return len(p.waiting) > 0
}
