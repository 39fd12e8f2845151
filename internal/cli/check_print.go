// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"

	"outrigger.dev/outrigger/internal/diagnose"
)

// printFindings writes a line for each finding.
func printFindings(findings []diagnose.Finding, out io.Writer) {
	s := styleOf(out)
	mark := map[string]func(string) string{diagnose.CheckOK: s.good, diagnose.CheckFailed: s.bad, diagnose.CheckWarning: s.warn, diagnose.CheckNote: s.note}
	for _, f := range findings {
		_, _ = fmt.Fprintf(out, "%s %s\n", mark[f.State](fmt.Sprintf("%-7s", f.State)), f.Text) // nothing to do if stdout is closed
	}
}
