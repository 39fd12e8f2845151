// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestCanaryIsPausedAndResumed(t *testing.T) {
	r := newRollout(t)
	r.mustCanary("app", "v2", "--steps=25@1m,100@1m")
	r.mustCanary("app", "--pause")
	r.printed("service/app: v1=75 v2=25 (unchanged)\n", "    canary v2 1/2 25% paused\n", "outrigger.dev/canary-paused=true --overwrite")
	r.after(time.Hour)
	r.is("v2 1/2 25% paused", "v1=75 v2=25")
	r.mustCanary("app", "--pause")
	r.printed("The annotations already have these values; nothing is written.")
	r.mustCanary("app", "--resume")
	if diff := cmp.Diff(map[string]string{"outrigger.dev/canary": "v2", "outrigger.dev/canary-steps": "25@1m,100@1m"}, r.annotations("app")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	r.after(time.Minute + 30*time.Second)
	r.is("v2 2/2 100%", "v2=100")
}

// A canary whose route was edited goes on by a new decided-at. The command shows which shares it overwrites.
func TestCanaryIsResumedAfterAnEdit(t *testing.T) {
	r := newRollout(t)
	r.mustCanary("app", "v2", "--steps=25@1m,100@1m")
	r.editShares("app", 40)
	r.follow()
	r.after(time.Hour)
	r.is("v2 1/2 25%  the route was edited", "v1=40 v2=60")
	r.mustCanary("app", "--resume")
	r.printed("service/app: v1=40 v2=60 -> v1=75 v2=25\n", "outrigger.dev/decided-at=2026-01-02T13:00:00Z --overwrite")
	r.is("v2 1/2 25%", "v1=75 v2=25")
}

func TestCanaryIsAbortedAndRetried(t *testing.T) {
	r := newRollout(t)
	r.mustCanary("app", "v2", "--steps=25@1m,100@1m")
	r.mustCanary("app", "--abort")
	r.printed("service/app: v1=75 v2=25 -> v1=100\n", "    canary v2 1/2 25% ends\n", "outrigger.dev/canary- --overwrite")
	r.is("none", "v1=100")
	if _, has := r.annotations("app")["outrigger.dev/decided-at"]; has {
		t.Error("the abort has decided about the default")
	}
	r.mustCanary("app", "--retry") // within the same second
	r.printed("service/app: v1=100 -> v1=75 v2=25\n", "outrigger.dev/canary=v2 outrigger.dev/decided-at=2026-01-02T12:00:01Z --overwrite")
	r.is("v2 1/2 25%", "v1=75 v2=25")
	r.setReady("app-v2", false)
	r.after(2 * time.Minute)
	r.is("v2 aborted at 25%: 0 of 10 pods ready", "v1=100")
	r.setReady("app-v2", true)
	r.mustCanary("app", "--retry")
	r.is("v2 1/2 25%", "v1=75 v2=25")
	r.mustCanary("app", "--abort")
	r.at = r.at.Add(time.Minute)
	r.mustCanary("app", "v2", "--retry", "--steps=50,100")
	r.is("v2 1/2 50%", "v1=50 v2=50")
}

func TestCanaryIsPromoted(t *testing.T) {
	r := newRollout(t, "outrigger.dev/default-version=v1")
	r.mustCanary("app", "v2")
	r.mustCanary("app", "--promote")
	r.printed("service/app: v1=95 v2=5 -> v2=100\n", "    canary v2 succeeded\n", "outrigger.dev/default-version=v2")
	r.is("v2 succeeded", "v2=100")
}

// auto and a Namespace's canary stay; the default version is decided instead.
func TestCanaryOfAutoIsAborted(t *testing.T) {
	for name, defaults := range map[string][]string{"no default is written": nil, "the default is written": {"outrigger.dev/default-version=v1"}} {
		t.Run(name, func(t *testing.T) {
			r := newRollout(t, defaults...)
			r.mustCanary("app", "auto", "--steps=25@1m,100@1m")
			r.is("none", "v1=100")
			r.at = r.at.Add(time.Minute)
			for _, object := range runningPods("app", "v3", 2, 2) {
				object.SetCreationTimestamp(metav1.NewTime(r.at))
				if err := r.client.Create(t.Context(), object); err != nil {
					t.Fatal(err)
				}
			}
			r.follow()
			r.is("v3 1/2 25%", "v1=75 v3=25")
			r.mustCanary("app", "--abort")
			if is := r.annotations("app")["outrigger.dev/canary"]; is != "auto" {
				t.Errorf("canary=%s", is)
			}
			r.after(time.Hour)
			r.is("v3 aborted by hand at 25%: you decided about the shares: outrigger.dev/decided-at was changed together with other annotations", "v1=100")
			r.mustCanary("app", "--retry")
			r.is("v3 1/2 25%", "v1=75 v3=25")
		})
	}
}

// A retry does not apply a default again that a canary has superseded.
func TestRetryDoesNotRestoreASupersededDefault(t *testing.T) {
	r := newRollout(t, "outrigger.dev/default-version=v1")
	r.mustCanary("app", "v2", "--steps=100@1m")
	r.after(2 * time.Minute)
	r.is("v2 succeeded", "v2=100")
	for _, object := range runningPods("app", "v3", 2, 2) {
		if err := r.client.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	r.follow()
	r.mustCanary("app", "v3") // it does not decide about the default
	if strings.Contains(r.out.String(), "includes more than version") {
		t.Errorf("printed:\n%s", r.out.String())
	}
	r.is("v3 1/4 5%", "v2=95 v3=5")
	r.mustCanary("app", "--abort")
	r.is("none", "v2=100")
	r.at = r.at.Add(time.Minute)
	r.mustCanary("app", "--retry")
	r.is("v3 1/4 5%", "v2=95 v3=5")
}

// The same shares as those that a canary superseded are a decision, and not a retry of the canary.
func TestShiftToSupersededShares(t *testing.T) {
	r := newRollout(t, "outrigger.dev/weights=v1=90,v2=10")
	r.mustCanary("app", "v2", "--steps=50,100")
	r.is("v2 1/2 50%", "v1=50 v2=50")
	for _, prepare := range []func(){func() {}, func() {
		r.at = r.at.Add(time.Minute)
		r.mustCanary("app", "v2", "--retry", "--steps=50,100")
		r.setReady("app-v2", false)
		r.after(2 * time.Minute)
		r.setReady("app-v2", true)
		r.is("v2 aborted at 50%: 0 of 10 pods ready", "v1=100")
	}} {
		prepare()
		if err := r.applyDecision(t.Context(), shifting(t, "app", "v1=90", "v2=10"), r.writing(dryRunNone)); err != nil {
			t.Fatal(err)
		}
		r.printed("-> v1=90 v2=10\n", "removes outrigger.dev/canary (was v2)")
		r.follow()
		r.is("none", "v1=90 v2=10")
	}
}

func TestUndoOfACanary(t *testing.T) {
	for name, c := range map[string]struct {
		defaults []string
		around   func(r *rollout)
		printed  string
		state    string
		route    string
	}{
		"it progresses": {nil, func(r *rollout) { r.mustCanary("app", "v2") },
			"service/app returns to v1: canary v2 has not ended and is aborted at 5%\nservice/app: v1=95 v2=5 -> v1=100\n", "none", "v1=100"},
		"it waits": {nil, func(r *rollout) { r.mustCanary("app", "v3", "--pending") },
			"service/app stays at v1: outrigger.dev/canary=v3 is not in effect and is undone\nservice/app: v1=100 (unchanged)\n", "none", "v1=100"},
		"it has succeeded": {nil, func(r *rollout) {
			r.mustCanary("app", "v2", "--steps=100@1m")
			r.after(2 * time.Minute)
		}, "service/app returns to v1, which was in effect until 2026-01-02 12:01:00 UTC\nservice/app: v2=100 -> v1=100\n    removes outrigger.dev/canary (was v2)\n", "none", "v1=100"},
		"it has succeeded, and its default was superseded": {[]string{"outrigger.dev/default-version=v1"}, func(r *rollout) {
			r.mustCanary("app", "v2", "--steps=100@1m")
			r.after(2 * time.Minute)
		}, "service/app returns to v1, which was in effect until 2026-01-02 12:01:00 UTC\nservice/app: v2=100 -> v1=100\n", "none", "v1=100"},
		"it has succeeded after a promotion with the same annotations": {nil, func(r *rollout) {
			for _, version := range []string{"v2", "v1"} {
				if err := r.applyDecision(r.t.Context(), promoting(r.t, "app", version), r.writing(dryRunNone)); err != nil {
					r.t.Fatal(err)
				}
				r.follow()
			}
			r.mustCanary("app", "v2", "--steps=100@1m")
			r.after(2 * time.Minute)
		}, "service/app returns to v1, which was in effect until 2026-01-02 12:01:00 UTC\nservice/app: v2=100 -> v1=100\n", "none", "v1=100"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRollout(t, c.defaults...)
			c.around(r)
			if err := r.undo(t.Context(), "app", 0, r.writing(dryRunNone)); err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(r.out.String(), c.printed) {
				t.Errorf("printed:\n%s", r.out.String())
			}
			r.follow()
			r.after(time.Hour)
			r.is(c.state, c.route)
		})
	}
}

func TestUndoToDuringACanary(t *testing.T) {
	r := newRollout(t, "outrigger.dev/weights=v1=90,v2=10")
	r.mustCanary("app", "v2", "--steps=50,100")
	if err := r.undo(t.Context(), "app", 1, r.writing(dryRunNone)); err != nil {
		t.Fatal(err)
	}
	r.printed("service/app returns to v1=90,v2=10", "service/app: v1=50 v2=50 -> v1=90 v2=10\n", "removes outrigger.dev/canary (was v2)")
	r.follow()
	r.is("none", "v1=90 v2=10")
}
