// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"outrigger.dev/outrigger/test/traffic/load"
)

var start = time.Unix(1_800_000_000, 0).UTC()

func at(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }

func answer(seconds float64, version string, status int) load.Response {
	return load.Response{Sent: at(seconds), Latency: 10 * time.Millisecond, Status: status, Version: version}
}

func TestResponsesAreCountedByVersionAndStatus(t *testing.T) {
	got := Count([]load.Response{
		answer(0, "v1", 200), answer(1, "v1", 200), answer(2, "v2", 200), answer(3, "", 503), answer(3, "v2", 500),
		{Sent: at(4), Error: `Get "http://192.0.2.1/": dial tcp 192.0.2.1:80->192.0.2.2:43210: read: connection reset by peer`},
	})
	want := Counts{Total: 6, Failed: 3, Versions: map[string]int{"v1": 2, "v2": 1}, Failures: map[string]int{"status 503": 1, "v2 status 500": 1, "no response: connection reset by peer": 1}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if text := "6 responses: v1 2, v2 1, no response: connection reset by peer 1, status 503 1, v2 status 500 1"; got.String() != text {
		t.Errorf("got %q; want %q", got, text)
	}
}

func TestSigmasOfAShare(t *testing.T) {
	for _, c := range []struct {
		k, n  int
		share float64
		want  float64
	}{{100, 1000, 0.1, 0}, {147, 1000, 0.1, 4.954}, {1000, 1000, 1, 0}, {999, 1000, 1, math.Inf(1)}, {0, 0, 0.5, math.Inf(1)}} {
		if got := Sigmas(c.k, c.n, c.share); math.Abs(got-c.want) > 0.001 && got != c.want {
			t.Errorf("Sigmas(%d, %d, %g) is %g; want %g", c.k, c.n, c.share, got, c.want)
		}
	}
}

// A version may answer from the decision for it until the command that ends it returns, and at the edges while a request is on
// its way.
func TestFaultsAreFailuresAndVersionsThatNobodyChose(t *testing.T) {
	r := Record{Start: start, Decisions: []Decision{
		{At: at(0), Versions: []string{"v1"}},
		{At: at(10), Versions: []string{"v1", "v2"}},
		{At: at(12), Versions: []string{"v2"}},
		{At: at(20), Way: "gateway", Versions: []string{"v3"}},
	}}
	edge := answer(9.995, "v2", 200)
	r.Ways = []Way{
		{"gateway", []load.Response{answer(1, "v1", 200), answer(2, "v2", 200), answer(11, "v1", 200), answer(11, "v2", 200), answer(13, "v1", 200), answer(14, "", 503), answer(21, "v3", 200)}},
		{"mesh", []load.Response{answer(1, "v1", 200), edge, answer(21, "v3", 200), answer(22, "v2", 200)}},
	}
	got := r.FindFaults()
	want := Faults{Failed: 1, Wrong: map[string]int{"v1": 1, "v2": 1, "v3": 1}, Lines: []string{
		"1 of 7 responses gateway came from v1, to which no decision sent them, from second 13.00 to second 13.00",
		"1 of 7 responses gateway came from v2, to which no decision sent them, from second 2.00 to second 2.00",
		"1 of 7 responses gateway failed with status 503, from second 14.00 to second 14.00",
		"1 of 4 responses mesh came from v3, to which no decision sent them, from second 21.00 to second 21.00",
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestBetweenIsHalfOpen(t *testing.T) {
	all := []load.Response{answer(1, "v1", 200), answer(2, "v2", 200), answer(3, "v3", 200)}
	var got []string
	for _, r := range append(Between(all, at(1), at(3)), Between(all, at(3), time.Time{})...) {
		got = append(got, r.Version)
	}
	if strings.Join(got, " ") != "v1 v2 v3" {
		t.Errorf("got %v", got)
	}
}
