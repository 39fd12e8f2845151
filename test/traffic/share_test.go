// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"outrigger.dev/outrigger/test/traffic/load"
)

func TestSharesAreThoseOfTheWrittenRoutes(t *testing.T) {
	marks := []Mark{
		{at(9), "VirtualService", "web: v1=50 v20=50"},
		{at(1), "VirtualService", "web created: v1"},
		{at(2), Step, "canary: v2=99"},
		{at(3), "DestinationRule", "web: v1 v2"},
		{at(4), "VirtualService", "web: v1=90 v2=10"},
		{at(4.1), "VirtualService", "web-gateway: v1=90 v2=10"},
		{at(5), "VirtualService", "web: v1=50 v2=50"},
		{at(5.5), "VirtualService", "web-gateway: v1=50 v2=50"},
		{at(6), "VirtualService", "web: v2"},
		{at(7), "VirtualService", "web-gateway: v1"},
		{at(8), "VirtualService", "web: v1"},
	}
	want := []Share{{at(4), at(5), 10}, {at(5), at(6), 50}, {at(6), at(8), 100}, {at(8), time.Time{}, 0}}
	if diff := cmp.Diff(want, Shares(marks, "v2")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Share{{at(9), time.Time{}, 50}}, Shares(marks, "v20")); diff != "" {
		t.Error(diff)
	}
}

// Of 1000 responses, a share of 10% permits 100 and five times 9.5 more.
func TestExcessOverAShare(t *testing.T) {
	for _, c := range []struct {
		got       int
		isTooMany bool
	}{{0, false}, {100, false}, {147, false}, {148, true}} {
		var responses []load.Response
		for i := range 1000 {
			r := answer(1, "v1", 200)
			if i < c.got {
				r = answer(1, "v2", 500)
			}
			responses = append(responses, r)
		}
		responses = append(responses, answer(0.9, "v2", 200), answer(2, "v2", 200)) // before and after
		got, all, err := Share{at(1), at(2), 10}.Excess(responses, "v2", 5)
		if got != c.got || all != 1000 || (err != nil) != c.isTooMany {
			t.Errorf("%d of %d: %v", got, all, err)
		}
	}
}
