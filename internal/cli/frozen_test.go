// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"
	"time"

	"outrigger.dev/outrigger/internal/diagnose"
)

const frozenChange = "routing is frozen (routing.freeze=true): the change is recorded and takes effect when the freeze ends"

// With --wait, a change of a frozen route ends at once with an error. Without it, there is a warning. The change takes effect later.
func TestDecisionsWhileRoutesAreFrozen(t *testing.T) {
	canary := func(args ...string) diagnose.Request {
		request, err := parsedCanary(args...)
		if err != nil {
			t.Fatal(err)
		}
		return request
	}
	for name, test := range map[string]struct {
		request     diagnose.Request
		route, want string
	}{
		"abort":       {canary("app", "--abort"), "v1=75 v2=25 -> v1=100", "v1=100"},
		"undo":        {diagnose.Request{Action: diagnose.ActionUndo, Service: "app"}, "v1=75 v2=25 -> v1=100", "v1=100"},
		"end by hand": {canary("app", "--promote"), "v1=75 v2=25 -> v2=100", "v2=100"},
		"promote":     {promoting(t, "app", "v2"), "v1=75 v2=25 -> v2=100", "v2=100"},
		"shift":       {shifting(t, "app", "v1=90", "v2=10"), "v1=75 v2=25 -> v1=90 v2=10", "v1=90 v2=10"},
	} {
		for _, wait := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				r := newRollout(t)
				r.mustCanary("app", "v2", "--steps=25@1h,100")
				r.config.Routing.Freeze = true
				r.follow()
				output := r.writing(dryRunNone)
				output.wait, output.timeout = wait, time.Hour
				err := r.applyDecision(t.Context(), test.request, output)
				if wait && (err == nil || err.Error() != "service/app: "+frozenChange) || !wait && err != nil {
					t.Errorf("wait=%t: %v", wait, err)
				}
				r.printed("service/app: "+test.route+"\n", "    warning: "+frozenChange+"\n", "service/app annotated\n")
				if strings.Contains(r.out.String(), "applied") {
					t.Errorf("printed:\n%s", r.out.String())
				}
				r.follow()
				if got := diagnose.ReadRoute(r.look("app")).String(); got != "v1=75 v2=25" {
					t.Errorf("frozen, the route is %s", got)
				}
				if why, err := r.pendingReason(t.Context(), nil); err != nil || why != "" {
					t.Error(why, err)
				}
				if why := diagnose.WhyNotApplied(r.look("app"), r.gaps, r.at); why != frozenChange {
					t.Errorf("the change waits for %q", why)
				}
				r.config.Routing.Freeze = false
				r.follow()
				if got := diagnose.ReadRoute(r.look("app")).String(); got != test.want {
					t.Errorf("after the freeze, the route is %s", got)
				}
			})
		}
	}
}

// What a frozen route already does is applied.
func TestDecisionInEffectWhileRoutesAreFrozen(t *testing.T) {
	r := newRollout(t)
	r.decide(promoting(t, "app", "v1"))
	r.config.Routing.Freeze = true
	if err := r.applyDecision(t.Context(), promoting(t, "app", "v1"), r.writing(dryRunNone)); err != nil {
		t.Fatal(err)
	}
	r.printed("The annotations already have these values; nothing is written.")
	if strings.Contains(r.out.String(), "frozen") || diagnose.WhyNotApplied(r.look("app"), r.gaps, r.at) != "" {
		t.Errorf("printed:\n%s", r.out.String())
	}
}

func TestStatusOfAnAbortWhileRoutesAreFrozen(t *testing.T) {
	r := newRollout(t)
	r.mustCanary("app", "v2", "--steps=25@1h,100")
	r.config.Routing.Freeze = true
	r.mustCanary("app", "--abort")
	got := r.table(tableView{}, false, "app")
	if want := " 25%  aborted; takes effect when the freeze ends (outrigger.dev/canary was removed)\n"; !strings.Contains(got, want) {
		t.Errorf("status lacks %q:\n%s", want, got)
	}
	if strings.Contains(got, "It continues when this is fixed") || !strings.Contains(got, "Set routing.freeze to false to let routes change.") {
		t.Errorf("status:\n%s", got)
	}
}
