// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"outrigger.dev/outrigger/test/traffic/load"
)

// Counts are the responses of one way by version and status.
type Counts struct {
	Total    int
	Failed   int
	Versions map[string]int // successful responses
	Failures map[string]int // failed responses, by status and error
}

// Count counts responses.
func Count(responses []load.Response) Counts {
	c := Counts{Versions: map[string]int{}, Failures: map[string]int{}}
	for _, r := range responses {
		c.Total++
		if !r.Failed() {
			c.Versions[r.Version]++
			continue
		}
		c.Failed++
		c.Failures[failure(r)]++
	}
	return c
}

// failure says why a response is one, and which version returned it, if that is known; numbers that differ from request to request are
// left out.
func failure(r load.Response) string {
	if r.Status != 0 {
		return strings.TrimSpace(fmt.Sprintf("%s status %d", r.Version, r.Status))
	}
	_, reason, found := strings.Cut(r.Error, "->")
	if !found {
		reason = r.Error
	}
	if i := strings.LastIndex(reason, ": "); i >= 0 {
		reason = reason[i+2:]
	}
	return "no response: " + reason
}

// String returns the counts in one line: "400 responses: v1 399, status 503 1".
func (c Counts) String() string {
	parts := []string{}
	for _, of := range []map[string]int{c.Versions, c.Failures} {
		for _, name := range slices.Sorted(maps.Keys(of)) {
			parts = append(parts, fmt.Sprintf("%s %d", name, of[name]))
		}
	}
	return fmt.Sprintf("%d responses: %s", c.Total, strings.Join(parts, ", "))
}

// Between returns the responses to requests that were sent in a span of time; an end of zero is open.
func Between(responses []load.Response, from, to time.Time) []load.Response {
	var out []load.Response
	for _, r := range responses {
		if !r.Sent.Before(from) && (to.IsZero() || r.Sent.Before(to)) {
			out = append(out, r)
		}
	}
	return out
}

// Sigmas returns how many standard deviations k of n is away from a share: the count of a binomial distribution.
func Sigmas(k, n int, share float64) float64 {
	if n == 0 {
		return math.Inf(1)
	}
	deviation := math.Sqrt(float64(n) * share * (1 - share))
	away := math.Abs(float64(k) - float64(n)*share)
	if deviation == 0 {
		if away == 0 {
			return 0
		}
		return math.Inf(1)
	}
	return away / deviation
}

// Faults are the responses that a Record should not have.
type Faults struct {
	Failed int            // failed responses
	Wrong  map[string]int // successful responses by a version that no decision sent traffic to
	Lines  []string       // a sentence for each way and kind of fault, with the time of the first
}

// FindFaults returns what is wrong in a record.
func (r *Record) FindFaults() Faults {
	out := Faults{Wrong: map[string]int{}}
	for _, way := range r.Ways {
		first := map[string]time.Time{}
		last := map[string]time.Time{}
		count := map[string]int{}
		for _, response := range way.Responses {
			kind := ""
			switch {
			case response.Failed():
				out.Failed++
				kind = "failed with " + failure(response)
			case !r.allowed(way.Name, response.Version, response.Sent, response.Sent.Add(response.Latency)):
				out.Wrong[response.Version]++
				kind = fmt.Sprintf("came from %s, to which no decision sent them", response.Version)
			default:
				continue
			}
			if count[kind]++; count[kind] == 1 {
				first[kind] = response.Sent
			}
			last[kind] = response.Sent
		}
		for _, kind := range slices.Sorted(maps.Keys(count)) {
			out.Lines = append(out.Lines, fmt.Sprintf("%d of %d responses %s %s, from second %.2f to second %.2f", count[kind], len(way.Responses), way.Name, kind,
				first[kind].Sub(r.Start).Seconds(), last[kind].Sub(r.Start).Seconds()))
		}
	}
	return out
}
