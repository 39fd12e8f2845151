// SPDX-License-Identifier: Apache-2.0

//go:build !race

package routing

const (
	defaultEdits      = 1000
	defaultWalks      = 100
	versionLabelWalks = 40
)
