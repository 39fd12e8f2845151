// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
)

// restoreLastRan finds out what a rolling default ran last, where another client deleted the DestinationRule or wiped its
// annotations: the one version that our route leads to, unless another workload runs it.
func (s *reader) restoreLastRan() {
	refs := s.recorded.Default.Tracks
	if !s.forgotWaiting() || len(refs) != 1 || s.recorded.Default.Version != "" || len(s.recorded.Weights) > 0 || s.ours.lastRan[refs[0].String()] != "" {
		return
	}
	version := s.onlyRouted(s.ours.routes()[0])
	others := slices.ContainsFunc(s.tracks, func(t track) bool { return t.ref != refs[0] && t.runs(version) })
	if version != "" && !others {
		s.ours.lastRan[refs[0].String()] = version
	}
}

// onlyRouted is the version that all requests go to which no condition claims; empty if there are several, or none.
func (s *facts) onlyRouted(vs *networkingv1.VirtualService) string {
	version := ""
	_, shares, _, uneven := s.digest(vs)
	if !uneven && len(shares) == 1 {
		version = shares[0].version
	}
	return version
}

// restoreMeant takes the subset names of our host that others route to for versions, where another client deleted the
// DestinationRule: nothing else says what they stood for.
func (s *reader) restoreMeant() {
	if s.ours.rule != nil || len(s.ours.routes()) == 0 {
		return
	}
	for _, vs := range s.Foreign.VirtualServices {
		for _, name := range subsetsNamed(vs, s.host, s.Settings.ClusterDomain) {
			if name != "" && SubsetName(name) == name && s.ours.meanings[name] == "" {
				s.ours.meanings[name] = name
			}
		}
	}
}
