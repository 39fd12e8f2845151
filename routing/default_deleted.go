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

// replaceDeletedDefault finds the replacement for a deleted default: the one version, or the one track, whose ready pods are left.
// For a while that is provisional; then it is recorded.
func (s defaultDecision) replaceDeletedDefault() (defaultDecision, []finding) {
	next, m := s, s.record.Default
	next.record.Gone = ""
	at, standIn := s.recordedStandIn()
	isGone := s.isGone(m)
	back := s.hasReady(m)
	if !isGone && (at.IsZero() || back && s.isSeenReady(m)) {
		return next, nil
	}
	if standIn.isZero() || s.within(standIn) || s.isGone(standIn) {
		if !isGone || s.Intent.HoldDeleted {
			return next, nil
		}
		at, standIn = s.now, s.leftOver()
	}
	if standIn.isZero() || !s.usableNow(standIn) {
		return next, nil
	}
	if s.waitElapsed(at, s.Settings.DefaultGoneWindow) && (isGone || !back) {
		return next.withDefault(standIn, ByLeft), []finding{s.problem(api.RouteDefaultMoved, "The workload of "+m.String()+" was deleted and not recreated; "+standIn.String()+" is now the default.",
			"To choose another default: "+s.annotate(api.AnnotationDefaultVersion+"=VERSION")+".")}
	}
	next.gone = goneDefault{at: at, standIn: standIn}
	next.record.Gone = next.gone.String()
	when := "at " + timeText(at.Add(s.Settings.DefaultGoneWindow))
	if s.dryRun {
		when = fmt.Sprintf("after %v", s.Settings.DefaultGoneWindow)
	}
	return next, []finding{s.problem(api.RouteDefaultVersionGone,
		fmt.Sprintf("The workload of %s was deleted; %s receives its traffic. It becomes the default %s unless the workload is recreated.", m, standIn, when),
		"To decide now: "+s.annotate(api.AnnotationDefaultVersion+"="+s.nameable(standIn))+".")}
}

// recordedStandIn reads which version stands in for a deleted default, and since when.
func (s defaultDecision) recordedStandIn() (time.Time, meaning) {
	if s.renewed || !s.isRecorded {
		return time.Time{}, meaning{}
	}
	texts := []string{s.copies.read.Gone}
	if s.copies.read.Revision == 0 { // as earlier releases recorded it
		for _, vs := range s.ours.routes() {
			texts = append(texts, vs.Annotations[api.AnnotationDefaultGone])
		}
	}
	for _, text := range texts {
		text, rest, _ := strings.Cut(text, " ")
		if at, ok := parseTime(text); ok {
			return at, parseMeaning(rest)
		}
	}
	return time.Time{}, meaning{}
}

// String is the record of the version that replaces a deleted default; empty if none does.
func (g goneDefault) String() string {
	if g.standIn.isZero() {
		return ""
	}
	return timeText(g.at) + " " + g.standIn.String()
}

// leftOver returns what the ready pods without the default's belong to: one version, or one track; zero if there are several.
func (s defaultDecision) leftOver() meaning {
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

// unreadyDefault reports that the default has a share and no ready pod, unless its pods are new.
func (s defaultDecision) unreadyDefault() []finding {
	m := s.current()
	if s.isReported || len(s.record.Weights) > 0 && !slices.ContainsFunc(s.record.Weights, func(w effectiveWeight) bool { return w.weight > 0 && overlap(w.meaning(), m) }) {
		return nil
	}
	groups := s.groupsOf(m)
	if m.All || s.hasReady(m) {
		return nil
	}
	if len(groups) > 0 {
		oldest := slices.MinFunc(groups, func(a, b podGroup) int { return a.created().Compare(b.created()) }).created()
		if !s.waitElapsed(oldest, s.Settings.DefaultGoneAfter) {
			return nil
		}
	}
	others := slices.DeleteFunc(s.podVersions(), func(version string) bool { return !s.hasReady(meaning{Version: version}) })
	return []finding{s.problem(api.RouteDefaultVersionGone, "The default, "+m.String()+", has no ready pod. Its route is kept, so requests fail until a pod is ready.", s.deciding(others))}
}
