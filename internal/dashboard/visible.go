// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"bytes"
	"fmt"
	"html/template"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"outrigger.dev/outrigger/internal/diagnose"
)

// commandView is a command as the pages show it.
type commandView struct {
	Text    string
	CanCopy bool
}

// commandOf returns a command with the flags of the cluster. A command that could do something else in a shell than it seems to do cannot
// be copied.
func commandOf(command string, flags diagnose.ClusterFlags) commandView {
	if !diagnose.IsSimpleCommand(command) {
		return commandView{Text: visible(command)}
	}
	return commandView{flags.Complete(command), true}
}

// isHidden reports whether a character cannot be seen, or moves or hides the characters beside it.
func isHidden(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)
}

// visible returns a text of one line in which escapes replace hidden characters and line breaks, such as \n and \u202e.
func visible(text string) string { return escapeHidden(text, isHidden) }

// visiblePage does the same for a whole page, except that it keeps the line breaks and tabs of the templates and of YAML.
func visiblePage(page []byte) []byte {
	isEscaped := func(r rune) bool { return isHidden(r) && r != '\n' && r != '\t' }
	if utf8.Valid(page) && bytes.IndexFunc(page, isEscaped) < 0 {
		return page
	}
	return []byte(escapeHidden(string(page), isEscaped))
}

// cells returns the cells of a row of an explanation. An arrow belongs to what it points to, so that it has no column of its own.
func cells(row []string) []string {
	var out []string
	before := ""
	for _, cell := range row {
		if cell == "->" {
			before = "-> "
			continue
		}
		out, before = append(out, before+cell), ""
	}
	return out
}

// flow returns a text as HTML in which no line breaks within a flag, such as after the hyphen of -n.
func flow(text string) template.HTML {
	words := strings.Split(template.HTMLEscapeString(visible(text)), " ")
	for i, word := range words {
		if strings.HasPrefix(word, "-") && len(word) <= maxFlag {
			words[i] = `<span class="flag">` + word + `</span>`
		}
	}
	return template.HTML(strings.Join(words, " ")) //nolint:gosec // escaped above
}

// maxFlag is the length of a word that fits on a line of the narrowest screen.
const maxFlag = 30

func escapeHidden(text string, isEscaped func(rune) bool) string {
	var out strings.Builder
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&out, `\x%02x`, text[i])
		case isEscaped(r):
			out.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		default:
			out.WriteString(text[i : i+size])
		}
		i += size
	}
	return out.String()
}
