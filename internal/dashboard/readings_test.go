// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"outrigger.dev/outrigger/internal/diagnose"
)

// follow connects to /events as a browser does, and returns the pages that it receives.
func (s *stage) follow(page string) <-chan string {
	s.t.Helper()
	web := httptest.NewUnstartedServer(s.Server)
	web.Start()
	s.Address = strings.TrimPrefix(web.URL, "http://")
	ctx, cancel := context.WithCancel(s.t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, web.URL+"/events?page="+page, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	request.AddCookie(s.cookie)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		cancel()
		_ = response.Body.Close()
		web.Close()
	})
	if got := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || got != "text/event-stream" {
		s.t.Fatalf("%d %s", response.StatusCode, got)
	}
	out := make(chan string, 100)
	go func() {
		defer close(out)
		lines := bufio.NewScanner(response.Body)
		lines.Buffer(nil, 10<<20)
		for lines.Scan() {
			text, isData := strings.CutPrefix(lines.Text(), "data: ")
			var page string
			if isData && json.Unmarshal([]byte(text), &page) == nil {
				out <- page
			}
		}
	}()
	return out
}

// reportWith is a report of a Service with so many percent for v2.
func reportWith(weight int) *diagnose.StatusReport {
	one := web().ServiceStatus
	one.Versions[0].Weight, one.Versions[1].Weight = new(100-weight), new(weight)
	return reportOf(one)
}

func TestEventsSendAPageWhenItHasChanged(t *testing.T) {
	t.Parallel()
	s := newStage(t).open()
	s.Update(reportWith(10), nil)
	pages := s.follow("/")
	s.has(<-pages, "v2 10% 1/2")
	s.Update(reportWith(10), nil) // nothing has changed
	s.Update(reportWith(20), nil)
	s.has(<-pages, "v2 20% 1/2")
}

// Changes that follow each other are sent as one; the last is always sent.
func TestEventsAreCoalesced(t *testing.T) {
	t.Parallel()
	s := newStage(t).open()
	s.Update(reportWith(0), nil)
	pages := s.follow("/")
	<-pages
	began := time.Now()
	for weight := 1; weight <= 100; weight++ {
		s.Update(reportWith(weight), nil)
	}
	received := 0
	for page := range pages {
		if received++; strings.Contains(textOf(page), "v2 100% 1/2") {
			break
		}
	}
	if most := 2 + int(time.Since(began)/eventPause); received > most {
		t.Errorf("100 changes were sent as %d pages, want at most %d", received, most)
	}
}

// Each tab follows its own page.
func TestEventsOfTwoPages(t *testing.T) {
	t.Parallel()
	s := newStage(t).open()
	s.services["demo/web"] = web()
	s.Update(reportWith(10), nil)
	s.has(<-s.follow("/services/demo/web"), "Service demo/web")
	s.has(<-s.follow("/%3Fproblems=1%26q=web"), "1 of 1 Service")
}

func TestEventsOfAnInvalidPage(t *testing.T) {
	t.Parallel()
	s := newStage(t).open()
	for _, page := range []string{"", "x", "//evil.example.com/", "http://evil.example.com/", "%3A"} {
		if w := s.do(s.request(http.MethodGet, "/events?page="+page, nil)); w.Code != http.StatusBadRequest {
			t.Errorf("%q: %d", page, w.Code)
		}
	}
}

// stalled is the connection of a browser that has stopped reading: a write takes until its deadline.
type stalled struct {
	t        *testing.T
	header   http.Header
	deadline time.Time
	sent     int // texts that were received
}

func (s *stalled) Header() http.Header { return s.header }

func (s *stalled) WriteHeader(int) {}

func (s *stalled) SetWriteDeadline(at time.Time) error { s.deadline = at; return nil }

func (s *stalled) FlushError() error { return nil }

func (s *stalled) Write(text []byte) (int, error) {
	if s.deadline.IsZero() {
		s.t.Error("it writes without a deadline")
	}
	s.deadline = time.Time{} // each write needs its own
	if len(text) == 0 || s.sent == 0 {
		s.sent += len(text)
		return len(text), nil
	}
	return 0, os.ErrDeadlineExceeded
}

// A browser that does not read loses its connection: each write has a deadline, and the updates end when one passes.
func TestEventsEndIfTheBrowserDoesNotRead(t *testing.T) {
	t.Parallel()
	s := newStage(t).open()
	s.Update(reportWith(10), nil)
	w := &stalled{t: t, header: http.Header{}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.ServeHTTP(w, s.request(http.MethodGet, "/events?page=/", nil).WithContext(t.Context()))
	}()
	for weight := 0; ; weight = (weight + 1) % 100 {
		s.Update(reportWith(weight), nil)
		select {
		case <-ended:
			if w.sent == 0 || s.streams.Load() != 0 {
				t.Errorf("%d bytes were sent, %d streams are open", w.sent, s.streams.Load())
			}
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// The number of pages with live updates is limited. Closing one allows another.
func TestEventStreamsAreLimited(t *testing.T) {
	t.Parallel()
	s := newStage(t).open()
	s.Update(reportWith(10), nil)
	web := httptest.NewUnstartedServer(s.Server)
	web.Start()
	s.Address = strings.TrimPrefix(web.URL, "http://")
	t.Cleanup(web.Close)
	connect := func() (status int, refusal string, disconnect context.CancelFunc) {
		ctx, cancel := context.WithCancel(t.Context())
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, web.URL+"/events?page=/", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.AddCookie(s.cookie)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			cancel()
			_ = response.Body.Close()
		})
		if response.StatusCode == http.StatusOK {
			return response.StatusCode, "", cancel
		}
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(text), cancel
	}
	var disconnect context.CancelFunc
	for i := range maxStreams {
		var status int
		if status, _, disconnect = connect(); status != http.StatusOK {
			t.Fatalf("stream %d: %d", i, status)
		}
	}
	const want = "The limit of 100 pages with live updates is reached. Close some of them, and reload this page.\n"
	if status, refusal, _ := connect(); status != http.StatusTooManyRequests || refusal != want {
		t.Errorf("%d %q, want %q", status, refusal, want)
	}
	disconnect()
	for status := 0; status != http.StatusOK; {
		if status, _, _ = connect(); status != http.StatusOK && status != http.StatusTooManyRequests {
			t.Fatal(status)
		}
	}
}

// The outage begins with the first attempt that fails, not when the API server has finally not answered.
func TestAnOutageBeginsWithTheFirstFailedAttempt(t *testing.T) {
	t.Parallel()
	s := newStage(t).open()
	s.Update(reportOf(), nil)
	s.Fail(noon.Add(time.Minute), errors.New("no response"))
	s.Fail(noon.Add(2*time.Minute), errors.New("no response"))
	s.has(s.page("/", http.StatusOK), "The cluster has been unavailable since 2026-01-02 12:01:00 UTC")
}

// Every read and write for a page has a deadline, so that a page is answered while the API server is not.
func TestPagesHaveADeadline(t *testing.T) {
	t.Parallel()
	s := opened(t)
	path := s.previewed(diagnose.ActionPromote, url.Values{"version": {"v2"}})
	s.act(path, nil)
	s.page(path, http.StatusOK)
	s.page("/services/demo/web", http.StatusOK)
	s.page("/actions/demo/web/promote", http.StatusOK)
	if s.unlimited > 0 {
		t.Errorf("%d calls had no deadline", s.unlimited)
	}
}

// While the cluster cannot be read, pages keep the last data, and say since when; then they recover.
func TestOutageKeepsTheLastData(t *testing.T) {
	t.Parallel()
	s := newStage(t).open()
	s.services["demo/web"] = web()
	s.coverage.Pods.Covered = 7
	s.explained = &Explanation{InjectionExplanation: diagnose.InjectionExplanation{Sidecar: "A new pod gets one."}}
	s.Update(reportWith(10), nil)
	paths := map[string]string{"/": "v2 10% 1/2", "/services/demo/web": "Service demo/web", "/injection": "7 with the current sidecar", "/injection/demo/Deployment/web": "A new pod gets one."}
	for path := range paths {
		s.page(path, http.StatusOK)
	}
	s.failure = errors.New("the cluster is unreachable")
	s.now = noon.Add(time.Second)
	for path, data := range paths { // before the reading that notices it
		if path != "/" {
			s.has(s.page(path, http.StatusOK), data, "This page could not be updated. It shows data from 2026-01-02 12:00:00 UTC", "The cluster is unreachable")
		}
	}
	s.now = noon.Add(time.Minute)
	s.Update(nil, s.failure)
	s.now = noon.Add(2 * time.Minute)
	s.Update(nil, s.failure)
	for path, data := range paths {
		s.has(s.page(path, http.StatusOK), data, "The cluster has been unavailable since 2026-01-02 12:01:00 UTC", "This page shows data from 2026-01-02 12:00:00 UTC", "The cluster is unreachable")
	}
	s.page("/services/demo/other", http.StatusBadGateway) // it was never read
	s.failure = nil
	s.Update(reportWith(30), nil)
	page := s.page("/", http.StatusOK)
	s.has(page, "v2 30% 1/2")
	if strings.Contains(page, "has been unavailable") {
		t.Errorf("it does not recover:\n%s", page)
	}
	for path := range paths {
		if page := s.page(path, http.StatusOK); strings.Contains(page, "shows data from") {
			t.Errorf("%s does not recover:\n%s", path, page)
		}
	}
}

// What was read last is kept for a bounded number of pages.
func TestKeptDetailsAreBounded(t *testing.T) {
	t.Parallel()
	var k detailCache
	for i := range 3 * maxDetails {
		k.put(string(rune('a'+i)), i)
		k.put("first", i)
	}
	if len(k.byKey) > maxDetails || len(k.order) != len(k.byKey) {
		t.Errorf("%d are kept, in an order of %d", len(k.byKey), len(k.order))
	}
	if _, known := k.get(string(rune('a' + 3*maxDetails - 1))); !known {
		t.Error("the last is not kept")
	}
}
