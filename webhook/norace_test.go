//go:build !race

package webhook

const underRaceDetector = false
