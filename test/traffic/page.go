// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	_ "embed"
	"html/template"
	"os"
	"path/filepath"
	"slices"
	"time"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"seconds": func(r *Record, at time.Time) float64 { return at.Sub(r.Start).Seconds() },
	"counts":  func(w Way) string { return Count(w.Responses).String() },
}).Parse(pageText))

// section is one scenario of the page: a run, and the same run without Outrigger if there is one.
type section struct {
	Runs   []*Record
	Faults []Faults
}

// WritePage writes index.html with all records into the folder that has their PNGs.
func WritePage(folder, title string, records []*Record) error {
	var sections []section
	for _, r := range records {
		if slices.ContainsFunc(records, func(other *Record) bool { return other.Beside == r.File }) {
			continue // shown next to that one
		}
		s := section{Runs: []*Record{r}}
		for _, other := range records {
			if r.Beside == other.File {
				s.Runs = append(s.Runs, other)
			}
		}
		for _, run := range s.Runs {
			s.Faults = append(s.Faults, run.FindFaults())
		}
		sections = append(sections, s)
	}
	file, err := os.Create(filepath.Join(folder, "index.html"))
	if err != nil {
		return err
	}
	err = page.Execute(file, map[string]any{"Title": title, "Sections": sections})
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}
