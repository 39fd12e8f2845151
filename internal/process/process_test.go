// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
)

// running is a process with made-up jobs and webhook, for tests of its end.
type running struct {
	*Process
	arrived  chan struct{} // a request has begun
	release  chan struct{} // lets a request on /slow end
	stopped  chan struct{} // the jobs were told to stop
	finished chan error
	stop     context.CancelFunc
}

func startProcess(t *testing.T, linger time.Duration, jobs func(context.Context) error) *running {
	t.Helper()
	r := &running{arrived: make(chan struct{}), release: make(chan struct{}), stopped: make(chan struct{}), finished: make(chan error, 1)}
	handler := http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if request.URL.Path == "/slow" {
			close(r.arrived)
			<-r.release
		}
		_, _ = io.WriteString(w, "answered")
	})
	if jobs == nil {
		jobs = func(ctx context.Context) error {
			<-ctx.Done()
			close(r.stopped)
			return nil
		}
	}
	ready := &Readiness{}
	webhook, err := Listen("webhook", "127.0.0.1:0", handler, nil)
	if err != nil {
		t.Fatal(err)
	}
	health, err := Listen("health", "127.0.0.1:0", HealthHandler(ready), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Process = &Process{Log: logr.Discard(), Ready: ready, Webhook: webhook, Others: []*Endpoint{health}, Jobs: jobs, Linger: linger}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	t.Cleanup(stop)
	go func() { r.finished <- r.Run(ctx) }()
	return r
}

func (r *running) get(t *testing.T, e *Endpoint, path string) (status int, body string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get("http://" + e.Listener.Addr().String() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); {
		if time.Now().After(deadline) {
			t.Fatal("not in time: " + what)
		}
		time.Sleep(time.Millisecond)
	}
}

func (r *running) isReady(t *testing.T) bool {
	status, _ := r.get(t, r.Others[0], "/readyz")
	return status == http.StatusOK
}

func TestStopKeepsServingWhileReadinessFails(t *testing.T) {
	r := startProcess(t, 300*time.Millisecond, nil)
	until(t, "ready", func() bool { return r.isReady(t) })

	connection, err := net.Dial("tcp", r.Webhook.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	reader := bufio.NewReader(connection)
	closes := func() bool { // one request on the same connection: is it the last?
		t.Helper()
		if _, err := fmt.Fprint(connection, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			t.Fatal(err)
		}
		return response.Close
	}
	if closes() {
		t.Error("a connection is closed before the end")
	}
	r.stop()
	until(t, "readiness to fail", func() bool { return !r.isReady(t) })
	if _, body := r.get(t, r.Webhook, "/"); body != "answered" {
		t.Errorf("a new connection got %q while lingering", body)
	}
	select {
	case <-r.stopped:
		t.Error("the jobs were stopped before the linger time was over")
	default:
	}
	if !closes() {
		t.Error("an idle connection was not told to close with its next answer")
	}
	if err := <-r.finished; err != nil {
		t.Error(err)
	}
	<-r.stopped
}

func TestStopAnswersWhatHasBegun(t *testing.T) {
	r := startProcess(t, 0, nil)
	answer := make(chan string, 1)
	go func() {
		_, body := r.get(t, r.Webhook, "/slow")
		answer <- body
	}()
	<-r.arrived
	r.stop()
	until(t, "the port to close", func() bool {
		connection, err := net.Dial("tcp", r.Webhook.Listener.Addr().String())
		if err == nil {
			_ = connection.Close()
		}
		return err != nil
	})
	select {
	case <-r.stopped:
		t.Error("the jobs were stopped while a request was under way")
	default:
	}
	close(r.release)
	if got := <-answer; got != "answered" {
		t.Errorf("got %q", got)
	}
	if err := <-r.finished; err != nil {
		t.Error(err)
	}
}

func TestFailureOfTheJobsEndsTheProcessWithItsError(t *testing.T) {
	r := startProcess(t, 0, func(context.Context) error { return errors.New("leader election lost") })
	if err := <-r.finished; err == nil || !strings.Contains(err.Error(), "leader election lost") {
		t.Errorf("got %v", err)
	}
}

func TestReadyStaysReadyUntilTheEnd(t *testing.T) {
	fault := errors.New("not verified yet")
	r := &Readiness{Checks: []ReadyCheck{{"certificate", func() error { return fault }}}}
	if err := r.missing(); err == nil || err.Error() != "certificate: not verified yet" {
		t.Errorf("got %v", err)
	}
	fault = nil
	if err := r.missing(); err != nil {
		t.Error(err)
	}
	fault = errors.New("the caBundle was changed")
	if err := r.missing(); err != nil {
		t.Errorf("a replica that was ready is not any more: %v", err)
	}
	r.ending.Store(true)
	if err := r.missing(); err == nil || err.Error() != "shutting down" {
		t.Errorf("got %v", err)
	}
}
