// Command outrigger is the one binary of the project: it serves the webhook and the routing controller in a cluster,
// and prints by hand what they would do.
package main

import (
	"errors"
	"fmt"
	"os"
)

// version is set when the binary is built.
var version = "unknown"

func main() { os.Exit(run()) }

// run executes the command, tells what went wrong, and returns the exit status.
func run() int {
	err := root(os.Args[0]).Execute()
	if err == nil {
		return 0
	}
	status := &exitStatus{status: 1, err: err}
	errors.As(err, &status)
	if status.err != nil {
		fmt.Fprintln(os.Stderr, "Error: "+status.err.Error())
	}
	return status.status
}

// exitStatus is an error with the exit status that it makes. Without an error of its own the status is the answer, and
// nothing is told.
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
