// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/internal/diagnose"
)

// stream reads the cluster repeatedly: after each change, and periodically, because what it reads also depends on the time and on objects
// that the user may list but not watch.
type stream[T any] struct {
	read    func(context.Context) (T, error)
	changed <-chan struct{}      // receives a value after a change in the cluster; nil if changes are not watched
	ordered <-chan chan struct{} // receives changes to read one by one, from orderedChanges; nil if there are none
	pause   time.Duration        // between two readings without a change; zero for the default
}

// statusStream reads the status. `status --watch` and `dashboard` show what it reads.
type statusStream = stream[diagnose.StatusReport]

const (
	// watchPause is the shortest pause between two readings without a change. After a slow reading, the pause is ten times its duration.
	watchPause = 2 * time.Second
	// changePause is the shortest pause between two readings. After a slow reading, the pause is as long as the reading. This does
	// not apply to the first reading, because later ones compute only what has changed.
	changePause = 500 * time.Millisecond
)

// run calls each with every reading, or with the error of an attempt, until the context ends or each returns an error.
func (s stream[T]) run(ctx context.Context, each func(T, error) error) error {
	var unread chan struct{} // the change that the next successful reading includes
	for isFirst := true; ; isFirst = false {
		began := time.Now()
		value, err := s.read(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err := each(value, err); err != nil {
			return err
		}
		if err == nil && unread != nil {
			close(unread)
			unread = nil
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
		ordered := s.ordered
		if unread != nil {
			ordered = nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.changed:
		case unread = <-ordered:
		case <-idle:
		}
	}
}

// orderedChanges makes a stream read every change of some objects, even if several follow each other quickly: a watch applies the next change
// only after a reading that includes the previous one.
type orderedChanges struct {
	includes func(client.Object) bool
	changes  chan chan struct{}
}

// wait returns after the stream has read the change of an object, or when the context ends.
func (o *orderedChanges) wait(ctx context.Context, object client.Object) {
	if o == nil || !o.includes(object) {
		return
	}
	read := make(chan struct{})
	select {
	case o.changes <- read:
	case <-ctx.Done():
		return
	}
	select {
	case <-read:
	case <-ctx.Done():
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
