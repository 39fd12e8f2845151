// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// decided returns what is still missing until the decisions are applied, or "" if they are. It returns an error if another client
// has replaced a decision, which is then never applied.
func (l *live) decided(ctx context.Context, outlooks []outlook) (string, error) {
	s := l.snapshot(l.namespace, false)
	looker := l.looker(s)
	for _, o := range outlooks {
		observed, _, err := looker.Look(ctx, client.ObjectKeyFromObject(o.observed.Service))
		if err != nil {
			return "", err
		}
		if observed == nil {
			return "", fmt.Errorf("service %s is gone", client.ObjectKeyFromObject(o.observed.Service))
		}
		if why := replaced(observed.Service.Annotations, o.words); why != "" {
			return "", fmt.Errorf("service %s: %s; what this command requested does not apply", client.ObjectKeyFromObject(observed.Service), why)
		}
		if why := missing(*observed, s.gaps, l.now()); why != "" {
			return "service/" + o.observed.Service.Name + ": " + why, nil
		}
	}
	return "", nil
}

// replaced returns which annotation another client has changed since the decision was written, or "" if none.
func replaced(annotations, words map[string]string) string {
	for _, key := range slices.Sorted(maps.Keys(words)) {
		switch is := annotations[key]; {
		case is == words[key] || key == api.AnnotationDecidedAt:
		case is == "":
			return "another client removed the annotation " + key
		default:
			return fmt.Sprintf("another client set the annotation %s=%s", key, is)
		}
	}
	return ""
}

// missing returns why the current route does not match all annotations of the Service yet, or "" if it does.
func missing(observed routing.Observed, unread gaps, now time.Time) string {
	if why := routeless(observed, unread); why != "" {
		return "no route is written: " + why
	}
	plan := routing.Plan(atOnce(observed), now)
	for _, p := range plan.Problems {
		if p.Reason == api.RoutePendingVersions {
			return p.Message + " " + p.Advice
		}
	}
	if others := routing.Overriding(observed, now); len(others) > 0 {
		return overridden(observed.Service.Name, others[0])
	}
	end := observed
	end.Standing = plan.Objects
	if len(readingOf(end).Rules) == 0 {
		why := "no route can be written"
		for _, p := range plan.Problems {
			why += "; " + string(p.Reason) + ": " + p.Message
		}
		return why
	}
	if why := broader(observed.Service.Name, readingOf(end), observed.Intent); why != "" {
		return why
	}
	return notWritten(observed, end, unread, now)
}

// broader reports that the route sends requests to versions other than the one in default-version. It returns "" otherwise.
func broader(service string, reading routing.Reading, intent api.RouteIntent) string {
	name := intent.Default.Version
	if intent.Default.Policy != api.DefaultLiteral || len(intent.Weights) > 0 || len(reading.Rules) == 0 {
		return ""
	}
	to := reading.Rules[len(reading.Rules)-1].To
	isNamed := func(share routing.ReadShare) bool { return share.Version == name && share.Weight > 0 }
	isOther := func(share routing.ReadShare) bool { return share.Version != name && share.Weight > 0 }
	if !slices.ContainsFunc(to, isNamed) || !slices.ContainsFunc(to, isOther) {
		return ""
	}
	return fmt.Sprintf("the default, %s, includes more than version %s, so the route is %s. To send all requests to %s: outrigger shift %s %s=1", reading.Default, name, reading, name, service, name)
}

// overridden returns which VirtualService sends callers to versions other than the annotations say, and the fix.
func overridden(service string, other routing.OtherRoute) string {
	if other.Edited {
		return fmt.Sprintf("%s; it was edited by hand, so Outrigger no longer writes it. To have Outrigger write it again: kubectl annotate service -n %s %s %s=%s --overwrite",
			other, other.Object.Namespace, service, api.AnnotationDrift, api.DriftRevert)
	}
	return fmt.Sprintf("%s, and Outrigger does not write it. Change its shares, or have Outrigger route: kubectl delete virtualservices.networking.istio.io -n %s %s",
		other, other.Object.Namespace, other.Object.Name)
}

// notWritten returns which writes the controller has not made yet.
func notWritten(observed, end routing.Observed, unread gaps, now time.Time) string {
	changes := unread.knownChanges(observed, routing.Plan(observed, now))
	is, will := readingOf(observed), readingOf(end)
	if len(changes) == 0 && slices.EqualFunc(is.Rules, will.Rules, routing.ReadRule.Equal) {
		return ""
	}
	why := fmt.Sprintf("the current route is %s and will be %s", is, will)
	if len(changes) > 0 {
		why += fmt.Sprintf("; %s %s is not written yet", kindOf(changes[0].Object), changes[0].Object.GetName())
	}
	return why + ". " + ifStays(unread)
}
