// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// ForecastMode returns what changes for a Service when its Namespace gets the label, and the problems that missing permissions cannot
// cause.
func ForecastMode(observed routing.Observed, mode api.RoutingMode, gaps Gaps, now time.Time) []string {
	before := ReadRoute(observed)
	after := observed
	after.Namespace = observed.Namespace.DeepCopy()
	if after.Namespace.Labels == nil {
		after.Namespace.Labels = map[string]string{}
	}
	after.Namespace.Labels[api.LabelRouting] = string(mode)
	after.Intent, _ = observed.Settings.Limits.IntentOf(observed.Service, after.Namespace, nil)
	if after.Intent.Disabled {
		return ForecastRemoval(observed, now)
	}
	name := "service/" + observed.Service.Name
	if word := observed.Service.Labels[api.LabelRouting]; word != "" {
		return []string{name + ": nothing changes; its own label says " + api.LabelRouting + "=" + word}
	}
	plan := routing.Plan(WithoutDelays(after), now)
	after.Existing = plan.Objects
	var out []string
	if will := ReadRoute(after); will.String() != before.String() {
		out = append(out, name+": "+before.String()+" -> "+will.String())
		if mesh := routing.InEffect(after, now)[0]; !mesh.IsOther() {
			out = append(out, versionsLosingTraffic(observed, before, will)...)
		}
	}
	for _, p := range gaps.visible(after, plan.Problems) {
		out = append(out, name+": "+string(p.Reason)+": "+p.Message)
	}
	return out
}

// versionsLosingTraffic returns a line for each version with ready pods that receives unmatched requests now and none of them with the
// next route.
func versionsLosingTraffic(observed routing.Observed, before, next routing.Reading) []string {
	var out []string
	for _, v := range versionsOf(observed, next) {
		if was, named := before.WeightOf(v.Version); v.Ready == 0 || v.Weight == nil || *v.Weight > 0 || named && was == 0 {
			continue
		}
		line := fmt.Sprintf("service/%s: %s stops receiving requests (%d of %d pods ready)", observed.Service.Name, versionName(v.Version), v.Ready, v.Pods)
		if len(v.Match) > 0 {
			line = fmt.Sprintf("service/%s: %s receives only requests that match %s (%d of %d pods ready)",
				observed.Service.Name, versionName(v.Version), strings.Join(v.Match, " or "), v.Ready, v.Pods)
		}
		out = append(out, line)
	}
	return out
}

func versionName(version string) string { return cmp.Or(version, "pods without a version") }

// ForecastRemoval returns what changes when a Service's routes are removed: the shares, the versions that begin to receive
// traffic, and the exposure that ends.
func ForecastRemoval(observed routing.Observed, now time.Time) []string {
	name := "service/" + observed.Service.Name
	if observed.Existing.IsEmpty() {
		return nil
	}
	before := ReadRoute(observed)
	out := sharesWithoutRoutes(observed, now)
	if mesh := routing.InEffect(observed, now)[0]; mesh.IsOther() && !isDetached(observed, mesh) {
		out = append(out, fmt.Sprintf("%s: %s (unchanged: %s routes there, and Outrigger does not write it)", name, mesh, mesh.Object))
	} else if begin := VersionsGainingTraffic(observed, before); len(begin) > 0 {
		out = append(out, fmt.Sprintf("%s: begins to receive traffic: %s (now %s)", name, strings.Join(begin, ", "), before))
	} else {
		out = append(out, name+": no version begins to receive traffic")
	}
	for _, rule := range before.Rules {
		if rule.Match != "" {
			out = append(out, fmt.Sprintf("%s: %s goes to every pod, no longer to %s", name, rule.Match, sharesText(rule.To)))
		}
	}
	if len(observed.Existing.Gateways) > 0 || len(before.Gateways) > 0 {
		out = append(out, fmt.Sprintf("%s: no longer served at gateway %s for %s", name, strings.Join(before.Gateways, ", "), strings.Join(before.Hosts, ", ")))
	}
	return out
}

// sharesWithoutRoutes returns how the shares of callers in the mesh change when a Service's routes are removed, as a line, or nil if
// they do not: then its pods share the requests, or another VirtualService routes them.
func sharesWithoutRoutes(observed routing.Observed, now time.Time) []string {
	without := observed
	without.Existing = routing.Objects{}
	was, is := routing.InEffect(observed, now)[0], routing.InEffect(without, now)[0]
	if was.Object.Name == "" || was.IsOther() || was.String() == is.String() {
		return nil
	}
	text := "by pods"
	if is.IsOther() {
		text = fmt.Sprintf("%s (routed by %s)", is, is.Object)
	}
	return []string{fmt.Sprintf("service/%s: %s -> %s", observed.Service.Name, was, text)}
}

// VersionsGainingTraffic returns the versions with pods that receive no requests now, as "v2 (1 of 1 pods ready)".
func VersionsGainingTraffic(observed routing.Observed, before routing.Reading) []string {
	var out []string
	for _, v := range versionsOf(observed, before) {
		if v.Weight == nil || *v.Weight > 0 || v.Pods == 0 {
			continue
		}
		out = append(out, fmt.Sprintf("%s (%d of %d pods ready)", versionName(v.Version), v.Ready, v.Pods))
	}
	return out
}

func sharesText(shares []routing.ReadShare) string {
	var out []string
	for _, share := range shares {
		if share.Version == "" {
			out = append(out, "every pod")
		} else {
			out = append(out, share.Version)
		}
	}
	return strings.Join(out, ", ")
}
