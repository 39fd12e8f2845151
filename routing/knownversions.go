// SPDX-License-Identifier: Apache-2.0

package routing

import "slices"

// KnownVersions returns the versions that the pods of a Service carry, or that the pods of a workload behind it would carry, in
// natural order.
func KnownVersions(observed Observed) []string {
	var out []string
	for _, group := range observed.Pods {
		out = append(out, group.Version)
	}
	for _, w := range observed.Workloads {
		if selects(observed.Service.Spec.Selector, w.Labels) {
			out = append(out, w.Labels[observed.Intent.VersionLabel])
		}
	}
	out = slices.DeleteFunc(out, func(version string) bool { return version == "" })
	slices.SortFunc(out, compareVersions)
	return slices.Compact(out)
}
