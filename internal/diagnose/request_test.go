// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"outrigger.dev/outrigger/api"
)

func TestRequestsAreChecked(t *testing.T) {
	canary := func(settings map[string]string) Request {
		return Request{Action: ActionCanary, Service: "app", Version: "v2", Settings: settings}
	}
	for name, c := range map[string]struct {
		request Request
		want    string // empty: no error
	}{
		"weights":                      {Request{Action: ActionShift, Service: "app", Weights: []string{"v1=90", "v2=10"}}, ""},
		"weights with commas":          {Request{Action: ActionShift, Service: "app", Weights: []string{"v1=90,v2=10"}}, ""},
		"no weights":                   {Request{Action: ActionShift, Service: "app"}, "name at least one version with its weight"},
		"a version without its weight": {Request{Action: ActionShift, Service: "app", Weights: []string{"v1"}}, `"v1" is not of the form VERSION=WEIGHT`},
		"a weight in letters":          {Request{Action: ActionShift, Service: "app", Weights: []string{"v1=ninety"}}, `the weight of v1, "ninety", is not a whole number`},
		"a version with spaces":        {Request{Action: ActionShift, Service: "app", Weights: []string{"v 1=1"}}, "cannot be the value of a label"},
		"a policy":                     {Request{Action: ActionPromote, Service: "app", Version: "@highest"}, ""},
		"an unknown policy":            {Request{Action: ActionPromote, Service: "app", Version: "@hghest"}, `did you mean "@highest"?). Policies: @first, @lowest, @highest, @all. Example: promote app @highest`},
		"a weight to promote":          {Request{Action: ActionPromote, Service: "app", Version: "v2=10"}, `"v2=10" names a weight; to split requests: shift app v2=10`},
		"nothing to promote":           {Request{Action: ActionPromote, Service: "app"}, "name a version"},
		"a canary":                     {canary(nil), ""},
		"a canary of no version":       {Request{Action: ActionCanary, Service: "app"}, "name a version"},
		"steps that fall":              {canary(map[string]string{"steps": "50,5"}), "--steps=50,5: "},
		"an interval without a unit":   {canary(map[string]string{"interval": "5"}), "--interval=5: "},
		"a setting that does not exist": {canary(map[string]string{"stepps": "5,100"}),
			`unknown canary setting "stepps": expected one of check, deadline, interval, min-requests, steps`},
		"auto cannot be retried": {Request{Action: ActionCanaryRetry, Service: "app", Version: "auto"}, "auto starts no canary now: leave out --retry"},
		"a past decision":        {Request{Action: ActionUndo, Service: "app", To: 2}, ""},
		"a future decision":      {Request{Action: ActionUndo, Service: "app", To: -1}, "--to=-1: expected 1 for the last decision"},
		"an unknown action":      {Request{Action: "delete", Service: "app"}, `unknown action "delete"`},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.request.Check()
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestRequestsAsCommands(t *testing.T) {
	for want, r := range map[string]Request{
		"outrigger shift app v1=90 v2=10 --pending --all-services -n demo": {Action: ActionShift, Weights: []string{"v1=90", "v2=10"}, AllowPending: true, AllServices: true},
		"outrigger promote app @highest -n demo":                           {Action: ActionPromote, Version: "@highest"},
		"outrigger canary app v2 '--check=error-rate<1%,p99<1.5x' --steps=5@2m,100 -n demo": {
			Action: ActionCanary, Version: "v2", Settings: map[string]string{"steps": "5@2m,100", "check": "error-rate<1%,p99<1.5x", "deadline": ""}},
		"outrigger canary app --pause -n demo":       {Action: ActionCanaryPause},
		"outrigger canary app --promote -n demo":     {Action: ActionCanaryPromote},
		"outrigger canary app v2 --retry -n demo":    {Action: ActionCanaryRetry, Version: "v2"},
		"outrigger undo app -n demo":                 {Action: ActionUndo},
		"outrigger undo app --to=2 -n demo":          {Action: ActionUndo, To: 2},
		`outrigger promote app 'it'\''s $1' -n demo`: {Action: ActionPromote, Version: "it's $1"},
	} {
		r.Service = "app"
		if got := r.Command("demo"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// kubectlAnnotations does with annotations what a line that begins with "kubectl annotate" says, after a shell has read it.
func kubectlAnnotations(t *testing.T, line string, annotations map[string]string) map[string]string {
	t.Helper()
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("needs a shell:", err)
	}
	out, err := exec.CommandContext(t.Context(), shell, "-c", `kubectl() { printf '%s\n' "$@"; }; `+line).Output()
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	after := map[string]string{}
	for key, value := range annotations {
		after[key] = value
	}
	for _, word := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		key, value, isSet := strings.Cut(word, "=")
		switch {
		case !strings.Contains(key, "/"): // the command, the Service, and flags
		case isSet:
			after[key] = value
		case strings.HasSuffix(key, "-"):
			delete(after, strings.TrimSuffix(key, "-"))
		default:
			t.Errorf("kubectl does not understand %q", word)
		}
	}
	return after
}

// The kubectl command writes the annotations that the forecast was computed for, whatever characters they have.
func TestKubectlCommandsWriteTheSame(t *testing.T) {
	before := map[string]string{api.AnnotationWeights: "v1=90,v2=10", "example.com/kept": "yes"}
	for _, wanted := range []map[string]string{
		{api.AnnotationWeights: "v1=50,v2=50"},
		{api.AnnotationWeights: "", api.AnnotationDefaultVersion: "@highest"},
		{api.AnnotationCanary: "v2", api.AnnotationCanaryChecks: "error-rate<1%,p99<=1.5x,queue>$(id)", api.AnnotationCanarySteps: "5@2m,100"},
		{api.AnnotationCanaryChecks: `it's "a" \ & # * ~ ; |`},
	} {
		observed := serviceWith(t, before)
		setAnnotations(observed.Service, wanted)
		got := kubectlAnnotations(t, AnnotateCommand(observed.Service, wanted), before)
		if diff := cmp.Diff(observed.Service.Annotations, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}
