// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"outrigger.dev/outrigger/api"
)

// maxCanaries is how many canaries progress at once.
const maxCanaries = 500

const (
	canarySteps     = "50@30s,100@30s"
	canaryChecks    = "error-rate<1%,p99<1.5x"
	canaryQueries   = 4 // of one evaluation: requests, error rate, and p99 of both versions
	canaryWrites    = 4 // of each object, at most: the start, the first numbers, the second step, and the success
	canaryQueryTime = 20 * time.Millisecond
	canaryInterval  = 15 * time.Second // between two evaluations: half of a step
)

// fakeMetrics answers every query after a while, as a metrics server does for a healthy version, and counts them.
type fakeMetrics struct {
	server             *http.Server
	url                string
	mutex              sync.Mutex
	sent, running, max int
}

func newFakeMetrics() (*fakeMetrics, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	m := &fakeMetrics{url: "http://" + listener.Addr().String()}
	m.server = &http.Server{ReadHeaderTimeout: time.Minute, Handler: m}
	go func() { _ = m.server.Serve(listener) }()
	return m, nil
}

func (m *fakeMetrics) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.note(1)
	defer m.note(-1)
	value := "0.001" // an error rate, or seconds
	if strings.HasPrefix(r.FormValue("query"), "sum(") {
		value = "1000" // requests
	}
	time.Sleep(canaryQueryTime)
	_, _ = io.WriteString(w, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1700000000,"`+value+`"]}]}}`)
}

func (m *fakeMetrics) note(running int) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if m.running += running; running > 0 {
		m.sent++
		m.max = max(m.max, m.running)
	}
}

// counts returns how many queries there were, and how many at once.
func (m *fakeMetrics) counts() (sent, max int) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.sent, m.max
}

// canaries rolls out v2 of many Services at once. Each sends its queries once for an interval, no more of them are sent at once than the
// configuration allows, and each step is one write of each object. A step whose first evaluation is late, because the machine is slow, passes
// with it, so that its numbers need no write of their own.
func (w *world) canaries(ctx context.Context) (err error) {
	if err := w.controller.stop(); err != nil {
		return err
	}
	server, err := newFakeMetrics()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.server.Close()) }()
	if err := w.startController(ctx, "-metrics", server.url); err != nil {
		return err
	}
	if err := errors.Join(w.controller.reconciled(ctx, w.services), w.controller.quiet(ctx)); err != nil {
		return err
	}
	before, err := w.controller.look(ctx, true)
	if err != nil {
		return err
	}
	count := min(w.services, maxCanaries)
	began := time.Now()
	if err := each(ctx, count, creators, func(ctx context.Context, i int) error {
		return w.annotate(ctx, namespaceOf(i), nameOf(i), map[string]string{
			api.AnnotationCanary: "v2", api.AnnotationCanarySteps: canarySteps, api.AnnotationCanaryChecks: canaryChecks,
		})
	}); err != nil {
		return err
	}
	if err := w.controller.until(ctx, func(now reading, _ time.Duration) bool { return now.Canaries == count && now.Evaluations >= count }); err != nil {
		return err
	}
	during, err := w.controller.look(ctx, true)
	if err != nil {
		return err
	}
	if err := w.controller.until(ctx, func(now reading, _ time.Duration) bool { return now.Canaries == 0 }); err != nil {
		return err
	}
	took := time.Since(began)
	if err := w.controller.quiet(ctx); err != nil {
		return err
	}
	after, err := w.controller.look(ctx, false)
	if err != nil {
		return err
	}
	sent, most := server.counts()
	evaluations := after.Evaluations - before.Evaluations
	fmt.Printf("%d canaries at once, with steps %s and checks %s: %v\n", count, canarySteps, canaryChecks, took.Round(time.Second))
	fmt.Printf("  %d evaluations, %d queries, at most %d at once; %d reconciles, %.2f s of CPU\n",
		evaluations, sent, most, after.Reconciles-before.Reconciles, after.CPU-before.CPU)
	fmt.Printf("  live heap %d MB, with all canaries %d MB; resident %d MB, at most %d MB\n", before.LiveHeapMB, during.LiveHeapMB, after.ResidentMB, after.PeakMB)
	if limit := canaryQueries * count * (int(took/canaryInterval) + 2); sent > limit {
		return fmt.Errorf("%d queries were sent in %v, more than %d: %d for each canary every %v", sent, took, limit, canaryQueries, canaryInterval)
	}
	if limit := api.DefaultConfig().Routing.Metrics.MaxConcurrentQueries; most > limit {
		return fmt.Errorf("%d queries were sent at once, and the limit is %d", most, limit)
	}
	return compareWrites("a canary of two steps", count, before, after, []bound{{rules, canaryWrites, true}, {routes, canaryWrites, true}})
}
