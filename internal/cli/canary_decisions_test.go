// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"
	"time"

	"outrigger.dev/outrigger/internal/diagnose"
)

// After a decision about the shares, the next restart of the version must not start a canary again.
func TestDecisionsRemoveTheCanary(t *testing.T) {
	for name, decide := range map[string]func(r *rollout) error{
		"promote": func(r *rollout) error {
			return r.applyDecision(r.t.Context(), promoting(r.t, "app", "v1"), r.writing(dryRunNone))
		},
		"shift": func(r *rollout) error {
			return r.applyDecision(r.t.Context(), shifting(r.t, "app", "v1=100"), r.writing(dryRunNone))
		},
		"undo": func(r *rollout) error { return r.undo(r.t.Context(), "app", 0, r.writing(dryRunNone)) },
	} {
		t.Run(name, func(t *testing.T) {
			for what, prepare := range map[string]func(r *rollout){
				"it progresses": func(r *rollout) { r.mustCanary("app", "v2", "--steps=50,100") },
				"it has succeeded": func(r *rollout) {
					r.mustCanary("app", "v2", "--steps=100@1m")
					r.after(2 * time.Minute)
				},
				"it was aborted": func(r *rollout) {
					r.mustCanary("app", "v2", "--steps=50,100")
					r.setReady("app-v2", false)
					r.after(2 * time.Minute)
					r.setReady("app-v2", true)
				},
			} {
				if name == "undo" && what == "it was aborted" {
					continue // an abort is not a decision that undo could return from
				}
				t.Run(what, func(t *testing.T) {
					r := newRollout(t)
					prepare(r)
					r.at = r.at.Add(time.Minute)
					r.out.Reset()
					if err := decide(r); err != nil {
						t.Fatal(err)
					}
					if !strings.Contains(r.out.String(), "outrigger.dev/canary- ") {
						t.Errorf("printed:\n%s", r.out.String())
					}
					r.printed("removes outrigger.dev/canary (was v2)")
					r.follow()
					r.after(time.Minute)
					if is, has := r.annotations("app")["outrigger.dev/canary"]; has {
						t.Errorf("canary=%s", is)
					}
					if is := diagnose.ReadRoute(r.look("app")).String(); is != "v1=100" && (name != "shift" || is != "v1=100 v2=0") {
						t.Errorf("the route is %s", is)
					}
				})
			}
		})
	}
}

func TestDecisionsKeepAuto(t *testing.T) {
	r := newRollout(t)
	r.mustCanary("app", "auto")
	if err := r.applyDecision(t.Context(), promoting(t, "app", "v2"), r.writing(dryRunNone)); err != nil {
		t.Fatal(err)
	}
	r.printed("    keeps outrigger.dev/canary=auto: each new version still starts a canary\n")
	if is := r.annotations("app")["outrigger.dev/canary"]; is != "auto" {
		t.Errorf("canary=%s", is)
	}
}

// Other settings of a paused canary do not resume it.
func TestAPausedCanaryStaysPaused(t *testing.T) {
	r := newRollout(t)
	r.mustCanary("app", "v2", "--steps=25@1m,100@1m")
	r.mustCanary("app", "--pause")
	r.mustCanary("app", "v2", "--steps=25@2m,50@2m,100")
	r.printed("    the canary stays paused; to continue: outrigger canary app --resume -n demo\n")
	r.after(time.Hour)
	r.is("v2 1/3 25% paused", "v1=75 v2=25")
}

// The default version cannot be retried: nothing would start, and --wait would return at once.
func TestRetryOfTheDefault(t *testing.T) {
	r := newRollout(t)
	r.mustCanary("app", "v2", "--steps=100@1m")
	r.after(2 * time.Minute)
	before := r.annotations("app")
	for _, args := range [][]string{{"app", "--retry"}, {"app", "v2", "--retry"}} {
		err := r.canary(args...)
		if err == nil || !strings.Contains(err.Error(), "canary v2 of service app has succeeded, and v2 is the default version; there is nothing to retry") {
			t.Errorf("%v: %v", args, err)
		}
	}
	if is := r.annotations("app"); len(is) != len(before) {
		t.Errorf("written: %v", is)
	}
}

func TestAVersionNamedAuto(t *testing.T) {
	r := newRollout(t)
	for _, object := range runningPods("app", "auto", 1, 1) {
		if err := r.client.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	err := r.canary("app", "auto")
	if err == nil || !strings.Contains(err.Error(), `service app has a version named "auto", and outrigger.dev/canary=auto means each new version`) {
		t.Error(err)
	}
	if is, has := r.annotations("app")["outrigger.dev/canary"]; has {
		t.Errorf("canary=%s", is)
	}
}

// A user who may not read the settings of the installation sees what is recorded: without the metrics, no step passes, and no check is
// invalid.
func TestCanaryOfUnknownSettings(t *testing.T) {
	r := newRollout(t)
	r.mustCanary("app", "v2", "--steps=25@1m,100@1m")
	r.annotate("app", "outrigger.dev/canary-checks=queue-length<5")
	r.gaps.AddKind("ConfigMap", r.systemNamespace)
	r.at = r.at.Add(time.Hour) // the controller has recorded nothing since
	report, err := r.status(t.Context(), false, "app")
	if err != nil {
		t.Fatal(err)
	}
	got := report.Namespaces[0].Services[0]
	if c := got.Canary; c == nil || c.State != "progressing" || c.Step != 1 || c.Percent != 25 {
		t.Errorf("the canary is %+v", c)
	}
	for _, p := range got.Problems {
		t.Errorf("problem %+v", p)
	}
}

// Commands show what is recorded, also if their own plan would change the step now.
func TestStatusShowsTheRecordedStep(t *testing.T) {
	r := newRollout(t)
	r.mustCanary("app", "v2", "--steps=25@1m,100@1m")
	r.at = r.at.Add(2 * time.Minute) // the controller has recorded nothing since
	r.is("v2 1/2 25%", "v1=75 v2=25")
	r.follow()
	r.is("v2 2/2 100%", "v2=100")
}
