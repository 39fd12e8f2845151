// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"strings"

	"outrigger.dev/outrigger/routing"
)

// WhyRoutesStay returns which traffic would move if the routes of a Service were removed, or "" if none would.
func WhyRoutesStay(observed routing.Observed) string {
	reading := ReadRoute(observed)
	if len(reading.Gateways) > 0 {
		return fmt.Sprintf("it is served at gateway %s for %s", strings.Join(reading.Gateways, ", "), strings.Join(reading.Hosts, ", "))
	}
	if len(reading.Names()) == 0 {
		return ""
	}
	tracks := map[routing.WorkloadRef]bool{}
	for _, group := range observed.Pods {
		tracks[group.Workload] = true
	}
	for _, w := range observed.Workloads {
		if routing.Selects(observed.Service.Spec.Selector, w.Labels) {
			tracks[w.WorkloadRef] = true
		}
	}
	if len(tracks) <= 1 {
		return ""
	}
	begin := VersionsGainingTraffic(observed, reading)
	if len(begin) == 0 {
		return fmt.Sprintf("it is shared as %s between %d workloads", reading, len(tracks))
	}
	return "without them " + strings.Join(begin, ", ") + " would begin to receive traffic"
}
