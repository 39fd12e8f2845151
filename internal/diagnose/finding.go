// SPDX-License-Identifier: Apache-2.0

package diagnose

import "fmt"

// Finding is the result of one check.
type Finding struct {
	State string
	Text  string
}

// The states of a Finding.
const (
	CheckOK      = "ok"
	CheckNote    = "note" // neither a success nor a failure
	CheckWarning = "warning"
	CheckFailed  = "FAILED"
)

// OK returns the finding of a check that succeeded.
func OK(format string, args ...any) Finding { return Finding{CheckOK, fmt.Sprintf(format, args...)} }

// Note returns a finding that is neither a success nor a failure.
func Note(format string, args ...any) Finding {
	return Finding{CheckNote, fmt.Sprintf(format, args...)}
}

// Warned returns a finding about a risk.
func Warned(format string, args ...any) Finding {
	return Finding{CheckWarning, fmt.Sprintf(format, args...)}
}

// Failed returns the finding of a check that failed.
func Failed(format string, args ...any) Finding {
	return Finding{CheckFailed, fmt.Sprintf(format, args...)}
}

// CountFailed returns how many checks failed, and how many ran. Notes do not count.
func CountFailed(findings []Finding) (failed, run int) {
	for _, f := range findings {
		if f.State != CheckNote {
			run++
		}
		if f.State == CheckFailed {
			failed++
		}
	}
	return failed, run
}
