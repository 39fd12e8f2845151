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

// freeze is the plan while routing.freeze is true, for a Service with a route: our objects stay as they are, and nothing is recorded. Only
// a DestinationRule that lacks a subset which a route names is written. What else would change is reported.
func freeze(observed Observed, now time.Time, reads *podsAndWorkloads) Result {
	result := plan(observed, now, reads)
	wanted := result.Objects
	result.Objects, result.Release, result.Pending, result.Transitions = observed.Existing.sorted(), nil, nil, nil
	if lacksSubset(observed) {
		result.Objects.DestinationRules = wanted.DestinationRules
	}
	var would []string
	for _, change := range Diff(result.Objects, wanted) {
		would = append(would, change.verb()+" "+KindOf(change.Object)+" "+change.Object.GetName())
	}
	if len(would) == 0 {
		return result
	}
	object := api.ObjectRef{Kind: "Service", Namespace: observed.Service.Namespace, Name: observed.Service.Name}
	result.Problems = append(result.Problems, api.RouteProblem{
		Object: object, Reason: api.RouteFrozen,
		Message: fmt.Sprintf("Routes are frozen (routing.freeze). Without that, Outrigger would %s.", strings.Join(would, ", ")),
		Advice:  thawAdvice,
	})
	slices.SortStableFunc(result.Problems, compareProblems)
	return result
}

// thawAdvice is how to end a freeze.
const thawAdvice = "Set routing.freeze to false to let routes change."

// lacksSubset reports whether one of our routes names a subset of the Service that no DestinationRule has.
func lacksSubset(observed Observed) bool {
	host := hostOf(observed.Service, observed.Settings.ClusterDomain)
	rules := slices.Concat(observed.Existing.DestinationRules, observed.Foreign.DestinationRules)
	return slices.ContainsFunc(observed.Existing.VirtualServices, func(vs *networkingv1.VirtualService) bool {
		return slices.ContainsFunc(subsetsNamed(vs, host, observed.Settings.ClusterDomain), func(name string) bool {
			return name != "" && !slices.ContainsFunc(rules, func(rule *networkingv1.DestinationRule) bool { return findSubset(rule, name) != nil })
		})
	})
}
