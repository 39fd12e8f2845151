// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"slices"
	"strings"

	"outrigger.dev/outrigger/api"
)

// pend says that what an annotation says is not in effect yet, since names in it cannot be followed.
func (s *planner) pend(key, value string, missing []string, message string) {
	s.pending = append(s.pending, Pending{Key: key, Value: value, Missing: missing})
	ready := "three quarters of the pods are"
	if !s.Intent.DecidedAt.IsZero() {
		ready = "one pod is"
	}
	advice := "It takes effect when " + ready + " ready; see kubectl get pods -n " + s.Service.Namespace + " -L " + s.Intent.VersionLabel + "."
	if example := s.corrected(key, value); example != "" {
		advice = "Example: " + s.annotate(key+"="+example) + "."
	}
	s.reportAbout(key, value, api.RoutePendingVersions, message, advice)
}

func (s *planner) reportPending(key string, missing []string, until string) {
	if len(missing) > 0 {
		s.pend(key, s.Intent.Texts[key], missing, pendingText(missing)+until)
	}
}

// reportRollout says that a rolling workload changes its version while others are behind the Service.
func (s *planner) reportRollout(m meaning) {
	if s.alone(m) {
		return
	}
	for _, ref := range m.Tracks {
		t, _ := s.trackOf(ref)
		if len(t.groups) > 1 {
			s.report(api.RouteRolloutBesideOthers, ref.String()+" changes its version beside other workloads; its share follows its ready pods, and needs Outrigger to run.",
				"A rollout of a workload that is alone behind the Service needs nothing.")
		}
	}
}

// reportNames says which names mean a workload that runs another version by now, and a default that waits.
func (s *planner) reportNames() {
	for _, name := range s.writtenNames() {
		m := s.meaningOf(name)
		if !s.hasPods(m) || len(m.Tracks) == 0 || slices.Contains(s.possible(m), name) {
			continue
		}
		var versions []string
		for _, group := range s.groupsOf(m) {
			versions = append(versions, group.Version)
		}
		slices.SortFunc(versions, compareVersions)
		versions = slices.Compact(versions)
		s.report(api.RouteVersionSucceeded, fmt.Sprintf("The name %s means %s, which runs %s by now; it goes with it.", name, m, strings.Join(versions, ", ")),
			"Write the annotation with the present version to keep it readable.")
	}
	if m := s.meaningOf(s.Intent.Default.Version); s.defaultPending() && (!s.isReady(m) || s.isGone(m)) {
		s.reportPending(api.AnnotationDefaultVersion, []string{s.notYet(s.Intent.Default.Version, m)}, "The default stays "+s.record.Default.String()+".")
	}
}
