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
func (s *reader) besideClash() ending {
	missing := map[string]string{}
	for _, vs := range s.ours.routes() {
		if name := s.namesMissing(vs); name != "" {
			missing[vs.Name] = name
		}
	}
	if len(missing) == 0 || s.renewed || !s.isRecorded {
		return s.undecided().unchanged()
	}
	s.reverted = sortedKeys(missing)
	decided, found, ok := decide(&s.facts)
	end := decided.unchanged()
	if !ok {
		end.found = append(end.found, found...)
		return end
	}
	right, _ := render(decided)
	end.objects.VirtualServices = slices.Clone(end.objects.VirtualServices)
	for i, vs := range end.objects.VirtualServices {
		at := slices.IndexFunc(right.VirtualServices, func(r *networkingv1.VirtualService) bool { return r.Name == vs.Name })
		if name := missing[vs.Name]; name != "" && at >= 0 {
			end.objects.VirtualServices[i] = right.VirtualServices[at]
			s.reportForeign(vs, "spec", "", api.RouteEditReverted, "It was edited and routes to subset "+name+", which does not exist. The edit is reverted.", "")
		}
	}
	return end
}
