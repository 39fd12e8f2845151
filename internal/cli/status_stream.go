// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"time"

	"outrigger.dev/outrigger/internal/diagnose"
)

// statusStream reads the status repeatedly: after each change in the cluster, and periodically, because the status also depends on the time
// and on objects that the user may list but not watch. `status --watch` and `dashboard` show what it reads.
type statusStream struct {
	read    func(context.Context) (diagnose.StatusReport, error)
	changed <-chan struct{} // receives a value after a change in the cluster; nil if changes are not watched
	pause   time.Duration   // between two readings without a change; zero for the default
}

const (
	// watchPause is the shortest pause between two readings without a change. After a slow reading, the pause is ten times its duration.
	watchPause = 2 * time.Second
	// changePause is the shortest pause between two readings. After a slow reading, the pause is as long as the reading. This does
	// not apply to the first reading, because later ones compute only what has changed.
	changePause = 500 * time.Millisecond
)

// run calls each with every reading, or with the error of an attempt, until the context ends or each returns an error.
func (s statusStream) run(ctx context.Context, each func(diagnose.StatusReport, error) error) error {
	for isFirst := true; ; isFirst = false {
		began := time.Now()
		report, err := s.read(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err := each(report, err); err != nil {
			return err
		}
		took := time.Since(began)
		idle := time.After(max(cmp.Or(s.pause, watchPause), 10*took))
		if isFirst {
			took = 0
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(max(min(cmp.Or(s.pause, changePause), changePause), took)):
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.changed:
		case <-idle:
		}
	}
}

// parts reports what a long reading has read so far, at most once per changePause.
type parts struct {
	each func(diagnose.StatusReport)
	last time.Time
}

// part reports a part, if something receives it and changePause has elapsed since the last part.
func (l *live) part(report func() diagnose.StatusReport) {
	if l.parts == nil || time.Since(l.parts.last) < changePause {
		return
	}
	l.parts.each(report())
	l.parts.last = time.Now()
}
