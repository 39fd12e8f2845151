// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"
	"strings"
	"time"

	"outrigger.dev/outrigger/api"
)

// AbortedCanary is an aborted canary whose version has the same pod templates as then.
type AbortedCanary struct {
	Version string
	Percent int32  // its last share of the requests
	Reason  string // "error-rate 5% (<1%)"
}

// AbortedCanaries returns the versions about which the latest decision is the abort of their canary, the last one first. It omits a version
// that got requests by a later decision, whose pods only got another template, or that has a canary now. A version without pods counts as
// having the same templates: nothing shows others. It returns nil where no decision is recorded.
func AbortedCanaries(observed Observed, now time.Time) []AbortedCanary {
	decisions := Decisions(observed, now)
	if len(decisions) == 0 {
		return nil
	}
	s := read(observed, now, newPodsAndWorkloads(observed))
	s.readTracks()
	c := s.recorded.Canary
	var out []AbortedCanary
	var seen []string
	for _, e := range c.Ended {
		if slices.Contains(seen, e.Version) || e.Version == c.Version {
			continue
		}
		seen = append(seen, e.Version)
		last, isSame := e, true
		if len(s.groupsOf(meaning{Version: e.Version})) > 0 {
			last, isSame = c.ended(e.Version, s.templatesOf(e.Version))
		}
		at, _ := parseTime(last.At)
		isLater := func(d Decision) bool { return (d.Until.IsZero() || d.Until.After(at)) && d.Sends(e.Version) }
		if isSame && last.State == CanaryAborted && !last.Replaced && !slices.ContainsFunc(decisions, isLater) {
			out = append(out, AbortedCanary{e.Version, last.Percent, last.Why})
		}
	}
	return out
}

// Sends reports whether the decision gives a version a share of the requests that no match claims.
func (d Decision) Sends(version string) bool {
	if d.Weights == "" {
		return !d.IsTooLong && (d.Default == version || d.Default == string(api.DefaultAll))
	}
	return slices.ContainsFunc(strings.Split(d.Weights, ","), func(item string) bool {
		name, weight, _ := strings.Cut(strings.TrimSpace(item), "=")
		return name == version && strings.Trim(weight, "0") != ""
	})
}
