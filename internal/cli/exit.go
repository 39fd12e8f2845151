// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"outrigger.dev/outrigger/internal/diagnose"
)

// The exit statuses: done, failed or refused, and wrong usage. Those of diff are kubectl diff's: 0, 1 where something would
// change, 2 if the command failed.
const (
	statusDone   = 0
	statusFailed = 1
	statusUsage  = 2
)

// exitStatus is an error with an exit status. If err is nil, the status is the result, and nothing is reported.
type exitStatus struct {
	status int
	err    error
}

func (e *exitStatus) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

func (e *exitStatus) Unwrap() error { return e.err }

// usageError is an error in the command line, independent of the cluster and the files.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// asUsage marks an error as a usage error. It returns nil for nil.
func asUsage(err error) error {
	if err == nil {
		return nil
	}
	return &usageError{err.Error()}
}

// Execute runs a command line, reports its error, and returns the exit status.
func Execute(command *cobra.Command, stderr io.Writer) int {
	began := false
	onRun(command, func(command *cobra.Command) {
		began = true
		completeNotes(command)
	})
	which, err := command.ExecuteC()
	if err != nil && !began {
		err = asUsage(err) // flags, arguments, or an unknown command
	}
	return report(err, which, stderr)
}

// onRun calls a function when a command starts, after its flags and arguments are checked.
func onRun(command *cobra.Command, call func(*cobra.Command)) {
	if run := command.RunE; run != nil {
		command.RunE = func(command *cobra.Command, args []string) error {
			call(command)
			return run(command, args)
		}
	}
	for _, sub := range command.Commands() {
		onRun(sub, call)
	}
}

// completeNotes adds the flags that select the cluster to the commands in everything that a command writes to stderr.
func completeNotes(command *cobra.Command) {
	if flags := clusterFlagsOf(command.Flags()); len(flags) > 0 {
		command.SetErr(completing{command.ErrOrStderr(), flags})
	}
}

// completing is a writer that adds the flags to the commands in what is written. Each write must contain whole lines.
type completing struct {
	out   io.Writer
	flags diagnose.ClusterFlags
}

func (c completing) Write(text []byte) (int, error) {
	if _, err := io.WriteString(c.out, c.flags.CompleteText(string(text))); err != nil {
		return 0, err
	}
	return len(text), nil
}

// report writes the error, and for a usage error a pointer to --help.
func report(err error, command *cobra.Command, out io.Writer) int {
	if err == nil {
		return statusDone
	}
	status := &exitStatus{status: statusFailed, err: err}
	usage := &usageError{}
	isUsage := errors.As(err, &usage)
	if isUsage {
		status.status = statusUsage
	}
	errors.As(err, &status)
	if status.err != nil {
		_, _ = fmt.Fprintln(out, "Error: "+clusterFlagsOf(command.Flags()).CompleteError(withoutAttempt(status.err))) // nothing to do if stderr is closed
	}
	if isUsage {
		_, _ = fmt.Fprintf(out, "See '%s --help'.\n", command.CommandPath())
	}
	return status.status
}
