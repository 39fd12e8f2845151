// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"outrigger.dev/outrigger/internal/diagnose"
)

// printCoverage writes the tables: pods, the commands that replace them, evictions, and the sum.
func printCoverage(report *diagnose.CoverageReport, view tableView, out io.Writer) error {
	p := &tables{out: out, view: view}
	heading := p.at("NAMESPACE", "WORKLOAD", "PODS", "STATE", "REASON")
	if view.wide {
		heading = append(heading, "DETAILS")
	}
	var rows, commands, evictions [][]string
	for _, w := range report.Workloads {
		row := p.at(w.Namespace, w.Workload, fmt.Sprintf("%d/%d", len(w.Pods), w.Of), string(w.State), string(w.Reason))
		if view.wide {
			row = append(row, cmp.Or(strings.Join(w.Details, "; "), "-"))
		}
		rows = append(rows, row)
		command := view.flags.CompleteText(w.Remedy())
		if !slices.ContainsFunc(commands, func(row []string) bool { return row[0] == command }) {
			commands = append(commands, []string{command})
		}
	}
	for _, e := range report.Evictions {
		evictions = append(evictions, p.at(e.Namespace, e.Pod, e.Result, e.Message))
	}
	p.table(heading, rows)
	p.table([]string{"FOR NEW PODS"}, commands)
	p.table(p.at("NAMESPACE", "POD", "RESULT", ""), evictions)
	if p.some {
		p.line("")
	}
	sum := report.Pods
	line := strconv.Itoa(sum.Covered) + " covered, " + strconv.Itoa(sum.Missing) + " missing, " + strconv.Itoa(sum.Outdated) + " outdated"
	if sum.Unchecked > 0 {
		line += ", " + strconv.Itoa(sum.Unchecked) + " have a sidecar that was not compared"
	}
	p.line(line)
	return p.err
}
