// SPDX-License-Identifier: Apache-2.0

// Package diagnose explains why a pod, a workload, or a Service is as it is, and what a change would do. Its functions take facts
// that the caller has read and return findings. They read nothing and print nothing.
//
//   - Pods: MatchingEntries decides which injection webhooks match a pod; PodFacts explains what a new pod gets, and what to change.
//   - Coverage: FactsOfSuccessor and CoverageReport compare running pods with new ones; EvictionOrder is the order of evictions.
//   - Checks: functions that begin with Check return a Finding about an installation.
//   - Services: StatusOf returns versions, shares, and problems, and ExplainService the reasons.
//   - Actions: ChangeOf says what a Request of a command or a form writes, and its effect; OffersOf says which requests are possible.
//   - Decisions: ForecastDecision, ForecastMode, and ForecastRemoval say what a change would do, UndoOf finds the one to return to,
//     and WhyNotApplied what is still missing.
//   - Gaps are what the user has no permission to read, so that no finding claims what is unknown.
package diagnose
