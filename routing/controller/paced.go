// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/reference"

	"outrigger.dev/outrigger/internal/fairqueue"
)

// How many Events are sent: those of a user's change immediately; the thousands of a first start after its objects, so that they do
// not delay the writes. The recorder would drop what it cannot send.
const (
	eventsAtOnce    = 20
	eventsPerSecond = 50
	eventsWhileBusy = 2           // a second
	quietAfter      = time.Second // without a new one
)

// A few Events of a namespace are always sent at eventsPerSecond, however busy others are. The queue is bounded to limit memory.
const (
	eventsOfNamespaceAtOnce = 3
	eventsOfNamespaceEvery  = 10 * time.Second // one more
	eventsOfNamespaceQueued = 2000
	eventsQueued            = 10000
	namespacesPaced         = 1000 // whose rates are remembered
)

// pacedRecorder passes Events to a recorder at a limited rate: those of each namespace in order, and namespaces in turn. It keeps
// references to the objects only.
type pacedRecorder struct {
	recorder events.EventRecorder
	scheme   *runtime.Scheme
	limit    *rate.Limiter
	counts   *prometheus.CounterVec
	queue    *fairqueue.Queue[pacedEvent]
	more     chan struct{}

	mutex sync.Mutex
	last  time.Time                // when an Event was added
	rates map[string]*rate.Limiter // by namespace; used by run alone
}

type pacedEvent struct {
	regarding, related         *corev1.ObjectReference
	kind, reason, action, note string
}

// namespace is the namespace whose turn the Event takes.
func (e pacedEvent) namespace() string {
	if e.regarding == nil {
		return ""
	}
	return e.regarding.Namespace
}

// key is equal for Events of which only the newest matters: those of writes to one object.
func (e pacedEvent) key() string {
	what := e.note
	if e.related != nil {
		what = e.related.Kind + "/" + e.related.Namespace + "/" + e.related.Name
	}
	name := ""
	if e.regarding != nil {
		name = e.regarding.Kind + "/" + e.regarding.Name + "/" + string(e.regarding.UID)
	}
	return name + "\n" + e.reason + "\n" + e.action + "\n" + what
}

func newPacedRecorder(recorder events.EventRecorder, scheme *runtime.Scheme) *pacedRecorder {
	p := &pacedRecorder{
		recorder: recorder, scheme: scheme, limit: rate.NewLimiter(eventsPerSecond, eventsAtOnce), more: make(chan struct{}, 1),
		queue: fairqueue.New[pacedEvent](eventsOfNamespaceQueued, eventsQueued), rates: map[string]*rate.Limiter{},
		counts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "outrigger_routing_events_total",
			Help: "Events about routes by result: sent, coalesced (replaced by a newer one before it was sent), dropped (too many waited).",
		}, []string{"result"}),
	}
	for _, result := range []string{"sent", "coalesced", "dropped"} {
		p.counts.WithLabelValues(result)
	}
	return p
}

// Eventf keeps an Event until its turn.
func (p *pacedRecorder) Eventf(regarding, related runtime.Object, kind, reason, action, note string, args ...any) {
	event := pacedEvent{
		regarding: p.refer(regarding), related: p.refer(related),
		kind: kind, reason: reason, action: action, note: fmt.Sprintf(note, args...),
	}
	if result := p.queue.Add(event.namespace(), event.key(), event); result != fairqueue.Added {
		p.counts.WithLabelValues(string(result)).Inc()
	}
	p.mutex.Lock()
	p.last = time.Now()
	p.mutex.Unlock()
	select {
	case p.more <- struct{}{}:
	default:
	}
}

// refer returns a reference to an object, or nil if there is none: the recorder drops such Events.
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

// run sends Events until ctx is done, then the waiting ones without delay.
func (p *pacedRecorder) run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-p.more:
			for p.queue.Len() > 0 && p.wait(ctx) == nil {
				p.sendNext()
			}
		}
	}
	for p.queue.Len() > 0 {
		p.sendNext()
	}
}

// wait returns when the next Event may be sent. An Event of a namespace that has sent few does not wait for busy namespaces:
// each added Event restarts the wait.
func (p *pacedRecorder) wait(ctx context.Context) error {
	for {
		now := time.Now()
		p.limit.SetLimitAt(now, eventsPerSecond)
		if !p.queue.Has(p.mayHurry) {
			p.limit.SetLimitAt(now, p.pace(now))
		}
		reservation := p.limit.ReserveN(now, 1)
		delay := reservation.DelayFrom(now)
		if delay == 0 {
			return ctx.Err()
		}
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
			return ctx.Err()
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-p.more:
			timer.Stop()
			reservation.CancelAt(time.Now())
		}
	}
}

// pace returns how many Events may be sent in a second after the burst.
func (p *pacedRecorder) pace(now time.Time) rate.Limit {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if now.Sub(p.last) < quietAfter {
		return eventsWhileBusy
	}
	return eventsPerSecond
}

// mayHurry reports whether a namespace has sent few Events lately.
func (p *pacedRecorder) mayHurry(namespace string) bool {
	known := p.rates[namespace]
	return known == nil || known.Tokens() >= 1
}

func (p *pacedRecorder) sendNext() {
	event, _, ok := p.queue.Next(p.mayHurry)
	if !ok {
		return
	}
	p.countRate(event.namespace())
	var related runtime.Object
	if event.related != nil {
		related = event.related
	}
	p.counts.WithLabelValues("sent").Inc()
	p.recorder.Eventf(event.regarding, related, event.kind, event.reason, event.action, "%s", event.note)
}

// countRate counts an Event of a namespace. Rates of namespaces that send no more are forgotten.
func (p *pacedRecorder) countRate(namespace string) {
	if p.rates[namespace] == nil {
		if len(p.rates) >= namespacesPaced {
			clear(p.rates)
		}
		p.rates[namespace] = rate.NewLimiter(rate.Every(eventsOfNamespaceEvery), eventsOfNamespaceAtOnce)
	}
	p.rates[namespace].Allow()
}
