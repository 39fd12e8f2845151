// SPDX-License-Identifier: Apache-2.0

// Package podindex keeps an index of all unfinished pods of a cluster in little memory. New returns an Index, NewReflector
// fills it from the API server, and Index.Groups counts the pods of a Service as routing.Observed has them. A Watcher does both
// where no routing controller runs.
package podindex
