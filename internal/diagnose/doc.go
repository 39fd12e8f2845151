// SPDX-License-Identifier: Apache-2.0

// Package diagnose says why a pod, a workload, or a Service is as it is, and what a change would do. Its functions take facts that
// the caller has read and return findings; they read nothing and print nothing.
//
//   - Pods: MatchingEntries says which injection webhooks match a pod, and PodFacts what a new pod gets, and what to change.
//   - Services: StatusOf returns versions, shares, and problems, and ExplainService the reasons.
//   - Decisions: ForecastDecision, ForecastMode, and ForecastRemoval say what a change would do, UndoOf finds the one to return to,
//     and WhyNotApplied what is still missing.
//   - Gaps are what the user has no permission to read, so that no finding claims what is unknown.
package diagnose
