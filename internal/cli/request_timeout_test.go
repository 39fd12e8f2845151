// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
)

// An API server that accepts requests and does not respond is an error, whichever client sends them.
func TestAnAPIServerThatHangsIsNoticed(t *testing.T) {
	t.Parallel()
	ends := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-ends:
		}
	}))
	t.Cleanup(func() { close(ends); server.Close() })
	from := withKubeconfig(t, server.URL)
	from.kube.flags().CacheDir = ptr.To(t.TempDir())
	from.kube.requestTimeout = 100 * time.Millisecond
	for name, read := range map[string]func() error{
		"a command":    func() error { _, err := from.connect(t.Context(), io.Discard); return err },
		"an object":    func() error { _, err := shop(t).find(from, "deployment", "app"); return err },
		"the coverage": func() error { _, err := loadFor(shop(t).live, from)(t.Context(), istioFlags{}); return err },
	} {
		err := read()
		if want := "the API server at " + server.URL + " did not respond within 100ms"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

// Watches, which have no end, and requests with a timeout of the user are not limited.
func TestLimitedRequests(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		query string
		own   time.Duration
		want  bool
	}{"a list": {"limit=500", 0, true}, "a watch": {"watch=true", 0, false}, "a timeout of the user": {"", time.Hour, false}} {
		config := &rest.Config{Host: "https://api", Timeout: c.own}
		limitRequests(config, time.Hour)
		isLimited := false
		next := http.RoundTripper(roundTripper(func(r *http.Request) (*http.Response, error) {
			_, isLimited = r.Context().Deadline()
			return &http.Response{Body: io.NopCloser(strings.NewReader(""))}, nil
		}))
		if config.WrapTransport != nil {
			next = config.WrapTransport(next)
		}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://api/?"+c.query, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := next.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if isLimited != c.want {
			t.Errorf("%s: limited %v", name, isLimited)
		}
	}
}
