// SPDX-License-Identifier: Apache-2.0

//go:build race

package routing

// The random walks are few where the race detector makes each ten times slower; the plan starts no goroutine.
const (
	defaultEdits      = 30
	defaultWalks      = 10
	versionLabelWalks = 4
)
