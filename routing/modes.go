// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"slices"
	"strings"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// maxSteps limits how many successive plans are computed to find the final one.
const maxSteps = 8

// observe is the plan of a dry run: existing objects stay, and the changes that would result once all waits have ended are
// reported.
func observe(observed Observed, now time.Time, reads *podsAndWorkloads) Result {
	would := observed
	would.dryRun, would.Intent.Observe, would.Intent.SubsetRetention = true, false, 0
	would.Settings.Settle, would.Settings.PropagationDelay, would.Settings.SubsetRetention = 0, 0, 0
	isCommitted := observed.isCommitted()
	if isCommitted {
		would.Intent.Default = observed.committedDefault()
	}
	result := plan(would, now, reads)
	if isCommitted { // a file has no record
		result.Problems = slices.DeleteFunc(result.Problems, func(p api.RouteProblem) bool { return p.Reason == api.RouteRecordEdited })
	}
	end := result.Objects
	for range maxSteps {
		would.Existing = end
		next := plan(would, now, reads).Objects
		if len(Diff(end, next)) == 0 {
			break
		}
		end = next
	}
	result.Objects, result.Transitions = observed.Existing.sorted(), nil
	for _, change := range Diff(observed.Existing.sorted(), end) {
		if change.Action != Apply || !slices.ContainsFunc(observed.Existing.All(), func(o Object) bool { return sameName(o, change.Object) && sameSpec(o, change.Object) }) {
			result.Unwritten = append(result.Unwritten, change)
		}
	}
	result.Next, result.DependsOn = reads.next, reads.dependencies()
	if len(result.Unwritten) > 0 {
		result.Problems = append(result.Problems, observed.unwritten(result.Unwritten, end))
		slices.SortStableFunc(result.Problems, compareProblems)
	}
	return result
}

// unwritten reports what would be written. It contains no times, so that it is the same as long as nothing changes.
func (o Observed) unwritten(changes []Change, end Objects) api.RouteProblem {
	before := o
	after := o
	after.Existing = end
	var would []string
	for _, change := range changes {
		what := change.verb() + " " + KindOf(change.Object) + " " + change.Object.GetName()
		if summary := summaryOf(change, readExisting(before), readExisting(after)); summary != "" {
			what += " (" + summary + ")"
		}
		would = append(would, what)
	}
	namespace, name := o.Service.Namespace, o.Service.Name
	object, value, what := api.ObjectRef{Kind: "Service", Namespace: namespace, Name: name}, o.Service.Labels[api.LabelRouting], ""
	if value == "" { // the Service itself has no label
		object, value, what = api.ObjectRef{Kind: "Namespace", Name: namespace}, o.Namespace.GetLabels()[api.LabelRouting], " of Service "+name
	}
	return api.RouteProblem{
		Object: object, Field: api.LabelField(api.LabelRouting), Value: value,
		Reason: api.RouteObservedOnly, Message: fmt.Sprintf("Dry run%s (%s=%s): Outrigger would ", what, api.LabelRouting, value) + strings.Join(would, ", ") + ".",
		Advice: fmt.Sprintf("To apply: kubectl label service -n %s %s %s=%s --overwrite.", namespace, name, api.LabelRouting, api.RoutingEnabled),
	}
}

func (c Change) verb() string {
	return map[Action]string{Create: "create", Apply: "change", Delete: "delete"}[c.Action]
}

// summaryOf returns what a written object routes or serves.
func summaryOf(change Change, before, after Reading) string {
	if change.Action == Delete {
		return ""
	}
	switch o := change.Object.(type) {
	case *networkingv1.DestinationRule:
		var names []string
		for _, subset := range o.Spec.Subsets {
			names = append(names, subset.Name)
		}
		return "subsets " + strings.Join(names, ", ")
	case *networkingv1.VirtualService:
		if was, is := before.rulesText(), after.rulesText(); change.Action == Apply && was != is {
			return was + " -> " + is
		}
		return after.rulesText()
	case *networkingv1.Gateway:
		var hosts []string
		for _, server := range o.Spec.Servers {
			hosts = append(hosts, server.Hosts...)
		}
		return "hosts " + strings.Join(hosts, ", ")
	}
	return ""
}

// rulesText is every rule in one line: "end-user=jason: v2=100; v1=90 v2=10".
func (r Reading) rulesText() string {
	var out []string
	for _, rule := range r.Rules {
		text := rule.String()
		if rule.Match != "" {
			text = rule.Match + ": " + text
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}

// subsetsOnly keeps the DestinationRule correct and removes the routes. The recorded default is forgotten: without a route every
// version has its share, and keeps it when routes are enabled again.
func (s *reader) subsetsOnly() planEnd {
	s.found = append(s.found, s.destinationRuleDrift()...)
	s.found = slices.DeleteFunc(s.found, func(f finding) bool { // about routes, and there are none
		return slices.Contains([]api.RouteReason{api.RouteRouteConflict, api.RouteRouteHijackable, api.RouteRouteShadowed, api.RouteDelegateUnusable}, f.Reason)
	})
	s.reportIdle()
	out := planEnd{objects: Objects{DestinationRules: s.Existing.DestinationRules}, isConcluded: true}
	if s.foreign.clash {
		end := s.recordedOutcome().unchanged()
		end.objects.VirtualServices, end.objects.Gateways, end.isConcluded = nil, nil, true
		return end
	}
	if s.ours.destinationRule == nil && len(s.podVersions()) == 0 {
		return out
	}
	exportTo, exportFound := s.decideExport(exposureDecision{})
	policy, policyFound := s.decidePolicy()
	decided := outcome{defaultDecision: defaultDecision{facts: &s.facts, isRecorded: s.isRecorded}, exportTo: exportTo, policy: policy}
	rule, tooMany := decided.renderDestinationRule(nil)
	rules, tooLarge := s.destinationRuleWithinSize(rule)
	return planEnd{objects: Objects{DestinationRules: rules}, found: slices.Concat(exportFound, policyFound, tooMany, tooLarge), isConcluded: true}
}

// reportIdle names the annotations of the Service that are about routes.
func (s *reader) reportIdle() {
	var idle []string
	for _, key := range []string{
		api.AnnotationDefaultVersion, api.AnnotationWeights, api.AnnotationMatch, api.AnnotationMirror, api.AnnotationSticky, api.AnnotationExpose, api.AnnotationCanary,
	} {
		if _, written := s.Service.Annotations[key]; written && s.Intent.Texts[key] != "" && s.Intent.Texts[key] != "false" {
			idle = append(idle, key)
		}
	}
	if len(idle) == 0 {
		return
	}
	object, message := s.serviceRef(), "With subsets only, no route is created, so these annotations have no effect: "+strings.Join(idle, ", ")+"."
	if s.Service.Labels[api.LabelRouting] == "" { // the Namespace's label applies
		object = api.ObjectRef{Kind: "Namespace", Name: s.Service.Namespace}
		message += AffectedService(s.Service.Name)
	}
	s.found = append(s.found, finding{RouteProblem: api.RouteProblem{
		Object: object, Field: api.LabelField(api.LabelRouting), Value: string(api.RoutingSubsetsOnly), Reason: api.RouteWithoutEffect,
		Message: message,
		Advice:  fmt.Sprintf("For routes: kubectl label service -n %s %s %s=%s --overwrite.", s.Service.Namespace, s.Service.Name, api.LabelRouting, api.RoutingEnabled),
	}})
}
