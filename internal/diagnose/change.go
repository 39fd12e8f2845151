// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// ActionFacts is what an action depends on.
type ActionFacts struct {
	Main   routing.Observed   // the Service of the request
	Others []routing.Observed // the other Services of its namespace that select the same pods, sorted by name
	Gaps   Gaps
	// AreSettingsKnown is true if the settings of the installation could be read.
	AreSettingsKnown bool
	SystemNamespace  string // where Outrigger is installed
	Now              time.Time
}

// Change is what a request writes, and the effect of that.
type Change struct {
	Request   Request
	Namespace string
	// Reason says which decision undo returns to.
	Reason string
	// Forecasts are the effects on the Services of the request. Services that already have the wanted annotations are not written.
	Forecasts []Forecast
	Ended     *CanaryStatus // the canary that a retry restarts; nil for other requests
	skipped   []string      // the Services to which the request does not apply, each with the reason
	others    []string      // the Services that select the same pods and do not change
}

// ChangeOf returns what a request writes, and the effect of that. If the request is invalid or cannot have an effect, it returns an error,
// and a Change that has only the Request, the Namespace, and the Reason.
func ChangeOf(r Request, facts ActionFacts) (Change, error) {
	out := Change{Request: r, Namespace: facts.Main.Service.Namespace}
	if err := r.Check(); err != nil {
		return out, &RequestError{err}
	}
	d, reason, err := r.decide(facts)
	out.Reason, out.Ended = reason, d.Ended
	if err != nil {
		return out, err
	}
	targets := []routing.Observed{facts.Main}
	if d.AllServices {
		targets = append(targets, facts.Others...)
	} else {
		out.others = describeOthers(facts, d)
	}
	for _, observed := range targets {
		forecast, err := ForecastDecision(observed, d, facts.Gaps, facts.Now)
		switch {
		case err != nil:
			return Change{Request: r, Namespace: out.Namespace, Reason: reason, Ended: d.Ended}, err
		case observed.Service.Name != d.Service && forecast.Skipped != "":
			out.skipped = append(out.skipped, "service/"+observed.Service.Name+" is skipped: "+forecast.Skipped)
		default:
			out.Forecasts = append(out.Forecasts, forecast)
		}
	}
	return out, nil
}

func describeOthers(facts ActionFacts, d Decision) []string {
	var out []string
	for _, observed := range facts.Others {
		out = append(out, DescribeRoute(observed, facts.Gaps))
	}
	switch {
	case len(out) > 0 && d.OneService:
		out = append(out, "    This does not change them.")
	case len(out) > 0:
		out = append(out, "    This does not change them. To change them too, "+d.Inputs.set("all-services")+".")
	}
	return out
}

// Lines returns the text of the change: the effect on each Service with the kubectl command, and the Services that do not change.
func (c Change) Lines() []string {
	var out []string
	if c.Reason != "" {
		out = append(out, c.Reason)
	}
	out = append(out, c.skipped...)
	for _, forecast := range c.Forecasts {
		out = append(out, forecast.Lines()...)
	}
	return append(out, c.others...)
}

// Notes returns the lines of the change that Traffic and the commands do not show.
func (c Change) Notes() []Text {
	var out []Text
	if c.Reason != "" {
		out = texts(c.Reason)
	}
	out = append(out, texts(c.skipped...)...)
	for _, forecast := range c.Forecasts {
		for _, note := range forecast.notes {
			if len(c.Forecasts) > 1 {
				note = Sentences("service/" + forecast.Observed.Service.Name + ": ").with(note...)
			}
			out = append(out, note)
		}
	}
	for _, line := range c.others {
		out = append(out, Sentences(strings.TrimSpace(line)))
	}
	return out
}

// Traffic returns how the requests of callers are shared before and after. A Service whose route is unknown has no entry.
func (c Change) Traffic() []TrafficChange {
	var out []TrafficChange
	for _, forecast := range c.Forecasts {
		out = append(out, forecast.Traffic()...)
	}
	return out
}

// Writes returns the effects on the Services to write.
func (c Change) Writes() []Forecast {
	return slices.DeleteFunc(slices.Clone(c.Forecasts), func(f Forecast) bool { return f.IsCurrent })
}

// Commands returns the equivalent kubectl commands.
func (c Change) Commands() []string {
	var out []string
	for _, forecast := range c.Writes() {
		out = append(out, forecast.Command)
	}
	return out
}

// ResourceVersion returns the resourceVersion of the Service that the forecast was computed from.
func (o Forecast) ResourceVersion() string { return o.Observed.Service.ResourceVersion }

// DifferencesFrom compares the change with the one that the user has seen, except for the time of the decision. It returns a sentence for
// each difference, or nil if there is none.
func (c Change) DifferencesFrom(seen Change) []string {
	var out []string
	is := map[string]Forecast{}
	for _, forecast := range c.Forecasts {
		is[forecast.Observed.Service.Name] = forecast
	}
	for _, was := range seen.Forecasts {
		name := was.Observed.Service.Name
		if now, stays := is[name]; stays {
			out = append(out, now.differencesFrom(was)...)
		} else {
			out = append(out, fmt.Sprintf("service/%s is no longer part of this change.", name))
		}
		delete(is, name)
	}
	for _, name := range slices.Sorted(maps.Keys(is)) {
		out = append(out, fmt.Sprintf("service/%s is now also part of this change.", name))
	}
	return out
}

// differencesFrom returns a sentence for each difference from the forecast that the user has seen.
func (o Forecast) differencesFrom(seen Forecast) []string {
	name := "service/" + o.Observed.Service.Name
	var out []string
	for _, key := range slices.Sorted(maps.Keys(joined(seen.was, o.was))) {
		switch was, is := seen.was[key], o.was[key]; {
		case was == is || !strings.HasPrefix(key, api.Domain+"/"): // other annotations can be long, and have no effect on routing
		case is == "":
			out = append(out, fmt.Sprintf("%s: another client removed the annotation %s (was %s).", name, key, was))
		default:
			out = append(out, fmt.Sprintf("%s: another client set the annotation %s=%s (was %s).", name, key, is, cmp.Or(was, "absent")))
		}
	}
	if was, is := canaryText(seen.canary), canaryText(o.canary); was != is {
		out = append(out, fmt.Sprintf("%s: its canary was %s and is now %s.", name, was, is))
	}
	if (seen.IsFrozen || o.IsFrozen) && seen.freezeIsSet != o.freezeIsSet {
		if o.freezeIsSet {
			out = append(out, name+": routes are frozen now (routing.freeze=true). The change would take effect when the freeze ends.")
		} else {
			out = append(out, name+": routes are no longer frozen (routing.freeze=false). The change would not wait for the end of the freeze.")
		}
	}
	if was, is := strings.Join(seen.changes(), "; "), strings.Join(o.changes(), "; "); was != is {
		out = append(out, fmt.Sprintf("The effect was %q and is now %q.", was, is))
	}
	if len(out) > 0 {
		return out
	}
	was, is := maps.Clone(seen.Annotations), maps.Clone(o.Annotations)
	delete(was, api.AnnotationDecidedAt)
	delete(is, api.AnnotationDecidedAt)
	switch {
	case !maps.Equal(was, is):
		return []string{fmt.Sprintf("%s: the annotations to write were %s and are now %s.", name, strings.Join(KubectlArguments(was), " "), strings.Join(KubectlArguments(is), " "))}
	case seen.ResourceVersion() != o.ResourceVersion():
		return []string{name + " was changed by another client."}
	}
	return nil
}

// canaryText describes what decisions about a canary depend on, which does not include the values of its checks.
func canaryText(c *CanaryStatus) string {
	if c == nil {
		return "absent"
	}
	out := c.Version + " " + c.State
	if c.IsProgressing() {
		out += fmt.Sprintf(" at %d%%", c.Percent)
	}
	if c.Paused {
		out += ", paused"
	}
	if c.Since != nil {
		out += " since " + ClockTime(*c.Since)
	}
	return out
}

func joined(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, b)
	return out
}
