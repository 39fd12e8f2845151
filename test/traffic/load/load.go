// SPDX-License-Identifier: Apache-2.0

// Package load sends requests at a constant rate and reports each response. The scenarios use it at the gateway, and the
// program in package app uses it in a pod of the mesh. Call Run.
package load

import (
	"context"
	"crypto/tls"
	"net/http"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// VersionHeader is the response header in which the application names its version.
const VersionHeader = "Version"

// Response is the outcome of one request.
type Response struct {
	Sent    time.Time     `json:"sent"`
	Latency time.Duration `json:"latency"`
	Status  int           `json:"status"` // 0 without a response
	Version string        `json:"version,omitempty"`
	Error   string        `json:"error,omitempty"`
}

// Failed reports whether the caller did not get what it asked for.
func (r Response) Failed() bool { return r.Status < 200 || r.Status > 299 }

// Options say what is sent where.
type Options struct {
	URL       string
	Header    http.Header // "Host" replaces the host of the URL
	PerSecond int
	Total     uint64 // stop after this many requests; 0 sends until the context ends
	TLS       *tls.Config
}

// timeout is how long a caller waits for a response.
const timeout = 10 * time.Second

// inFlight is the maximum number of requests that wait for a response: a busy cluster slows the load, rather than being buried by it.
const inFlight = 20

// Run sends requests and passes each response to take, in the order in which they arrive. It returns when the last response
// has arrived.
func Run(ctx context.Context, o Options, take func(Response)) {
	settings := []func(*vegeta.Attacker){vegeta.Timeout(timeout), vegeta.Redirects(vegeta.NoFollow), vegeta.MaxWorkers(inFlight)}
	if o.TLS != nil {
		settings = append(settings, vegeta.TLSConfig(o.TLS))
	}
	attacker := vegeta.NewAttacker(settings...)
	defer context.AfterFunc(ctx, func() { attacker.Stop() })()
	target := vegeta.NewStaticTargeter(vegeta.Target{Method: http.MethodGet, URL: o.URL, Header: o.Header})
	rate := bounded{vegeta.ConstantPacer{Freq: o.PerSecond, Per: time.Second}, o.Total}
	for result := range attacker.Attack(target, rate, 0, "") {
		take(Response{
			Sent: result.Timestamp, Latency: result.Latency, Status: int(result.Code),
			Version: result.Headers.Get(VersionHeader), Error: result.Error,
		})
	}
}

// bounded is a constant rate that ends after a number of requests.
type bounded struct {
	vegeta.ConstantPacer
	total uint64
}

func (b bounded) Pace(elapsed time.Duration, hits uint64) (time.Duration, bool) {
	if b.total > 0 && hits >= b.total {
		return 0, true
	}
	return b.ConstantPacer.Pace(elapsed, hits)
}
