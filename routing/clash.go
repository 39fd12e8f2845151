// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// besideClash leaves everything as it is while a DestinationRule of the user's gives a subset name of ours other labels: what
// a route means is uncertain. Only what routes name is restored, and a VirtualService that another client made to name a
// subset which does not exist.
func (s *planner) besideClash(objects Objects) Objects {
	broken := slices.DeleteFunc(s.ours.routes(), func(vs *networkingv1.VirtualService) bool { return s.namesMissing(vs) == "" })
	if len(broken) == 0 || s.renewed || !s.recorded {
		return s.withSubsets(objects)
	}
	told, missing := s.problems, map[string]string{}
	for _, vs := range broken {
		missing[vs.Name] = s.namesMissing(vs)
		s.reverted = append(s.reverted, vs.Name)
	}
	if !s.decide() {
		return s.withSubsets(objects)
	}
	right := s.render()
	s.problems = told
	objects = s.withSubsets(objects)
	objects.VirtualServices = slices.Clone(objects.VirtualServices)
	for i, vs := range objects.VirtualServices {
		at := slices.IndexFunc(right.VirtualServices, func(r *networkingv1.VirtualService) bool { return r.Name == vs.Name })
		if name := missing[vs.Name]; name != "" && at >= 0 {
			objects.VirtualServices[i] = right.VirtualServices[at]
			s.reportEdit(vs, api.RouteEditReverted, "It was edited and routes to subset "+name+", which does not exist. The edit is reverted.", "")
		}
	}
	return objects
}
