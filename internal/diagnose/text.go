// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"errors"
	"slices"
	"strings"
	"time"
)

// Text is a text in parts. Which of them are commands follows from how Outrigger composed the text, not from how it looks: names and values
// from the cluster can look like a command.
type Text []TextPart

// Sentences returns a text without a command.
func Sentences(text string) Text {
	if text == "" {
		return nil
	}
	return Text{{Text: text}}
}

// texts returns texts without commands.
func texts(lines ...string) []Text {
	var out []Text
	for _, line := range lines {
		out = append(out, Sentences(line))
	}
	return out
}

// withCommand returns the text followed by a command.
func (t Text) withCommand(command string) Text { return t.with(TextPart{command, true}) }

func (t Text) with(parts ...TextPart) Text { return append(slices.Clip(t), parts...) }

// String returns the text on one line, as a terminal shows it.
func (t Text) String() string {
	var out strings.Builder
	for _, part := range t {
		out.WriteString(part.Text)
	}
	return out.String()
}

// Equal reports whether two texts have the same parts.
func (t Text) Equal(other Text) bool { return slices.Equal(t, other) }

// ClockTime returns a time as sentences show it. Values of annotations and fields of data have the form of RFC 3339.
func ClockTime(at time.Time) string { return at.UTC().Format("2006-01-02 15:04:05") + " UTC" }

// textError is an error whose text has parts.
type textError struct{ text Text }

// WithCommand returns an error that ends with a command. Names and values in the command must be quoted for a shell.
func WithCommand(reason, command string) error {
	return &textError{Sentences(reason).withCommand(command)}
}

// Error returns the text on one line.
func (e *textError) Error() string { return e.text.String() }

// Text returns the parts of the text.
func (e *textError) Text() Text { return e.text }

// TextOf returns the text of an error. It has commands if the error, or one that it wraps at its end, has a method Text. Everything else, such
// as a response of the API server, is not a command.
func TextOf(err error) Text {
	var with interface {
		error
		Text() Text
	}
	if !errors.As(err, &with) {
		return Sentences(err.Error())
	}
	before, isAtEnd := strings.CutSuffix(err.Error(), with.Error())
	if !isAtEnd {
		return Sentences(err.Error())
	}
	return Sentences(before).with(with.Text()...)
}
