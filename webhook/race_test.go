// SPDX-License-Identifier: Apache-2.0

//go:build race

package webhook

// underRaceDetector is true where the race detector multiplies the memory of the process, so that none can be measured.
const underRaceDetector = true
