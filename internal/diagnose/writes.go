// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"slices"
	"strings"
)

// WriteResult is the result of writing one Service of a change.
type WriteResult struct {
	Service     string
	Err         error // why the write failed; nil if it succeeded or was not attempted
	IsAttempted bool  // false if the write of an earlier Service failed
}

// WriteAll writes Services one after the other, and stops after the first failure. It returns a result for each Service.
func WriteAll(writes []Forecast, write func(Forecast) error) []WriteResult {
	var out []WriteResult
	isFailed := false
	for _, forecast := range writes {
		result := WriteResult{Service: forecast.Observed.Service.Name, IsAttempted: !isFailed}
		if !isFailed {
			result.Err = write(forecast)
			isFailed = result.Err != nil
		}
		out = append(out, result)
	}
	return out
}

// IsWritten reports whether the Service was changed.
func (r WriteResult) IsWritten() bool { return r.IsAttempted && r.Err == nil }

// String returns the result as a sentence, or as an error about a Service that was not written.
func (r WriteResult) String() string {
	switch {
	case r.IsWritten():
		return "service/" + r.Service + " was changed."
	case r.IsAttempted:
		return "service/" + r.Service + " was not changed: " + r.Err.Error()
	}
	return "service/" + r.Service + " was not changed, because an earlier write failed."
}

// WriteError returns nil if all Services were written. Otherwise, it returns the error of the failed write, with the results of the others.
func WriteError(results []WriteResult) error {
	at := slices.IndexFunc(results, func(r WriteResult) bool { return r.Err != nil })
	if at < 0 {
		return nil
	}
	var others []string
	for _, r := range results {
		switch {
		case r.IsWritten():
			others = append(others, "service/"+r.Service+" was changed")
		case !r.IsAttempted:
			others = append(others, "service/"+r.Service+" was not changed")
		}
	}
	if len(others) == 0 {
		return results[at].Err
	}
	return fmt.Errorf("%w; %s", results[at].Err, strings.Join(others, ", "))
}
