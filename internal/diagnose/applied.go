// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// ReplacedDecision returns which annotation another client has changed since the decision was written, or "" if none.
func ReplacedDecision(annotations, wanted map[string]string) string {
	for _, key := range slices.Sorted(maps.Keys(wanted)) {
		switch is := annotations[key]; {
		case is == wanted[key] || key == api.AnnotationDecidedAt:
		case is == "":
			return "another client removed the annotation " + key
		default:
			return fmt.Sprintf("another client set the annotation %s=%s", key, is)
		}
	}
	return ""
}

// WhyNotApplied returns why the current route does not match all annotations of the Service yet, or nothing if it does.
func WhyNotApplied(observed routing.Observed, gaps Gaps, now time.Time) Text {
	if why := WhyNoRoute(observed, gaps); why != "" {
		return Sentences("no route is written: " + why)
	}
	if observed.Settings.Freeze && len(observed.Existing.VirtualServices) > 0 {
		isHeld := slices.ContainsFunc(routing.Plan(observed, now).Problems, func(p api.RouteProblem) bool { return p.Reason == api.RouteFrozen })
		observed.Settings.Freeze = false
		if isHeld && len(WhyNotApplied(observed, gaps, now)) > 0 {
			return Sentences(FrozenChange)
		}
		return nil
	}
	plan := routing.Plan(WithoutDelays(observed), now)
	for _, p := range plan.Problems {
		if p.Reason == api.RoutePendingVersions && p.Field != api.AnnotationField(api.AnnotationCanary) { // a canary may begin later
			return Sentences(p.Message + " ").with(SplitCommands(p.Advice)...)
		}
	}
	if others := routing.Overriding(observed, now); len(others) > 0 {
		return describeOverride(observed.Service.Name, others[0])
	}
	end := observed
	end.Existing = plan.Objects
	if len(ReadRoute(end).Rules) == 0 {
		why := "no route can be written"
		for _, p := range plan.Problems {
			why += "; " + string(p.Reason) + ": " + p.Message
		}
		return Sentences(why)
	}
	if why := sharesOfDefault(end, now); len(why) > 0 {
		return why
	}
	return NotWritten(observed, end, gaps, now)
}

// sharesOfDefault returns what defaultIncludesMore does, apart from the share of a canary that progresses.
func sharesOfDefault(observed routing.Observed, now time.Time) Text {
	if c, _ := CanaryOf(observed, now); c != nil && c.IsProgressing() {
		return nil
	}
	return defaultIncludesMore(observed.Service, ReadRoute(observed), observed.Intent)
}

// defaultIncludesMore reports that the route sends requests to versions other than the one in default-version. It returns nothing otherwise.
func defaultIncludesMore(service *corev1.Service, reading routing.Reading, intent api.RouteIntent) Text {
	name := intent.Default.Version
	if intent.Default.Policy != api.DefaultLiteral || len(intent.Weights) > 0 || len(reading.Rules) == 0 {
		return nil
	}
	to := reading.Rules[len(reading.Rules)-1].To
	isNamed := func(share routing.ReadShare) bool { return share.Version == name && share.Weight > 0 }
	isOther := func(share routing.ReadShare) bool { return share.Version != name && share.Weight > 0 }
	if !slices.ContainsFunc(to, isNamed) || !slices.ContainsFunc(to, isOther) {
		return nil
	}
	return Sentences(fmt.Sprintf("the default, %s, includes more than version %s, so the route is %s. To send all requests to %s: ", reading.Default, name, reading, name)).
		withCommand(Request{Action: ActionShift, Service: service.Name, Weights: []string{name + "=1"}}.Command(service.Namespace))
}

// describeOverride returns which VirtualService sends callers to versions other than the annotations say, and the fix.
func describeOverride(service string, other routing.OtherRoute) Text {
	if other.Edited {
		return Sentences(other.String() + "; it was edited by hand, so Outrigger no longer writes it. To have Outrigger write it again: ").
			withCommand(fmt.Sprintf("kubectl annotate service -n %s %s %s=%s --overwrite", other.Object.Namespace, service, api.AnnotationDrift, api.DriftRevert))
	}
	return Sentences(other.String() + ", and Outrigger does not write it. Change its shares, or have Outrigger route: ").
		withCommand(fmt.Sprintf("kubectl delete virtualservices.networking.istio.io -n %s %s", other.Object.Namespace, other.Object.Name))
}

// NotWritten returns which writes the controller has not made yet.
func NotWritten(observed, end routing.Observed, gaps Gaps, now time.Time) Text {
	changes := gaps.knownChanges(observed, routing.Plan(observed, now))
	is, will := ReadRoute(observed), ReadRoute(end)
	if len(changes) == 0 && slices.EqualFunc(is.Rules, will.Rules, routing.ReadRule.Equal) {
		return nil
	}
	why := fmt.Sprintf("the current route is %s and will be %s", is, will)
	if len(changes) > 0 {
		why += fmt.Sprintf("; %s %s is not written yet", routing.KindOf(changes[0].Object), changes[0].Object.GetName())
	}
	return Sentences(why + ". ").with(IfUnchanged(gaps)...)
}

// IfUnchanged returns what it means if the controller does not make a change.
func IfUnchanged(gaps Gaps) Text {
	if gaps.HidesExposure() {
		return Sentences("If this does not change, Outrigger is not running, or an object that you have no permission to read prevents it. Ask an administrator.")
	}
	return Sentences("If this does not change, Outrigger is not running: ").withCommand("kubectl get pods -A -l app.kubernetes.io/name=outrigger")
}
