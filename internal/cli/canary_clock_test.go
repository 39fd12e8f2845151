// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"testing"
	"time"

	"outrigger.dev/outrigger/internal/diagnose"
)

// A decision applies, also from a machine whose clock is behind the controller's.
func TestDecisionsOfAClockThatIsBehind(t *testing.T) {
	for _, behind := range []time.Duration{time.Second, time.Hour, 72 * time.Hour} {
		t.Run(behind.String(), func(t *testing.T) {
			t.Parallel()
			r := newRollout(t)
			decide := func(request diagnose.Request, route string) {
				t.Helper()
				was := r.at
				r.at = r.at.Add(-behind)
				err := r.applyDecision(t.Context(), request, r.writing(dryRunNone))
				r.at = was
				r.follow()
				r.after(10 * time.Second)
				if got := diagnose.ReadRoute(r.look("app")).String(); err != nil || got != route {
					t.Fatalf("%s %v: %v, route %q, want %q; annotations %v", request.Action, request, err, got, route, r.annotations("app"))
				}
			}
			if err := r.applyDecision(t.Context(), promoting(t, "app", "v1"), r.writing(dryRunNone)); err != nil {
				t.Fatal(err)
			}
			r.follow()
			r.after(time.Minute)
			r.mustCanary("app", "v2", "--steps=100@1m")
			r.after(2 * time.Minute)
			decide(promoting(t, "app", "v1"), "v1=100")
			decide(diagnose.Request{Action: diagnose.ActionUndo, Service: "app"}, "v2=100")
			decide(shifting(t, "app", "v1=90", "v2=10"), "v1=90 v2=10")
			decide(promoting(t, "app", "v1"), "v1=100")
			retry, err := parsedCanary("app", "v2", "--retry", "--steps=25@1h,100@1h")
			if err != nil {
				t.Fatal(err)
			}
			decide(retry, "v1=75 v2=25")
			decide(shifting(t, "app", "v1=90", "v2=10"), "v1=90 v2=10")
		})
	}
}
