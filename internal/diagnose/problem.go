// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

func problemStatus[R ~string](p api.Problem[R]) ProblemStatus {
	return ProblemStatus{p.Object.String(), p.Field, p.Value, string(p.Reason), p.Message, p.Advice}
}

// MergeAffected returns the problems of a Namespace, with those that differ only in the Service they affect merged into one that lists
// these Services.
func MergeAffected(problems []ProblemStatus, services []string) []ProblemStatus {
	var out []ProblemStatus
	affected := map[ProblemStatus][]string{}
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

// SortedProblems sorts by reason and text, and removes duplicates.
func SortedProblems(problems []ProblemStatus) []ProblemStatus {
	slices.SortFunc(problems, func(a, b ProblemStatus) int {
		return cmp.Or(cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Object, b.Object), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(problems)
}

// ProblemLines returns the lines of problems. A fix of several problems is printed once, below the last.
func ProblemLines(problems []ProblemStatus) []string {
	var out []string
	for i, problem := range problems {
		if slices.ContainsFunc(problems[i+1:], func(later ProblemStatus) bool { return later.Advice == problem.Advice }) {
			problem.Advice = ""
		}
		out = append(out, problem.lines()...)
	}
	return out
}

// lines returns what is wrong and where, and below it the fix.
func (p ProblemStatus) lines() []string {
	where := p.Object
	if p.Field != "" {
		where += ", " + p.Field
		if p.Value != "" {
			where += fmt.Sprintf(" = %q", p.Value)
		}
	}
	out := []string{p.Reason + ": " + where + ": " + p.Message}
	if p.Advice != "" {
		out = append(out, "    "+p.Advice)
	}
	return out
}

// HasProblem reports whether the Service has a problem with this reason.
func (s ServiceStatus) HasProblem(reason api.RouteReason) bool {
	return slices.ContainsFunc(s.Problems, func(p ProblemStatus) bool { return p.Reason == string(reason) })
}
