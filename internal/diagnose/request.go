// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"outrigger.dev/outrigger/api"
)

// Action is what a user can request for a Service.
type Action string

// The actions. Those that begin with "canary-" are about a Service's existing canary.
const (
	ActionShift         Action = "shift"
	ActionPromote       Action = "promote"
	ActionCanary        Action = "canary"
	ActionCanaryPause   Action = "canary-pause"
	ActionCanaryResume  Action = "canary-resume"
	ActionCanaryAbort   Action = "canary-abort"
	ActionCanaryPromote Action = "canary-promote"
	ActionCanaryRetry   Action = "canary-retry"
	ActionUndo          Action = "undo"
)

// Actions returns all actions in the order in which they are listed.
func Actions() []Action {
	return []Action{
		ActionShift, ActionPromote, ActionCanary, ActionCanaryPause, ActionCanaryResume, ActionCanaryAbort, ActionCanaryPromote, ActionCanaryRetry, ActionUndo,
	}
}

// OfCanary returns the action's name for CanaryAction, which is also the name of its flag of outrigger canary. It returns "" for actions
// that are not about a Service's existing canary.
func (a Action) OfCanary() string {
	name, _ := strings.CutPrefix(string(a), "canary-")
	if name == string(a) {
		return ""
	}
	return name
}

// Request is an action for a Service with its parameters, from a command line or a form.
type Request struct {
	Action  Action
	Service string
	Weights []string // of shift, as VERSION=WEIGHT
	// Version is the one to promote or to roll out, or "auto". With ActionCanaryRetry, it may be empty.
	Version string
	// Settings are those of a canary to start, by the names of the flags: "steps", "interval", "check", "min-requests", and "deadline".
	// Without a setting, its default applies.
	Settings     map[string]string
	AllowPending bool // accept versions that do not exist yet
	AllServices  bool // also decide for the other Services that select the same pods
	To           int  // of undo: the number of the past decision; 0 undoes the last change
	// Inputs are what messages call these fields.
	Inputs Inputs
}

// canarySettings are the names of the settings of a canary, by annotation.
var canarySettings = map[string]string{
	api.AnnotationCanarySteps: "steps", api.AnnotationCanaryInterval: "interval", api.AnnotationCanaryChecks: "check",
	api.AnnotationCanaryMinRequests: "min-requests", api.AnnotationCanaryDeadline: "deadline",
}

// CanarySettings returns the names of the settings of a canary, sorted.
func CanarySettings() []string { return slices.Sorted(maps.Values(canarySettings)) }

// canaryInput returns an annotation of a canary with its value, as the user entered it.
func (r Request) canaryInput(annotation, text string) string {
	switch name := canarySettings[annotation]; {
	case name != "":
		return r.Inputs.Value(name, text)
	case annotation == api.AnnotationCanary && r.Inputs["version"] == "":
		return "VERSION=" + text
	case annotation == api.AnnotationCanary:
		return r.Inputs.Value("version", text)
	}
	return annotation + "=" + text
}

// Check returns an error if the request is invalid regardless of the state of the cluster.
func (r Request) Check() error {
	switch {
	case !slices.Contains(Actions(), r.Action):
		return fmt.Errorf("unknown action %q: expected one of %v", r.Action, Actions())
	case r.Action == ActionShift:
		_, err := r.shift()
		return err
	case r.Action == ActionPromote:
		_, err := r.promotion()
		return err
	case r.Action == ActionUndo && r.To < 0:
		return fmt.Errorf("%s: expected 1 for the last decision, 2 for the one before, and so on", r.Inputs.Value("to", strconv.Itoa(r.To)))
	case r.startsCanary():
		return r.checkCanary()
	}
	return nil
}

// shift returns the decision to split requests. Commas may replace spaces, as in the annotation.
func (r Request) shift() (Decision, error) {
	d := r.decision()
	var items []string
	for _, arg := range r.Weights {
		for _, item := range strings.Split(arg, ",") {
			name, weight, found := strings.Cut(strings.TrimSpace(item), "=")
			if !found || name == "" || weight == "" {
				return d, fmt.Errorf("%q is not of the form VERSION=WEIGHT, such as v2=10", item)
			}
			items, d.Versions = append(items, name+"="+weight), append(d.Versions, name)
		}
	}
	if len(items) == 0 {
		return d, errors.New("name at least one version with its weight, such as v2=10")
	}
	d.Annotations = map[string]string{api.AnnotationWeights: strings.Join(items, ",")}
	return d, api.CheckWeights(d.Annotations[api.AnnotationWeights])
}

// promotion returns the decision to promote a version. Policies of the annotation, such as @highest, name no version.
func (r Request) promotion() (Decision, error) {
	d := r.decision()
	d.Annotations = map[string]string{api.AnnotationDefaultVersion: r.Version, api.AnnotationWeights: ""}
	isPolicy := strings.HasPrefix(r.Version, "@")
	switch {
	case r.Version == "":
		return d, errors.New("name a version, such as v2")
	case strings.Contains(r.Version, "="):
		return d, fmt.Errorf("%q names a weight; to split requests: %s", r.Version, r.Inputs.form("shift", "shift "+r.Service+" "+r.Version))
	case !isPolicy:
		d.Versions = []string{r.Version}
	}
	err := api.CheckDefaultVersion(r.Version)
	if err != nil && isPolicy {
		example := "promote " + r.Service + " @highest"
		if r.Inputs["version"] != "" {
			example = "@highest"
		}
		return d, fmt.Errorf("%w. Policies: @first, @lowest, @highest, @all. Example: %s", err, example)
	}
	return d, err
}

func (r Request) decision() Decision {
	return Decision{Service: r.Service, AllowPending: r.AllowPending, AllServices: r.AllServices, Inputs: r.Inputs}
}

// startsCanary reports whether the request names the version of a canary to start.
func (r Request) startsCanary() bool {
	return r.Action == ActionCanary || r.Action == ActionCanaryRetry && r.Version != ""
}

// checkCanary validates the annotations, except for the checks: which metrics exist depends on the settings of the installation.
func (r Request) checkCanary() error {
	switch {
	case r.Version == "":
		return errors.New("name a version, such as v2")
	case r.Version == api.CanaryAuto && r.Action == ActionCanaryRetry:
		return fmt.Errorf("%s starts no canary now: %s", api.CanaryAuto, r.Inputs.omit("retry"))
	}
	for _, name := range slices.Sorted(maps.Keys(r.Settings)) {
		if !slices.Contains(CanarySettings(), name) {
			return fmt.Errorf("unknown canary setting %q: expected one of %s", name, strings.Join(CanarySettings(), ", "))
		}
	}
	known := r.canaryAnnotations()
	delete(known, api.AnnotationCanaryChecks)
	return CheckCanary(api.DefaultRouteLimits(), known, r.canaryInput)
}

// canaryAnnotations returns the annotations of the canary to start. Empty values remove those of an earlier canary.
func (r Request) canaryAnnotations() map[string]string {
	out := map[string]string{api.AnnotationCanary: r.Version, api.AnnotationCanaryPaused: ""}
	for annotation, name := range canarySettings {
		out[annotation] = r.Settings[name]
	}
	return out
}

// Command returns the equivalent outrigger command line, quoted for a shell.
func (r Request) Command(namespace string) string {
	command := string(r.Action)
	if r.startsCanary() || r.Action.OfCanary() != "" {
		command = "canary"
	}
	words := []string{"outrigger", command, r.Service}
	if r.Action == ActionShift {
		words = append(words, r.Weights...)
	} else if r.Version != "" {
		words = append(words, r.Version)
	}
	if flag := r.Action.OfCanary(); flag != "" {
		words = append(words, "--"+flag)
	}
	for _, name := range CanarySettings() {
		if text := r.Settings[name]; text != "" {
			words = append(words, "--"+name+"="+text)
		}
	}
	for _, flag := range []struct {
		is   bool
		text string
	}{{r.AllowPending, "--pending"}, {r.AllServices, "--all-services"}, {r.To > 0, "--to=" + strconv.Itoa(r.To)}} {
		if flag.is {
			words = append(words, flag.text)
		}
	}
	words = append(words, "-n", namespace)
	for i, word := range words {
		words[i] = api.ShellWord(word)
	}
	return strings.Join(words, " ")
}

// decide returns the decision that the request makes for this Service. Only undo has a reason, which says which decision is restored.
func (r Request) decide(facts ActionFacts) (d Decision, reason string, err error) {
	switch r.Action {
	case ActionShift:
		d, err = r.shift()
		return d, "", err
	case ActionPromote:
		d, err = r.promotion()
		return d, "", err
	}
	if err := r.mayReadRoutes(facts); err != nil {
		return d, "", err
	}
	switch {
	case r.Action == ActionUndo:
		undo, err := UndoOf(facts.Main, r.To, r.Inputs, facts.Now)
		return undo.Decision, undo.Reason, err
	case !r.startsCanary():
		d, err = CanaryAction(facts.Main, r.Action.OfCanary(), r.Inputs, facts.Now)
		return d, "", err
	}
	if err := r.checkMetrics(facts); err != nil {
		return d, "", err
	}
	if err := r.mayStartCanary(facts); err != nil {
		return d, "", err
	}
	d, err = r.canaryStart(facts.Main, facts.Now)
	return d, "", err
}

// mayReadRoutes returns an error for undo and canaries if the user has no permission to read the routes that they depend on.
func (r Request) mayReadRoutes(facts ActionFacts) error {
	namespace := facts.Main.Service.Namespace
	if !facts.Gaps.HidesRoutes(namespace) {
		return nil
	}
	command := "canary"
	if r.Action == ActionUndo {
		command = "undo"
	}
	return fmt.Errorf("%s needs permission to list %s in namespace %s; nothing was written", command, RouteKindsText(), namespace)
}

// mayStartCanary returns an error if no canary can start, whatever its version. The caller must have permission to read the routes.
func (r Request) mayStartCanary(facts ActionFacts) error {
	if why := WhyNoRoute(facts.Main, facts.Gaps); why != "" {
		return fmt.Errorf("service %s/%s cannot have a canary, because Outrigger writes no route for it: %s", facts.Main.Service.Namespace, r.Service, why)
	}
	return nil
}

// checkMetrics returns an error if the installation cannot evaluate a check of the canary.
func (r Request) checkMetrics(facts ActionFacts) error {
	checks := r.Settings["check"]
	if checks == "" || strings.TrimSpace(checks) == api.CanaryReadiness || !facts.AreSettingsKnown {
		return nil
	}
	if err := CheckCanary(facts.Main.Settings.Limits, r.canaryAnnotations(), r.canaryInput); err != nil {
		return &RequestError{err}
	}
	if !facts.Main.Settings.Canary.HasMetrics {
		return fmt.Errorf("%s needs metrics, but none are configured for Outrigger in namespace %s (routing.metrics.prometheusURL). Without %s, the canary checks that its pods are ready",
			r.Inputs.Value("check", checks), facts.SystemNamespace, r.Inputs.name("check"))
	}
	return nil
}

// RequestError is an error in the request itself, regardless of the Service.
type RequestError struct{ Err error }

// Error returns the text of the error.
func (e *RequestError) Error() string { return e.Err.Error() }

// Unwrap returns the error.
func (e *RequestError) Unwrap() error { return e.Err }
