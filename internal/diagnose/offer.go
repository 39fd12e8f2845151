// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"strings"

	"outrigger.dev/outrigger/routing"
)

// Offer is an action, and whether the user can currently request it for a Service.
type Offer struct {
	Action      Action
	Unavailable Text // why it cannot be requested; empty if it can
}

// OffersOf returns all actions for a Service. denied is the reason why the user has no permission to change the Service, or "". inputs are
// what reasons call the parameters of a request.
func OffersOf(facts ActionFacts, denied string, inputs Inputs) []Offer {
	var out []Offer
	for _, action := range Actions() {
		unavailable := Sentences(denied)
		if denied == "" {
			unavailable = whyUnavailable(Request{Action: action, Service: facts.Main.Service.Name, Inputs: inputs}, facts)
		}
		out = append(out, Offer{action, unavailable})
	}
	return out
}

// whyUnavailable returns why every request of this action about the current pods is rejected, or nothing if one can succeed.
func whyUnavailable(r Request, facts ActionFacts) Text {
	known := routing.KnownVersions(facts.Main)
	switch r.Action {
	case ActionShift, ActionPromote:
		if len(known) == 0 {
			return withoutVersions(facts.Main)
		}
		r.Version, r.Weights = known[0], []string{known[0] + "=100"}
	case ActionCanary:
		if len(known) == 0 {
			return withoutVersions(facts.Main)
		}
		if err := r.mayReadRoutes(facts); err != nil {
			return TextOf(err)
		}
		if err := r.mayStartCanary(facts); err != nil {
			return TextOf(err)
		}
		if edited := editedByHand(facts); len(edited) > 0 {
			return edited
		}
		return whyNoCanary(r, facts)
	}
	change, err := ChangeOf(r, facts)
	switch {
	case err != nil:
		return TextOf(err)
	case len(change.Writes()) == 0 && r.Action.OfCanary() != "":
		return Sentences(fmt.Sprintf("the annotations of the Service already have these values: %s would change nothing", r.Action.OfCanary()))
	}
	return nil
}

// whyNoCanary returns why no known version can have a canary if the only workload of the Service changes its version in place, or nothing.
// Otherwise, a version that has no pods yet can be next.
func whyNoCanary(r Request, facts ActionFacts) Text {
	var why Text
	workloads := workloadsOf(facts.Main)
	for _, w := range workloads { // during a rollout, a workload is listed once for each version
		if w.Fixed || w.Workload != workloads[0].Workload || strings.HasPrefix(w.Workload, "Pod/") || strings.HasPrefix(w.Workload, "WorkloadEntry/") {
			return nil
		}
		r.Version = w.Version
		_, err := ChangeOf(r, facts)
		if err == nil {
			return nil
		}
		why = TextOf(err)
	}
	return why
}

func withoutVersions(observed routing.Observed) Text {
	return Sentences("no pod of the Service has the label " + observed.Intent.VersionLabel)
}

// editedByHand returns why no canary can start while the route is edited by hand, or nothing.
func editedByHand(facts ActionFacts) Text {
	if edited := editedRoute(facts.Main, facts.Now); edited != nil {
		return describeOverride(facts.Main.Service.Name, *edited)
	}
	return nil
}
