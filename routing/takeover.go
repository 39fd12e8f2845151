// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"outrigger.dev/outrigger/api"
)

// goneDefault is a default whose workload was deleted, and the version that replaces it.
type goneDefault struct {
	at      time.Time
	standIn meaning // the replacement; zero if there is none
}

// takeOver finds what takes a deleted default's place: the one version, or the one track, whose ready pods are left. For
// a while that is provisional; then it is recorded.
func (s *planner) takeOver() {
	defer func() { s.record.Gone = s.goneText() }()
	at, standIn := s.recordedStandIn()
	isGone := s.isGone(s.record.Default)
	back := s.hasReady(s.record.Default)
	if !isGone && (at.IsZero() || back && s.isSeenReady(s.record.Default)) {
		return
	}
	if standIn.isZero() || s.within(standIn) || s.isGone(standIn) {
		if !isGone || s.Intent.HoldDeleted {
			return
		}
		at, standIn = s.now, s.leftOver()
	}
	if standIn.isZero() || !s.usableNow(standIn) {
		return
	}
	was := s.record.Default.String()
	if s.hasElapsed(at, s.Settings.DefaultGoneWindow) && (isGone || !back) {
		s.setDefault(standIn, byLeft)
		s.report(api.RouteDefaultMoved, "The workload of "+was+" was deleted and did not come back; "+standIn.String()+" is the default from now on.",
			"To choose otherwise: "+s.annotate(api.AnnotationDefaultVersion+"=VERSION")+".")
		return
	}
	s.gone = goneDefault{at: at, standIn: standIn}
	when := "at " + timeText(at.Add(s.Settings.DefaultGoneWindow))
	if s.dryRun {
		when = fmt.Sprintf("after %v", s.Settings.DefaultGoneWindow)
	}
	s.report(api.RouteDefaultVersionGone,
		fmt.Sprintf("The workload of %s was deleted; %s receives its traffic. It becomes the default %s unless the workload comes back.", was, standIn, when),
		"To decide now: "+s.annotate(api.AnnotationDefaultVersion+"="+s.nameable(standIn))+".")
}

// recordedStandIn reads from the VirtualServices which version stands in, and since when.
func (s *planner) recordedStandIn() (time.Time, meaning) {
	if s.renewed || !s.recorded {
		return time.Time{}, meaning{}
	}
	said := []string{s.copies.read.Gone}
	if s.copies.read.Revision == 0 { // as earlier releases recorded it
		for _, vs := range s.ours.routes() {
			said = append(said, vs.Annotations[api.AnnotationDefaultGone])
		}
	}
	for _, text := range said {
		text, rest, _ := strings.Cut(text, " ")
		if at, ok := parseTime(text); ok {
			return at, parseMeaning(rest)
		}
	}
	return time.Time{}, meaning{}
}

// goneText is the record of the version that replaces a deleted default; empty if none does.
func (s *planner) goneText() string {
	if s.gone.standIn.isZero() {
		return ""
	}
	return timeText(s.gone.at) + " " + s.gone.standIn.String()
}

// leftOver is what the ready pods are of when the default's are left out: one version, or one track.
func (s *planner) leftOver() meaning {
	var tracks []track
	versions := map[string]bool{}
	for _, t := range s.tracks {
		ready := slices.DeleteFunc(slices.Clone(t.groups), func(g podGroup) bool { return !g.hasReady() || s.record.Default.includes(t, g.Version) })
		if t.isDeleted() || len(ready) == 0 {
			continue
		}
		tracks = append(tracks, t)
		for _, group := range ready {
			versions[group.Version] = true
		}
	}
	if len(tracks) == 0 || len(tracks) > 1 && len(versions) > 1 {
		return meaning{}
	}
	return s.wholeTracks(tracks)
}

// reportHold says that the default has a share and no ready pod, once that is no mere moment.
func (s *planner) reportHold() {
	m := s.current()
	if s.holdReported || len(s.record.Weights) > 0 && !slices.ContainsFunc(s.record.Weights, func(w effectiveWeight) bool { return w.weight > 0 && overlap(w.meaning(), m) }) {
		return
	}
	groups := s.groupsOf(m)
	if m.All || s.hasReady(m) {
		return
	}
	if len(groups) > 0 {
		oldest := slices.MinFunc(groups, func(a, b podGroup) int { return a.created().Compare(b.created()) }).created()
		if !s.hasElapsed(oldest, s.Settings.DefaultGoneAfter) {
			return
		}
	}
	others := slices.DeleteFunc(s.podVersions(), func(version string) bool { return !s.hasReady(meaning{Version: version}) })
	s.report(api.RouteDefaultVersionGone, "The default, "+m.String()+", has no ready pod; its route is kept, and requests fail until it has.", s.deciding(others))
}
