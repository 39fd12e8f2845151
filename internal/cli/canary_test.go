// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/routing"
)

// rollout is a shop in which all pods are ready, whose clock the test moves.
type rollout struct {
	*liveStage
	at time.Time
}

func newRollout(t *testing.T, annotations ...string) *rollout {
	t.Helper()
	r := &rollout{liveStage: shop(t), at: noon}
	r.now = func() time.Time { return r.at }
	r.setReady("app-v2", true)
	if len(annotations) > 0 {
		r.annotate("app", annotations...)
	}
	r.follow()
	return r
}

// follow does what the controller does now, until nothing changes.
func (r *rollout) follow() {
	r.t.Helper()
	for range 10 {
		observed := r.look("app")
		changes := routing.Diff(observed.Existing, routing.Plan(diagnose.WithoutDelays(observed), r.at).Objects)
		if len(changes) == 0 {
			return
		}
		for _, change := range changes {
			r.write(change)
		}
	}
	r.t.Fatal("the plan of a plan is not empty")
}

// after lets time pass, with the controller running.
func (r *rollout) after(d time.Duration) {
	r.t.Helper()
	for until := r.at.Add(d); r.at.Before(until); {
		r.at = r.at.Add(min(10*time.Second, until.Sub(r.at)))
		r.follow()
	}
}

// canary runs the command as its command line requests it, and then the controller.
func (r *rollout) canary(args ...string) error {
	r.t.Helper()
	request, err := parsedCanary(args...)
	if err != nil {
		r.t.Fatalf("%v: %v", args, err)
	}
	if err = r.applyDecision(r.t.Context(), request, r.writing(dryRunNone)); err == nil {
		r.follow()
	}
	return err
}

func (r *rollout) mustCanary(args ...string) {
	r.t.Helper()
	if err := r.canary(args...); err != nil {
		r.t.Fatalf("%v: %v", args, err)
	}
}

// parsedCanary parses a command line, without running it.
func parsedCanary(args ...string) (diagnose.Request, error) {
	command, flags := newCanaryCommand()
	if err := command.ParseFlags(args); err != nil {
		return diagnose.Request{}, err
	}
	return flags.request(command, command.Flags().Args())
}

// is wants this state and this route.
func (r *rollout) is(state, route string) {
	r.t.Helper()
	observed := r.look("app")
	got := "none"
	if c, _ := diagnose.CanaryOf(observed, r.at); c != nil {
		got = strings.TrimPrefix(c.Change(), "canary ")
	}
	if got != state {
		r.t.Errorf("the canary is %q, want %q", got, state)
	}
	if is := diagnose.ReadRoute(observed).String(); is != route {
		r.t.Errorf("the route is %s, want %s", is, route)
	}
}

// setReady changes whether the pods of a Deployment are ready.
func (s *liveStage) setReady(name string, ready bool) {
	s.t.Helper()
	var pods corev1.PodList
	if err := s.client.List(context.Background(), &pods, client.InNamespace("demo")); err != nil {
		s.t.Fatal(err)
	}
	for i := range pods.Items {
		pod := &pods.Items[i]
		if !strings.HasPrefix(pod.Name, name+"-") {
			continue
		}
		pod.Status.Conditions = nil
		if ready {
			pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		}
		if err := s.client.Status().Update(context.Background(), pod); err != nil {
			s.t.Fatal(err)
		}
	}
}

func TestCanaryWritesItsAnnotationsAlone(t *testing.T) {
	r := newRollout(t, "outrigger.dev/canary-deadline=2h", "outrigger.dev/canary-paused=true")
	r.mustCanary("app", "v2", "--steps", "25,100", "--interval", "1m")
	want := `service/app: v1=100 -> v1=75 v2=25
    removes outrigger.dev/canary-deadline (was 2h)
    removes outrigger.dev/canary-paused (was true)
    canary v2: 25% for 1m0s, 100% for 1m0s; checks: readiness
kubectl annotate service -n demo app outrigger.dev/canary=v2 outrigger.dev/canary-checks- outrigger.dev/canary-deadline- outrigger.dev/canary-interval=1m outrigger.dev/canary-min-requests- outrigger.dev/canary-paused- outrigger.dev/canary-steps=25,100 --overwrite
service/app-internal selects the same pods: v1=100
    This does not change them.
service/app annotated
`
	if diff := cmp.Diff(want, r.out.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	annotations := map[string]string{"outrigger.dev/canary": "v2", "outrigger.dev/canary-interval": "1m", "outrigger.dev/canary-steps": "25,100"}
	if diff := cmp.Diff(annotations, r.annotations("app")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	r.is("v2 1/2 25%", "v1=75 v2=25")
	r.after(time.Minute)
	r.is("v2 2/2 100%", "v2=100")
	r.after(2 * time.Minute)
	r.is("v2 succeeded", "v2=100")
}

func TestCanaryIsRefusedAndWritesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		around func(r *rollout)
		args   []string
		want   string
	}{
		"an unknown Service":         {nil, []string{"ap", "v2"}, "namespace demo has no Service ap; it has app, app-internal, other"},
		"an unknown version":         {nil, []string{"app", "v3"}, "service demo/app has no version v3; it has v1, v2. --pending writes the name anyway; it takes effect when its pods are ready. Example: outrigger canary app v2 -n demo"},
		"the default":                {nil, []string{"app", "v1"}, "service app gets no canary v1; nothing was written: v1 is the default version already."},
		"a Service of no pod":        {nil, []string{"other", "v2"}, "none of its pods has the label version"},
		"no canary to pause":         {nil, []string{"app", "--pause"}, "service app has no canary. To start one: outrigger canary app VERSION -n demo"},
		"no canary to retry":         {nil, []string{"app", "--retry"}, "service app has no canary."},
		"none has ended":             {nil, []string{"app", "v2", "--retry"}, "no canary v2 of service app has ended; there is nothing to retry. To start one, leave out --retry"},
		"one progresses":             {func(r *rollout) { r.mustCanary("app", "v2") }, []string{"app", "--retry"}, "canary v2 of service app has not ended: it is at step 1 of 4. To change its settings, name the version and leave out --retry"},
		"the same, with its version": {func(r *rollout) { r.mustCanary("app", "v2") }, []string{"app", "v2", "--retry"}, "canary v2 of service app has not ended: it is at step 1 of 4. To change its settings, name the version and leave out --retry"},
		"one waits":                  {func(r *rollout) { r.mustCanary("app", "v3", "--pending") }, []string{"app", "--retry"}, "canary v3 of service app has not started: it waits for v3 (no pods). To change its settings, name the version and leave out --retry"},
		"it is not paused":           {func(r *rollout) { r.mustCanary("app", "v2") }, []string{"app", "--resume"}, "canary v2 of service app cannot be resumed: it is not paused"},
		"it was aborted": {func(r *rollout) {
			r.mustCanary("app", "v2")
			r.mustCanary("app", "--abort")
		}, []string{"app", "v2"}, "canary v2 of service app does not start again by itself, because it has ended before (aborted by hand at 5%: outrigger.dev/canary was removed). To start it again, add --retry"},
		"it has ended": {func(r *rollout) {
			r.mustCanary("app", "v2", "--steps=100@1m")
			r.after(2 * time.Minute)
		}, []string{"app", "--pause"}, "canary v2 of service app has ended (succeeded); there is nothing to pause"},
		"a check without metrics": {func(r *rollout) { r.configs = append(r.configs, r.config) }, []string{"app", "v2", "--check", "p99<1s"}, "--check=p99<1s needs metrics, but none are configured for Outrigger in namespace outrigger-system (routing.metrics.prometheusURL)"},
		"a query that is not configured": {func(r *rollout) {
			r.config.Routing.Metrics.PrometheusURL = "http://prometheus:9090"
			r.configs = append(r.configs, r.config)
		}, []string{"app", "v2", "--check", "eror-rate<1%"}, `--check=eror-rate<1%: check "eror-rate<1%": unknown metric "eror-rate"; did you mean "error-rate"?`},
		"no route": {func(r *rollout) { r.annotateLabel("app", "outrigger.dev/routing", "disabled") }, []string{"app", "v2"}, "service demo/app cannot have a canary, because Outrigger writes no route for it: routing is disabled for it"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRollout(t)
			if c.around != nil {
				c.around(r)
			}
			before := r.annotations("app")
			if err := r.canary(c.args...); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if diff := cmp.Diff(before, r.annotations("app")); diff != "" {
				t.Errorf("written:\n%s", diff)
			}
		})
	}
}

// annotateLabel sets a label of a Service.
func (s *liveStage) annotateLabel(name, key, value string) {
	s.t.Helper()
	patch, err := metadataPatch("labels", map[string]string{key: value})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.client.Patch(context.Background(), serviceOf(name, ""), patch); err != nil {
		s.t.Fatal(err)
	}
}

func TestCanaryCommandLines(t *testing.T) {
	for line, want := range map[string]string{
		"":                                  "name the Service and one version: canary SERVICE v2",
		"app":                               "name the Service and one version: canary SERVICE v2",
		"app v2 v3":                         "name the Service and one version: canary SERVICE v2",
		"app v2 --pause":                    "name the Service alone: canary SERVICE --pause",
		"--abort":                           "name the Service alone: canary SERVICE --abort",
		"app --pause=false":                 "--pause=false has no effect: leave it out",
		"app --pause --wait":                "--pause and --wait cannot be combined: a paused canary stays at its step",
		"app --retry --steps=5,100":         "--retry and --steps cannot be combined: name the version to choose its settings",
		"app --abort --pending":             "--abort and --pending cannot be combined: the canary has its version",
		"app auto --wait":                   "auto starts no canary now: omit --wait",
		"app auto --retry":                  "auto starts no canary now: leave out --retry",
		"app v2 --steps=":                   "--steps: expected a value; without the flag, the default applies",
		"app v2 --steps=5,50":               "--steps=5,50: the last step is 50; it must be 100",
		"app v2 --steps=50,20,100":          `--steps=50,20,100: step "20" is not larger than the step before it, 50`,
		"app v2 --interval=5":               `--interval=5: "5" is not a duration from 10s to 720h, such as 5m`,
		"app v2 --min-requests=-1":          `--min-requests=-1: "-1" is not a whole number from 0 to 1000000000`,
		"app v2 --deadline=1s":              `--deadline=1s: "1s" is not a duration`,
		"app v/2":                           "VERSION=v/2: ",
		"app v2 --check=error-rate<1%":      "",
		"app v2 --retry --steps=5,100":      "",
		"app --retry --wait":                "",
		"service/app v2 --interval=1m":      "",
		"app auto --steps=5@1m,100@30m":     "",
		"service app v2 --min-requests=100": "",
	} {
		_, err := parsedCanary(strings.Fields(line)...)
		if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("canary %s: %v, want %q", line, err, want)
		}
	}
	if request, err := parsedCanary("app", "v2", "--check", "error-rate<1%", "--check", "p99<1.5x"); err != nil || request.Settings["check"] != "error-rate<1%,p99<1.5x" {
		t.Errorf("%+v, %v", request, err)
	}
}

func TestCanaryOfAVersionThatIsToCome(t *testing.T) {
	r := newRollout(t)
	r.mustCanary("app", "v3", "--pending")
	r.printed("service/app: v1=100 -> v1=95 v3=5 when v3 has a ready pod\n", "    canary v3 waits for v3 (no pods)\n", "service/app annotated")
	r.is("v3 waits for v3 (no pods)", "v1=100")
	if err := r.pendingShift(); err != "" { // a decision about the shares does not wait for it
		t.Error(err)
	}
}

// pendingShift decides about shares, and returns what is missing until they are applied.
func (r *rollout) pendingShift() string {
	r.t.Helper()
	if err := r.applyDecision(r.t.Context(), shifting(r.t, "app", "v1=90", "v2=10"), r.writing(dryRunNone)); err != nil {
		r.t.Fatal(err)
	}
	r.follow()
	why, err := r.pendingReason(r.t.Context(), []diagnose.Forecast{{Observed: r.look("app")}})
	if err != nil {
		r.t.Fatal(err)
	}
	return why
}
