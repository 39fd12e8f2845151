package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// screen writes what a person reads: headings, explanations, commands and their outputs. Colors only on a terminal.
type screen struct {
	out    io.Writer
	colour bool
	title  string    // the current heading
	shown  []outcome // what was checked, in order
}

// outcome is one thing that a step has shown.
type outcome struct{ title, text string }

// longest is how many lines of an output are shown. What is checked is the whole output.
const longest = 24

func newScreen(out *os.File) *screen {
	info, err := out.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	return &screen{out: out, colour: terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

const (
	bold  = "1"
	faint = "2"
	green = "32"
)

func (s *screen) paint(style, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

func (s *screen) plain(text string) { _, _ = io.WriteString(s.out, text) }

// heading starts a part of the story.
func (s *screen) heading(title string) {
	s.title = title
	s.plain("\n" + s.paint(bold, title) + "\n" + s.paint(faint, strings.Repeat("─", len([]rune(title)))) + "\n")
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

// command shows a command line and what came back.
func (s *screen) command(line, output string) {
	s.plain("\n" + s.paint(bold, "$ "+line) + "\n")
	lines := strings.Split(strings.TrimRight(output, "\n"), "\n")
	if output == "" {
		lines = nil
	}
	for _, text := range lines[:min(len(lines), longest)] {
		s.plain("    " + text + "\n")
	}
	if more := len(lines) - longest; more > 0 {
		s.note("    … %d more lines", more)
	}
}

// right says what was checked, and keeps it for the summary.
func (s *screen) right(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.shown = append(s.shown, outcome{s.title, text})
	s.plain(s.paint(green, "✓ "+text) + "\n")
}

// summary lists what the steps have shown.
func (s *screen) summary(title string) {
	shown := s.shown
	s.heading(title)
	for i, one := range shown {
		if i == 0 || shown[i-1].title != one.title {
			s.plain(one.title + "\n")
		}
		s.plain("  " + s.paint(green, "✓ "+one.text) + "\n")
	}
}

// progress is a writer for the lines of a long preparation.
func (s *screen) progress() io.Writer { return s.out }
