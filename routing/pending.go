// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"slices"
	"strings"

	"outrigger.dev/outrigger/api"
)

// pending reports that an annotation is not in effect yet, since names in it cannot be followed. It reports nothing if none is missing.
func (s choice) pending(key string, missing []string, message string) []finding {
	if len(missing) == 0 {
		return nil
	}
	value := s.Intent.Texts[key]
	ready := "three quarters of the pods are"
	if !s.Intent.DecidedAt.IsZero() {
		ready = "one pod is"
	}
	advice := "It takes effect when " + ready + " ready; see kubectl get pods -n " + s.Service.Namespace + " -L " + s.Intent.VersionLabel + "."
	if example := s.corrected(key, value); example != "" {
		advice = "Example: " + s.annotate(key+"="+example) + "."
	}
	out := s.problemAbout(key, value, api.RoutePendingVersions, pendingText(missing)+message, advice)
	out.pending = &Pending{Key: key, Value: value, Missing: missing}
	return []finding{out}
}

// rolloutBesideOthers reports that a rolling workload changes its version while others are behind the Service.
func (s choice) rolloutBesideOthers(m meaning) (out []finding) {
	if s.alone(m) {
		return nil
	}
	for _, ref := range m.Tracks {
		if t, _ := s.trackOf(ref); len(t.groups) > 1 {
			out = append(out, s.problem(api.RouteRolloutBesideOthers, ref.String()+" changes its version beside other workloads; its share follows its ready pods, and needs Outrigger to run.",
				"A rollout of a workload that is alone behind the Service needs nothing."))
		}
	}
	return out
}

// renamed reports the names that mean a workload which runs another version by now, and a default that waits.
func (s choice) renamed() (out []finding) {
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
		out = append(out, s.problem(api.RouteVersionSucceeded, fmt.Sprintf("The name %s means %s, which runs %s by now; it goes with it.", name, m, strings.Join(versions, ", ")),
			"Write the annotation with the present version to keep it readable."))
	}
	if m := s.meaningOf(s.Intent.Default.Version); s.defaultPending() && (!s.isReady(m) || s.isGone(m)) {
		out = append(out, s.pending(api.AnnotationDefaultVersion, []string{s.notYet(s.Intent.Default.Version, m)}, "The default stays "+s.record.Default.String()+".")...)
	}
	return out
}
