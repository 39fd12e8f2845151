package main

import (
	"io"

	"k8s.io/cli-runtime/pkg/printers"
)

// isTerminal reports whether people read what is written.
func isTerminal(out io.Writer) bool { return printers.IsTerminal(out) }
