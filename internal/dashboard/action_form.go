// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/routing"
)

// actionTexts are the titles, buttons, and descriptions of the actions.
var actionTexts = map[diagnose.Action]struct{ title, button, about string }{
	diagnose.ActionShift:         {"Shift traffic", "Preview the shift", "Split all requests that no match rule routes. The percentages of this form must sum to 100; a version with 0 gets none of these requests. This ends a canary in progress."},
	diagnose.ActionPromote:       {"Promote a version", "Preview the promotion", "Make a version the default: it gets all requests that no match rule routes. This ends a canary in progress."},
	diagnose.ActionCanary:        {"Start a canary", "Preview the canary", "Roll out a version step by step while its checks pass. If a check fails twice in a row, the canary is aborted and its share returns to the default version."},
	diagnose.ActionCanaryPause:   {"Pause the canary", "Preview the pause", "Stay at the current step. A failing check still aborts the canary."},
	diagnose.ActionCanaryResume:  {"Resume the canary", "Preview the resume", "Continue a canary that was paused, or whose route was edited by hand."},
	diagnose.ActionCanaryAbort:   {"Abort the canary", "Preview the abort", "End the canary. Its share returns to the default version."},
	diagnose.ActionCanaryPromote: {"Promote the canary", "Preview the promotion", "End the canary and make its version the default now."},
	diagnose.ActionCanaryRetry:   {"Retry the canary", "Preview the retry", "Restart the last canary with the same settings."},
	diagnose.ActionUndo:          {"Undo", "Preview the undo", "Restore the weights and the default version from before a decision. While a canary is in progress, undoing the last change aborts it."},
}

// headingOf returns the heading of a preview. It names the version, which the title of the form does not.
func headingOf(r diagnose.Request) string {
	switch {
	case r.Action == diagnose.ActionCanary && r.Version == api.CanaryAuto:
		return "Start a canary of each new version"
	case r.Action == diagnose.ActionCanary:
		return "Start canary " + r.Version
	case r.Action == diagnose.ActionCanaryRetry && r.Version != "":
		return "Start canary " + r.Version + " again"
	case r.Action == diagnose.ActionPromote:
		return "Promote " + r.Version
	}
	return actionTexts[r.Action].title
}

// The names of form fields.
const (
	fieldVersion  = "version" // repeated in the form of shift, once for each fieldWeight
	fieldWeight   = "weight"
	fieldOther    = "other" // a version that has no pods yet; it replaces fieldVersion
	fieldPending  = "pending"
	fieldServices = "all-services"
	fieldRetry    = "retry"
	fieldTo       = "to"
)

// inputs are the labels of form fields and the titles of forms, for messages that refer to them. A field has the name of its flag.
var inputs = diagnose.Inputs{
	fieldVersion: "Version", fieldTo: "Return to",
	fieldPending:  "Accept a version that has no pods yet",
	fieldServices: "Also change the other Services that select the same pods",
	fieldRetry:    "Start even if this version already had a canary that ended",
	"steps":       "Steps", "interval": "Step duration", "check": "Checks", "min-requests": "Minimum requests", "deadline": "Deadline",
	string(diagnose.ActionShift): actionTexts[diagnose.ActionShift].title, string(diagnose.ActionCanary): actionTexts[diagnose.ActionCanary].title,
}

// requestOf returns the request of a form. It returns the same errors as the commands and, in addition, one if the weights do not sum
// to 100.
func requestOf(action diagnose.Action, service string, form url.Values) (diagnose.Request, error) {
	r := diagnose.Request{Action: action, Service: service, AllowPending: form.Get(fieldPending) != "", Inputs: inputs}
	version := strings.TrimSpace(form.Get(fieldVersion))
	if other := strings.TrimSpace(form.Get(fieldOther)); other != "" {
		version = other
	}
	switch action {
	case diagnose.ActionShift:
		r.AllServices = form.Get(fieldServices) != ""
		weights, err := weightsOf(form)
		if err != nil {
			return r, err
		}
		r.Weights = weights
		if err := r.Check(); err != nil {
			return r, err
		}
		r.Weights, err = percentages(weights)
		return r, err
	case diagnose.ActionPromote:
		r.AllServices, r.Version = form.Get(fieldServices) != "", version
	case diagnose.ActionCanary:
		r.Version, r.Settings = version, map[string]string{}
		for _, name := range diagnose.CanarySettings() {
			if text := strings.TrimSpace(form.Get(name)); text != "" {
				r.Settings[name] = text
			}
		}
		if form.Get(fieldRetry) != "" {
			r.Action = diagnose.ActionCanaryRetry
		}
	case diagnose.ActionUndo:
		r.AllowPending = false
		if text := form.Get(fieldTo); text != "" {
			to, err := strconv.Atoi(text)
			if err != nil || to < 0 {
				return r, fmt.Errorf("%s: expected 1 for the last decision, 2 for the one before, and so on", inputs.Value(fieldTo, text))
			}
			r.To = to
		}
	default:
		r.AllowPending = false
	}
	return r, r.Check()
}

// formPath returns the path and query of the form that makes the same request.
func formPath(namespace string, r diagnose.Request) string {
	action := r.Action
	if action == diagnose.ActionCanaryRetry && r.Version != "" {
		action = diagnose.ActionCanary
	}
	values := formValues(r)
	if len(values) == 0 {
		return actionPath(namespace, r.Service, action)
	}
	return actionPath(namespace, r.Service, action) + "?" + values.Encode()
}

func formValues(r diagnose.Request) url.Values {
	out := url.Values{}
	set := func(name, value string) {
		if value != "" {
			out.Set(name, value)
		}
	}
	for _, item := range r.Weights {
		version, weight, _ := strings.Cut(item, "=")
		out.Add(fieldVersion, version)
		out.Add(fieldWeight, weight)
	}
	set(fieldVersion, r.Version)
	for name, value := range r.Settings {
		set(name, value)
	}
	for name, is := range map[string]bool{fieldPending: r.AllowPending, fieldServices: r.AllServices, fieldRetry: r.Action == diagnose.ActionCanaryRetry && r.Version != ""} {
		if is {
			out.Set(name, "on")
		}
	}
	if r.To > 0 {
		out.Set(fieldTo, strconv.Itoa(r.To))
	}
	return out
}

// weightsOf returns the weights of a form as VERSION=WEIGHT. An empty weight is 0; a row without a version and a weight is left out.
func weightsOf(form url.Values) ([]string, error) {
	versions, weights := form[fieldVersion], form[fieldWeight]
	if len(versions) != len(weights) {
		return nil, fmt.Errorf("%d versions and %d weights: expected one weight for each version", len(versions), len(weights))
	}
	var out []string
	for i := range versions {
		version, weight := strings.TrimSpace(versions[i]), strings.TrimSpace(weights[i])
		switch {
		case version == "" && (weight == "" || weight == "0"):
			continue
		case version == "":
			return nil, fmt.Errorf("the weight %s has no version: name one, or clear the weight", weight)
		case weight == "":
			weight = "0"
		}
		out = append(out, version+"="+weight)
	}
	return out, nil
}

// percentages returns the weights that are not 0, or an error if they do not sum to 100. The caller has validated each weight.
func percentages(weights []string) ([]string, error) {
	sum, out := 0, []string{}
	for _, item := range weights {
		_, text, _ := strings.Cut(item, "=")
		weight, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("%q is not of the form VERSION=WEIGHT, such as v2=10", item)
		}
		if sum += weight; weight > 0 {
			out = append(out, item)
		}
	}
	switch {
	case sum < 100:
		return nil, fmt.Errorf("the weights %s sum to %d: add %d to reach 100", strings.Join(weights, " "), sum, 100-sum)
	case sum > 100:
		return nil, fmt.Errorf("the weights %s sum to %d: remove %d to reach 100", strings.Join(weights, " "), sum, sum-100)
	}
	return out, nil
}

// actionForm is the form of one action for one Service.
type actionForm struct {
	Namespace, Service     string
	Verb                   diagnose.Action
	Title, Button, About   string
	Problem                diagnose.Text // what is wrong with the values
	Weights                []weightField
	Versions               []string // to choose from
	Version, Other         string
	Settings               []settingField
	Past                   []pastField
	To                     int
	AllServices, IsPending bool
	Retry                  bool
	Others                 []string // the other Services that select the same pods
}

// weightField is a row of the form of shift.
type weightField struct {
	Version string // empty for the row of a version that has no pods yet
	Weight  string
	Pods    string // "2 of 3 pods ready"
}

// settingField is a setting of a canary.
type settingField struct{ Name, About, Example, Value string }

// pastField is a decision to return to.
type pastField struct {
	Number int
	Text   string
}

// settingFields describe the settings of a canary.
var settingFields = map[string]settingField{
	"steps":        {About: "Increasing percentages that end with 100, each with an optional duration, such as 5@2m. Built-in default: 5,20,50,100", Example: "5@2m,25,100"},
	"interval":     {About: "For each step without a duration of its own. Built-in default: 5m", Example: "10m"},
	"check":        {About: "Separated by commas. Built-in default: error-rate<1% if metrics are configured, otherwise readiness", Example: "error-rate<1%,p99<1.5x"},
	"min-requests": {About: "Requests that the version must receive before a step can pass. Built-in default: 20", Example: "100"},
	"deadline":     {About: "How long a step may wait after its duration has elapsed. Built-in default: 1h", Example: "2h"},
}

// formOf returns the form of an action with the submitted values, or with the current ones if it was not submitted.
func formOf(action diagnose.Action, facts diagnose.ActionFacts, sent url.Values) actionForm {
	service, texts := facts.Main.Service, actionTexts[action]
	out := actionForm{
		Namespace: service.Namespace, Service: service.Name, Verb: action, Title: texts.title, Button: texts.button, About: texts.about,
		Version: strings.TrimSpace(sent.Get(fieldVersion)), Other: sent.Get(fieldOther),
		AllServices: sent.Get(fieldServices) != "", IsPending: sent.Get(fieldPending) != "", Retry: sent.Get(fieldRetry) != "",
	}
	switch action {
	case diagnose.ActionShift:
		out.Weights = weightFields(facts.Main, sent)
	case diagnose.ActionPromote:
		out.Versions = offeredVersions(facts.Main)
	case diagnose.ActionCanary:
		out.Versions = append(offeredVersions(facts.Main), api.CanaryAuto)
		for _, name := range []string{"steps", "interval", "check", "min-requests", "deadline"} {
			field := settingFields[name]
			field.Name, field.Value = name, sent.Get(name)
			out.Settings = append(out.Settings, field)
		}
	case diagnose.ActionUndo:
		out.To, _ = strconv.Atoi(sent.Get(fieldTo)) // anything but a number selects none
		out.Past = pastFields(facts)
	}
	if action == diagnose.ActionShift || action == diagnose.ActionPromote {
		for _, other := range facts.Others {
			out.Others = append(out.Others, other.Service.Name)
		}
	}
	return out
}

// offeredVersions returns the versions to choose from: the ones that are not the default come first, newest first.
func offeredVersions(observed routing.Observed) []string {
	out := routing.KnownVersions(observed)
	slices.Reverse(out)
	current := diagnose.ReadRoute(observed).Default
	slices.SortStableFunc(out, func(a, b string) int {
		switch {
		case a == current && b != current:
			return 1
		case b == current && a != current:
			return -1
		}
		return 0
	})
	return out
}

// weightFields returns a row for each version that exists or gets requests, and one for a version that has no pods yet.
func weightFields(observed routing.Observed, sent url.Values) []weightField {
	reading := diagnose.ReadRoute(observed)
	versions := routing.KnownVersions(observed)
	for _, share := range reading.Shares() {
		if share.Version != "" && !slices.Contains(versions, share.Version) {
			versions = append(versions, share.Version)
		}
	}
	slices.SortFunc(versions, routing.CompareVersions)
	values, sum := map[string]string{}, 0
	for _, version := range versions {
		weight, _ := reading.WeightOf(version)
		values[version], sum = strconv.Itoa(weight), sum+weight
	}
	if sum == 0 && len(versions) > 0 { // there is no route yet
		values[versions[0]] = "100"
	}
	extra := weightField{}
	if names := sent[fieldVersion]; len(names) > 0 && len(names) == len(sent[fieldWeight]) {
		for version := range values {
			values[version] = "0"
		}
		for i, name := range names {
			if weight := sent[fieldWeight][i]; slices.Contains(versions, name) {
				values[name] = weight
			} else if name != "" || weight != "" {
				extra.Version, extra.Weight = name, weight
			}
		}
	}
	var out []weightField
	for _, version := range versions {
		out = append(out, weightField{version, values[version], podsText(observed, version)})
	}
	return append(out, extra)
}

func podsText(observed routing.Observed, version string) string {
	pods, ready := 0, 0
	for _, group := range observed.Pods {
		if group.Version == version {
			pods, ready = pods+group.Pods, ready+group.Ready
		}
	}
	return fmt.Sprintf("%d of %d pods ready", ready, pods)
}

func pastFields(facts diagnose.ActionFacts) []pastField {
	var out []pastField
	for i, decision := range routing.Decisions(facts.Main, facts.Now) {
		if i == 0 {
			continue // the one in effect
		}
		text := fmt.Sprintf("%s, in effect until %s", decision, diagnose.ClockTime(decision.Until))
		if len(decision.Missing) > 0 {
			text += "; no longer available: " + strings.Join(decision.Missing, ", ")
		}
		out = append(out, pastField{i, text})
	}
	return out
}
