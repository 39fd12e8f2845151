// SPDX-License-Identifier: Apache-2.0

// Package process runs "outrigger serve": its HTTP endpoints, its jobs, the leader's jobs, and an orderly shutdown. Build the
// parts with Listen, Above, and Leadership, put them into a Process, and call Process.Run. The parts themselves are in webhook,
// routing/controller, and certs; cmd/outrigger connects them.
package process

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-logr/logr"
)

// drainTime limits requests that are running when the webhook stops accepting new ones. The API server gives up after
// timeoutSeconds, which is at most 30.
const drainTime = 30 * time.Second

// Process holds the parts of "outrigger serve", ready to run.
type Process struct {
	Log     logr.Logger
	Ready   *Readiness
	Webhook *Endpoint
	// Others are the endpoints that answer until the end: health and metrics.
	Others []*Endpoint
	// Jobs runs caches, certificate, and routing until its context ends.
	Jobs   func(context.Context) error
	Linger time.Duration
	// Flush sends pending spans. It is nil if nothing is traced.
	Flush func(context.Context) error
}

// Run serves until ctx is done or a part fails, and then shuts down in this order: readiness fails; the webhook and the leader's jobs
// continue for the linger time, because the API server learns of the shutdown late; running requests complete; jobs stop, and the
// Lease is released.
func (p *Process) Run(ctx context.Context) error {
	var running sync.WaitGroup
	failed := make(chan error, 2+len(p.Others))
	working, stopJobs := context.WithCancel(context.WithoutCancel(ctx))
	defer stopJobs()
	jobsDone := make(chan struct{})
	running.Go(func() {
		defer close(jobsDone)
		if err := p.Jobs(working); err != nil {
			failed <- err
		} else if working.Err() == nil {
			failed <- errors.New("the controllers ended unexpectedly")
		}
	})
	for _, e := range append([]*Endpoint{p.Webhook}, p.Others...) {
		running.Go(func() {
			if err := e.Serve(p.Log); err != nil {
				failed <- err
			}
		})
	}

	var cause error
	select {
	case <-ctx.Done():
		p.Log.Info("shutting down", "linger", p.Linger.String())
	case cause = <-failed:
		p.Log.Error(cause, "shutting down", "linger", p.Linger.String())
	}
	p.Ready.ending.Store(true)
	p.Webhook.end()
	lingering := time.NewTimer(p.Linger)
	defer lingering.Stop()
	<-lingering.C

	draining, stopDraining := context.WithTimeout(working, drainTime)
	defer stopDraining()
	faults := []error{cause, p.Webhook.shutdown(draining)}
	stopJobs()
	<-jobsDone
	for _, e := range p.Others {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		_ = e.shutdown(closing) // a slow reader of metrics is disconnected
		cancel()
	}
	running.Wait()
	if p.Flush != nil {
		flushing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if err := p.Flush(flushing); err != nil {
			p.Log.Error(err, "the last spans could not be sent") // not a reason to exit with an error
		}
	}
	return errors.Join(faults...)
}
