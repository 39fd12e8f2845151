// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"outrigger.dev/outrigger/internal/diagnose"
)

// abortedRollout is a rollout whose canary v2 was aborted by a check, after v2 was the default version.
func abortedRollout(t *testing.T) *rollout {
	t.Helper()
	r := newRollout(t)
	r.decide(promoting(t, "app", "v2"))
	r.decide(promoting(t, "app", "v1"))
	r.mustCanary("app", "v2", "--steps=25@1m,100@1m")
	r.setReady("app-v2", false)
	r.after(time.Minute)
	r.is("v2 aborted at 25%: 0 of 10 pods ready", "v1=100")
	r.setReady("app-v2", true)
	return r
}

// decide runs a request, and then the controller, a second later.
func (r *rollout) decide(request diagnose.Request) {
	r.t.Helper()
	if err := r.applyDecision(r.t.Context(), request, r.writing(dryRunNone)); err != nil {
		r.t.Fatal(err)
	}
	r.follow()
	r.after(time.Second)
}

// refusesUndo wants that undo is refused with this text, and writes nothing.
func (r *rollout) refusesUndo(to int, want string) {
	r.t.Helper()
	before := r.annotations("app")
	err := r.undo(r.t.Context(), "app", to, r.writing(dryRunNone))
	if err == nil || err.Error() != want {
		r.t.Errorf("%v\nwant %s", err, want)
	}
	if diff := cmp.Diff(before, r.annotations("app")); diff != "" || r.out.Len() > 0 {
		r.t.Errorf("written:\n%s%s", diff, r.out.String())
	}
}

const refusedPromotion = "service demo/app does not return to v2: v1 already receives all requests, and v2 was aborted with this pod template (0 of 10 pods ready); to give v2 requests anyway: outrigger promote app v2 -n demo"

func TestUndoAfterAnAbortSendsNothingToTheAbortedVersion(t *testing.T) {
	r := abortedRollout(t)
	r.refusesUndo(0, refusedPromotion)
	r.refusesUndo(1, refusedPromotion)
}

// The second of two undos finds a canary that was aborted by the first, or by the controller in between.
func TestUndoTwiceDuringACanary(t *testing.T) {
	r := newRollout(t)
	r.decide(promoting(t, "app", "v2"))
	r.decide(promoting(t, "app", "v1"))
	r.mustCanary("app", "v2")
	r.decide(diagnose.Request{Action: diagnose.ActionUndo, Service: "app"})
	r.printed("service/app returns to v1: canary v2 has not ended and is aborted at 5%\n")
	r.is("none", "v1=100")
	r.refusesUndo(0, strings.Replace(refusedPromotion, "0 of 10 pods ready", "outrigger.dev/canary was removed", 1))
}

func TestUndoAfterAnAbortRefusesWeights(t *testing.T) {
	r := newRollout(t)
	r.decide(shifting(t, "app", "v1=90", "v2=10"))
	r.decide(promoting(t, "app", "v1"))
	r.mustCanary("app", "v2")
	r.mustCanary("app", "--abort")
	r.refusesUndo(0, "service demo/app does not return to v1=90,v2=10: v1 already receives all requests, and v2 was aborted with this pod template (outrigger.dev/canary was removed); "+
		"to give v2 requests anyway: outrigger shift app v1=90 v2=10 -n demo")
}

// A decision after the abort is the latest about the version, so undo returns to it.
func TestUndoReturnsToADecisionAfterTheAbort(t *testing.T) {
	r := abortedRollout(t)
	r.decide(promoting(t, "app", "v2"))
	r.printed("    warning: canary v2 was aborted at 25% with this pod template: 0 of 10 pods ready\n", "service/app annotated\n")
	r.decide(promoting(t, "app", "v1"))
	r.decide(diagnose.Request{Action: diagnose.ActionUndo, Service: "app"})
	if got := diagnose.ReadRoute(r.look("app")).String(); got != "v2=100" {
		t.Errorf("the route is %s", got)
	}
}

func TestUndoAfterASuccessReturnsToTheDefaultBefore(t *testing.T) {
	r := newRollout(t)
	r.mustCanary("app", "v2", "--steps=100@1m")
	r.after(2 * time.Minute)
	r.is("v2 succeeded", "v2=100")
	r.decide(diagnose.Request{Action: diagnose.ActionUndo, Service: "app"})
	r.is("none", "v1=100")
	r.decide(diagnose.Request{Action: diagnose.ActionUndo, Service: "app"})
	r.is("none", "v2=100")
}

// A canary that succeeded changed the default version. A later shift does not bring the old annotation back.
func TestShiftAfterASuccessKeepsTheDefault(t *testing.T) {
	r := newRollout(t, "outrigger.dev/default-version=v1")
	r.mustCanary("app", "v2", "--steps=100@1m")
	r.after(2 * time.Minute)
	r.is("v2 succeeded", "v2=100")
	r.decide(shifting(t, "app", "v1=70", "v2=30"))
	r.printed("service/app: v2=100 -> v1=70 v2=30\n")
	r.is("none", "v1=70 v2=30")
	if got := r.look("app").Service.Annotations["outrigger.dev/default-version"]; got != "v2" {
		t.Errorf("the default-version of the Service is %q, want v2", got)
	}
	r.decide(shifting(t, "app", "v1=50", "v2=50"))
	r.decide(diagnose.Request{Action: diagnose.ActionUndo, Service: "app"})
	r.is("none", "v1=70 v2=30")
}

func TestShiftToAnAbortedVersionWarns(t *testing.T) {
	const warning = "    warning: canary v2 was aborted at 25% with this pod template: 0 of 10 pods ready\n"
	r := abortedRollout(t)
	r.decide(shifting(t, "app", "v1=100", "v2=0"))
	if strings.Contains(r.out.String(), "warning:") {
		t.Errorf("v2 gets nothing:\n%s", r.out.String())
	}
	r.decide(shifting(t, "app", "v1=90", "v2=10"))
	r.printed(warning, "service/app annotated\n")
	r.decide(shifting(t, "app", "v1=50", "v2=50"))
	if strings.Contains(r.out.String(), "warning:") {
		t.Errorf("already decided:\n%s", r.out.String())
	}
}

// The dashboard offers no undo that would be refused.
func TestUndoOfAnAbortIsNotOffered(t *testing.T) {
	r := abortedRollout(t)
	facts, _, err := r.actionFacts(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	for _, offer := range diagnose.OffersOf(facts, "", nil) {
		if offer.Action == diagnose.ActionUndo && offer.Unavailable.String() != refusedPromotion {
			t.Errorf("undo: %q", offer.Unavailable)
		}
	}
}
