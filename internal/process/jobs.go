// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Job runs until its context is done.
type Job interface {
	Start(ctx context.Context) error
}

// jobFunc is a Job that consists of a function.
type jobFunc func(context.Context) error

// Start runs the function.
func (f jobFunc) Start(ctx context.Context) error { return f(ctx) }

// together runs jobs concurrently until ctx is done or one of them ends, and waits for the others. A job that ends before ctx is
// done is an error.
func together(ctx context.Context, jobs ...Job) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var running sync.WaitGroup
	faults := make([]error, len(jobs))
	for i, one := range jobs {
		running.Go(func() {
			faults[i] = one.Start(ctx)
			if faults[i] == nil && ctx.Err() == nil {
				faults[i] = fmt.Errorf("%T ended unexpectedly", one)
			}
			stop()
		})
	}
	running.Wait()
	return errors.Join(faults...)
}

// After returns a job that runs another one once a channel is closed.
func After(ready <-chan struct{}, one Job) Job {
	return jobFunc(func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return nil
		case <-ready:
			return one.Start(ctx)
		}
	})
}

// Above returns a job that runs jobs and a base that they need, such as caches. The base stops after they have ended.
func Above(base Job, jobs ...Job) Job {
	return jobFunc(func(ctx context.Context) error {
		working, stopWorking := context.WithCancel(ctx)
		defer stopWorking()
		lasting, stopBase := context.WithCancel(context.WithoutCancel(ctx))
		defer stopBase()
		ended := make(chan error, 1)
		go func() {
			ended <- base.Start(lasting)
			stopWorking()
		}()
		err := together(working, jobs...)
		stopBase()
		return errors.Join(err, <-ended)
	})
}
