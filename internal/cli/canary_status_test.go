// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"outrigger.dev/outrigger/internal/diagnose"
)

func TestStatusAndExplainOfACanary(t *testing.T) {
	r := newRollout(t)
	r.mustCanary("app", "v2", "--steps=25@10m,100@1m")
	r.at = r.at.Add(6*time.Minute + 48*time.Second)
	got := r.table(tableView{}, false, "app")
	if !strings.Contains(got, "\n\nService demo/app: canary v2 1/2 25% next in 3m12s\n") {
		t.Errorf("status:\n%s", got)
	}
	report, err := r.status(t.Context(), false, "app")
	if err != nil {
		t.Fatal(err)
	}
	since, next := noon, noon.Add(10*time.Minute)
	want := &diagnose.CanaryStatus{Version: "v2", State: "progressing", Step: 1, Steps: 2, Percent: 25, StepPercents: []int32{25, 100}, Since: &since, Next: &next}
	if diff := cmp.Diff(want, report.Namespaces[0].Services[0].Canary); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if is := statusLines(report)["demo/app canary:"]; is != " v2 1/2 25%" {
		t.Errorf("watched: %q", is)
	}
	explained := func() string {
		var out strings.Builder
		for _, p := range diagnose.ExplainService(r.look("app"), nil, diagnose.Surroundings{Gaps: r.gaps}, r.at).Paragraphs() {
			for _, row := range p.Rows {
				if p.Heading == "Canary" {
					out.WriteString(strings.Join(row, ": ") + "\n")
				}
			}
		}
		return out.String()
	}
	if diff := cmp.Diff(`State: v2 1/2 25%
Steps: 25% for 10m0s, 100% for 1m0s
Checks: readiness of its pods
Since: 2026-01-02T12:00:00Z
Next: In 3m12s, if its checks pass, v2 gets 100% of the requests. If a check fails twice in a row, or if it cannot pass the step within 1h of that time, the default version gets all requests.
`, explained()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	r.mustCanary("app", "--pause")
	if got := explained(); !strings.Contains(got, "Next: It stays at this step. A failing check still aborts it. To continue: outrigger canary app --resume -n demo\n") {
		t.Error(got)
	}
	r.setReady("app-v2", false)
	r.after(10 * time.Second)
	if got := r.table(tableView{}, false, "app"); !strings.Contains(got, ": canary v2 1/2 25% paused failing  0 of 10 pods ready\n") {
		t.Error(got)
	}
	r.after(time.Minute)
	if got := explained(); !strings.Contains(got, "State: v2 aborted at 25%: 0 of 10 pods ready\nNext: Nothing: it does not start again with this pod template. To start it again: outrigger canary app --retry -n demo\n") {
		t.Error(got)
	}
}

// Settings from before a success are not a problem, but status, --watch, and explain report that they have no effect.
func TestStatusOfSupersededSettings(t *testing.T) {
	t.Parallel()
	r := newRollout(t, "outrigger.dev/default-version=v1", "outrigger.dev/weights=v1=90,v2=10")
	r.mustCanary("app", "v2", "--steps=50@1m,100@1m")
	report := func() (diagnose.ServiceStatus, map[string]string) {
		report, err := r.status(t.Context(), false, "app")
		if err != nil {
			t.Fatal(err)
		}
		return report.Namespaces[0].Services[0], statusLines(report)
	}
	if is, _ := report(); len(is.Problems) != 1 || is.Problems[0].Reason != "WithoutEffect" || is.Problems[0].Advice != "To remove them: kubectl annotate service -n demo app outrigger.dev/weights- --overwrite." {
		t.Errorf("%+v", is.Problems)
	}
	r.after(3 * time.Minute)
	r.is("v2 succeeded", "v2=100")
	const text = "outrigger.dev/default-version=v1 and outrigger.dev/weights=v1=90,v2=10 have no effect, because canary v2 has succeeded since."
	const advice = "To update the annotations: kubectl annotate service -n demo app outrigger.dev/default-version=v2 outrigger.dev/weights- --overwrite."
	want := []diagnose.SupersededStatus{
		{Annotation: "outrigger.dev/default-version", Value: "v1", By: "v2", Advice: advice}, {Annotation: "outrigger.dev/weights", Value: "v1=90,v2=10", By: "v2", Advice: advice},
	}
	for _, withRequest := range []bool{true, false} {
		if !withRequest {
			r.annotate("app", "outrigger.dev/canary=")
			r.follow()
		}
		is, lines := report()
		if diff := cmp.Diff(want, is.Superseded); diff != "" || len(is.Problems) > 0 || lines["demo/app settings:"] != " "+text {
			t.Errorf("-want +got:\n%s%+v, %v", diff, is.Problems, lines)
		}
		if got := r.table(tableView{}, false, "app"); strings.Contains(got, "WithoutEffect") || !strings.Contains(got, "Service demo/app: "+text+"\n    "+advice+"\n") ||
			strings.Contains(got, "Service demo/app: canary v2 succeeded\nService demo/app: outrigger.dev/") != withRequest {
			t.Error(got)
		}
		if got := r.canaryRows(); !strings.Contains(got, "Settings: "+text+" "+advice+"\n") {
			t.Error(got)
		}
	}
	r.annotate("app", "outrigger.dev/default-version=v2", "outrigger.dev/weights=")
	r.follow()
	if is, _ := report(); len(is.Superseded)+len(is.Problems) > 0 || diagnose.ReadRoute(r.look("app")).String() != "v2=100" {
		t.Errorf("%+v", is)
	}
}

func TestStatusSaysFirstThatRoutesAreFrozen(t *testing.T) {
	r := newRollout(t)
	r.mustCanary("app", "v2")
	r.config.Routing.Freeze = true
	got := r.table(tableView{}, false, "app")
	if !strings.HasPrefix(got, "\nRoutes are frozen (routing.freeze=true in namespace outrigger-system): canaries stay at their step") {
		t.Error(got)
	}
	if !strings.Contains(got, ": canary v2 1/4 5% 5m0s left  routes are frozen (routing.freeze)\n") {
		t.Error(got)
	}
	report, err := r.status(t.Context(), false, "app")
	if err != nil || report.Frozen == "" || !strings.Contains(statusLines(report)["routes:"], "frozen") {
		t.Errorf("%+v, %v", report, err)
	}
}
