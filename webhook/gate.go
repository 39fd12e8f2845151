// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/tidwall/gjson"

	"outrigger.dev/outrigger/inject"
)

// Resource limits of a review.
const (
	maxBody = 7 << 20 // bytes; what the library for reviews accepts
	// smallBody is the size up to which a review has separate slots and memory. An ordinary pod has some 10 KiB.
	smallBody = 64 << 10
	// expansion is how many bytes of memory a review takes for each byte of its body, at the most that is live at a
	// time. BenchmarkExpansion measures up to 16.2, for mounts; the rest is a margin.
	expansion = 20
	// maxWaiting bounds the reviews that wait; of each, no more than peeked bytes are read.
	maxWaiting = 1024
	peeked     = 4 << 10
	// longestTimeout is the longest that the API server waits for a webhook.
	longestTimeout = 30 * time.Second
)

// Gate bounds the work of reviews: how many run at the same time, the memory that they take, how long they run, and the share of
// one namespace. The body of a review is read when it may run. A nil Gate admits everything at once.
type Gate struct {
	mu    sync.Mutex
	queue *fairQueue

	waiting, running, memory prometheus.Gauge
	wait                     prometheus.Histogram
	rejected                 *prometheus.CounterVec
}

// errOverloaded says that too many reviews of the namespace were waiting.
var errOverloaded = errors.New("too many reviews of this namespace are waiting; those of other namespaces are answered")

// NewGate returns a gate for a process that may use so many bytes of memory, 0 for no limit, and so many processors.
func NewGate(memoryLimit int64, processors int, registerer prometheus.Registerer) *Gate {
	metrics := promauto.With(registerer) // registers none for nil
	g := &Gate{
		queue: newFairQueue(limitsFor(memoryLimit, processors)),
		waiting: metrics.NewGauge(prometheus.GaugeOpts{
			Name: "outrigger_reviews_waiting",
			Help: "Admission reviews that wait for a slot or for memory.",
		}),
		running: metrics.NewGauge(prometheus.GaugeOpts{
			Name: "outrigger_reviews_running",
			Help: "Admission reviews in progress.",
		}),
		memory: metrics.NewGauge(prometheus.GaugeOpts{
			Name: "outrigger_reviews_memory_bytes",
			Help: "Memory reserved for the reviews in progress.",
		}),
		wait: metrics.NewHistogram(prometheus.HistogramOpts{
			Name:    "outrigger_review_wait_seconds",
			Help:    "Time that reviews waited before they started.",
			Buckets: []float64{.0001, .001, .01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
		rejected: metrics.NewCounterVec(prometheus.CounterOpts{
			Name: "outrigger_reviews_rejected_total",
			Help: "Reviews without a response, by reason: overloaded (too many of one namespace waited), abandoned (the caller's timeout expired or it disconnected while the review waited).",
		}, []string{"reason"}),
	}
	for _, reason := range []string{"overloaded", "abandoned"} {
		g.rejected.WithLabelValues(reason)
	}
	return g
}

// limitsFor returns the bounds for a memory limit, 0 for none, and a number of processors. A quarter of the memory is for
// large reviews; the rest is for caches, small reviews and what waits to be collected. One body of the largest size
// always fits.
func limitsFor(memoryLimit int64, processors int) queueLimits {
	const withoutLimit = 1 << 30
	if memoryLimit <= 0 {
		memoryLimit = withoutLimit
	}
	slots := max(4, 2*processors)
	return queueLimits{
		slots: slots, largeSlots: slots - slots/4, perNamespace: slots / 2,
		bytes:   [2]int64{small: int64(slots) * smallBody * expansion, large: max(memoryLimit/4, maxBody*expansion)},
		waiting: maxWaiting,
	}
}

// Limit returns a handler that answers only requests that the gate admits, and others with HTTP 500.
func (g *Gate) Limit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		entered, err := g.enter(w, r)
		defer entered.leave()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		next.ServeHTTP(w, entered.request)
	})
}

// entry is a request at the gate.
type entry struct {
	request   *http.Request // with the caller's deadline in its context
	namespace string        // empty if the head of the body does not contain it
	leave     func()        // to be called when it is answered
}

// enter waits until a request may run. It fails if the caller's timeout expires first, or if too many requests of the namespace
// wait.
func (g *Gate) enter(w http.ResponseWriter, r *http.Request) (entry, error) {
	deadline := time.Now().Add(timeoutOf(r))
	ctx, cancel := context.WithDeadline(r.Context(), deadline)
	e := entry{request: r.WithContext(ctx), leave: cancel}
	if g == nil || r.Body == nil || r.Body == http.NoBody {
		return e, nil
	}
	// A slow sender or reader does not occupy a slot longer than the caller waits. An error means that the connection has no
	// deadlines, as in tests.
	connection := http.NewResponseController(w)
	_, _ = connection.SetReadDeadline(deadline), connection.SetWriteDeadline(deadline.Add(time.Second))

	reader := bufio.NewReaderSize(r.Body, peeked)
	head, _ := reader.Peek(peeked) // the handler reports a read error
	e.namespace = namespaceOf(head)
	e.request.Body = peekedBody{reader, r.Body}

	size, in := r.ContentLength, small
	if size < 0 || size > maxBody {
		size = maxBody
	}
	if size > smallBody {
		in = large
	}
	t, err := g.waitFor(ctx, e.namespace, in, size)
	if err != nil {
		return e, err
	}
	e.leave = func() {
		cancel()
		g.change(func() { g.queue.finish(t) })
	}
	return e, nil
}

// waitFor waits for a slot and memory.
func (g *Gate) waitFor(ctx context.Context, namespace string, in lane, size int64) (*ticket, error) {
	startedAt := time.Now()
	var t, dropped *ticket
	g.change(func() {
		if t, dropped = g.queue.add(namespace, in, size, size*expansion); dropped != nil {
			close(dropped.granted) // its state says that it is not
		}
	})
	select {
	case <-t.granted:
	case <-ctx.Done():
	}
	var err error
	g.change(func() {
		switch {
		case t.state == ticketGone:
			err = errOverloaded
		case ctx.Err() != nil:
			err = fmt.Errorf("waiting for a slot: %w", inject.ErrAbandoned)
			g.queue.drop(t)
			g.queue.finish(t)
		}
	})
	switch {
	case errors.Is(err, inject.ErrAbandoned):
		g.rejected.WithLabelValues("abandoned").Inc()
	case err != nil:
		g.rejected.WithLabelValues("overloaded").Inc()
	default:
		g.wait.Observe(time.Since(startedAt).Seconds())
	}
	return t, err
}

// change changes the queue and starts the reviews that may run then.
func (g *Gate) change(do func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	do()
	g.queue.grant()
	g.waiting.Set(float64(g.queue.waiting))
	g.running.Set(float64(g.queue.running))
	g.memory.Set(float64(g.queue.used[small] + g.queue.used[large]))
}

// peekedBody is a body of which the head was read.
type peekedBody struct {
	io.Reader
	io.Closer
}

// timeoutOf returns how long the caller waits, by the parameter that the API server sends.
func timeoutOf(r *http.Request) time.Duration {
	timeout, err := time.ParseDuration(r.URL.Query().Get("timeout"))
	if err != nil || timeout <= 0 || timeout > longestTimeout {
		return longestTimeout
	}
	return timeout
}

// namespaceOf returns the namespace in the head of a review's JSON, or "". The API server writes it before the object.
func namespaceOf(head []byte) string {
	namespace := gjson.GetBytes(head, "request.namespace")
	if namespace.Type != gjson.String || len(namespace.Raw) < 2 || !strings.HasSuffix(namespace.Raw, `"`) {
		return "" // the head may end within it
	}
	return namespace.Str
}
