// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"math"
	"strings"
	"testing"
	"time"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/routing"
)

// withMetrics configures a metrics server, which the test replaces.
func (r *rollout) withMetrics() {
	r.config.Routing.Metrics.PrometheusURL = "http://prometheus:9090"
	r.configs = []api.Config{r.config}
}

// evaluated does what the controller does with the answer of the metrics server.
func (r *rollout) evaluated(samples routing.CanarySamples) {
	r.t.Helper()
	observed := r.look("app")
	samples.At = r.at
	observed.Samples = &samples
	for _, change := range routing.Diff(observed.Existing, routing.Plan(observed, r.at).Objects) {
		r.write(change)
	}
}

func (r *rollout) canaryRows() string {
	r.t.Helper()
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

// has wants these texts in an output.
func has(t *testing.T, what, output string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(output, text) {
			t.Errorf("%s lacks %q:\n%s", what, text, output)
		}
	}
}

// status, explain, and --wait say why a check has no value, and how to go on without metrics.
func TestWhyACheckHasNoValue(t *testing.T) {
	r := newRollout(t)
	r.withMetrics()
	r.mustCanary("app", "v2", "--steps=25@1m,100@1m", "--deadline=2h")
	r.at = r.at.Add(time.Minute)
	nan := math.NaN()
	r.evaluated(routing.CanarySamples{Requests: nan, Values: map[string]routing.CanaryValue{
		api.MetricErrorRate: {Canary: nan, Baseline: nan, Error: "the metrics server has no series for v2"},
	}})
	line := "canary v2 1/2 25% next when its checks pass  error-rate ? (<1%)  no data: the metrics server has no series for v2\n"
	has(t, "status", r.table(tableView{}, false, "app"), line, "CanaryNoData", "with readiness, only the pods are checked")
	has(t, "explain", r.canaryRows(), "no data: the metrics server has no series for v2\n",
		"To check only the readiness of its pods: outrigger canary app v2 --check=readiness --deadline=2h --steps=25@1m,100@1m -n demo\n")
	if err := r.watched(canaryWatch{version: "v2"}, reaction{"no data", func() { r.annotate("app", "outrigger.dev/canary="); r.follow() }}); err == nil {
		t.Error("the canary has not ended")
	}
	has(t, "--wait", r.out.String(), "canary v2 1/2 25%  error-rate ? (<1%)  no data: the metrics server has no series for v2\n")
}

// An explicit readiness is not the default, which checks the error rate where metrics are configured.
func TestReadinessIsTheOnlyCheck(t *testing.T) {
	r := newRollout(t)
	r.withMetrics()
	r.mustCanary("app", "v2", "--steps=25@1m,100@1m", "--check=readiness")
	r.printed("100% for 1m0s; checks: readiness\n")
	if got := r.table(tableView{}, false, "app") + r.canaryRows(); strings.Contains(got, "error-rate") || !strings.Contains(got, "Checks: readiness of its pods\n") {
		t.Error(got)
	}
	r.mustCanary("app", "v2", "--steps=25@1m,100@1m")
	has(t, "explain", r.canaryRows(), "Checks: readiness of its pods, error-rate<1%\n")
}

// Readiness needs no metrics.
func TestReadinessWithoutMetrics(t *testing.T) {
	r := newRollout(t)
	r.configs = []api.Config{r.config}
	r.mustCanary("app", "v2", "--check=readiness")
	r.is("v2 1/4 5%", "v1=95 v2=5")
}

// Existing workloads start nothing with auto, so it needs no retry.
func TestAutoAfterAnAbortByHand(t *testing.T) {
	r := newRollout(t)
	r.mustCanary("app", "v2")
	r.mustCanary("app", "--abort")
	r.at = r.at.Add(time.Minute)
	r.mustCanary("app", "auto")
	if is := r.annotations("app")["outrigger.dev/canary"]; is != "auto" {
		t.Errorf("canary=%s", is)
	}
	r.printed("service/app: v1=100 (unchanged)\n    new versions start a canary; v1 and v2 exist already, and start none\n")
	has(t, "status", r.table(tableView{}, false, "app"), "Service demo/app: each new version starts a canary (outrigger.dev/canary=auto)\n")
	has(t, "explain", r.canaryRows(), "New versions: each one starts a canary (outrigger.dev/canary=auto)\n")
	r.after(time.Hour)
	report, err := r.status(t.Context(), false, "app")
	if err != nil {
		t.Fatal(err)
	}
	if got := report.Namespaces[0].Services[0]; len(got.Problems) > 0 || diagnose.ReadRoute(r.look("app")).String() != "v1=100" {
		t.Errorf("%+v", got)
	}
}

// After other steps were chosen, the share can be less than that of the first one.
func TestProgressBeforeTheFirstStep(t *testing.T) {
	r := newRollout(t)
	r.mustCanary("app", "v2", "--steps=10@1m,100@1m")
	r.mustCanary("app", "v2", "--steps=50@1m,100@1m")
	r.is("v2 10%, next step 1/2", "v1=90 v2=10")
	r.after(time.Minute)
	r.is("v2 1/2 50%", "v1=50 v2=50")
}

// A canary that the user has aborted stays visible, with one reason, until there is another one or its version is the default.
func TestStatusOfACanaryThatEndedByHand(t *testing.T) {
	for name, end := range map[string]struct {
		by   func(r *rollout) error
		line string
	}{
		"--abort": {func(r *rollout) error { return r.canary("app", "--abort") }, "canary v2 aborted by hand at 25%: outrigger.dev/canary was removed"},
		"undo":    {func(r *rollout) error { return r.undo(r.t.Context(), "app", 0, r.writing(dryRunNone)) }, "canary v2 aborted by hand at 25%: outrigger.dev/canary was removed"},
		"promote": {func(r *rollout) error {
			return r.applyDecision(r.t.Context(), promoting(r.t, "app", "v1"), r.writing(dryRunNone))
		}, "canary v2 aborted by hand at 25%: "},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRollout(t)
			r.mustCanary("app", "v2", "--steps=25@1m,100@1m")
			r.setReady("app-v2", false)
			r.after(2 * time.Minute)
			r.setReady("app-v2", true)
			r.at = r.at.Add(time.Minute)
			r.mustCanary("app", "--retry")
			if err := end.by(r); err != nil {
				t.Fatal(err)
			}
			r.follow()
			r.at = r.at.Add(time.Minute)
			got := r.table(tableView{}, false, "app")
			has(t, "status", got, "Service demo/app: "+end.line)
			if strings.Count(got, "canary v2") != 1 || strings.Contains(got, "pods ready") {
				t.Errorf("status has another reason:\n%s", got)
			}
			has(t, "explain", r.canaryRows(), "State: "+strings.TrimPrefix(end.line, "canary "), "To start it again: outrigger canary app --retry -n demo\n")
			r.annotate("app", "outrigger.dev/canary=v2") // as a GitOps tool does: the same reason
			r.follow()
			has(t, "status", r.table(tableView{}, false, "app"), "canary v2 aborted by hand at 25%: ")
			r.annotate("app", "outrigger.dev/canary=")
			if err := r.applyDecision(t.Context(), promoting(t, "app", "v2"), r.writing(dryRunNone)); err != nil {
				t.Fatal(err)
			}
			r.follow()
			if got := r.table(tableView{}, false, "app"); strings.Contains(got, "aborted") {
				t.Errorf("status of the default version:\n%s", got)
			}
		})
	}
}

// A pause outlives the canary that it stopped. The next canary says how to end it.
func TestPauseAfterAnAbort(t *testing.T) {
	r := newRollout(t)
	r.mustCanary("app", "v2", "--steps=25@1h,100")
	r.mustCanary("app", "--pause")
	r.mustCanary("app", "--promote")
	r.decide(promoting(t, "app", "v1"))
	r.at = r.at.Add(time.Minute)
	r.annotate("app", "outrigger.dev/canary=v2", "outrigger.dev/decided-at="+r.at.Format(time.RFC3339))
	r.follow()
	got := r.table(tableView{}, false, "app")
	has(t, "status", got, "Service demo/app: canary v2 is paused before its start\n", "To start it: outrigger canary app --resume -n demo.")
	if strings.Contains(got, "kubectl get pods") {
		t.Errorf("status:\n%s", got)
	}
	has(t, "explain", r.canaryRows(), "Next: Nothing: it is paused. To start it: outrigger canary app --resume -n demo\n")
	r.mustCanary("app", "--resume")
	r.is("v2 1/2 25%", "v1=75 v2=25")
}
