// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/routing"
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
				if why := diagnose.WhyNotApplied(r.look("app"), r.gaps, r.at).String(); why != frozenChange {
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
	if strings.Contains(r.out.String(), "frozen") || len(diagnose.WhyNotApplied(r.look("app"), r.gaps, r.at)) > 0 {
		t.Errorf("printed:\n%s", r.out.String())
	}
}

// What the controller records when the freeze ends is not a change that the user waits for.
func TestPauseInEffectWhileRoutesAreFrozen(t *testing.T) {
	r := newRollout(t)
	r.mustCanary("app", "v2", "--steps=25@1h,100")
	r.mustCanary("app", "--pause")
	r.follow()
	r.config.Routing.Freeze = true
	r.follow()
	if why := diagnose.WhyNotApplied(r.look("app"), r.gaps, r.at); len(why) > 0 {
		t.Errorf("the pause waits for %q", why)
	}
}

func TestStatusOfAnAbortWhileRoutesAreFrozen(t *testing.T) {
	r := newRollout(t)
	r.config.Routing.Metrics.PrometheusURL = "http://prometheus:9090" // so that there is a default check
	r.mustCanary("app", "v2", "--steps=25@1h,100", "--check=readiness")
	r.config.Routing.Freeze = true
	r.mustCanary("app", "--abort")
	if c, _ := diagnose.CanaryOf(r.look("app"), r.at); c == nil || c.EndsAs != routing.CanaryAborted || c.Next != nil || len(c.Checks) > 0 {
		t.Errorf("the canary is %+v", c)
	}
	got := r.table(tableView{}, false, "app")
	if want := ": canary v2 1/2 25%  aborted; takes effect when the freeze ends (outrigger.dev/canary was removed)\n"; !strings.Contains(got, want) {
		t.Errorf("status lacks %q:\n%s", want, got)
	}
	if strings.Contains(got, "It continues when this is fixed") || !strings.Contains(got, "Set routing.freeze to false to let routes change.") {
		t.Errorf("status:\n%s", got)
	}
	has(t, "status", got, "\nService demo/app: when the freeze ends: v1=100\n",
		"Canary v2 is aborted when the freeze ends: outrigger.dev/canary was removed. Until then, it keeps its share of 25%.\n")
	if strings.Contains(got, "left") {
		t.Errorf("status:\n%s", got)
	}
}

// Decisions during a freeze are visible before it ends, and so is a second one that withdraws them.
func TestStatusOfDecisionsWhileRoutesAreFrozen(t *testing.T) {
	for name, test := range map[string]struct {
		decide []diagnose.Request
		want   string // empty if nothing changes
	}{
		"none":           {nil, ""},
		"shift":          {[]diagnose.Request{shifting(t, "app", "v1=70", "v2=30")}, "v1=70 v2=30"},
		"the same share": {[]diagnose.Request{shifting(t, "app", "v1=75", "v2=25")}, "v1=75 v2=25"},
		"shift and undo": {[]diagnose.Request{shifting(t, "app", "v1=70", "v2=30"), {Action: diagnose.ActionUndo, Service: "app"}}, "v1=100"},
		"promote":        {[]diagnose.Request{promoting(t, "app", "v2")}, "v2=100"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRollout(t)
			r.mustCanary("app", "v2", "--steps=25@1h,100")
			r.config.Routing.Freeze = true
			r.follow()
			for _, request := range test.decide {
				r.at = r.at.Add(time.Second)
				r.out.Reset()
				if err := r.applyDecision(t.Context(), request, r.writing(dryRunNone)); err != nil {
					t.Fatal(err)
				}
				r.follow()
			}
			if strings.Contains(r.out.String(), "yet to apply") || len(test.decide) > 1 && !strings.Contains(r.out.String(), "    canary v2 1/2 25% ends\n") {
				t.Errorf("the last command printed:\n%s", r.out.String())
			}
			got := r.table(tableView{}, false, "app")
			_, after, has := strings.Cut(got, "Service demo/app: when the freeze ends: ")
			if is, _, _ := strings.Cut(after, "\n"); is != test.want || has != (test.want != "") {
				t.Errorf("want %q; status:\n%s", test.want, got)
			}
			r.config.Routing.Freeze = false
			r.follow()
			if got := r.table(tableView{}, false, "app"); strings.Contains(got, "when the freeze ends") {
				t.Errorf("after the freeze:\n%s", got)
			}
			if is := diagnose.ReadRoute(r.look("app")).String(); test.want != "" && is != test.want {
				t.Errorf("after the freeze, the route is %s", is)
			}
		})
	}
}

// The time that a frozen step has left neither elapses nor is lost.
func TestStatusOfAFrozenStep(t *testing.T) {
	r := newRollout(t)
	r.mustCanary("app", "v2", "--steps=25@1h,100")
	r.at = r.at.Add(20 * time.Minute)
	r.config.Routing.Freeze = true
	r.follow()
	for range 2 {
		has(t, "status", r.table(tableView{}, false, "app"), ": canary v2 1/2 25% 40m0s left  routes are frozen (routing.freeze)\n")
		has(t, "explain", r.canaryRows(), "Next: Nothing changes until the freeze ends. Then the step continues, with 40m0s left.")
		r.at = r.at.Add(time.Hour)
		r.follow()
	}
	r.config.Routing.Freeze = false
	r.follow()
	has(t, "status", r.table(tableView{}, false, "app"), ": canary v2 1/2 25% next in 40m0s\n")
}

// A canary that a decision has ended is not ended again by a broader one.
func TestSecondDecisionWhileRoutesAreFrozen(t *testing.T) {
	undo := diagnose.Request{Action: diagnose.ActionUndo, Service: "app"}
	canary := func(args ...string) diagnose.Request {
		request, err := parsedCanary(append([]string{"app"}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		return request
	}
	aborted := "canary v2 of service app is already aborted; that takes effect when the freeze ends (routing.freeze). Nothing was written"
	promoted := "canary v2 of service app is already promoted; that takes effect when the freeze ends (routing.freeze). Nothing was written"
	for name, test := range map[string]struct {
		first, second diagnose.Request
		want          string // the error of the second one
		route         string // after the freeze
	}{
		"abort twice":         {canary("--abort"), canary("--abort"), aborted, "v1=100"},
		"undo twice":          {undo, undo, aborted, "v1=100"},
		"abort and undo":      {canary("--abort"), undo, aborted, "v1=100"},
		"undo and pause":      {undo, canary("--pause"), aborted, "v1=100"},
		"abort and start":     {canary("--abort"), canary("v2", "--steps=25@1h,100"), aborted, "v1=100"},
		"abort and retry":     {canary("--abort"), canary("--retry"), aborted, "v1=100"},
		"abort and retry v2":  {canary("--abort"), canary("v2", "--retry"), aborted, "v1=100"},
		"promote v1 and undo": {promoting(t, "app", "v1"), undo, aborted, "v1=100"},
		"shift and abort":     {shifting(t, "app", "v1=90", "v2=10"), canary("--abort"), "", "v1=100"},
		"shift and undo":      {shifting(t, "app", "v1=90", "v2=10"), undo, "", "v1=100"},
		"promote and pause":   {canary("--promote"), canary("--pause"), promoted, "v2=100"},
		"promote and abort":   {canary("--promote"), canary("--abort"), "", "v1=100"},
		"promote and undo":    {canary("--promote"), undo, "", "v1=100"},
		"abort and promote":   {canary("--abort"), canary("--promote"), "", "v2=100"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRollout(t)
			r.mustCanary("app", "v2", "--steps=25@1h,100")
			r.config.Routing.Freeze = true
			r.follow()
			r.at = r.at.Add(time.Second)
			if err := r.applyDecision(t.Context(), test.first, r.writing(dryRunNone)); err != nil {
				t.Fatal(err)
			}
			r.follow()
			before := r.annotations("app")
			r.at = r.at.Add(time.Second)
			r.out.Reset()
			err := r.applyDecision(t.Context(), test.second, r.writing(dryRunNone))
			if test.want != "" {
				if diff := cmp.Diff(before, r.annotations("app")); err == nil || err.Error() != test.want || diff != "" || r.out.Len() > 0 {
					t.Errorf("%v, want %q; printed %q; written:\n%s", err, test.want, r.out.String(), diff)
				}
			} else if err != nil {
				t.Error(err)
			}
			r.follow()
			if got := diagnose.ReadRoute(r.look("app")).String(); got != "v1=75 v2=25" {
				t.Errorf("frozen, the route is %s", got)
			}
			r.config.Routing.Freeze = false
			r.follow()
			if got := diagnose.ReadRoute(r.look("app")).String(); got != test.route {
				t.Errorf("after the freeze, the route is %s; annotations %v", got, r.annotations("app"))
			}
		})
	}
}

// Before the controller has followed an abort, a second one writes nothing either.
func TestSecondAbortBeforeTheController(t *testing.T) {
	r := newRollout(t)
	r.mustCanary("app", "v2", "--steps=25@1h,100")
	abort, err := parsedCanary("app", "--abort")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.applyDecision(t.Context(), abort, r.writing(dryRunNone)); err != nil {
		t.Fatal(err)
	}
	before := r.annotations("app")
	err = r.applyDecision(t.Context(), abort, r.writing(dryRunNone))
	if err == nil || err.Error() != "canary v2 of service app is already aborted; the controller has yet to apply that. Nothing was written" {
		t.Error(err)
	}
	if diff := cmp.Diff(before, r.annotations("app")); diff != "" {
		t.Errorf("written:\n%s", diff)
	}
}

// configure has the installation's ConfigMap say this about routing.freeze, as YAML, and reads it from now on.
func (r *rollout) configure(freeze string) {
	r.t.Helper()
	r.from = &clusterFlags{system: r.systemNamespace}
	configMap := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.systemNamespace, Name: "outrigger-config"},
		Data:       map[string]string{"config.yaml": "apiVersion: " + api.ConfigAPIVersion + "\nkind: Configuration\nrouting:\n  freeze: " + freeze + "\n"},
	}
	err := r.client.Update(r.t.Context(), configMap)
	if apierrors.IsNotFound(err) {
		err = r.client.Create(r.t.Context(), configMap)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// A freeze that begins while a command waits ends it as one that began before does.
func TestAFreezeEndsTheWait(t *testing.T) {
	r := newRollout(t)
	r.configure("false")
	request := shifting(t, "app", "v1=90", "v2=10")
	change, err := diagnose.ChangeOf(request, r.factsOf(r.snapshot(r.namespace, false), r.look("app"), nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.applyDecision(t.Context(), request, r.writing(dryRunNone)); err != nil {
		t.Fatal(err)
	}
	if why, err := r.pendingReason(t.Context(), change.Forecasts); err != nil || !strings.Contains(why, "is not written yet") {
		t.Error(why, err)
	}
	r.configure("true")
	if why, err := r.pendingReason(t.Context(), change.Forecasts); err == nil || err.Error() != "service/app: "+frozenChange {
		t.Error(why, err)
	}
}

// Invalid settings are reported, and those that were read before apply.
func TestInvalidSettings(t *testing.T) {
	r := newRollout(t)
	r.configure("true")
	if err := r.readSettings(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, freeze := range []string{"perhaps", "[", "3"} {
		r.configure(freeze)
		if err := r.readSettings(t.Context()); err != nil {
			t.Fatal(err)
		}
		report, err := r.withControllerState(t.Context(), func(ctx context.Context) (diagnose.StatusReport, error) { return r.status(ctx, false) })
		if err != nil {
			t.Fatal(err)
		}
		notes := strings.Join(report.Notes, "\n")
		if !strings.Contains(notes, "ConfigMap outrigger-system/outrigger-config, config.yaml: ") || !strings.Contains(notes, "kubectl edit configmap -n outrigger-system outrigger-config") || report.Frozen == "" {
			t.Errorf("freeze: %s: %q; notes: %s", freeze, report.Frozen, notes)
		}
	}
	fresh := newRollout(t) // nothing valid was read before
	fresh.configure("perhaps")
	if err := fresh.readSettings(t.Context()); err != nil {
		t.Fatal(err)
	}
	if text, err := fresh.notRunning(t.Context()); err != nil || strings.Contains(text, "No Outrigger is installed") {
		t.Error(text, err)
	}
	fresh.configure("false")
	if err := fresh.readSettings(t.Context()); err != nil || len(fresh.invalid) > 0 || len(fresh.configs) != 1 {
		t.Error(fresh.invalid, err)
	}
}

// The status of a canary says whether a freeze keeps it at its step, and names its steps.
func TestStatusOfAFrozenCanary(t *testing.T) {
	r := newRollout(t)
	r.mustCanary("app", "v2", "--steps=25@1h,100")
	for _, freeze := range []bool{true, false} {
		r.config.Routing.Freeze = freeze
		c, _ := diagnose.CanaryOf(r.look("app"), r.at)
		if c == nil || c.IsFrozen != freeze || !slices.Equal(c.StepPercents, []int32{25, 100}) {
			t.Errorf("freeze=%t: %+v", freeze, c)
		}
	}
}
