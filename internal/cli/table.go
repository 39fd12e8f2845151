// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"outrigger.dev/outrigger/internal/diagnose"
)

// tables writes one table after another, with an empty line between them.
type tables struct {
	out  io.Writer
	view tableView
	some bool // a table has been written
	err  error
}

// table writes a table, or nothing if there are no rows.
func (p *tables) table(heading []string, rows [][]string) {
	if len(rows) == 0 || p.err != nil {
		return
	}
	if p.some {
		p.line("")
	}
	p.some = true
	if !p.view.headless {
		rows = append([][]string{heading}, rows...)
	}
	text := aligned(rows, "")
	if first, rest, _ := strings.Cut(text, "\n"); !p.view.headless { // color would count as width
		text = p.view.style.heading(first) + "\n" + rest
	}
	_, p.err = io.WriteString(p.out, text)
}

func (p *tables) line(text string) {
	if _, err := fmt.Fprintln(p.out, text); err != nil {
		p.err = err
	}
}

// at prepends the namespace to a row, if the tables have a column for it.
func (p *tables) at(namespace string, row ...string) []string {
	if p.view.namespaces {
		return append([]string{namespace}, row...)
	}
	return row
}

// aligned returns rows as lines with aligned columns.
func aligned(rows [][]string, indent string) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 3, ' ', 0)
	for _, row := range rows {
		_, _ = fmt.Fprintln(w, indent+strings.TrimRight(strings.Join(row, "\t"), "\t")) // a Builder returns no errors
	}
	_ = w.Flush()
	return text.String()
}

// printExplanation writes headings with the rows below them, and an empty line between two.
func printExplanation(paragraphs []diagnose.Paragraph, out io.Writer) error {
	var texts []string
	for _, p := range paragraphs {
		texts = append(texts, p.Heading+"\n"+aligned(p.Rows, "  "))
	}
	_, err := io.WriteString(out, strings.Join(texts, "\n"))
	return err
}

// printNotes reports what a command could not read. Errors are ignored, because nothing can be done if stderr is closed.
func printNotes(out io.Writer, notes ...string) {
	for _, note := range notes {
		_, _ = fmt.Fprintln(out, "Note: "+note)
	}
}
