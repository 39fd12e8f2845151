package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// writing says how a command writes.
type writing struct {
	dryRun  string
	wait    bool
	timeout time.Duration
	out     io.Writer
	notes   io.Writer // what could not be read; nil discards it
}

const (
	dryRunNone   = "none"
	dryRunClient = "client"
	dryRunServer = "server"
)

func (w *writing) register(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVar(&w.dryRun, "dry-run", dryRunNone, "none, client (say what would be written), or server (let the API server check it)")
	flags.BoolVar(&w.wait, "wait", false, "wait until the objects are in place and the proxies have had time to take them over")
	flags.DurationVar(&w.timeout, "timeout", time.Minute, "how long --wait waits")
	_ = command.RegisterFlagCompletionFunc("dry-run", cobra.FixedCompletions([]string{dryRunNone, dryRunClient, dryRunServer}, cobra.ShellCompDirectiveNoFileComp))
}

// check reads the flags. Where nothing is written there is nothing to wait for.
func (w *writing) check(out io.Writer) error {
	w.out = out
	if !slices.Contains([]string{dryRunNone, dryRunClient, dryRunServer}, w.dryRun) {
		return usagef("--dry-run=%s: expected none, client or server", w.dryRun)
	}
	w.wait = w.wait && w.dryRun == dryRunNone
	return nil
}

func (w writing) say(format string, args ...any) {
	_, _ = fmt.Fprintf(w.out, format+"\n", args...) // nobody to tell if stdout is closed
}

// note reports what could not be read.
func (w writing) note(notes []string) {
	if w.notes == nil {
		return
	}
	for _, note := range notes {
		_, _ = fmt.Fprintln(w.notes, "Note: "+note) // nobody to tell if stderr is closed
	}
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

// fieldOwner is whom the API server notes for what a command writes.
const fieldOwner = client.FieldOwner("outrigger-cli")

func (w writing) patchOptions() []client.PatchOption {
	options := []client.PatchOption{fieldOwner}
	if w.dryRun == dryRunServer {
		options = append(options, client.DryRunAll)
	}
	return options
}

// pollEvery is how long --wait rests between two looks at the cluster.
const pollEvery = 500 * time.Millisecond

// waitFor looks until nothing is missing, and then for as long as the proxies may need to have it.
func (l *live) waitFor(ctx context.Context, how writing, look func(context.Context) (string, error)) error {
	if !how.wait {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, how.timeout)
	defer cancel()
	var since time.Time // when nothing was missing any more
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
			why, since = "it stands, but not for the propagation delay yet", l.now()
		}
		if now == "" && err == nil && !l.now().Before(since.Add(l.settings().PropagationDelay)) {
			how.say("in force, and %v have passed for the proxies to take it over", l.settings().PropagationDelay)
			return nil
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			return fmt.Errorf("it is written, but not in force within %v: %s", how.timeout, why)
		case <-time.After(pollEvery):
		}
	}
}
