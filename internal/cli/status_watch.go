// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"outrigger.dev/outrigger/internal/diagnose"
)

// statusWatch prints the status until it is interrupted: redrawn in place on a terminal, or else one line for each change.
type statusWatch struct {
	statusStream
	draw  func(diagnose.StatusReport, io.Writer) error // nil = lines
	out   io.Writer
	notes io.Writer
	flags diagnose.ClusterFlags // for the commands in lines
}

// clearScreen moves to the corner of a terminal and clears it.
const clearScreen = "\x1b[H\x1b[2J"

// run returns when the context ends. The first reading must succeed; later ones may fail, and are tried again.
func (w *statusWatch) run(ctx context.Context) error {
	shown, drawn, failure := map[string]string(nil), "", ""
	return w.statusStream.run(ctx, func(report diagnose.StatusReport, err error) error {
		switch {
		case err != nil && shown == nil:
			return err
		case err != nil:
			if text := withoutAttempt(err).Error(); failure != text {
				failure = text
				printNotes(w.notes, failure+"; trying again")
			}
			return nil
		}
		failure = ""
		lines := statusLines(report)
		if w.draw == nil {
			err = w.changes(shown, lines)
		} else {
			drawn, err = w.redraw(report, drawn)
		}
		shown = lines
		return err
	})
}

// redraw draws the lines of the report that changed.
func (w *statusWatch) redraw(report diagnose.StatusReport, drawn string) (string, error) {
	var text bytes.Buffer
	if err := w.draw(report, &text); err != nil || text.String() == drawn {
		return drawn, err
	}
	drawn = text.String()
	_, err := io.WriteString(w.out, clearScreen+drawn)
	return drawn, err
}

// changes prints a line for everything that is not as it was shown.
func (w *statusWatch) changes(before, after map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(after)) {
		was, known := before[key]
		line := key + after[key]
		switch {
		case known && was == after[key]:
			continue
		case known:
			line = key + was + " ->" + after[key]
		}
		if _, err := fmt.Fprintln(w.out, w.flags.CompleteText(line)); err != nil {
			return err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(before)) {
		if _, still := after[key]; !still {
			if _, err := fmt.Fprintln(w.out, strings.TrimSuffix(key, ":")+" is gone"); err != nil {
				return err
			}
		}
	}
	return nil
}

// statusLines are a report as lines, by what each of them is about.
func statusLines(report diagnose.StatusReport) map[string]string {
	out := map[string]string{}
	if report.Frozen != "" {
		out["routes:"] = " " + report.Frozen
	}
	if report.NotRunning != "" {
		out["controller:"] = " " + report.NotRunning
	}
	for _, n := range report.Namespaces {
		for _, p := range n.Problems {
			out[p.Reason+": "+p.Object+":"] = " " + p.Message
		}
		for _, s := range n.Services {
			name := n.Name + "/" + s.Name
			for _, p := range s.Problems {
				out[p.Reason+": "+p.Object+" "+p.Field+":"] = " " + p.Message
			}
			if s.Canary != nil {
				out[name+" canary:"] = " " + strings.TrimPrefix(s.Canary.Change(), "canary ")
			}
			if s.WhenThawed != "" {
				out[name+" when the freeze ends:"] = " " + s.WhenThawed
			}
			if s.AutoCanaries {
				out[name+" new versions:"] = " " + autoText
			}
			if len(s.Superseded) > 0 {
				out[name+" settings:"] = " " + s.SupersededText()
			}
			for _, p := range s.Pending {
				out[name+" pending "+p.Annotation+":"] = " " + cmp.Or(p.Value, "-") + " waits for " + strings.Join(p.Missing, ", ")
			}
			if len(s.Versions) == 0 {
				out[name+":"] = " " + s.State + ", no pods"
			}
			for _, v := range s.Versions {
				out[name+" "+cmp.Or(v.Version, "<none>")+":"] = " " + s.State + ", " + shareLine(v)
			}
		}
	}
	return out
}

func shareLine(v diagnose.VersionStatus) string {
	parts := []string{fmt.Sprintf("ready %d/%d", v.Ready, v.Pods)}
	if v.Weight != nil {
		parts = append(parts, "weight "+strconv.Itoa(*v.Weight))
	}
	if len(v.Match) > 0 {
		parts = append(parts, "match "+strings.Join(v.Match, "; "))
	}
	if v.Mirror > 0 {
		parts = append(parts, "mirror "+percent(v.Mirror))
	}
	return strings.Join(parts, ", ")
}
