// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"slices"
	"strings"

	"outrigger.dev/outrigger/routing"
)

// mergeAffected returns the problems of a Namespace, with those that differ only in the Service they affect merged into one that lists
// these Services.
func mergeAffected(problems []problemStatus, services []string) []problemStatus {
	var out []problemStatus
	affected := map[problemStatus][]string{}
	for _, problem := range problems {
		at := slices.IndexFunc(services, func(name string) bool { return strings.HasSuffix(problem.Message, routing.AffectedService(name)) })
		if at < 0 {
			out = append(out, problem)
			continue
		}
		problem.Message = strings.TrimSuffix(problem.Message, routing.AffectedService(services[at]))
		affected[problem] = append(affected[problem], services[at])
	}
	for problem, names := range affected {
		if len(names) == 1 {
			problem.Message += routing.AffectedService(names[0])
		} else {
			problem.Message += " Affected Services: " + strings.Join(names, ", ") + "."
		}
		out = append(out, problem)
	}
	return out
}

// sortedProblems sorts by reason and text, and leaves out what is there twice.
func sortedProblems(problems []problemStatus) []problemStatus {
	slices.SortFunc(problems, func(a, b problemStatus) int {
		return cmp.Or(cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Object, b.Object), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(problems)
}
