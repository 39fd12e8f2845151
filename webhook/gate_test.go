// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
)

// reviewOf returns a review of a pod in a namespace, filled up to a size.
func reviewOf(namespace string, size int) []byte {
	body := fmt.Sprintf(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u1","kind":{"group":"","version":"v1","kind":"Pod"},"namespace":%q,"operation":"CREATE","object":{"metadata":{"annotations":{"fill":"%%s"}},"spec":{"containers":[{"name":"app"}]}}}}`, namespace)
	return fmt.Appendf(nil, body, strings.Repeat("x", max(0, size-len(body))))
}

// heldDecisions are decisions about pods that wait until they are let go.
type heldDecisions struct {
	mu      sync.Mutex
	running map[string]int // by namespace
	most    map[string]int
	begun   chan string
	letGo   chan struct{}
}

func (h *heldDecisions) decide(received inject.Received, _ *inject.Config) (inject.Answer, error) {
	h.mu.Lock()
	h.running[received.NamespaceName]++
	h.most[received.NamespaceName] = max(h.most[received.NamespaceName], h.running[received.NamespaceName])
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		h.running[received.NamespaceName]--
		h.mu.Unlock()
	}()
	h.begun <- received.NamespaceName
	for {
		select {
		case <-h.letGo:
			return inject.Answer{Report: inject.Report{Result: inject.Skipped, Reason: api.InjectOptedOut}}, nil
		case <-time.After(time.Millisecond): // the processors are for the others
		}
		if received.Abandoned() {
			return inject.Answer{}, inject.ErrAbandoned
		}
	}
}

// gated serves a handler with held decisions behind a gate, over a real connection.
func gated(t *testing.T, gate *Gate) (*httptest.Server, *heldDecisions) {
	t.Helper()
	held := &heldDecisions{running: map[string]int{}, most: map[string]int{}, begun: make(chan string, 1000), letGo: make(chan struct{})}
	server := httptest.NewServer((&Handler{
		Namespaces: named{}, Config: fixed{}, Metrics: NewMetrics(prometheus.NewRegistry()), Gate: gate, Log: logr.Discard(), decide: held.decide,
	}).HTTP())
	t.Cleanup(server.Close)
	return server, held
}

// send posts a review and returns the code and text of the answer.
func send(ctx context.Context, url, query string, body []byte) (int, string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/inject"+query, bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// One namespace floods the webhook with the largest bodies and holds on to every slot that it gets: reviews of another
// one begin all the same, large and small, and everything is answered in the end.
func TestAFloodHoldsUpNobodyElse(t *testing.T) {
	gate := NewGate(4<<30, 2, prometheus.NewRegistry()) // four slots
	server, held := gated(t, gate)
	answers := make(chan string, 1000)
	post := func(namespace string, size int) {
		go func() {
			code, text, err := send(context.Background(), server.URL, "?timeout=30s", reviewOf(namespace, size))
			answers <- fmt.Sprintf("%s %d %t %v", namespace, code, strings.Contains(text, `"allowed":true`), err)
		}()
	}
	const flood = 8 // a review ends after 30 s, however busy the machine is
	for range flood {
		post("flood", 6<<20)
	}
	for range 2 {
		if got := <-held.begun; got != "flood" {
			t.Fatal(got)
		}
	}
	post("victim", 1<<20)
	post("victim", 1<<10)
	for range 2 {
		if got := <-held.begun; got != "victim" {
			t.Fatalf("a review of %s began: it has more than half of the slots", got)
		}
	}
	close(held.letGo)
	for range flood + 2 {
		if got := <-answers; !strings.HasSuffix(got, " 200 true <nil>") {
			t.Error(got)
		}
	}
	held.mu.Lock()
	defer held.mu.Unlock()
	if held.most["flood"] > 2 {
		t.Errorf("%d reviews of one namespace ran at a time", held.most["flood"])
	}
}

// Memory is set aside by bytes: at a limit of 512 MiB one body of the largest size runs alone, and small ones beside it.
func TestBodiesAreAccountedFor(t *testing.T) {
	gate := NewGate(512<<20, 16, prometheus.NewRegistry())
	server, held := gated(t, gate)
	for n := range 3 {
		go func() {
			_, _, _ = send(context.Background(), server.URL, "", reviewOf(fmt.Sprint("large", n), maxBody-1))
		}()
	}
	<-held.begun
	go func() { _, _, _ = send(context.Background(), server.URL, "", reviewOf("small", 1<<10)) }()
	if got := <-held.begun; got != "small" {
		t.Errorf("%s began beside a body of the largest size", got)
	}
	gate.mu.Lock()
	used, limit := gate.queue.used[large], gate.queue.limits.bytes[large]
	gate.mu.Unlock()
	if used > limit || used < maxBody {
		t.Errorf("%d of %d bytes are set aside", used, limit)
	}
	close(held.letGo)
	for range 2 {
		<-held.begun
	}
}

// The largest body fits whatever the limit.
func TestTheLargestBodyAlwaysFits(t *testing.T) {
	for _, limit := range []int64{0, 1 << 20, 128 << 20, 512 << 20, 8 << 30} {
		for _, processors := range []int{1, 2, 64} {
			limits := limitsFor(limit, processors)
			if limits.bytes[large] < maxBody*expansion || limits.perNamespace*2 != limits.slots || limits.largeSlots >= limits.slots || limits.perNamespace < 1 {
				t.Errorf("limit %d, %d processors: %+v", limit, processors, limits)
			}
		}
	}
}

// Work ends when the caller's timeout expires or the caller disconnects, and so does waiting for it.
func TestNobodyWorksForACallerWhoHasGone(t *testing.T) {
	for _, disconnects := range []bool{false, true} {
		t.Run(fmt.Sprintf("disconnects=%t", disconnects), func(t *testing.T) {
			gate := NewGate(0, 2, prometheus.NewRegistry())
			server, held := gated(t, gate)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			query := "?timeout=2s"
			if disconnects {
				query = ""
			}
			done := make(chan struct{})
			for range 4 { // two run and two wait
				go func() {
					_, _, _ = send(ctx, server.URL, query, reviewOf("demo", 1<<10))
					done <- struct{}{}
				}()
			}
			for range 2 {
				<-held.begun
			}
			if disconnects {
				cancel()
			}
			for range 4 {
				<-done
			}
			server.Close() // which waits for the handlers
			gate.mu.Lock()
			defer gate.mu.Unlock()
			if gate.queue.running != 0 || gate.queue.waiting != 0 {
				t.Errorf("%d run and %d wait", gate.queue.running, gate.queue.waiting)
			}
		})
	}
}

func TestOverloadIsTold(t *testing.T) {
	gate := NewGate(0, 2, prometheus.NewRegistry())
	gate.queue.limits.waiting = 1
	server, held := gated(t, gate)
	answers := make(chan string, 10)
	for range 4 { // two run, one waits, one is too many
		go func() {
			code, text, err := send(context.Background(), server.URL, "", reviewOf("demo", 1<<10))
			answers <- fmt.Sprint(code, " ", text, err)
		}()
	}
	if got := <-answers; !strings.HasPrefix(got, "500 ") || !strings.Contains(got, errOverloaded.Error()) {
		t.Error(got)
	}
	close(held.letGo)
	for range 3 {
		if got := <-answers; !strings.HasPrefix(got, "200 ") {
			t.Error(got)
		}
	}
}

func TestNamespaceOfAReview(t *testing.T) {
	for head, want := range map[string]string{
		string(reviewOf("demo", 0)): "demo",
		`{"kind":"namespace","request":{"kind":{"kind":"namespace","namespace":"no"},"requestKind":["namespace"],"namespace":"yes","obj`: "yes",
		`{"request":{"object":{"metadata":{"namespace":"no"}},"name`:                                                                     "",
		`{"namespace":"no","request":{}}`: "",
		`{"request":{"namespace":7}}`:     "",
		`[]`:                              "", ``: "", `{"request":"namespace"`: "",
	} {
		if got := namespaceOf([]byte(head)); got != want {
			t.Errorf("%s: %q, want %q", head, got, want)
		}
	}
}
