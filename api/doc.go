// SPDX-License-Identifier: Apache-2.0

// Package api defines what users can write, which are labels, annotations, and fields of the configuration file, with their
// defaults and validation; and what Outrigger answers: Problems and the sets of their reasons. LoadConfig reads the configuration
// file, and RouteLimits.IntentOf the annotations of a Service within the configured limits. The package is pure: it reads no clock,
// file, or cluster.
package api
