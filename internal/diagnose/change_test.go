// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

func factsOf(observed routing.Observed, others ...routing.Observed) ActionFacts {
	return ActionFacts{Main: observed, Others: others, Gaps: Gaps{}, AreSettingsKnown: true, SystemNamespace: "outrigger-system", Now: noon}
}

func mustChange(t *testing.T, r Request, facts ActionFacts) Change {
	t.Helper()
	r.Service = "app"
	change, err := ChangeOf(r, facts)
	if err != nil {
		t.Fatal(err)
	}
	return change
}

// otherService returns another Service over the same pods, with a route of its own.
func otherService(t *testing.T) routing.Observed {
	t.Helper()
	other := serviceWith(t, nil)
	other.Service.Name, other.Service.UID, other.Existing = "app-internal", "uid-internal", routing.Objects{}
	settle(&other)
	return other
}

func TestChangeShowsTheTrafficOfEachVersion(t *testing.T) {
	for name, c := range map[string]struct {
		annotations map[string]string
		change      func(*routing.Observed)
		request     Request
		want        []TrafficChange
	}{
		"shift": {request: Request{Action: ActionShift, Weights: []string{"v1=90", "v2=10"}}, want: []TrafficChange{
			{Service: "app", At: "mesh", Shares: []ShareChange{{"v1", 100, 90}, {"v2", 0, 10}}, Text: "v1=100 -> v1=90 v2=10"},
		}},
		"promote": {annotations: map[string]string{api.AnnotationWeights: "v1=90,v2=10"}, request: Request{Action: ActionPromote, Version: "v2"}, want: []TrafficChange{
			{Service: "app", At: "mesh", Shares: []ShareChange{{"v1", 90, 0}, {"v2", 10, 100}}, Text: "v1=90 v2=10 -> v2=100"},
		}},
		"a version whose pods are not ready": {change: losePods("v2"), request: Request{Action: ActionShift, Weights: []string{"v1=50", "v2=50"}}, want: []TrafficChange{
			{Service: "app", At: "mesh", Shares: []ShareChange{{"v1", 100, 50}, {"v2", 0, 50}}, WaitsFor: []string{"v2"}, Text: "v1=100 -> v1=50 v2=50 when v2 has a ready pod"},
		}},
		"no route yet": {change: func(o *routing.Observed) { o.Existing = routing.Objects{} }, request: Request{Action: ActionPromote, Version: "v2"}, want: []TrafficChange{
			{Service: "app", At: "mesh", Shares: []ShareChange{{"", 100, 0}, {"v2", 0, 100}}, Text: "no route -> v2=100"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			changes := []func(*routing.Observed){}
			if c.change != nil {
				changes = append(changes, c.change)
			}
			got := mustChange(t, c.request, factsOf(serviceWith(t, c.annotations, changes...))).Traffic()
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestChangeOfAllServices(t *testing.T) {
	facts := factsOf(serviceWith(t, nil), otherService(t))
	one := mustChange(t, Request{Action: ActionPromote, Version: "v2"}, facts)
	if got := one.Lines(); len(one.Writes()) != 1 || !slices.Contains(got, "    This does not change them. To change them too, add --all-services.") {
		t.Errorf("%d writes:\n%s", len(one.Writes()), strings.Join(got, "\n"))
	}
	all := mustChange(t, Request{Action: ActionPromote, Version: "v2", AllServices: true}, facts)
	if got := all.Commands(); len(got) != 2 || !strings.Contains(got[1], "-n demo app-internal ") {
		t.Errorf("%q", got)
	}
	if again := all.DifferencesFrom(all); again != nil {
		t.Errorf("%q", again)
	}
	if got := one.DifferencesFrom(all); !slices.Equal(got, []string{"service/app-internal is no longer part of this change."}) {
		t.Errorf("%q", got)
	}
	if got := all.DifferencesFrom(one); !slices.Equal(got, []string{"service/app-internal is now also part of this change."}) {
		t.Errorf("%q", got)
	}
}

func TestChangesThatAreRefused(t *testing.T) {
	hidden := factsOf(serviceWith(t, nil))
	hidden.Gaps.AddKind("VirtualService", "demo")
	unrouted := factsOf(serviceWith(t, nil, func(o *routing.Observed) { o.Intent.Disabled = true }))
	withoutMetrics := factsOf(serviceWith(t, nil))
	for name, c := range map[string]struct {
		request Request
		facts   ActionFacts
		want    string
		isInput bool
	}{
		"input":                       {Request{Action: ActionShift, Weights: []string{"v1=x"}}, hidden, "is not a whole number", true},
		"an unknown version":          {Request{Action: ActionShift, Weights: []string{"v9=1"}}, withoutMetrics, "service demo/app has no version v9", false},
		"undo of unknown routes":      {Request{Action: ActionUndo}, hidden, "undo needs permission to list DaemonSets, Deployments", false},
		"a canary of unknown routes":  {Request{Action: ActionCanary, Version: "v2"}, hidden, "canary needs permission to list DaemonSets", false},
		"a canary without routes":     {Request{Action: ActionCanary, Version: "v2"}, unrouted, "service demo/app cannot have a canary, because Outrigger writes no route for it: routing is disabled for it", false},
		"a check that does not parse": {Request{Action: ActionCanary, Version: "v2", Settings: map[string]string{"check": "eror-rate<1%"}}, withoutMetrics, "--check=eror-rate<1%: ", true},
		"a check without metrics":     {Request{Action: ActionCanary, Version: "v2", Settings: map[string]string{"check": "error-rate<1%"}}, withoutMetrics, "none are configured for Outrigger in namespace outrigger-system", false},
		"a pause of no canary":        {Request{Action: ActionCanaryPause}, withoutMetrics, "service app has no canary. To start one: outrigger canary app VERSION -n demo", false},
		"undo of the first decision":  {Request{Action: ActionUndo}, withoutMetrics, "v1 is the first recorded decision", false},
		"undo to an unknown decision": {Request{Action: ActionUndo, To: 3}, withoutMetrics, "no earlier decision to return to", false},
	} {
		t.Run(name, func(t *testing.T) {
			c.request.Service = "app"
			change, err := ChangeOf(c.request, c.facts)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v, want %q", err, c.want)
			}
			if invalid := (*RequestError)(nil); errors.As(err, &invalid) != c.isInput {
				t.Errorf("%T", err)
			}
			if len(change.Forecasts) > 0 {
				t.Errorf("%d forecasts", len(change.Forecasts))
			}
		})
	}
}

// A preview is outdated where the Service, its canary, or the effect has changed, and not by time alone.
func TestWhatChangedSinceAPreview(t *testing.T) {
	request := Request{Action: ActionShift, Weights: []string{"v1=50", "v2=50"}}
	seen := mustChange(t, request, factsOf(serviceWith(t, nil)))
	for name, c := range map[string]struct {
		annotations map[string]string
		change      func(*routing.Observed)
		want        []string
	}{
		"nothing": {},
		"the Service": {change: func(o *routing.Observed) { o.Service.ResourceVersion = "2" },
			want: []string{"service/app was changed by another client."}},
		"an annotation of others": {change: func(o *routing.Observed) {
			o.Service.ResourceVersion, o.Service.Annotations["kubectl.kubernetes.io/last-applied-configuration"] = "2", "{}"
		}, want: []string{"service/app was changed by another client."}},
		"another decision": {annotations: map[string]string{api.AnnotationWeights: "v1=90,v2=10"}, want: []string{
			"service/app: another client set the annotation outrigger.dev/weights=v1=90,v2=10 (was absent).",
			`The effect was "service/app: v1=100 -> v1=50 v2=50" and is now "service/app: v1=90 v2=10 -> v1=50 v2=50".`,
		}},
		"the freeze begins": {change: func(o *routing.Observed) { o.Settings.Freeze = true }, want: []string{
			"service/app: routes are frozen now (routing.freeze=true). The change would take effect when the freeze ends.",
		}},
		"pods are no longer ready": {change: losePods("v2"), want: []string{
			`The effect was "service/app: v1=100 -> v1=50 v2=50" and is now "service/app: v1=100 -> v1=50 v2=50 when v2 has a ready pod".`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			changes := []func(*routing.Observed){}
			if c.change != nil {
				changes = append(changes, c.change)
			}
			facts := factsOf(serviceWith(t, c.annotations, changes...))
			facts.Now = noon.Add(time.Minute)
			if diff := cmp.Diff(c.want, mustChange(t, request, facts).DifferencesFrom(seen)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// A preview of a frozen change is outdated when the freeze ends, but not if the route is as wanted anyway.
func TestTheFreezeHasEndedSinceAPreview(t *testing.T) {
	frozen, other := serviceWith(t, nil, func(o *routing.Observed) { o.Settings.Freeze = true }), serviceWith(t, nil)
	shift := Request{Action: ActionShift, Weights: []string{"v1=50", "v2=50"}}
	seen := mustChange(t, shift, factsOf(frozen))
	want := []string{"service/app: routes are no longer frozen (routing.freeze=false). The change would not wait for the end of the freeze."}
	if diff := cmp.Diff(want, mustChange(t, shift, factsOf(other)).DifferencesFrom(seen)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if again := mustChange(t, shift, factsOf(frozen)).DifferencesFrom(seen); again != nil {
		t.Errorf("still frozen: %q", again)
	}
	annotations := map[string]string{api.AnnotationDefaultVersion: "v1", api.AnnotationWeights: "v1=100"}
	current := Request{Action: ActionShift, Weights: []string{"v1=100"}}
	frozen, other = serviceWith(t, annotations, func(o *routing.Observed) { o.Settings.Freeze = true }), serviceWith(t, annotations)
	seen = mustChange(t, current, factsOf(frozen))
	if got := mustChange(t, current, factsOf(other)).DifferencesFrom(seen); !seen.Forecasts[0].IsCurrent || got != nil {
		t.Errorf("as wanted (%t): %q", seen.Forecasts[0].IsCurrent, got)
	}
}

func TestOffers(t *testing.T) {
	absent := func(offers []Offer) map[Action]string {
		out := map[Action]string{}
		for _, offer := range offers {
			if len(offer.Unavailable) > 0 {
				out[offer.Action] = offer.Unavailable.String()
			}
		}
		return out
	}
	facts := factsOf(serviceWith(t, nil))
	noCanary := "service app has no canary. To start one: outrigger canary app VERSION -n demo"
	want := map[Action]string{
		ActionCanaryPause: noCanary, ActionCanaryResume: noCanary, ActionCanaryAbort: noCanary, ActionCanaryPromote: noCanary, ActionCanaryRetry: noCanary,
		ActionUndo: "service demo/app has no earlier decision to return to; v1 is the first recorded decision",
	}
	if diff := cmp.Diff(want, absent(OffersOf(facts, "", nil))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := absent(OffersOf(facts, "you may not", nil)); len(got) != len(Actions()) || got[ActionShift] != "you may not" {
		t.Errorf("%q", got)
	}
	paused := map[string]string{api.AnnotationCanary: "v2", api.AnnotationCanaryPaused: "true"}
	got := absent(OffersOf(factsOf(serviceWith(t, paused)), "", nil))
	if got[ActionCanaryPause] != "the annotations of the Service already have these values: pause would change nothing" || got[ActionCanaryResume] != "" || got[ActionCanaryAbort] != "" {
		t.Errorf("%q", got)
	}
}
