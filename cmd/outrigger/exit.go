package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// The exit statuses: done, failed or refused, and wrong usage. Those of diff are kubectl diff's: 0, 1 where something would
// change, 2 where it failed.
const (
	statusDone   = 0
	statusFailed = 1
	statusUsage  = 2
)

// exitStatus is an error with the exit status that it makes. Without an error of its own the status is the answer, and
// nothing is reported.
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

// usageError is a command line that is wrong whatever the cluster and the files contain.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// asUsage marks an error about a word of the command line; nil stays nil.
func asUsage(err error) error {
	if err == nil {
		return nil
	}
	return &usageError{err.Error()}
}

// execute runs a command line, reports what went wrong, and returns the exit status.
func execute(command *cobra.Command, stderr io.Writer) int {
	began := false
	onRun(command, func() { began = true })
	which, err := command.ExecuteC()
	if err != nil && !began {
		err = asUsage(err) // flags, arguments, or an unknown command
	}
	return report(err, which, stderr)
}

// onRun has a function called when a command begins, behind the checks of its flags and arguments.
func onRun(command *cobra.Command, call func()) {
	if run := command.RunE; run != nil {
		command.RunE = func(command *cobra.Command, args []string) error {
			call()
			return run(command, args)
		}
	}
	for _, sub := range command.Commands() {
		onRun(sub, call)
	}
}

// report writes the error, and where to read on if the usage was wrong.
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
		_, _ = fmt.Fprintln(out, "Error: "+status.err.Error()) // nothing to do if stderr is closed
	}
	if isUsage {
		_, _ = fmt.Fprintf(out, "See '%s --help'.\n", command.CommandPath())
	}
	return status.status
}
