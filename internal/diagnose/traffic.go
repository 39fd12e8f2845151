// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"outrigger.dev/outrigger/routing"
)

// TrafficChange is the effect of a decision on requests at one place, except for those that a match rule routes.
type TrafficChange struct {
	Service string
	At      string // "mesh", or namespace/name of a Gateway
	// Shares are the versions that get requests before or after, in natural order.
	Shares []ShareChange
	// WaitsFor are the versions that need a ready pod first. Shares then describes the effect once they have one.
	WaitsFor []string
	// Text is the change on one line, such as "v1=100 -> v1=90 v2=10".
	Text string
}

// ShareChange is the percentage of the requests that a version gets before and after a decision.
type ShareChange struct {
	Version       string // empty for every pod of the Service, which is where requests go without a route
	Before, After int
}

// Changes reports whether the version gets more or fewer requests.
func (s ShareChange) Changes() bool { return s.Before != s.After }

// Traffic returns the change for callers in the mesh and at each gateway, or nil if the route is unknown.
func (o Forecast) Traffic() []TrafficChange {
	if o.isUnknown {
		return nil
	}
	var out []TrafficChange
	for _, place := range callersOf(o.before, o.after) {
		out = append(out, o.trafficAt(place))
	}
	return out
}

func (o Forecast) trafficAt(place string) TrafficChange {
	was, is := pathAt(o.before, place), pathAt(o.after, place)
	out := TrafficChange{Service: o.Observed.Service.Name, At: cmp.Or(place, "mesh"), Text: routeText(was) + " -> " + routeText(is)}
	switch {
	case is.IsOther():
		out.Text = fmt.Sprintf("%s (unchanged: %s routes there, and Outrigger does not write it)", is, is.Object)
	case routeText(was) == routeText(is) && len(o.pending) > 0:
		is = pathAt(o.whenReady, place)
		out.WaitsFor = o.pending
		out.Text = fmt.Sprintf("%s -> %s when %s has a ready pod", routeText(was), routeText(is), strings.Join(o.pending, " and "))
	case routeText(was) == routeText(is):
		out.Text = routeText(is) + " (unchanged)"
	}
	out.Shares = shareChanges(percentages(was), percentages(is))
	return out
}

// percentages returns the percentage of each version. If the route names no version, the key "", for every pod, has 100.
func percentages(p routing.Path) map[string]int {
	out := map[string]int{}
	for _, share := range (routing.Reading{Rules: p.Rules}).Shares() {
		if share.Version == "" {
			return map[string]int{"": 100}
		}
		out[share.Version] = share.Weight
	}
	if len(out) == 0 {
		out[""] = 100
	}
	return out
}

func shareChanges(before, after map[string]int) []ShareChange {
	var out []ShareChange
	for version, weight := range before {
		out = append(out, ShareChange{version, weight, after[version]})
	}
	for version, weight := range after {
		if _, both := before[version]; !both {
			out = append(out, ShareChange{version, 0, weight})
		}
	}
	slices.SortFunc(out, func(a, b ShareChange) int { return routing.CompareVersions(a.Version, b.Version) })
	return out
}

// changes returns the route change for callers in the mesh and at each gateway, or one line if it is the same everywhere.
func (o Forecast) changes() []string {
	name := "service/" + o.Observed.Service.Name
	if o.isUnknown {
		return []string{name + ": its current route is unknown"}
	}
	var out, texts []string
	for _, change := range o.Traffic() {
		where := " in the mesh: "
		if change.At != "mesh" {
			where = " at gateway " + change.At + ": "
		}
		out, texts = append(out, name+where+change.Text), append(texts, change.Text)
	}
	if slices.Sort(texts); len(slices.Compact(texts)) == 1 {
		return []string{name + ": " + texts[0]}
	}
	return out
}

// callersOf returns the places of callers: "" for the mesh, then the gateways. It omits the mesh if only gateways have routes.
func callersOf(lists ...[]routing.Path) []string {
	places := map[string]bool{}
	for _, paths := range lists {
		for _, p := range paths {
			if p.Object.Name != "" {
				places[p.Gateway] = true
			}
		}
	}
	if len(places) == 0 {
		return []string{""}
	}
	return slices.Sorted(maps.Keys(places))
}

// pathAt returns the route of the callers at a place. If several VirtualServices apply at a gateway, it prefers one that Outrigger
// does not write.
func pathAt(paths []routing.Path, place string) routing.Path {
	out := routing.Path{Gateway: place}
	for _, p := range paths {
		if p.Gateway == place && (out.Object.Name == "" || p.IsOther()) {
			out = p
		}
	}
	return out
}

func routeText(p routing.Path) string {
	if p.Object.Name == "" {
		return "no route"
	}
	return p.String()
}
