// SPDX-License-Identifier: Apache-2.0

package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"outrigger.dev/outrigger/api"
)

// Leadership runs jobs on the replica that holds a Lease. A replica that loses the Lease stops its jobs and keeps running; it starts
// them again when it holds the Lease again. A job that fails ends the term, and the replica waits for the Lease again.
//
//	waiting ── holds the Lease ──▶ leading ── loses the Lease ──▶ waiting
//	                                  │
//	                                  └── a job ends, or ctx does: the others stop, the Lease is released ──▶ waiting, or the end
type Leadership struct {
	Lock   resourcelock.Interface // nil without election: the jobs run at once
	Name   string                 // of the Lease; a label of the leader election metric
	Timing api.LeaderElectionConfig
	Log    logr.Logger
	// Retry is the first pause after a failed job, 2 s by default. It doubles up to a minute.
	Retry time.Duration

	jobs []Job
}

// firstRetry is the default of Leadership.Retry.
const firstRetry = 2 * time.Second

// Add has a job run on the leader. It must be able to run again after it has returned.
func (l *Leadership) Add(one Job) { l.jobs = append(l.jobs, one) }

// Start runs terms until ctx is done.
func (l *Leadership) Start(ctx context.Context) error {
	if len(l.jobs) == 0 {
		<-ctx.Done()
		return nil
	}
	first := cmp.Or(l.Retry, firstRetry)
	pause := first
	for ctx.Err() == nil {
		begun := time.Now()
		err := l.term(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			pause = first
			continue
		}
		if time.Since(begun) > time.Minute {
			pause = first
		}
		l.Log.Error(err, "a job of the leader failed; the jobs run again after a pause, and the webhook serves on", "pause", pause.String())
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, time.Minute)
	}
	return nil
}

// term waits for the Lease and runs the jobs while this replica holds it. After they have ended, it returns nil if the Lease was lost
// or ctx is done, or else the error of a job.
func (l *Leadership) term(ctx context.Context) error {
	if l.Lock == nil {
		return together(ctx, l.jobs...)
	}
	// The Lease is held until the jobs have ended, so that no other replica starts earlier.
	electing, stopElecting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopElecting()
	elected := make(chan context.Context, 1)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: l.Lock, Name: l.Name,
		LeaseDuration: l.Timing.LeaseDuration, RenewDeadline: l.Timing.RenewDeadline, RetryPeriod: l.Timing.RetryPeriod,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(leading context.Context) { elected <- leading },
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return fmt.Errorf("leader election: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		elector.Run(electing)
	}()
	var leading context.Context
	select {
	case <-ctx.Done():
		stopElecting()
		<-ended
		return l.release(ctx) // it may have been acquired at the last moment
	case leading = <-elected:
	}
	l.Log.Info("this replica leads", "lease", l.Name)
	working, stopWorking := context.WithCancel(ctx)
	defer stopWorking()
	context.AfterFunc(leading, stopWorking)
	err = together(working, l.jobs...)
	if leading.Err() != nil {
		l.Log.Info("the Lease was lost: the jobs of the leader have stopped, and the webhook serves on", "lease", l.Name)
		return nil
	}
	stopElecting()
	<-ended
	return errors.Join(err, l.release(ctx))
}

// release releases the Lease if this replica still holds it, so that the next one does not wait for its expiry.
func (l *Leadership) release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.Timing.RenewDeadline)
	defer cancel()
	held, _, err := l.Lock.Get(ctx)
	if err != nil || held.HolderIdentity != l.Lock.Identity() {
		return nil //nolint:nilerr // it expires after LeaseDuration
	}
	held.HolderIdentity, held.LeaseDurationSeconds = "", 1
	if err := l.Lock.Update(ctx, *held); err != nil {
		l.Log.Info("the Lease could not be released; it expires", "lease", l.Name, "err", err.Error())
	}
	return nil
}
