// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"

	"outrigger.dev/outrigger/routing"
)

// Offer is an action, and whether the user can currently request it for a Service.
type Offer struct {
	Action      Action
	Unavailable string // why it cannot be requested; empty if it can
}

// OffersOf returns all actions for a Service. denied is the reason why the user has no permission to change the Service, or "". inputs are
// what reasons call the parameters of a request.
func OffersOf(facts ActionFacts, denied string, inputs Inputs) []Offer {
	var out []Offer
	for _, action := range Actions() {
		unavailable := denied
		if unavailable == "" {
			unavailable = whyUnavailable(Request{Action: action, Service: facts.Main.Service.Name, Inputs: inputs}, facts)
		}
		out = append(out, Offer{action, unavailable})
	}
	return out
}

// whyUnavailable returns why every request of this action is rejected, or "" if a request can succeed.
func whyUnavailable(r Request, facts ActionFacts) string {
	switch r.Action {
	case ActionShift, ActionPromote:
		known := routing.KnownVersions(facts.Main)
		if len(known) == 0 {
			return "no pod of the Service has the label " + facts.Main.Intent.VersionLabel
		}
		r.Version, r.Weights = known[0], []string{known[0] + "=100"}
	case ActionCanary:
		if len(routing.KnownVersions(facts.Main)) == 0 {
			return "no pod of the Service has the label " + facts.Main.Intent.VersionLabel
		}
		if err := r.mayReadRoutes(facts); err != nil {
			return err.Error()
		}
		if err := r.mayStartCanary(facts); err != nil {
			return err.Error()
		}
		return editedByHand(facts)
	}
	change, err := ChangeOf(r, facts)
	switch {
	case err != nil:
		return err.Error()
	case len(change.Writes()) == 0 && r.Action.OfCanary() != "":
		return fmt.Sprintf("the annotations of the Service already have these values: %s would change nothing", r.Action.OfCanary())
	}
	return ""
}

// editedByHand returns why no canary can start while the route is edited by hand, or "".
func editedByHand(facts ActionFacts) string {
	if edited := editedRoute(facts.Main, facts.Now); edited != nil {
		return describeOverride(facts.Main.Service.Name, *edited)
	}
	return ""
}
