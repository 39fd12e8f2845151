// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"time"

	"outrigger.dev/outrigger/test/traffic/load"
)

// Share is a span of time in which the routes gave a version a share of the requests.
type Share struct {
	From, To time.Time // To is zero for the last one
	Percent  int
}

var (
	writtenRoute = regexp.MustCompile(`^(\S+?)(?: created)?:((?: [^ ]+)+)$`)
	destination  = regexp.MustCompile(`^(.+?)(?:=(\d+))?$`)
)

// Shares returns the shares of a version, as the marks of VirtualServices say. If they differ for a moment, the largest one counts.
func Shares(marks []Mark, version string) (out []Share) {
	percents, now := map[string]int{}, 0
	for _, mark := range slices.SortedStableFunc(slices.Values(marks), func(a, b Mark) int { return a.At.Compare(b.At) }) {
		written := writtenRoute.FindStringSubmatch(mark.Text)
		if mark.Kind != "VirtualService" || written == nil {
			continue
		}
		percents[written[1]] = percentOf(written[2], version)
		largest := 0
		for _, percent := range percents {
			largest = max(largest, percent)
		}
		if largest == now {
			continue
		}
		if len(out) > 0 {
			out[len(out)-1].To = mark.At
		}
		now = largest
		out = append(out, Share{From: mark.At, Percent: now})
	}
	return out
}

// percentOf returns the share of a version among the destinations that a mark names: "v1=90 v2=10", or "v2" for all requests.
func percentOf(destinations, version string) int {
	for _, field := range regexp.MustCompile(` +`).Split(destinations, -1) {
		if of := destination.FindStringSubmatch(field); of != nil && of[1] == version {
			percent, err := strconv.Atoi(cmp.Or(of[2], "100"))
			if err == nil {
				return percent
			}
		}
	}
	return 0
}

// Excess counts the responses of a version in the span of a share, with those that failed. It is an error if they are more by sigmas
// standard deviations than the share permits.
func (s Share) Excess(responses []load.Response, version string, sigmas float64) (got, all int, err error) {
	for _, r := range Between(responses, s.From, s.To) {
		if all++; r.Version == version {
			got++
		}
	}
	share := float64(s.Percent) / 100
	if most := share*float64(all) + sigmas*math.Sqrt(float64(all)*share*(1-share)); float64(got) > most {
		err = fmt.Errorf("%s has %d of %d responses, more than its share of %d%% permits (%.0f)", version, got, all, s.Percent, most)
	}
	return got, all, err
}
