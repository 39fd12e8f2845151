// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/internal/diagnose"
)

// writing is the flags and outputs of a command that writes.
type writing struct {
	dryRun  string
	wait    bool
	timeout time.Duration
	out     io.Writer
	notes   io.Writer // receives notes about what could not be read; nil discards them
	flags   diagnose.ClusterFlags
}

const (
	dryRunNone   = "none"
	dryRunClient = "client"
	dryRunServer = "server"
)

func (w *writing) register(command *cobra.Command) {
	flags := command.Flags()
	registerDryRun(command, &w.dryRun)
	flags.BoolVar(&w.wait, "wait", false, "wait until the route is applied and the propagation delay has elapsed")
	flags.DurationVar(&w.timeout, "timeout", time.Minute, "how long --wait waits")
}

// prepare sets the outputs and validates the flags. A dry run turns --wait off, because it writes nothing to wait for.
func (w *writing) prepare(command *cobra.Command) error {
	w.to(command)
	if err := checkDryRun(command); err != nil {
		return err
	}
	if w.timeout <= 0 {
		return usagef("--timeout=%v: expected more than 0, e.g. 1m", w.timeout)
	}
	w.wait = w.wait && w.dryRun == dryRunNone
	return nil
}

// to sets the outputs and the flags of a command.
func (w *writing) to(command *cobra.Command) {
	w.out, w.notes, w.flags = command.OutOrStdout(), command.ErrOrStderr(), clusterFlagsOf(command.Flags())
}

// say prints a line for users. The commands in it get the flags that select the cluster.
func (w writing) say(format string, args ...any) {
	_, _ = fmt.Fprintln(w.out, w.flags.CompleteText(fmt.Sprintf(format, args...))) // nothing to do if stdout is closed
}

// note reports what could not be read.
func (w writing) note(notes []string) {
	if w.notes == nil {
		return
	}
	printNotes(w.notes, notes...)
}

func (w writing) suffix() string {
	switch w.dryRun {
	case dryRunClient:
		return " (dry run)"
	case dryRunServer:
		return " (server dry run)"
	}
	return ""
}

// fieldOwner is the field manager of what a command writes.
const fieldOwner = client.FieldOwner("outrigger-cli")

func (w writing) patchOptions() []client.PatchOption {
	options := []client.PatchOption{fieldOwner}
	if w.dryRun == dryRunServer {
		options = append(options, client.DryRunAll)
	}
	return options
}

// pollEvery is the interval at which --wait reads the cluster.
const pollEvery = 500 * time.Millisecond

// waitFor polls until nothing is missing, and then until the propagation delay has elapsed.
func (l *live) waitFor(ctx context.Context, output writing, look func(context.Context) (string, error)) error {
	if !output.wait {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, output.timeout)
	defer cancel()
	var since time.Time // since when nothing is missing
	why := "the cluster did not answer"
	for {
		now, err := look(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			return err
		case err != nil:
		case now != "":
			why, since = now, time.Time{}
		case since.IsZero():
			why, since = "the route is in place, but the propagation delay has not elapsed", l.now()
		}
		if now == "" && err == nil && !l.now().Before(since.Add(l.settings().PropagationDelay)) {
			output.say("applied (waited %v for the proxies)", l.settings().PropagationDelay)
			return nil
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			return fmt.Errorf("written, but not applied within %v: %s", output.timeout, why)
		case <-time.After(pollEvery):
		}
	}
}
