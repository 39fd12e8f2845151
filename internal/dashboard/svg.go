// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"fmt"
	"html/template"
	"strconv"
	"strings"
	"unicode"
)

// svg builds the markup of a drawing. It escapes all texts and values, and it writes no style attribute, which the pages'
// Content-Security-Policy forbids: colors come from classes.
type svg struct {
	markup strings.Builder
}

// attribute is one attribute of an element; a value is a string, an int, or a float64.
type attribute struct {
	name  string
	value any
}

func class(names string) attribute { return attribute{"class", names} }

// box returns the attributes of a rectangle.
func box(x, y, width, height float64) []attribute {
	return []attribute{{"x", x}, {"y", y}, {"width", width}, {"height", height}}
}

// open starts an element, which close ends.
func (s *svg) open(name string, attributes ...attribute) {
	s.markup.WriteString("<" + name)
	for _, a := range attributes {
		fmt.Fprintf(&s.markup, ` %s="%s"`, a.name, template.HTMLEscapeString(valueText(a.value)))
	}
	s.markup.WriteString(">")
}

func (s *svg) close(name string) { s.markup.WriteString("</" + name + ">") }

// element writes an element without content.
func (s *svg) element(name string, attributes ...attribute) {
	s.open(name, attributes...)
	s.close(name)
}

// content writes an element that contains a text.
func (s *svg) content(name, text string, attributes ...attribute) {
	s.open(name, attributes...)
	s.markup.WriteString(template.HTMLEscapeString(printable(text)))
	s.close(name)
}

func (s *svg) text(x, y float64, text string, attributes ...attribute) {
	s.content("text", text, append([]attribute{{"x", x}, {"y", y}}, attributes...)...)
}

// hover adds a tooltip with the full text if the drawn one is shortened.
func (s *svg) hover(full string, drawn ...string) {
	if strings.Join(drawn, " ") != full {
		s.content("title", full)
	}
}

func (s *svg) html() template.HTML {
	return template.HTML(s.markup.String()) //nolint:gosec // every text and value in it is escaped above
}

func valueText(value any) string {
	if number, is := value.(float64); is {
		return strconv.FormatFloat(number, 'f', -1, 64)
	}
	return fmt.Sprint(value)
}

// printable replaces the characters that would reorder or hide the text beside them.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

// columns returns how many columns of a monospaced font a text takes.
func columns(text string) (count int) {
	for _, r := range text {
		count += runeColumns(r)
	}
	return count
}

func runeColumns(r rune) int {
	if r >= 0x1100 { // Hangul, CJK, emoji, and others that are at least as wide
		return 2
	}
	return 1
}

// cut shortens a text to a number of columns, with an ellipsis in place of the rest.
func cut(text string, limit int) string {
	if columns(text) <= limit {
		return text
	}
	used := 0
	for at, r := range text {
		if used += runeColumns(r); used > limit-1 {
			return text[:at] + "…"
		}
	}
	return text
}

// wrap breaks a text into at most this number of lines: at spaces, or else inside a name, after a separator where possible.
func wrap(text string, limit, lines int) []string {
	var out []string
	line := ""
	for i, word := range strings.Fields(text) {
		if i > 0 && columns(line)+1+columns(word) <= limit {
			line += " " + word
			continue
		}
		if i > 0 && len(out)+1 < lines {
			out, line = append(out, line), ""
		} else if i > 0 {
			line += " " // cut below
		}
		for columns(word) > limit && len(out)+1 < lines {
			at := breakOf(word, limit)
			out, word = append(out, word[:at]), word[at:]
		}
		line += word
	}
	return append(out, cut(line, limit))
}

// breakOf returns where to break a name that has more columns than a line: after the last separator in the second half of the line, or
// where the line ends.
func breakOf(name string, limit int) int {
	used, behind, end := 0, 0, len(name)
	for at, r := range name {
		if used += runeColumns(r); used > limit {
			end = at
			break
		}
		if strings.ContainsRune("-/.,;=_", r) && 2*used >= limit {
			behind = at + 1
		}
	}
	if behind > 0 {
		return behind
	}
	return max(end, 1)
}
