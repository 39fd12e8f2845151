// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"outrigger.dev/outrigger/internal/diagnose"
)

// reading is the last report and, if the cluster is unavailable, why there is no newer one.
type reading struct {
	report  *diagnose.StatusReport // nil before the first
	failure diagnose.Text          // empty if the last attempt succeeded
	since   time.Time              // when the first of the failed attempts began
}

// readings keeps the last reading, and wakes the open pages when there is a newer one.
type readings struct {
	mu   sync.Mutex
	last reading
	next chan struct{} // closed by the next Update or Refresh
}

func (r *readings) init() { r.next = make(chan struct{}) }

func (r *readings) current() reading {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// changed is closed at the next Update or Refresh.
func (r *readings) changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next
}

// Fail is Update for an attempt that failed, and that began at this time.
func (s *Server) Fail(began time.Time, err error) {
	r := &s.readings
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.last.failure) == 0 {
		r.last.since = began
	}
	r.last.failure = diagnose.TextOf(err)
	r.wake()
}

// Update sets what the pages show. After an error, they keep the last report and show since when the cluster has been unavailable.
func (s *Server) Update(report *diagnose.StatusReport, err error) {
	if err != nil {
		s.Fail(s.Now(), err)
		return
	}
	r := &s.readings
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = reading{report: report}
	r.wake()
}

// Refresh renders the open pages again. Call it when details that Data provides have changed.
func (s *Server) Refresh() {
	r := &s.readings
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wake()
}

// wake wakes the open pages. The caller holds the lock.
func (r *readings) wake() {
	close(r.next)
	r.next = make(chan struct{})
}

const (
	eventPause = 500 * time.Millisecond // between two updates of a page
	heartbeat  = 20 * time.Second       // to notice a browser that has disconnected
	sendTime   = 10 * time.Second       // how long a browser may take to receive an update or a heartbeat
	maxStreams = 100                    // pages that are updated live; a browser opens at most six connections to a host
)

// events sends the page of the parameter "page" whenever it has changed: at once, and then at most every eventPause. The data is the HTML
// as a JSON string.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	page, err := url.ParseRequestURI(r.URL.Query().Get("page"))
	if err != nil || page.Host != "" || !strings.HasPrefix(page.Path, "/") || strings.HasPrefix(page.Path, "//") {
		http.Error(w, "page: expected the path of a page, such as /services/demo/web", http.StatusBadRequest)
		return
	}
	defer s.streams.Add(-1)
	if s.streams.Add(1) > maxStreams {
		http.Error(w, fmt.Sprintf("The limit of %d pages with live updates is reached. Close some of them, and reload this page.", maxStreams), http.StatusTooManyRequests)
		return
	}
	stream := eventStream{w, http.NewResponseController(w)}
	w.Header().Set("Content-Type", "text/event-stream")
	if stream.send("") != nil {
		http.Error(w, "the connection cannot be kept open", http.StatusInternalServerError)
		return
	}
	var sent [sha256.Size]byte
	for {
		changed := s.readings.changed() // before the page is rendered, so that no change is missed
		text := s.rendered(r.Context(), page)
		if digest := sha256.Sum256(text); digest != sent {
			encoded, err := json.Marshal(string(text))
			if err != nil {
				return
			}
			if stream.send(fmt.Sprintf("event: page\ndata: %s\n\n", encoded)) != nil {
				return
			}
			sent = digest
		}
		if !wait(r.Context(), eventPause) {
			return
		}
		for isQuiet := true; isQuiet; {
			select {
			case <-r.Context().Done():
				return
			case <-changed:
				isQuiet = false
			case <-time.After(heartbeat):
				if stream.send(": still here\n\n") != nil {
					return
				}
			}
		}
	}
}

// eventStream is a response that stays open.
type eventStream struct {
	io.Writer
	control *http.ResponseController
}

// send sends a text. It fails if the browser does not receive the text within sendTime, so that a browser that has stopped reading does not
// keep the connection.
func (e eventStream) send(text string) error {
	if err := e.control.SetWriteDeadline(time.Now().Add(sendTime)); err != nil {
		return err
	}
	if _, err := io.WriteString(e.Writer, text); err != nil {
		return err
	}
	return e.control.Flush()
}

// wait reports whether the time has elapsed before the context ended.
func wait(ctx context.Context, pause time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(pause):
		return true
	}
}

// rendered returns a page as a GET of the same session would.
func (s *Server) rendered(ctx context.Context, page *url.URL) []byte {
	out := &pageWriter{header: http.Header{}}
	request := (&http.Request{Method: http.MethodGet, URL: page, Host: s.Address, Header: http.Header{}}).WithContext(ctx)
	s.readable.ServeHTTP(out, request)
	return out.text.Bytes()
}

// pageWriter buffers a page.
type pageWriter struct {
	header http.Header
	text   bytes.Buffer
}

// Header returns the header of the response.
func (w *pageWriter) Header() http.Header { return w.header }

// WriteHeader does nothing, because the text of the page already reports an error.
func (w *pageWriter) WriteHeader(int) {}

func (w *pageWriter) Write(text []byte) (int, error) { return w.text.Write(text) }

// detailCache holds the details that were read last, to show them while the cluster is unavailable.
type detailCache struct {
	mu    sync.Mutex
	byKey map[string]any
	order []string // oldest first
}

const maxDetails = 64

func (k *detailCache) put(key string, value any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.byKey == nil {
		k.byKey = map[string]any{}
	}
	if _, known := k.byKey[key]; !known {
		if len(k.order) == maxDetails {
			delete(k.byKey, k.order[0])
			k.order = k.order[1:]
		}
		k.order = append(k.order, key)
	}
	k.byKey[key] = value
}

func (k *detailCache) get(key string) (any, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	out, known := k.byKey[key]
	return out, known
}

// readTimeout limits how long a page waits for the cluster.
const readTimeout = 15 * time.Second

// kept is a detail, and when it was read.
type kept[T any] struct {
	value T
	read  time.Time
}

// outdated says when the details of a page were read, and why there are no newer ones. It is the zero value for current details.
type outdated struct {
	read    time.Time
	failure diagnose.Text
}

// detail reads what a page shows. While that fails, it returns what was read last.
func detail[T any](ctx context.Context, s *Server, key string, read func(context.Context) (T, error)) (T, outdated, error) {
	cached, known := s.details.get(key)
	last, _ := cached.(kept[T])
	if failure := s.readings.current().failure; known && len(failure) > 0 {
		return last.value, outdated{last.read, failure}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	out, err := read(ctx)
	if known && err != nil && !errors.As(err, new(*Error)) {
		return last.value, outdated{last.read, diagnose.TextOf(err)}, nil
	}
	if err != nil {
		return out, outdated{}, err
	}
	s.details.put(key, kept[T]{out, s.Now()})
	return out, outdated{}, nil
}
