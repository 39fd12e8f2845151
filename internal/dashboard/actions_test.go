// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/routing"
)

// act posts a form of the session.
func (s *stage) act(path string, form url.Values) *httptest.ResponseRecorder {
	s.t.Helper()
	if form == nil {
		form = url.Values{}
	}
	form.Set("form-token", s.formToken)
	return s.do(s.request(http.MethodPost, path, form))
}

// previewed posts a form of the Service web, and returns the path of the preview.
func (s *stage) previewed(action diagnose.Action, form url.Values) string {
	s.t.Helper()
	w := s.act("/actions/demo/web/"+string(action), form)
	if w.Code != http.StatusSeeOther {
		s.t.Fatalf("%s: %d\n%s", action, w.Code, w.Body)
	}
	return w.Header().Get("Location")
}

func opened(t *testing.T) *stage {
	t.Helper()
	s := newStage(t).open()
	s.services["demo/web"] = web()
	return s
}

// The page of a Service links to the forms of what can be done, and says why the rest cannot.
func TestServiceOffersActions(t *testing.T) {
	t.Parallel()
	s := opened(t)
	page := s.page("/services/demo/web", http.StatusOK)
	for _, link := range []string{"/actions/demo/web/shift", "/actions/demo/web/promote", "/actions/demo/web/canary"} {
		if !strings.Contains(page, `href="`+link+`"`) {
			t.Errorf("no link to %s", link)
		}
		s.page(link, http.StatusOK)
	}
	if strings.Contains(page, "/actions/demo/web/canary-pause") {
		t.Error("a canary that does not exist can be paused")
	}
	s.has(page, "Pause the canary, Resume the canary, Abort the canary, Promote the canary, Retry the canary Service web has no canary.",
		"Undo Service demo/web has no earlier decision to return to")
}

// A canary of a workload that rolls out in place is refused, so none is offered until there is another workload.
func TestALoneWorkloadIsOfferedNoCanary(t *testing.T) {
	t.Parallel()
	lone := func(versions ...string) routing.Observed {
		out := routed("demo", "web")
		out.Workloads = out.Workloads[:1]
		out.Workloads[0].Selector = map[string]string{"app": "web"}
		pods := out.Pods[0]
		out.Pods, out.Existing = nil, routing.Objects{}
		for _, version := range versions {
			pods.Version = version
			out.Pods = append(out.Pods, pods)
			out.Existing = routing.Plan(diagnose.WithoutDelays(out), noon).Objects
		}
		return out
	}
	for name, c := range map[string]struct {
		observed routing.Observed
		refused  string
	}{
		"one workload":             {lone("v1"), "so it rolls out in place, without a canary."},
		"one workload, rolling":    {lone("v1", "v2"), "so it rolls out in place, without a canary."},
		"a workload for a version": {routed("demo", "web"), ""},
	} {
		for _, offer := range diagnose.OffersOf(diagnose.ActionFacts{Main: c.observed, Gaps: diagnose.Gaps{}, Now: noon}, "", inputs) {
			if text := offer.Unavailable.String(); offer.Action == diagnose.ActionCanary && (!strings.Contains(text, c.refused) || (text == "") != (c.refused == "")) {
				t.Errorf("%s: %q, want %q", name, text, c.refused)
			}
		}
	}
}

// Without actions, no page has a form, and a form of one's own with the token of the session writes nothing.
func TestActionsThatAreNotAllowed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		forbid func(*stage)
		want   string
	}{
		"no permission": {func(s *stage) { s.denied = "no permission to patch Service demo/web" }, "no permission to patch Service demo/web"},
		"read-only":     {func(s *stage) { s.ReadOnly = true }, "the dashboard was started with --read-only"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := opened(t)
			before := s.previewed(diagnose.ActionPromote, url.Values{"version": {"v2"}})
			s.written = nil
			c.forbid(s)
			page := s.page("/services/demo/web", http.StatusOK)
			s.has(page, "Shift traffic, Promote a version, Start a canary, Pause the canary, Resume the canary, Abort the canary, Promote the canary, Retry the canary, Undo "+strings.ToUpper(c.want[:1])+c.want[1:])
			if strings.Contains(page, "/actions/") || strings.Contains(page, "<form") {
				t.Errorf("the page has an action:\n%s", page)
			}
			for _, action := range diagnose.Actions() {
				path := "/actions/demo/web/" + string(action)
				s.has(s.page(path, http.StatusForbidden), c.want[1:])
				if w := s.act(path, url.Values{"version": {"v2"}}); w.Code != http.StatusForbidden {
					t.Errorf("POST %s: %d", path, w.Code)
				}
			}
			if w := s.act(before, nil); s.ReadOnly && w.Code != http.StatusForbidden {
				t.Errorf("POST %s: %d", before, w.Code)
			}
			if s.ReadOnly && len(s.written) > 0 {
				t.Errorf("written: %q", s.written)
			}
		})
	}
}

// What is written is what the preview has shown, at whatever time it is confirmed.
func TestConfirmedPreviewIsWritten(t *testing.T) {
	t.Parallel()
	s := opened(t)
	path := s.previewed(diagnose.ActionShift, url.Values{"version": {"v1", "v2"}, "weight": {"90", "10"}})
	const command = "kubectl annotate service -n demo web outrigger.dev/decided-at=2026-01-02T12:00:00Z outrigger.dev/weights=v1=90,v2=10 --overwrite"
	s.has(s.page(path, http.StatusOK), command, "outrigger shift web v1=90 v2=10 -n demo", "service/web was read with resourceVersion 7", "v1 100% 90%", "v2 0% 10%")
	s.now = s.now.Add(previewLifetime - time.Second)
	for range 2 {
		if w := s.act(path, nil); w.Code != http.StatusSeeOther || w.Header().Get("Location") != path {
			t.Fatalf("%d %s", w.Code, w.Header().Get("Location"))
		}
	}
	if want := []string{command + " (dry run)", command}; !slices.Equal(s.written, want) {
		t.Errorf("written: %q, want %q", s.written, want)
	}
	s.has(s.page(path, http.StatusOK), "Shift traffic: result", "service/web was changed.", "Applied.")
	s.now = s.now.Add(time.Second)
	s.has(s.page(path, http.StatusNotFound), "The preview has expired")
}

// The button that writes names the action: for a canary that has ended, more precisely than the title of the form.
func TestConfirmationNamesTheAction(t *testing.T) {
	t.Parallel()
	for want, request := range map[string]diagnose.Request{
		"Start canary v2 again":              {Action: diagnose.ActionCanaryRetry, Version: "v2"},
		"Retry the canary":                   {Action: diagnose.ActionCanaryRetry},
		"Start canary v2":                    {Action: diagnose.ActionCanary, Version: "v2"},
		"Start a canary of each new version": {Action: diagnose.ActionCanary, Version: "auto"},
		"Promote v2":                         {Action: diagnose.ActionPromote, Version: "v2"},
		"Shift traffic":                      {Action: diagnose.ActionShift},
		"Undo":                               {Action: diagnose.ActionUndo},
	} {
		if got := headingOf(request); got != want {
			t.Errorf("%s %s: %q, want %q", request.Action, request.Version, got, want)
		}
	}
	s := opened(t)
	s.has(s.page(s.previewed(diagnose.ActionPromote, url.Values{"version": {"v2"}}), http.StatusOK), "Promote v2: preview", "Confirm: Promote v2")
}

// An empty field shows a value that it accepts.
func TestExamplesAreValid(t *testing.T) {
	t.Parallel()
	form := formOf(diagnose.ActionCanary, diagnose.ActionFacts{Main: routed("demo", "web"), Now: noon}, nil)
	for _, field := range form.Settings {
		sent := url.Values{"version": {"v2"}, field.Name: {field.Example}}
		if _, err := requestOf(diagnose.ActionCanary, "web", sent); err != nil || field.Example == "" || field.Value != "" {
			t.Errorf("%s: %+v: %v", field.Name, field, err)
		}
		if err := diagnose.CheckCanary(api.DefaultRouteLimits(), map[string]string{api.AnnotationCanary: "v2", api.AnnotationCanaryChecks: settingFields["check"].Example}, inputs.Value); err != nil {
			t.Error(err)
		}
	}
}

// A write that fails is reported, and the others are not made.
func TestFailedWriteIsReported(t *testing.T) {
	t.Parallel()
	s := opened(t)
	path := s.previewed(diagnose.ActionPromote, url.Values{"version": {"v2"}})
	s.refused = errors.New("admission webhook <b>denied</b> the request")
	if w := s.act(path, nil); w.Code != http.StatusSeeOther {
		t.Fatalf("%d", w.Code)
	}
	page := s.page(path, http.StatusOK)
	s.has(page, "service/web was not changed: admission webhook &lt;b&gt;denied&lt;/b&gt; the request")
	if strings.Contains(page, `id="confirm"`) {
		t.Error("it can be confirmed again")
	}
	next := s.previewed(diagnose.ActionPromote, url.Values{"version": {"v2"}})
	page = s.page(next, http.StatusOK)
	s.has(page, "Rejected: admission webhook &lt;b&gt;denied&lt;/b&gt; the request")
	if strings.Contains(page, `id="confirm"`) {
		t.Error("what the dry run refuses can be confirmed")
	}
}

// After a failed write, the page says for each Service whether it was changed.
func TestEachServiceHasItsResult(t *testing.T) {
	t.Parallel()
	s := opened(t)
	s.others = []string{"web-a", "web-b"}
	path := s.previewed(diagnose.ActionPromote, url.Values{"version": {"v2"}, "all-services": {"on"}})
	s.refused, s.refusing = errors.New("the webhook denied the request"), "web-a"
	s.act(path, nil)
	page := s.page(path, http.StatusOK)
	s.has(page, "service/web was changed. service/web-a was not changed: the webhook denied the request service/web-b was not changed, because an earlier write failed. Applied.", "Try again")
	if want := `href="/actions/demo/web/promote?all-services=on&amp;version=v2"`; !strings.Contains(page, want) {
		t.Errorf("no link to try again: no %s in\n%s", want, page)
	}
}

// A browser that goes away does not stop a change halfway.
func TestAChangeIsWrittenWithoutTheBrowser(t *testing.T) {
	t.Parallel()
	s := opened(t)
	s.others = []string{"web-a", "web-b"}
	path := s.previewed(diagnose.ActionPromote, url.Values{"version": {"v2"}, "all-services": {"on"}})
	ctx, leave := context.WithCancel(t.Context())
	s.during = leave
	s.do(s.request(http.MethodPost, path, url.Values{"form-token": {s.formToken}}).WithContext(ctx))
	s.has(s.page(path, http.StatusOK), "service/web was changed. service/web-a was changed. service/web-b was changed. Applied.")
}

// Without a response, the page does not claim that the Service is unchanged.
func TestAWriteWithoutAResponse(t *testing.T) {
	t.Parallel()
	s := opened(t)
	path := s.previewed(diagnose.ActionPromote, url.Values{"version": {"v2"}})
	s.refused = &diagnose.UnknownWriteError{Err: errors.New("the connection was closed")}
	s.act(path, nil)
	page := s.page(path, http.StatusOK)
	s.has(page, "It is not known whether service/web was changed: the connection was closed")
	if strings.Contains(page, "was not changed") || strings.Contains(page, "Applied.") {
		t.Errorf("it claims to know: %s", textOf(page))
	}
}

// Messages name the fields of the form, not the flags of the command line.
func TestMessagesNameTheFieldsOfTheForm(t *testing.T) {
	t.Parallel()
	s := opened(t)
	s.others = []string{"web-internal"}
	flag := regexp.MustCompile(`(?:^| )--(?:pending|all-services|retry|to|steps|interval|check|min-requests|deadline)\b`)
	for name, c := range map[string]struct {
		action diagnose.Action
		form   url.Values
		want   string
	}{
		"an unknown version":  {diagnose.ActionPromote, url.Values{"version": {"v9"}}, `"Accept a version that has no pods yet" writes the name anyway`},
		"a weight":            {diagnose.ActionPromote, url.Values{"version": {"v2=10"}}, `"v2=10" names a weight; to split requests: choose "Shift traffic"`},
		"a policy":            {diagnose.ActionPromote, url.Values{"other": {"@hghest"}}, "Example: @highest"},
		"steps":               {diagnose.ActionCanary, url.Values{"version": {"v2"}, "steps": {"50,5"}}, `"Steps" = 50,5: `},
		"an interval":         {diagnose.ActionCanary, url.Values{"version": {"v2"}, "interval": {"5"}}, `"Step duration" = 5: `},
		"a version of no pod": {diagnose.ActionCanary, url.Values{"other": {"a b"}}, `"Version" = a b: `},
		"auto":                {diagnose.ActionCanary, url.Values{"version": {"auto"}, "retry": {"on"}}, `Auto starts no canary now: clear "Start even if this version already had a canary that ended"`},
		"a retry":             {diagnose.ActionCanary, url.Values{"version": {"v2"}, "retry": {"on"}}, `To start one, choose "Start a canary"`},
		"a past decision":     {diagnose.ActionUndo, url.Values{"to": {"x"}}, `"Return to" = x: expected 1 for the last decision`},
	} {
		w := s.act("/actions/demo/web/"+string(c.action), c.form)
		text := html.UnescapeString(textOf(regexp.MustCompile(`(?s)id="problem">(.*?)</p>`).FindString(w.Body.String())))
		if w.Code != http.StatusUnprocessableEntity || !strings.Contains(text, c.want) || flag.MatchString(text) {
			t.Errorf("%s: %d %s, want %s", name, w.Code, text, c.want)
		}
	}
	s.has(s.page(s.previewed(diagnose.ActionPromote, url.Values{"version": {"v2"}}), http.StatusOK), "To change them too, select &#34;Also change the other Services that select the same pods&#34;.")
}

// Each field that messages name exists on its form, with this label.
func TestInputsAreLabels(t *testing.T) {
	t.Parallel()
	s := opened(t)
	s.others = []string{"web-internal"}
	forms := ""
	for _, action := range []diagnose.Action{diagnose.ActionShift, diagnose.ActionPromote, diagnose.ActionCanary} {
		forms += textOf(s.page("/actions/demo/web/"+string(action), http.StatusOK))
	}
	for name, label := range inputs {
		if name != fieldTo && !strings.Contains(forms, label) { // without a past decision, undo has no such field
			t.Errorf("no form has %q", label)
		}
	}
}

func TestPreviewsAreBounded(t *testing.T) {
	t.Parallel()
	var kept previews
	var ids []string
	for range maxPreviews + 1 {
		one := &preview{}
		kept.add(one, noon)
		ids = append(ids, one.id)
	}
	if kept.get(ids[0], noon) != nil || kept.get(ids[1], noon) == nil || len(kept.held) != maxPreviews {
		t.Errorf("%d are kept", len(kept.held))
	}
	later := &preview{}
	kept.add(later, noon.Add(previewLifetime))
	if len(kept.held) != 1 || kept.get(later.id, noon.Add(previewLifetime)) != later {
		t.Errorf("%d are kept after they have expired", len(kept.held))
	}
}

// The link that changes the values of a preview fills in the form with them, so that sending it requests the same.
func TestValuesOfAFormSurviveIt(t *testing.T) {
	t.Parallel()
	facts := diagnose.ActionFacts{Main: routed("demo", "web"), Gaps: diagnose.Gaps{}, Now: noon}
	for _, want := range []diagnose.Request{
		{Action: diagnose.ActionShift, Weights: []string{"v1=60", "v2=40"}},
		{Action: diagnose.ActionShift, Weights: []string{"v2=100"}, AllServices: true},
		{Action: diagnose.ActionShift, Weights: []string{"v1=60", "v3=40"}, AllowPending: true},
		{Action: diagnose.ActionPromote, Version: "v2", AllServices: true},
		{Action: diagnose.ActionCanary, Version: "v2", Settings: map[string]string{"steps": "5@2m,100", "check": "error-rate<1%"}, AllowPending: true},
		{Action: diagnose.ActionCanaryRetry, Version: "v2", Settings: map[string]string{"interval": "1m"}},
		{Action: diagnose.ActionCanaryPause},
		{Action: diagnose.ActionUndo, To: 2},
	} {
		want.Service = "web"
		path, err := url.Parse(formPath("demo", want))
		if err != nil {
			t.Fatal(err)
		}
		action := diagnose.Action(strings.TrimPrefix(path.Path, "/actions/demo/web/"))
		form := formOf(action, facts, path.Query())
		sent := url.Values{}
		for _, row := range form.Weights {
			sent.Add(fieldVersion, row.Version)
			sent.Add(fieldWeight, row.Weight)
		}
		if len(form.Versions) > 0 {
			sent.Set(fieldVersion, form.Version)
		}
		for _, setting := range form.Settings {
			sent.Set(setting.Name, setting.Value)
		}
		for name, is := range map[string]bool{fieldPending: form.IsPending, fieldServices: form.AllServices, fieldRetry: form.Retry} {
			if is {
				sent.Set(name, "on")
			}
		}
		if form.To > 0 {
			sent.Set(fieldTo, fmt.Sprint(form.To))
		}
		got, err := requestOf(action, "web", sent)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		got.Inputs = nil
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s, -want +got:\n%s", path, diff)
		}
	}
}

// The form of a shift has the current weights, and a row for a version that is to come.
func TestFormHasTheCurrentWeights(t *testing.T) {
	t.Parallel()
	form := formOf(diagnose.ActionShift, diagnose.ActionFacts{Main: routed("demo", "web"), Now: noon}, nil)
	want := []weightField{{"v1", "100", "2 of 2 pods ready"}, {"v2", "0", "2 of 2 pods ready"}, {}}
	if diff := cmp.Diff(want, form.Weights); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := formOf(diagnose.ActionPromote, diagnose.ActionFacts{Main: routed("demo", "web"), Now: noon}, nil).Versions; !slices.Equal(got, []string{"v2", "v1"}) {
		t.Errorf("the default is offered first: %v", got)
	}
}
