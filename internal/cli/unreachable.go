// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"net"
	"net/http"

	"k8s.io/client-go/rest"

	"outrigger.dev/outrigger/internal/diagnose"
)

// unreachableError means that no connection to the API server could be made, whatever the command wanted from it.
type unreachableError struct {
	host string // the API server's URL
	test string // a command that tests the connection
	err  error
}

func (e *unreachableError) Error() string { return e.Text().String() }

// Text implements diagnose.TextOf.
func (e *unreachableError) Text() diagnose.Text {
	return append(diagnose.Sentences(fmt.Sprintf("the cluster is unreachable at %s: %v. To test the connection: ", e.host, e.err)), diagnose.TextPart{Text: e.test, IsCommand: true})
}

func (e *unreachableError) Unwrap() error { return e.err }

// withoutAttempt returns the error without what the command attempted, if the cluster is unreachable; every attempt would fail.
func withoutAttempt(err error) error {
	unreachable := &unreachableError{}
	if errors.As(err, &unreachable) {
		return unreachable
	}
	return err
}

// markUnreachable makes failed connections unreachableErrors. flags are those that select the cluster.
func markUnreachable(cluster *rest.Config, flags diagnose.ClusterFlags) {
	test := flags.Complete("kubectl cluster-info")
	host := cluster.Host
	cluster.Wrap(func(next http.RoundTripper) http.RoundTripper { return &connecting{next, host, test} })
}

// connecting is a transport that marks the errors of connecting. It leaves all others as they are, since clients compare them.
type connecting struct {
	next       http.RoundTripper
	host, test string
}

func (c *connecting) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := c.next.RoundTrip(request)
	failed := &net.OpError{}
	if errors.As(err, &failed) && failed.Op == "dial" && request.Context().Err() == nil {
		return response, &unreachableError{c.host, c.test, err}
	}
	return response, err
}

// WrappedRoundTripper lets client-go close the connections below.
func (c *connecting) WrappedRoundTripper() http.RoundTripper { return c.next }
