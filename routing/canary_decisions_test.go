// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"
	"strings"
	"testing"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"

	"outrigger.dev/outrigger/api"
)

// started is a canary at its second step, of 50%.
func started(t *testing.T, pairs ...string) *cluster {
	t.Helper()
	c := canaryOf(t, append([]string{"canary=v2", "canary-steps=25@1m,50@10m,100@1m"}, pairs...)...)
	c.settle()
	c.advance(2 * time.Minute)
	c.isCanary("v2 progressing 2/3 50%", "v1=50 v2=50")
	c.writes = nil
	return c
}

// decidedAt is a value of decided-at for now.
func (c *cluster) decidedAt() string { return "decided-at=" + c.now.UTC().Format(time.RFC3339Nano) }

func TestCanaryEndsByDecision(t *testing.T) {
	for _, test := range []struct {
		name   string
		decide func(c *cluster)
		status string
		routes string
	}{
		{"the annotation is removed", func(c *cluster) { c.annotate("canary-") }, "none", "v1"},
		{"another version is written", func(c *cluster) { c.annotate("canary=v9") }, "v9 waiting", "v1"},
		{"the version is promoted", func(c *cluster) { c.annotate("canary-", "default-version=v2", c.decidedAt()) }, "none", "v2"},
		{"the version is promoted beside the annotation", func(c *cluster) { c.annotate("default-version=v2", c.decidedAt()) }, "v2 succeeded", "v2"},
		{"the default is promoted", func(c *cluster) { c.annotate("default-version=v1", c.decidedAt()) }, "v2 aborted", "v1"},
		{"shares are shifted", func(c *cluster) { c.annotate("weights=v1=90,v2=10", c.decidedAt()) }, "v2 aborted", "v1=90 v2=10"},
		{"shares are shifted instead", func(c *cluster) { c.annotate("canary-", "weights=v1=90,v2=10") }, "none", "v1=90 v2=10"},
		{"weights alone have no effect", func(c *cluster) { c.annotate("weights=v1=90,v2=10") }, "v2 progressing 2/3 50%", "v1=50 v2=50"},
		{"decided-at alone has no effect", func(c *cluster) { c.annotate(c.decidedAt()) }, "v2 progressing 2/3 50%", "v1=50 v2=50"},
		{"every version gets traffic", func(c *cluster) { c.annotate("default-version=@all") }, "none", "-"},
		{"its workload is deleted", func(c *cluster) { c.remove("app-v2"); c.gone("app-v2") }, "v2 waiting", "v1"},
		{"its pods change", func(c *cluster) { c.templates["app-v2"] = "t2,t3" }, "v2 waiting", "v1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := started(t)
			test.decide(c)
			c.settle()
			c.isCanary(test.status, test.routes)
		})
	}
}

func TestWeightsNextToACanary(t *testing.T) {
	c := started(t)
	c.annotate("weights=v1=90,v2=10")
	c.tellsAlso(api.RouteWithoutEffect, "These weights have no effect while it progresses or after it has ended. To remove them: kubectl annotate service -n demo app outrigger.dev/weights- --overwrite.")
	c.run("app-v2", "v2", 2, 0) // it fails, and the weights were superseded: no share until a decision
	c.settle()
	c.advance(time.Minute)
	c.run("app-v2", "v2", 2, 2)
	c.advance(time.Hour)
	c.isCanary("v2 aborted", "v1")
	c.tellsAlso(api.RouteWithoutEffect, "This value has no effect, because it is from before canary v2 was aborted. The default version is v1. To update the annotations: kubectl annotate service -n demo app outrigger.dev/weights- --overwrite.")
	c.annotate(c.decidedAt())
	c.settle()
	c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25") // a retry, since nothing else was decided
	c.annotate("canary-")
	c.settle()
	c.isCanary("none", "v1")
	c.annotate("weights=v1=80,v2=20")
	c.settle()
	c.isCanary("none", "v1=80 v2=20")
}

func TestCanaryStartsFromWeights(t *testing.T) {
	c := canaryOf(t, "weights=v1=50,v2=50")
	c.settle()
	c.isCanary("none", "v1=50 v2=50")
	c.annotate("canary=v2")
	c.settle()
	c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
	c.run("app-v2", "v2", 2, 0)
	c.settle()
	c.advance(time.Minute)
	c.run("app-v2", "v2", 2, 2)
	c.settle()
	c.advance(time.Hour)
	c.isCanary("v2 aborted", "v1")
}

func TestCanaryIsRetried(t *testing.T) {
	c := started(t)
	c.annotate("canary-")
	c.settle()
	c.advance(time.Minute)
	c.annotate("canary=v2") // as a GitOps tool does
	c.settle()
	c.advance(time.Hour)
	c.isCanary("v2 aborted", "v1")
	c.tellsAlso(api.RouteWithoutEffect, "Canary v2 was ended before (outrigger.dev/canary was removed). It does not start again by itself. To start it again: outrigger canary app --retry -n demo.")
	c.quiet()
	c.annotate("decided-at=2026-01-01T00:00:00Z") // older than the end
	c.settle()
	c.isCanary("v2 aborted", "v1")
	c.annotate(c.decidedAt())
	c.settle()
	c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
	c.advance(time.Hour)
	c.isCanary("v2 succeeded", "v2")
}

// A decision about something else is no retry, also not when the annotation comes back later.
func TestADecisionIsNoRetry(t *testing.T) {
	c := started(t)
	c.annotate("canary-")
	c.settle()
	c.advance(time.Minute)
	c.annotate("default-version=v1", c.decidedAt())
	c.settle()
	c.annotate("canary=v2")
	c.settle()
	c.advance(time.Hour)
	c.isCanary("v2 aborted", "v1")
	c.annotate("default-version=@first", c.decidedAt()) // and not while the annotation is there
	c.settle()
	c.advance(time.Hour)
	c.isCanary("v2 aborted", "v1")
	c.annotate("weights=v1=1", c.decidedAt())
	c.settle()
	c.advance(time.Hour)
	c.isCanary("v2 aborted", "v1")
	c.annotate(c.decidedAt()) // this one decides nothing else
	c.settle()
	c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
	c.annotate("canary-")
	c.settle()
	c.advance(time.Minute)
	c.annotate(c.decidedAt()) // outrigger promote of the version that is written already
	c.settle()
	c.annotate("canary=v2")
	c.settle()
	c.advance(time.Hour)
	c.isCanary("v2 aborted", "v1")
}

func TestCanaryOfAnotherTemplateStartsAgain(t *testing.T) {
	c := started(t)
	c.templates["app-v2"] = "t2,t3" // the fix is rolled out
	c.settle()
	c.isCanary("v2 waiting", "v1")
	c.tellsAlso(api.RoutePendingVersions, "its pods are being replaced")
	c.templates["app-v2"] = "t3"
	c.settle()
	c.advance(3 * time.Second)
	c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
	c.annotate("canary-")
	c.settle()
	c.annotate("canary=v2")
	c.templates["app-v2"] = "t2" // and undone: that one was only replaced
	c.settle()
	c.advance(3 * time.Second)
	c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
	c.annotate("canary-")
	c.settle()
	c.annotate("canary=v2")
	c.templates["app-v2"] = "t3" // that one was ended by the user
	c.settle()
	c.advance(time.Hour)
	c.isCanary("v2 aborted", "v1")
}

// A pod template starts again after a canary that was only replaced by another template, and not if it has failed or has ended otherwise.
func TestWhichReplacedTemplateStartsAgain(t *testing.T) {
	for _, test := range []struct {
		name   string
		before func(c *cluster) // with the template t2
		want   string
		route  string
	}{
		{"healthy", func(*cluster) {}, "v2 progressing 1/3 25%", "v1=75 v2=25"},
		{"paused", func(c *cluster) { c.annotate("canary-paused=true"); c.settle(); c.annotate("canary-paused-") }, "v2 progressing 1/3 25%", "v1=75 v2=25"},
		{"replaced twice", func(c *cluster) { c.replace("t3"); c.replace("t2") }, "v2 progressing 1/3 25%", "v1=75 v2=25"},
		{"a check failed last", func(c *cluster) { c.measured(0.05); c.advance(time.Minute); c.now = c.next; c.settle() }, "v2 aborted", "v1"},
		{"retried after an abort", func(c *cluster) {
			c.annotate("canary-")
			c.settle()
			c.advance(time.Minute)
			c.annotate("canary=v2", c.decidedAt())
			c.settle()
			c.advance(3 * time.Second)
			c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
		}, "v2 aborted", "v1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := started(t)
			test.before(c)
			c.replace("t3")
			c.replace("t2")
			c.isCanary(test.want, test.route)
			for _, aborted := range AbortedCanaries(c.observe(), c.now) {
				if test.want != "v2 aborted" {
					t.Errorf("%+v", aborted)
				}
			}
		})
	}
}

// replace gives v2 another pod template, and waits until its canary can have started.
func (c *cluster) replace(template string) {
	c.templates["app-v2"] = template
	c.settle()
	c.advance(5 * time.Second)
}

// The pods have a template again whose canary was aborted before the last one: it is not reported as if that had just happened.
func TestAnEarlierCanaryOfThisTemplate(t *testing.T) {
	c := started(t)
	c.measured(0.05)
	c.advance(2 * time.Minute)
	c.isCanary("v2 aborted", "v1")
	c.measured(0.002)
	c.replace("t3")
	c.replace("t2")
	c.isCanary("v2 aborted", "v1")
	c.tellsAlso(api.RouteCanaryAborted, "An earlier canary of v2 with its current pod template was aborted at 50% (")
	if latest := Plan(c.observe(), c.now).Latest; latest == nil || !strings.Contains(latest.Note, "was aborted at 25%: its pod template was changed.") {
		t.Errorf("%+v", latest)
	}
}

func TestSecondCanary(t *testing.T) {
	c := started(t)
	c.fixed("app-v3", "v3", 2)
	c.ready()
	c.settle()
	c.advance(time.Minute)
	c.writes = nil
	c.annotate("canary=v3")
	c.settle()
	c.isCanary("v3 waiting", "v1") // the first one is aborted before
	c.advance(3 * time.Second)
	c.isCanary("v3 progressing 1/3 25%", "v1=75 v3=25")
	c.annotate("canary=v2")
	c.settle()
	c.advance(time.Hour)
	c.isCanary("v2 aborted", "v1")
}

// What was written before the canary stays superseded after its success, also when a tool removes and restores it.
func TestSuccessSupersedes(t *testing.T) {
	c := canaryOf(t, "default-version=v1", "weights=v1=1", "decided-at=2026-01-01T00:00:00Z")
	c.settle()
	c.annotate("canary=v2")
	c.settle()
	c.advance(5 * time.Minute)
	c.isCanary("v2 succeeded", "v2")
	c.tells()
	c.supersedes("default-version=v1", "weights=v1=1")
	if advice, want := c.superseded[0].Advice, "To update the annotations: kubectl annotate service -n demo app outrigger.dev/default-version=v2 outrigger.dev/weights- --overwrite."; advice != want {
		t.Errorf("advice %q, want %q", advice, want)
	}
	c.annotate("canary-")
	c.settle()
	c.advance(time.Hour)
	c.has("v1 v2", "v2")
	c.annotate("default-version-", "weights-")
	c.settle()
	c.advance(time.Minute)
	c.has("v1 v2", "v2")
	c.annotate("default-version=v1", "weights=v1=1")
	c.settle()
	c.advance(time.Minute)
	c.has("v1 v2", "v2")
	c.annotate("canary=v2", "weights-", c.decidedAt()) // outrigger promote v1, and a tool that restores the canary
	c.settle()
	c.advance(time.Hour)
	c.isCanary("v2 succeeded", "v1")
	c.tellsAlso(api.RouteWithoutEffect, "Canary v2 has succeeded before, and another version is the default now.")
}

// supersedes checks which settings the success of v2 has superseded.
func (c *cluster) supersedes(want ...string) {
	c.t.Helper()
	var got []string
	for _, s := range c.superseded {
		if got = append(got, strings.TrimPrefix(s.Key, api.Domain+"/")+"="+s.Value); s.By != "v2" {
			c.t.Errorf("%v: %s is superseded by %s", c.now, s.Key, s.By)
		}
	}
	if !slices.Equal(got, want) {
		c.t.Errorf("%v: %v are superseded, want %v", c.now, got, want)
	}
}

// The advice about superseded settings moves no traffic, and once it is followed, nothing is reported.
func TestAdviceAboutSupersededSettings(t *testing.T) {
	for _, test := range []struct {
		name   string
		before []string
		advice []string // annotations that the advice names
	}{
		{"default-version", []string{"default-version=v1"}, []string{"default-version=v2"}},
		{"weights", []string{"weights=v1=1"}, []string{"weights-"}},
		{"both", []string{"default-version=v1", "weights=v1=50,v2=50"}, []string{"default-version=v2", "weights-"}},
		{"weights with the default", []string{"default-version=@first", "weights=v1=1"}, []string{"weights-"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := canaryOf(t, test.before...)
			c.settle()
			c.annotate("canary=v2")
			c.settle()
			c.advance(5 * time.Minute)
			c.isCanary("v2 succeeded", "v2")
			c.tells()
			if len(c.superseded) == 0 {
				t.Fatal("nothing is superseded")
			}
			advice := "To update the annotations: kubectl annotate service -n demo app outrigger.dev/" + strings.Join(test.advice, " outrigger.dev/") + " --overwrite."
			for _, s := range c.superseded {
				if s.Advice != advice {
					t.Errorf("advice %q, want %q", s.Advice, advice)
				}
			}
			c.annotate(test.advice...)
			c.settle()
			c.advance(time.Hour)
			c.isCanary("v2 succeeded", "v2")
			c.tells()
			c.supersedes()
		})
	}
}

// After a success, an abort of another canary does not change the superseded default. The advice is to remove weights next to a canary only if
// that does not restore such a default.
func TestSupersededDefaultNextToAnotherCanary(t *testing.T) {
	c := canaryOf(t, "default-version=v1", "weights=v1=1")
	c.settle()
	c.annotate("canary=v2")
	c.settle()
	c.advance(5 * time.Minute)
	c.isCanary("v2 succeeded", "v2")
	c.fixed("app-v3", "v3", 2)
	c.ready()
	c.settle()
	c.advance(time.Minute)
	c.annotate("canary=v3")
	c.settle()
	c.isCanary("v3 progressing 1/3 25%", "v2=75 v3=25")
	c.tells(api.RouteWithoutEffect)
	c.tellsAlso(api.RouteWithoutEffect, "Keep them until the canary has ended: removing only them would also apply outrigger.dev/default-version=v1, which an earlier canary has superseded.")
	c.run("app-v3", "v3", 2, 0)
	c.settle()
	c.advance(time.Minute)
	c.isCanary("v3 aborted", "v2")
	c.supersedes("default-version=v1")
	c.tellsAlso(api.RouteWithoutEffect, "This value has no effect, because it is from before canary v3 was aborted. The default version is v2. "+
		"To update the annotations: kubectl annotate service -n demo app outrigger.dev/default-version=v2 outrigger.dev/weights- --overwrite.")
	c.annotate("default-version=v2", "weights-")
	c.settle()
	c.advance(time.Hour)
	c.isCanary("v3 aborted", "v2")
	c.tells(api.RouteCanaryAborted)
	c.supersedes()
}

// Settings that match what is in effect are not reported.
func TestSupersededSettingsThatAgree(t *testing.T) {
	for _, test := range []struct{ name, settings, state, routes string }{
		{"after an abort", "weights=v1=100,v2=0", "v2 aborted", "v1"},
		{"after a success", "weights=v1=0, v2=100", "v2 succeeded", "v2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := canaryOf(t)
			c.settle()
			c.annotate("canary=v2")
			c.settle()
			c.annotate(test.settings)
			c.tells(api.RouteWithoutEffect)
			if test.state == "v2 aborted" {
				c.run("app-v2", "v2", 2, 0)
			}
			c.settle()
			c.advance(5 * time.Minute)
			c.isCanary(test.state, test.routes)
			c.supersedes()
			for _, p := range c.problems {
				if p.Reason == api.RouteWithoutEffect {
					t.Error(p)
				}
			}
		})
	}
}

// Removing weights as advised changes nothing while the canary progresses or when it ends.
func TestRemovingWeightsNextToACanary(t *testing.T) {
	for _, end := range []string{"success", "abort"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			for _, isLater := range []bool{false, true} { // written while the canary progresses
				c := canaryOf(t, "default-version=v1")
				if !isLater {
					c.annotate("weights=v1=90,v2=10")
				}
				c.settle()
				c.annotate("canary=v2")
				c.settle()
				c.annotate("weights=v1=90,v2=10")
				c.tellsAlso(api.RouteWithoutEffect, "To remove them: kubectl annotate service -n demo app outrigger.dev/weights- --overwrite.")
				c.annotate("weights-")
				c.settle()
				c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
				c.tells()
				if end == "success" {
					c.advance(5 * time.Minute)
					c.isCanary("v2 succeeded", "v2")
					c.supersedes("default-version=v1")
					c.tells()
					continue
				}
				c.run("app-v2", "v2", 2, 0)
				c.settle()
				c.advance(time.Minute)
				c.isCanary("v2 aborted", "v1")
			}
		})
	}
}

// Any other value than the superseded one is a decision.
func TestAnotherValueIsADecision(t *testing.T) {
	c := canaryOf(t, "canary=v2")
	c.settle()
	c.advance(5 * time.Minute)
	c.isCanary("v2 succeeded", "v2")
	c.annotate("weights=v1=60,v2=40")
	c.settle()
	c.isCanary("v2 succeeded", "v1=60 v2=40")
}

func TestEditPausesTheCanary(t *testing.T) {
	c := started(t)
	c.kiali("app", "v1=30", "v2=70")
	c.settle()
	c.advance(30 * time.Minute)
	c.isCanary("v2 progressing 2/3 50%", "v1=30 v2=70")
	c.tellsAlso(api.RouteCanaryHeld, "Canary v2 stays at its step: the route was edited. To resume it with v1=50,v2=50, which overwrites v1=30,v2=70: outrigger canary app --resume -n demo.")
	c.annotate(c.decidedAt())
	c.settle()
	c.isCanary("v2 progressing 2/3 50%", "v1=50 v2=50")
	c.advance(9 * time.Minute)
	c.isCanary("v2 progressing 2/3 50%", "v1=50 v2=50") // the step begins again
	c.advance(5 * time.Minute)
	c.isCanary("v2 succeeded", "v2")
}

func TestEditOfMoreThanSharesPausesTheCanary(t *testing.T) {
	c := started(t)
	vs := c.existing.VirtualServices[0]
	vs.Spec.Http[0].Retries = &networkingapi.HTTPRetry{Attempts: 7}
	vs.ResourceVersion += "e"
	c.settle()
	c.advance(30 * time.Minute)
	c.isCanary("v2 progressing 2/3 50%", "v1=50 v2=50")
	c.tellsAlso(api.RouteCanaryHeld, "First restore the route")
	c.annotate("drift=revert")
	c.settle()
	c.advance(30 * time.Minute)
	c.isCanary("v2 progressing 2/3 50%", "v1=50 v2=50")
	c.annotate(c.decidedAt())
	c.settle()
	c.advance(30 * time.Minute)
	c.isCanary("v2 succeeded", "v2")
}

// Shares that were edited before the canary began apply until a decision, too.
func TestEditBeforeTheCanary(t *testing.T) {
	c := canaryOf(t)
	c.settle()
	c.kiali("app", "v1=30", "v2=70")
	c.settle()
	c.annotate("canary=v2")
	c.settle()
	c.advance(time.Minute)
	c.isCanary("v2 waiting", "v1=30 v2=70")
	c.tellsAlso(api.RoutePendingVersions, "a decision about the shares that were edited (outrigger.dev/decided-at)")
	c.annotate(c.decidedAt())
	c.settle()
	c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
}

func TestEditIsRevertedWithoutAPause(t *testing.T) {
	c := started(t, "drift=revert")
	c.kiali("app", "v1=30", "v2=70")
	c.settle()
	c.isCanary("v2 progressing 2/3 50%", "v1=50 v2=50")
	c.advance(30 * time.Minute)
	c.isCanary("v2 succeeded", "v2")
}

func TestFreeze(t *testing.T) {
	c := started(t)
	c.settings.Freeze = true
	c.settle()
	c.advance(20 * time.Minute)
	c.isCanary("v2 progressing 2/3 50%", "v1=50 v2=50")
	c.tellsAlso(api.RouteCanaryHeld, "routes are frozen")
	c.annotate("canary-", "match=v2=header:a:b", "expose=true")
	c.fixed("app-v3", "v3", 1)
	c.writes = nil
	c.settle()
	c.advance(time.Minute)
	c.wrote()
	c.tellsAlso(api.RouteFrozen, "Without that, Outrigger would ")
	c.existing.DestinationRules[0].Spec.Subsets = c.existing.DestinationRules[0].Spec.Subsets[:1] // v2 is missing
	c.settle()
	c.has("v1 v2 v3", "v1=50 v2=50")
	c.settings.Freeze = false
	c.settle()
	c.advance(time.Minute)
	c.has("v1 v2 v3", "a=b: v2; v1")
}

func TestFrozenCanaryDoesNotStart(t *testing.T) {
	c := canaryOf(t, "canary=v2")
	c.settings.Freeze = true
	c.settle()
	c.advance(time.Hour)
	c.isCanary("v2 waiting", "v1")
	c.settings.Freeze = false
	c.settle()
	c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
}

func TestCanaryWhileTheDefaultIsDeleted(t *testing.T) {
	t.Run("it comes back", func(t *testing.T) {
		c := started(t)
		c.remove("app-v1")
		c.settle()
		c.has("v1 v2", "v2") // default-deleted=move
		c.tellsAlso(api.RouteCanaryHeld, "the workload of the default version was deleted")
		c.gone("app-v1")
		c.advance(2 * time.Minute)
		c.fixed("app-v1", "v1", 2)
		c.ready()
		c.settle()
		c.advance(time.Minute)
		c.isCanary("v2 progressing 2/3 50%", "v1=50 v2=50")
	})
	t.Run("for good", func(t *testing.T) {
		c := started(t)
		c.remove("app-v1")
		c.gone("app-v1")
		c.settle()
		c.advance(10 * time.Minute)
		c.isCanary("v2 succeeded", "v2")
	})
	t.Run("and its route is held", func(t *testing.T) {
		c := started(t, "default-deleted=hold")
		c.empty = true
		c.remove("app-v1")
		c.gone("app-v1")
		c.settle()
		c.advance(time.Hour)
		if got := c.routes("app"); !strings.Contains(got, "v1=50") {
			t.Errorf("routes %s", got)
		}
	})
}

// An abort does not wait for the default version as a shift would.
func TestAbortToADefaultThatIsHalfReady(t *testing.T) {
	c := started(t)
	c.run("app-v1", "v1", 2, 1)
	c.run("app-v2", "v2", 2, 0)
	c.settle()
	c.advance(time.Minute)
	c.isCanary("v2 aborted", "v1")
}

func TestCanaryWhileTheDefaultFails(t *testing.T) {
	c := started(t, "default-gone=next", "default-gone-after=10s")
	c.empty = true
	c.run("app-v1", "v1", 2, 0)
	c.settle()
	c.advance(time.Minute)
	c.isCanary("v2 succeeded", "v2") // default-gone made it the default
}

func TestCanaryInOtherModes(t *testing.T) {
	c := started(t)
	c.service.Labels[api.LabelRouting] = string(api.RoutingObserve)
	c.writes = nil
	c.settle()
	c.advance(30 * time.Minute)
	c.wrote()
	c.has("v1 v2", "v1=50 v2=50")
	delete(c.service.Labels, api.LabelRouting)
	c.settle()
	c.isCanary("v2 progressing 3/3 100%", "v2") // one step, however long it was observed
	c.service.Labels[api.LabelRouting] = string(api.RoutingSubsetsOnly)
	c.settle()
	c.has("v1 v2", "none")
}

func TestCanaryOfAnExposedService(t *testing.T) {
	c := started(t, "expose=true", "hosts=a.example.com")
	c.advance(time.Minute)
	if got := c.routes("app-gateway"); got != "v1=50 v2=50" {
		t.Errorf("routes at the gateway: %s", got)
	}
	c.annotate("canary-")
	c.settle()
	if got := c.routes("app-gateway"); got != "v1" {
		t.Errorf("routes at the gateway: %s", got)
	}
}
