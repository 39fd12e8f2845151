// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"fmt"
	"html/template"
	"slices"
	"strings"

	"outrigger.dev/outrigger/internal/diagnose"
)

// A drawing of routes shows at most this many rules and versions, and the number of the others. The page lists all of them.
const (
	maxRules    = 12
	maxVersions = 12
)

// route is what a drawing of routes shows, in any layout.
type route struct {
	service                 string
	description             string // all of it in sentences, for screen readers
	object                  string // the VirtualService that routes callers in the mesh, if Outrigger does not write it
	callers                 []caller
	rules                   []rule
	versions                []routedVersion
	moreRules, moreVersions int // not drawn
}

// caller is where requests come from.
type caller struct {
	name     string
	hosts    string
	ownRoute string // how its requests are shared, if other rules apply to them than those of the drawing
}

// rule is a condition and where the requests that meet it go.
type rule struct {
	number  string // "1"; empty for the rule for all other requests
	match   string
	to      []share
	mirrors []share
}

// share is the part of a rule's requests that goes to the version at an index of the drawing; -1 if that version is not drawn.
type share struct {
	version int
	name    string
	percent float64
}

func (s share) label() string { return valueText(s.percent) + "%" }

// routedVersion is a version, or every pod if no version is chosen.
type routedVersion struct {
	name, class string
	notes       []string // below the name
	isReady     bool
	isIdle      bool // no rule routes to it
}

// routeDrawing draws where the requests of a Service go: from its callers by its rules to its versions. It contains the drawing twice:
// from left to right in the class "wide", and from top to bottom in the class "narrow"; style.css shows the one for which there is
// room. It returns "" if the routes are unknown.
func routeDrawing(s diagnose.ServiceExplanation) template.HTML {
	if s.State == diagnose.StateUnknown && len(s.Rules) == 0 {
		return ""
	}
	r := routeOf(s)
	return r.wide() + r.narrow()
}

func routeOf(s diagnose.ServiceExplanation) route {
	r := route{service: s.Namespace + "/" + s.Name}
	r.addCallers(s)
	r.addVersions(s)
	for _, status := range s.Rules {
		r.addRule(status, s)
	}
	if len(s.Rules) == 0 {
		r.addRule(diagnose.RuleStatus{To: []diagnose.ShareStatus{{Weight: 100}}}, s)
	}
	r.markIdle()
	r.limit()
	r.describe()
	return r
}

func (r *route) addCallers(s diagnose.ServiceExplanation) {
	mesh := diagnose.PathStatus{Outrigger: true}
	for _, path := range s.Routes {
		if path.At == "mesh" {
			mesh = path
		}
	}
	if !mesh.Outrigger {
		r.object = mesh.Object
	}
	r.callers = []caller{{name: "Callers in the mesh"}}
	for _, g := range s.Gateways {
		c := caller{name: "Gateway " + g.Name, hosts: strings.Join(g.Hosts, ", ")}
		for _, path := range s.Routes {
			if path.At == g.Name && (path.Object != mesh.Object || path.Shares != mesh.Shares) {
				c.ownRoute = path.Shares
			}
		}
		r.callers = append(r.callers, c)
	}
}

func (r *route) addVersions(s diagnose.ServiceExplanation) {
	for i, v := range s.Versions {
		out := routedVersion{name: nameOf(v.Version), class: versionClass(s.Versions, i), isReady: v.Ready > 0}
		out.notes = append(out.notes, readyText(v.Ready, v.Pods))
		if v.Version != "" && v.Version == s.Default {
			out.notes = append(out.notes, "default version")
		}
		if c := s.Canary; c != nil && c.Version == v.Version && c.IsProgressing() {
			text := "canary"
			if position := c.Position(); position != "" {
				text += ", " + position
			}
			switch {
			case c.EndsAs != "":
				text += ", " + string(c.EndsAs) + ", not applied yet"
			case c.IsFrozen:
				text += ", frozen"
			case c.Paused:
				text += ", paused"
			}
			out.notes = append(out.notes, text)
		}
		r.versions = append(r.versions, out)
	}
}

// matchText returns which requests one of the rules of a route is about.
func matchText(rule diagnose.RuleStatus, all []diagnose.RuleStatus) string {
	return rule.MatchText(len(all) <= 1)
}

func readyText(ready, pods int) string {
	if pods == 0 {
		return "no pods"
	}
	return fmt.Sprintf("%d of %d pods ready", ready, pods)
}

// everyPod returns the index of the entry for pods of any version, and adds it if it is missing.
func (r *route) everyPod(s diagnose.ServiceExplanation) int {
	if at := slices.IndexFunc(r.versions, routedVersion.isEveryPod); at >= 0 {
		return at
	}
	ready, pods := 0, 0
	for _, v := range s.Versions {
		ready, pods = ready+v.Ready, pods+v.Pods
	}
	r.versions = append(r.versions, routedVersion{name: "every pod", class: everyPodClass, notes: []string{readyText(ready, pods), "of any version"}, isReady: ready > 0})
	return len(r.versions) - 1
}

const everyPodClass = "every-pod"

func (v routedVersion) isEveryPod() bool { return v.class == everyPodClass }

func (r *route) addRule(status diagnose.RuleStatus, s diagnose.ServiceExplanation) {
	out := rule{match: matchText(status, s.Rules)}
	if status.Match != "" {
		out.number = valueText(len(r.rules) + 1)
	}
	at := func(version string, percent float64) share {
		if version == "" {
			return share{r.everyPod(s), "every pod", percent}
		}
		index := slices.IndexFunc(s.Versions, func(v diagnose.VersionStatus) bool { return v.Version == version })
		return share{index, version, percent}
	}
	for _, to := range status.To {
		out.to = append(out.to, at(to.Version, float64(to.Weight)))
	}
	for _, m := range status.Mirror {
		out.mirrors = append(out.mirrors, at(m.Version, m.Percent))
	}
	r.rules = append(r.rules, out)
}

// markIdle marks the versions that no rule routes to. If a rule routes to every pod, those receive requests as well, and are left out.
func (r *route) markIdle() {
	used := map[int]bool{}
	for _, rule := range r.rules {
		for _, to := range rule.to {
			used[to.version] = used[to.version] || to.percent > 0
		}
		for _, m := range rule.mirrors {
			used[m.version] = true
		}
	}
	hasEveryPod := slices.ContainsFunc(r.versions, routedVersion.isEveryPod)
	r.keep(func(i int) bool {
		r.versions[i].isIdle = !used[i]
		return used[i] || !hasEveryPod
	})
}

// keep keeps some of the versions, in their order.
func (r *route) keep(wanted func(index int) bool) {
	var kept []routedVersion
	moved := map[int]int{-1: -1}
	for i := range r.versions {
		moved[i] = -1
		if wanted(i) {
			moved[i] = len(kept)
			kept = append(kept, r.versions[i])
		}
	}
	r.versions = kept
	for i := range r.rules {
		for _, shares := range [][]share{r.rules[i].to, r.rules[i].mirrors} {
			for j := range shares {
				shares[j].version = moved[shares[j].version]
			}
		}
	}
}

// limit leaves out rules and versions beyond what is readable: never the rule for all other requests, and idle versions first.
func (r *route) limit() {
	if more := len(r.rules) - maxRules; more > 0 {
		r.rules, r.moreRules = slices.Delete(r.rules, maxRules-1, len(r.rules)-1), more
	}
	if more := len(r.versions) - maxVersions; more > 0 {
		r.moreVersions = more
		order := make([]int, 0, len(r.versions))
		for _, idle := range []bool{false, true} {
			for i, v := range r.versions {
				if v.isIdle == idle {
					order = append(order, i)
				}
			}
		}
		shown := order[:maxVersions]
		r.keep(func(i int) bool { return slices.Contains(shown, i) })
	}
}

// describe sets the description of the drawing, in sentences.
func (r *route) describe() {
	var from, sentences []string
	for _, c := range r.callers {
		if c.ownRoute != "" {
			sentences = append(sentences, c.name+" has another route: "+c.ownRoute)
			continue
		}
		text := c.name
		if c.hosts != "" {
			text += " for " + c.hosts
		}
		from = append(from, text)
	}
	sentences = append([]string{"Requests from: " + strings.Join(from, "; ")}, sentences...)
	for i, rule := range r.rules {
		if r.moreRules > 0 && i == len(r.rules)-1 {
			sentences = append(sentences, count(r.moreRules, "more rule"))
		}
		var to []string
		others := 0
		for _, s := range rule.to {
			if s.version < 0 && r.moreVersions > 0 {
				others++
				continue
			}
			to = append(to, s.name+" "+s.label())
		}
		if others > 0 {
			to = append(to, count(others, "more version"))
		}
		text := rule.match + ": " + strings.Join(to, ", ")
		for _, m := range rule.mirrors {
			text += ", mirrored to " + m.name + " " + m.label()
		}
		sentences = append(sentences, text)
	}
	for _, v := range r.versions {
		text := v.name + ": " + strings.Join(v.notes, ", ")
		if v.isIdle {
			text += ", no requests"
		}
		sentences = append(sentences, text)
	}
	if r.object != "" {
		sentences = append(sentences, "The rules are those of "+r.object+", which Outrigger does not write")
	}
	r.description = strings.Join(sentences, ". ") + "."
}

// start begins a drawing of a layout, with its title and description.
func (r *route) start(out *svg, layout string, width, height float64) {
	title, description := "route-"+layout+"-title", "route-"+layout+"-description"
	out.open("svg", class("route "+layout), attribute{"role", "img"}, attribute{"viewBox", "0 0 " + valueText(width) + " " + valueText(rounded(height))},
		attribute{"aria-labelledby", title + " " + description})
	out.content("title", "Where requests to Service "+r.service+" go", attribute{"id", title})
	out.content("desc", r.description, attribute{"id", description})
}
