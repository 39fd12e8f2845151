// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/routing"
)

// canaryWatch prints how far a canary is, until it ends: in place on a terminal, and otherwise one line for each change.
type canaryWatch struct {
	*live
	service    string
	timeout    time.Duration // 0 for no limit
	out, notes io.Writer
	isTerminal bool
	pause      time.Duration // between two readings; zero for the default

	version    string    // that is followed; empty until it is known
	isSeen     bool      // the controller has recorded a canary of it, or it waits
	unrecorded time.Time // since when the controller has not recorded the canary
	shown      string    // the last line
	noted      string    // the last note
}

// recordTime is how long the controller may take to record a change before it is reported.
const recordTime = 10 * time.Second

// run returns when the canary has ended. An aborted canary is an error. The first reading must succeed; later ones are tried again.
func (w *canaryWatch) run(ctx context.Context) error {
	if w.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, w.timeout)
		defer cancel()
	}
	defer func() {
		if w.isTerminal && w.shown != "" {
			_, _ = fmt.Fprintln(w.out)
		}
	}()
	for first := true; ; first = false {
		began := time.Now()
		isOver, err := w.look(ctx)
		switch {
		case ctx.Err() != nil:
			return w.interrupted(ctx)
		case err != nil && (first || isOver):
			return err
		case err != nil:
			w.note(withoutAttempt(err).Error() + "; trying again")
		case isOver:
			return nil
		}
		select {
		case <-ctx.Done():
			return w.interrupted(ctx)
		case <-time.After(max(cmp.Or(w.pause, watchPause), 10*time.Since(began))):
		}
	}
}

func (w *canaryWatch) interrupted(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && w.timeout > 0 {
		return fmt.Errorf("service/%s: the canary has not ended within %v: %s", w.service, w.timeout, cmp.Or(w.shown, "the cluster did not answer"))
	}
	return ctx.Err()
}

// look reads and shows the canary once. isOver is true if nothing is left to follow.
func (w *canaryWatch) look(ctx context.Context) (isOver bool, err error) {
	if err := w.readSettings(ctx); err != nil {
		return false, err
	}
	observed, _, err := w.observe(ctx, w.snapshot(w.namespace, false), w.service)
	if err != nil {
		isDeleted := errors.As(err, new(*notThereError)) || apierrors.IsNotFound(err)
		return isDeleted, err
	}
	now := w.now()
	c, isCurrent := diagnose.CanaryOf(observed, now)
	switch isOther := c != nil && w.version != "" && c.Version != w.version; {
	case c == nil || isOther && w.isSeen:
		return true, w.replaced(observed, c)
	case observed.Settings.Freeze && !c.HasEnded():
		if !isOther {
			w.show(*c)
		}
		return true, w.frozen(*c)
	case isOther || !isCurrent: // the controller has to write it
		if w.unrecorded.IsZero() {
			w.unrecorded = now
		}
		if now.Sub(w.unrecorded) >= recordTime {
			w.note("canary " + cmp.Or(w.version, c.Version) + " is not recorded yet. " + diagnose.IfUnchanged(w.gaps).String())
		}
		return false, nil
	}
	w.version, w.isSeen, w.unrecorded, w.noted = c.Version, true, time.Time{}, ""
	w.show(*c)
	if c.IsAborted() {
		return true, fmt.Errorf("canary %s of service %s was aborted at %d%%: %s", c.Version, w.service, c.Percent, c.Reason)
	}
	return c.HasEnded(), nil
}

// frozen returns the error for a canary that a freeze holds: the command does not wait for the end of the freeze.
func (w *canaryWatch) frozen(c diagnose.CanaryStatus) error {
	version, does := cmp.Or(w.version, c.Version), "starts"
	switch {
	case c.Version != version:
	case c.EndsAs == routing.CanaryAborted:
		does = "is aborted"
	case c.EndsAs == routing.CanarySucceeded:
		does = "is promoted"
	case c.IsProgressing():
		does = fmt.Sprintf("stays at %d%% and continues", c.Percent)
	}
	return fmt.Errorf("service/%[1]s: routing is frozen (routing.freeze=true in namespace %[2]s): canary %[3]s %[4]s when the freeze ends. To end it: helm upgrade outrigger charts/outrigger -n %[2]s --reset-then-reuse-values --set routing.freeze=false. To follow the canary: outrigger status %[1]s -n %[5]s --watch",
		w.service, w.systemNamespace, version, does, w.namespace)
}

// note prints a note, unless it was the last one.
func (w *canaryWatch) note(text string) {
	if text != w.noted {
		w.noted = text
		printNotes(w.notes, text)
	}
}

func (w *canaryWatch) show(c diagnose.CanaryStatus) {
	line := c.Change()
	switch {
	case w.isTerminal:
		_, _ = fmt.Fprint(w.out, "\r\x1b[K"+c.Line(w.now())) // nothing to do if stdout is closed
	case line != w.shown:
		_, _ = fmt.Fprintln(w.out, line)
	}
	w.shown = line
}

// replaced returns why there is no canary to follow, or nil if its version is the default.
func (w *canaryWatch) replaced(observed routing.Observed, c *diagnose.CanaryStatus) error {
	if w.version == "" {
		return noCanary(observed, w.now())
	}
	if decisions := routing.Decisions(observed, w.now()); len(decisions) > 0 && decisions[0].Default == w.version {
		return nil
	}
	if c != nil {
		return fmt.Errorf("canary %s of service %s was aborted: canary %s replaced it", w.version, w.service, c.Version)
	}
	return fmt.Errorf("canary %s of service %s was aborted: %s was removed", w.version, w.service, api.AnnotationCanary)
}

// noCanary returns an error that says why a Service has no canary.
func noCanary(observed routing.Observed, now time.Time) error {
	why := "service " + observed.Service.Name + " has no canary"
	for _, p := range routing.Plan(observed, now).Problems {
		if p.Field == api.AnnotationField(api.AnnotationCanary) {
			return errors.New(why + ": " + strings.TrimSpace(p.Message+" "+p.Advice))
		}
	}
	return errors.New(why)
}
