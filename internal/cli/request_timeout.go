// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"k8s.io/client-go/rest"
)

// requestTimeout limits each request of a command that runs until it is interrupted, so that it notices an API server that accepts
// connections but does not respond.
const requestTimeout = 15 * time.Second

// limitRequests makes each request fail after a timeout, except watches, and unless the user has set a timeout.
func limitRequests(cluster *rest.Config, timeout time.Duration) {
	if cluster.Timeout > 0 {
		return
	}
	host := cluster.Host
	cluster.Wrap(func(next http.RoundTripper) http.RoundTripper { return &limitedRequests{next, host, timeout} })
}

// limitedRequests is a transport that limits how long a request and its response take.
type limitedRequests struct {
	next    http.RoundTripper
	host    string
	timeout time.Duration
}

// RoundTrip implements http.RoundTripper.
func (l *limitedRequests) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.URL.Query().Get("watch") == "true" {
		return l.next.RoundTrip(request)
	}
	ctx, cancel := context.WithTimeout(request.Context(), l.timeout)
	response, err := l.next.RoundTrip(request.WithContext(ctx))
	if err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) && request.Context().Err() == nil {
			err = fmt.Errorf("the API server at %s did not respond within %v: %w", l.host, l.timeout, err)
		}
		cancel()
		return nil, err
	}
	response.Body = &limitedBody{response.Body, cancel}
	return response, nil
}

// WrappedRoundTripper lets client-go close the connections below.
func (l *limitedRequests) WrappedRoundTripper() http.RoundTripper { return l.next }

// limitedBody ends the timeout when the response has been read.
type limitedBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

// Close implements io.Closer.
func (b *limitedBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}
