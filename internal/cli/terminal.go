// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"io"
	"strings"

	"k8s.io/cli-runtime/pkg/printers"
)

// isTerminal reports whether the output is a terminal.
func isTerminal(out io.Writer) bool { return printers.IsTerminal(out) }

// style marks text with color and ✓ or ✗ on a terminal. Otherwise, it leaves text unchanged for programs.
type style bool

// styleOf is on where a terminal shows color and NO_COLOR is not set.
func styleOf(out io.Writer) style { return style(printers.AllowsColorOutput(out)) }

const (
	bold   = "\x1b[1m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	plain  = "\x1b[0m"
)

func (s style) in(color, text string) string {
	if !s {
		return text
	}
	return color + text + plain
}

func (s style) heading(text string) string { return s.in(bold, text) }

// reason marks the reason at the beginning of a problem. Other lines are unchanged.
func (s style) reason(line string) string {
	reason, rest, found := strings.Cut(line, ": ")
	if !found || strings.Contains(reason, " ") {
		return line
	}
	return s.bad(reason) + ": " + rest
}

// marked adds a sign before the text, if signs are shown.
func (s style) marked(color, sign, text string) string {
	if !s {
		return text
	}
	return s.in(color, sign+" "+text)
}

func (s style) good(text string) string { return s.marked(green, "✓", text) }
func (s style) bad(text string) string  { return s.marked(red, "✗", text) }
func (s style) warn(text string) string { return s.marked(yellow, "!", text) }
func (s style) note(text string) string { return s.marked("", " ", text) }
