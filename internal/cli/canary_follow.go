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

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/routing"
)

// canaryWatch prints the progress of a canary until it ends: in place on a terminal, and otherwise one line for each change. It reads each change of
// the objects that record the canary, so it skips no step.
type canaryWatch struct {
	*live
	service    string
	timeout    time.Duration // 0 for no limit
	out, notes io.Writer
	isTerminal bool
	pause      time.Duration   // between two readings without a change; zero for the default
	change     diagnose.Change // that the command has written

	version    string    // the version that is followed; empty until it is known
	isSeen     bool      // the controller has recorded a canary of it, or it waits
	unrecorded time.Time // since when the controller has not recorded the canary
	shown      string    // the last line
	position   string    // the step of the last line
	noted      string    // the last note
}

// recordTime is how long the controller may take to record a change before it is reported.
const recordTime = 10 * time.Second

// errFollowed ends the stream of readings: nothing is left to follow.
var errFollowed = errors.New("the canary has ended")

// run returns when the canary has ended. An aborted canary is an error. The first reading must succeed; later ones are tried again.
func (w *canaryWatch) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if w.timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, w.timeout)
		defer cancel()
	}
	defer func() {
		if w.isTerminal && w.shown != "" {
			_, _ = fmt.Fprintln(w.out)
		}
	}()
	ordered := &orderedChanges{includes: w.records, changes: make(chan chan struct{})}
	var changed <-chan struct{}
	w.live, changed = w.watchingInOrder(ctx, ordered)
	isRead := false
	readings := stream[routing.Observed]{read: w.read, changed: changed, ordered: ordered.changes, pause: w.pause}
	err := readings.run(ctx, func(observed routing.Observed, err error) error {
		isDeleted := errors.As(err, new(*notThereError)) || apierrors.IsNotFound(err)
		switch {
		case err != nil && (!isRead || isDeleted):
			return err
		case err != nil:
			w.note(withoutAttempt(err).Error() + "; trying again")
			return nil
		}
		isRead = true
		return w.look(observed)
	})
	switch {
	case errors.Is(err, errFollowed):
		return nil
	case err == nil:
		return w.interrupted(ctx)
	}
	return err
}

// records reports whether an object may record the canary. The DestinationRule has a copy of the record, which is written first.
func (w *canaryWatch) records(object client.Object) bool {
	switch object.(type) {
	case *networkingv1.DestinationRule, *networkingv1.VirtualService:
		return object.GetNamespace() == w.namespace && object.GetLabels()[api.LabelService] == w.service
	}
	return false
}

func (w *canaryWatch) interrupted(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && w.timeout > 0 {
		return fmt.Errorf("service/%s: the canary has not ended within %v: %s", w.service, w.timeout, cmp.Or(w.shown, "the cluster did not answer"))
	}
	return ctx.Err()
}

func (w *canaryWatch) read(ctx context.Context) (routing.Observed, error) {
	if err := w.readSettings(ctx); err != nil {
		return routing.Observed{}, err
	}
	observed, _, err := w.observe(ctx, w.snapshot(w.namespace, false), w.service)
	return observed, err
}

// look shows the canary. It returns errFollowed if nothing is left to follow.
func (w *canaryWatch) look(observed routing.Observed) error {
	now := w.now()
	c, isCurrent := diagnose.CanaryOf(observed, now)
	switch isOther := c != nil && w.version != "" && c.Version != w.version; {
	case c == nil || isOther && w.isSeen:
		return cmp.Or(w.replaced(observed, c), errFollowed)
	case w.isEndBefore(*c):
		return fmt.Errorf("canary %s of service %s was not retried: %s", c.Version, w.service, diagnose.WhyNotRetried(observed, w.decidedAt(), now))
	case observed.Settings.Freeze && !c.HasEnded():
		if !isOther {
			w.show(*c)
		}
		return w.frozen(*c)
	case !isOther && !isCurrent && c.IsProgressing() && c.EndsAs == "" && w.position != positionOf(*c): // a recorded step that may pass already
		w.version, w.isSeen, w.unrecorded, w.noted = c.Version, true, time.Time{}, ""
		w.show(*c)
		return nil
	case isOther || !isCurrent: // the controller has to write it
		if w.unrecorded.IsZero() {
			w.unrecorded = now
		}
		if now.Sub(w.unrecorded) >= recordTime {
			w.note("canary " + cmp.Or(w.version, c.Version) + " is not recorded yet. " + diagnose.IfUnchanged(w.gaps).String())
		}
		return nil
	}
	w.version, w.isSeen, w.unrecorded, w.noted = c.Version, true, time.Time{}, ""
	w.show(*c)
	switch {
	case c.IsAborted():
		return fmt.Errorf("canary %s of service %s was aborted at %d%%: %s", c.Version, w.service, c.Percent, c.Reason)
	case c.HasEnded():
		return errFollowed
	}
	return nil
}

// isEndBefore reports whether a canary is still the ended one that the command was to restart.
func (w *canaryWatch) isEndBefore(c diagnose.CanaryStatus) bool {
	ended := w.change.Ended
	return ended != nil && c.HasEnded() && c.Version == ended.Version && c.Since != nil && ended.Since != nil && c.Since.Equal(*ended.Since)
}

// decidedAt returns the decided-at that the command has written.
func (w *canaryWatch) decidedAt() string {
	for _, forecast := range w.change.Writes() {
		return forecast.Annotations[api.AnnotationDecidedAt]
	}
	return ""
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

// positionOf returns a text that is equal for equal steps.
func positionOf(c diagnose.CanaryStatus) string {
	return fmt.Sprintf("%s %d/%d %d%%", c.Version, c.Step, c.Steps, c.Percent)
}

func (w *canaryWatch) show(c diagnose.CanaryStatus) {
	line := c.Change()
	switch {
	case w.isTerminal:
		_, _ = fmt.Fprint(w.out, "\r\x1b[K"+c.Line(w.now())) // nothing to do if stdout is closed
	case line != w.shown:
		_, _ = fmt.Fprintln(w.out, line)
	}
	w.shown, w.position = line, positionOf(c)
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
