// SPDX-License-Identifier: Apache-2.0

package routing

// waitsForSecond reports whether there is nothing yet to choose between and the user said to wait for it
// (outrigger.dev/eager=false): the DestinationRule then carries the record alone, since each subset is a cluster more in
// every sidecar. A word on the Service that asks for more ends the waiting, and so does a second track; what was made
// stays.
func (s choice) waitsForSecond() bool {
	if !s.Intent.Deferred || s.Intent.SubsetsOnly || s.record.State != "" || len(s.withPods()) > 1 || len(s.ours.routes()) > 0 || len(s.ours.added) > 0 {
		return false
	}
	return !s.Intent.Default.OnService && s.Intent.Expose == nil && len(s.Intent.Weights)+len(s.Intent.Match)+len(s.Intent.Mirror) == 0
}
