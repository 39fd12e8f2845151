// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// screen writes what a person reads: headings, explanations, commands, and their outputs. Colors only on a terminal.
type screen struct {
	out      io.Writer
	terminal bool
	color    bool
	verbose  bool // show every command, and whole outputs
}

func newScreen(out *os.File, verbose bool) *screen {
	info, err := out.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
	return &screen{out: out, terminal: terminal, color: terminal && os.Getenv("NO_COLOR") == "", verbose: verbose}
}

const (
	bold  = "1"
	faint = "2"
	green = "32"
)

func (s *screen) paint(style, text string) string {
	if !s.color {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

func (s *screen) plain(text string) { _, _ = io.WriteString(s.out, text) }

// heading starts a part of the story.
func (s *screen) heading(title string) {
	s.plain("\n" + s.paint(bold, title) + "\n")
}

// say explains, in lines of at most 100 letters.
func (s *screen) say(format string, args ...any) {
	width := 0
	for i, word := range strings.Fields(fmt.Sprintf(format, args...)) {
		switch letters := len([]rune(word)); {
		case i == 0:
			width = letters
		case width+1+letters > 100:
			s.plain("\n")
			width = letters
		default:
			s.plain(" ")
			width += 1 + letters
		}
		s.plain(word)
	}
	s.plain("\n")
}

// note is a remark beside the story.
func (s *screen) note(format string, args ...any) {
	s.plain(s.paint(faint, fmt.Sprintf(format, args...)) + "\n")
}

// command shows a command line and lines of its output.
func (s *screen) command(line, output string) {
	s.plain(s.paint(bold, "  $ "+line) + "\n")
	for text := range strings.Lines(output) {
		s.plain("    " + strings.TrimRight(text, "\n") + "\n")
	}
}

// right says what was checked.
func (s *screen) right(text string) {
	s.plain(s.paint(green, "✓ "+text) + "\n")
}
