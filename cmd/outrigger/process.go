// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-logr/logr"
)

// drainTime bounds how long requests that have begun may take once nothing new is accepted. The API server gives up
// after the webhook's timeoutSeconds, at most 30.
const drainTime = 30 * time.Second

// process is "outrigger serve" once all its parts are made.
type process struct {
	log     logr.Logger
	ready   *readiness
	webhook *endpoint
	// others are the endpoints that answer to the end: health and metrics.
	others []*endpoint
	// jobs runs caches, certificate and routing until its context ends.
	jobs   func(context.Context) error
	linger time.Duration
	// flush sends the spans that wait; nil where nothing is traced.
	flush func(context.Context) error
}

// run serves until ctx ends or a part fails, then ends in this order: readiness fails; the webhook goes on answering,
// and routing goes on leading, for the linger time, because the API server learns of the end only after a while;
// requests that have begun are answered; caches and routing stop and the Lease is released.
func (p *process) run(ctx context.Context) error {
	var running sync.WaitGroup
	failed := make(chan error, 2+len(p.others))
	working, stopJobs := context.WithCancel(context.WithoutCancel(ctx))
	defer stopJobs()
	jobsDone := make(chan struct{})
	running.Go(func() {
		defer close(jobsDone)
		if err := p.jobs(working); err != nil {
			failed <- err
		} else if working.Err() == nil {
			failed <- errors.New("the controllers ended by themselves")
		}
	})
	for _, e := range append([]*endpoint{p.webhook}, p.others...) {
		running.Go(func() {
			if err := e.serve(p.log); err != nil {
				failed <- err
			}
		})
	}

	var cause error
	select {
	case <-ctx.Done():
		p.log.Info("shutting down", "linger", p.linger.String())
	case cause = <-failed:
		p.log.Error(cause, "shutting down", "linger", p.linger.String())
	}
	p.ready.ending.Store(true)
	p.webhook.end()
	lingering := time.NewTimer(p.linger)
	defer lingering.Stop()
	<-lingering.C

	draining, stopDraining := context.WithTimeout(working, drainTime)
	defer stopDraining()
	faults := []error{cause, p.webhook.shutdown(draining)}
	stopJobs()
	<-jobsDone
	for _, e := range p.others {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		_ = e.shutdown(closing) // a slow reader of metrics is cut off
		cancel()
	}
	running.Wait()
	if p.flush != nil {
		flushing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if err := p.flush(flushing); err != nil {
			p.log.Error(err, "the last spans could not be sent") // no reason to end with an error
		}
	}
	return errors.Join(faults...)
}
