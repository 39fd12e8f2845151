// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
)

// printFindings writes a line for each finding.
func printFindings(findings []finding, out io.Writer) {
	s := styleOf(out)
	mark := map[string]func(string) string{checkOK: s.good, checkFailed: s.bad, checkWarning: s.warn, checkNote: s.note}
	for _, f := range findings {
		_, _ = fmt.Fprintf(out, "%s %s\n", mark[f.state](fmt.Sprintf("%-7s", f.state)), f.text) // nobody to tell if stdout is closed
	}
}
