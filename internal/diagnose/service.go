// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"cmp"
	"slices"
	"strings"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// StatusOf returns the status of a Service, and the problems of its Namespace. Both are the same at any time before until, which is zero if
// they never change by time alone, and now while a canary or a write is in progress.
func StatusOf(observed routing.Observed, problems []api.RouteProblem, around Surroundings, now time.Time) (status ServiceStatus, ofNamespace []ProblemStatus, until time.Time) {
	reading, paths := routing.ReadInEffect(observed, now)
	plan := routing.Plan(observed, now)
	out := ServiceStatus{
		Name: observed.Service.Name, State: stateOf(observed, reading, paths), Default: reading.Default,
		Versions: versionsOf(observed, reading), Gateways: gatewaysOf(observed, paths[1:], around), Routes: pathsOf(paths),
	}
	if out.State == stateSkipped {
		out.Skipped = skippedBecause(observed)
	}
	if hidden := around.Gaps.HidesRoutes(observed.Service.Namespace); hidden || around.Gaps.HidesIntent(observed) {
		out.hide(hidden)
	} else {
		var isCurrent bool
		if out.Canary, isCurrent = shownCanary(observed, now); out.Canary != nil && !isCurrent { // the controller may decide otherwise
			plan.Problems = slices.DeleteFunc(slices.Clone(plan.Problems), func(p api.RouteProblem) bool { return p.Reason == api.RouteCanaryAborted })
		}
		out.AutoCanaries = observed.Intent.Canary != nil && observed.Intent.Canary.Auto && (!observed.Intent.Canary.OnNamespace || observed.Settings.Canary.AutoOnNamespaces)
		out.WhenThawed = whenThawed(observed, out.Canary, now)
		out.Due, out.Unwritten = changeNames(around.Gaps.knownChanges(observed, plan)), changeNames(plan.Unwritten)
		for _, pending := range plan.Pending {
			out.Pending = append(out.Pending, PendingStatus{pending.Key, pending.Value, pending.Missing})
		}
		for _, one := range plan.Superseded {
			out.Superseded = append(out.Superseded, SupersededStatus{one.Key, one.Value, one.By, one.Advice})
		}
	}
	out.History = historyOf(observed, now)
	until = plan.Next
	if len(observed.Changes(plan)) > 0 || out.Canary != nil && !out.Canary.hasEnded() { // Next is exact only for a plan that changes nothing
		until = now
	}
	for _, p := range append(slices.Clone(problems), around.Gaps.visible(observed, plan.Problems)...) {
		status := problemStatus(p)
		if p.Reason == api.RouteStillExposed && out.State == StateRouted {
			out.State = stateStillExposed
		}
		if p.Object.Kind == "Namespace" {
			ofNamespace = append(ofNamespace, status)
			continue
		}
		out.Problems = append(out.Problems, status)
	}
	out.Problems = SortedProblems(out.Problems)
	return out, ofNamespace, until
}

// whenThawed returns the route of callers in the mesh when the freeze ends; "" without a freeze, or if the route stays as it is and no decision
// has ended its canary.
func whenThawed(observed routing.Observed, c *CanaryStatus, now time.Time) string {
	if !observed.Settings.Freeze || observed.Existing.IsEmpty() {
		return ""
	}
	was := routing.InEffect(observed, now)[0]
	observed.Settings.Freeze = false
	plan := routing.Plan(WithoutDelays(observed), now)
	observed.Existing = plan.Objects
	_, observed = planEffect(plan, observed, now)
	is := routing.InEffect(observed, now)[0]
	if is.IsOther() || routeText(was) == routeText(is) && (c == nil || c.EndsAs == "") {
		return ""
	}
	return routeText(is)
}

// hide removes what is unknown about the routes of a Service.
func (s *ServiceStatus) hide(routes bool) {
	s.State, s.Default = StateUnknown, ""
	if !routes {
		return
	}
	s.Gateways, s.Routes = nil, nil
	for i := range s.Versions {
		v := &s.Versions[i]
		v.Weight, v.Match, v.Mirror, v.Subset = nil, nil, 0, ""
	}
}

func changeNames(changes []routing.Change) []string {
	var out []string
	for _, change := range changes {
		out = append(out, strings.ToLower(string(change.Action))+" "+routing.KindOf(change.Object)+" "+change.Object.GetName())
	}
	return out
}

// pathsOf returns the routes of the proxies, or nil if Outrigger writes all of them.
func pathsOf(paths []routing.Path) []PathStatus {
	if !slices.ContainsFunc(paths, routing.Path.IsOther) {
		return nil
	}
	var out []PathStatus
	for _, p := range paths {
		status := PathStatus{At: cmp.Or(p.Gateway, "mesh"), Hosts: p.Hosts, Outrigger: p.Ours, Shares: p.String()}
		if p.Object.Name != "" {
			status.Object = p.Object.String()
		}
		out = append(out, status)
	}
	return out
}

func stateOf(observed routing.Observed, reading routing.Reading, paths []routing.Path) string {
	switch {
	case observed.Intent.Disabled:
		return StateDisabled
	case slices.ContainsFunc(paths, func(p routing.Path) bool { return isDetached(observed, p) }):
		return StateDetached
	case paths[0].IsOther():
		return StateOther
	case reading.Default == StateSplit || reading.Default == stateUndecided:
		return reading.Default
	case len(reading.Rules) > 0:
		return StateRouted
	case !observed.Existing.IsEmpty():
		return StateSubsets
	case !observed.Intent.Wanted && !observed.Intent.Observe:
		return StateOff
	case skippedBecause(observed) != "":
		return stateSkipped
	case observed.Intent.Observe:
		return StateObserved
	}
	return StateWaiting
}

// skippedBecause returns why a Service of this kind gets no routes, or "" if it can get them.
func skippedBecause(observed routing.Observed) string {
	why, advice := routing.Unroutable(observed)
	return strings.TrimSpace(why + " " + advice)
}

// isDetached reports whether the route is a VirtualService of Outrigger's that was edited by hand, so that Outrigger no longer
// writes it.
func isDetached(observed routing.Observed, p routing.Path) bool {
	return p.IsOther() && slices.ContainsFunc(observed.Existing.VirtualServices, func(vs *networkingv1.VirtualService) bool {
		return vs.Namespace == p.Object.Namespace && vs.Name == p.Object.Name
	})
}

// versionsOf lists the versions that run or that the route names, in natural order; pods without a version come last.
func versionsOf(observed routing.Observed, reading routing.Reading) []VersionStatus {
	byVersion := map[string]*VersionStatus{}
	at := func(version string) *VersionStatus {
		if byVersion[version] == nil {
			byVersion[version] = &VersionStatus{Version: version, Subset: reading.Subsets[version], Match: reading.MatchesOf(version), Mirror: reading.MirrorOf(version)}
		}
		return byVersion[version]
	}
	for _, group := range observed.Pods {
		v := at(group.Version)
		v.Pods, v.Ready = v.Pods+group.Pods, v.Ready+group.Ready
		v.Workloads = append(v.Workloads, group.Workload.String())
	}
	for _, version := range reading.Names() {
		at(version)
	}
	out := []VersionStatus{}
	for _, v := range byVersion {
		if weight, named := reading.WeightOf(v.Version); named {
			v.Weight = &weight
		}
		slices.Sort(v.Workloads)
		out = append(out, *v)
	}
	slices.SortFunc(out, func(a, b VersionStatus) int {
		if (a.Version == "") != (b.Version == "") {
			return cmp.Compare(b.Version, a.Version)
		}
		return routing.CompareVersions(a.Version, b.Version)
	})
	return out
}

// InjectionOf returns what the labels of a Namespace request: "enabled", "revision NAME", another value of istio-injection, or
// "".
func InjectionOf(namespace *corev1.Namespace) string {
	if word := namespace.Labels[api.LabelInjection]; word != "" {
		return word
	}
	if revision := namespace.Labels[api.LabelRevision]; revision != "" {
		return "revision " + revision
	}
	return ""
}
