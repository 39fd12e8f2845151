// SPDX-License-Identifier: Apache-2.0

package load_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"outrigger.dev/outrigger/test/traffic/load"
)

// Each request is one response, with its version and status, and exactly as many are sent as asked for.
func TestEveryResponseIsReported(t *testing.T) {
	seen := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen++
		w.Header().Set(load.VersionHeader, "v"+r.Host)
		if seen%4 == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	counts := map[string]int{}
	load.Run(t.Context(), load.Options{URL: server.URL, Header: http.Header{"Host": {"1"}}, PerSecond: 1000, Total: 40}, func(r load.Response) {
		counts[fmt.Sprint(r.Version, " ", r.Status, " ", r.Failed())]++
	})
	if counts["v1 200 false"] != 30 || counts["v1 503 true"] != 10 || len(counts) != 2 {
		t.Errorf("got %v; want 30 responses with status 200 and 10 with status 503", counts)
	}
}

// Without a total, the load ends with its context, and no response is lost.
func TestLoadEndsWithItsContext(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	ctx, stop := context.WithCancel(t.Context())
	responses := 0
	load.Run(ctx, load.Options{URL: server.URL, PerSecond: 500}, func(load.Response) {
		if responses++; responses == 20 {
			stop()
		}
	})
	if responses < 20 {
		t.Errorf("got %d responses; want at least 20", responses)
	}
}

// A request without a response is an error, too.
func TestRefusedConnectionIsReported(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	var got []load.Response
	load.Run(t.Context(), load.Options{URL: server.URL, PerSecond: 100, Total: 1}, func(r load.Response) { got = append(got, r) })
	if len(got) != 1 || got[0].Status != 0 || got[0].Error == "" || !got[0].Failed() {
		t.Errorf("got %+v; want one failed response with an error", got)
	}
}
