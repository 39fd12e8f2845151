// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"errors"
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

// UnknownWriteError is the error of a write that the API server may or may not have made: its response is missing, and the Service does not
// show the result.
type UnknownWriteError struct{ Err error }

// Error returns the text of the failure.
func (e *UnknownWriteError) Error() string { return e.Err.Error() }

// Unwrap returns the failure.
func (e *UnknownWriteError) Unwrap() error { return e.Err }

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

// IsUnknown reports whether the Service may have been changed.
func (r WriteResult) IsUnknown() bool { return errors.As(r.Err, new(*UnknownWriteError)) }

// String returns the result as a sentence, or as an error about a Service that was not written.
func (r WriteResult) String() string {
	switch {
	case r.IsWritten():
		return "service/" + r.Service + " was changed."
	case r.IsUnknown():
		return "It is not known whether service/" + r.Service + " was changed: " + r.Err.Error()
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
	failure := results[at].Err
	if results[at].IsUnknown() {
		failure = fmt.Errorf("it is not known whether service/%s was changed: %w", results[at].Service, failure)
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
		return failure
	}
	return fmt.Errorf("%w; %s", failure, strings.Join(others, ", "))
}
