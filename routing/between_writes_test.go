// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"
	"testing"
	"time"

	"outrigger.dev/outrigger/api"
)

// A command that reads the objects while the controller writes them reports no edit: the VirtualServices are written last.
func TestACommandReadsBetweenTwoWrites(t *testing.T) {
	c := twoVersions(t)
	c.annotate("expose=true")
	c.advance(time.Minute)
	behind := 0
	c.watch = func() {
		seen := c.observe()
		for _, reads := range []bool{false, true} {
			seen.BetweenWrites = reads
			edited := slices.ContainsFunc(Plan(seen, c.now).Problems, func(p api.RouteProblem) bool { return p.Reason == api.RouteRecordEdited })
			if edited && !reads {
				behind++
			}
			if edited && reads {
				t.Errorf("an edit is reported between two writes; the last ones are %v", c.writes)
			}
		}
	}
	c.annotate("match=v2=header:end-user:jason")
	c.settle()
	if behind == 0 {
		t.Error("no object was behind another")
	}
}
