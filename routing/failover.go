// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"outrigger.dev/outrigger/api"
)

// followTimes replaces settings by the times that the Service sets.
func (s *reader) followTimes() {
	if s.Offline {
		return // nothing is waited for
	}
	s.Settings.SubsetRetention = cmp.Or(s.Intent.SubsetRetention, s.Settings.SubsetRetention)
	s.Settings.DefaultGoneAfter = cmp.Or(s.Intent.UnreadyAfter, s.Settings.DefaultGoneAfter)
}

// failOver implements default-gone=next and all: a default that has traffic, and has had no ready pod for the given time while
// others have pods, is replaced permanently. The start of that time is recorded on the DestinationRule, so that it survives a
// change of the leader.
func (s defaultDecision) failOver() (defaultDecision, []finding) {
	found, next, m := s.failed(), s, s.record.Default
	if s.Intent.Unready == api.UnreadyHold || m.All || !s.gone.standIn.isZero() || !s.isRecorded || !s.inRoute(m) || s.isStarting(m) {
		return s, found
	}
	if s.hasReady(m) || !s.othersHavePods(m) {
		return s, found
	}
	next.unready = s.unreadySince(m)
	to := meaning{All: true}
	if s.Intent.Unready == api.UnreadyNext {
		to = s.nextDefault(m)
	}
	switch isOver := s.waitElapsed(next.unready, s.Settings.DefaultGoneAfter); {
	case to.isZero():
		return next, found
	case !isOver || !s.usableNow(to) || !s.isSeenReady(to):
		next.isReported = true
		return next, append(found, s.problem(api.RouteDefaultVersionGone, fmt.Sprintf("The default, %s, has no ready pod. After %v, %s.", m, s.Settings.DefaultGoneAfter, s.takes(to)),
			"To decide now: "+s.annotate(api.AnnotationDefaultVersion+"="+s.nameable(to))+"."))
	}
	next = next.withDefault(to, ByGone)
	next.record.Failed, next.record.FailedChoice, next.unready = m, s.choiceHash(), time.Time{}
	return next, append(found, next.failed()...)
}

// hasFailed reports whether a default was replaced because it had no ready pod, and no later decision is in effect.
func (s defaultDecision) hasFailed() bool { return !s.record.Failed.isZero() }

// endsFailure reports whether a later decision about shares is in effect, so that what failed is forgotten. Where that gives the
// failed version a share again, it must be ready.
func (s defaultDecision) endsFailure() bool {
	if !s.hasFailed() || s.record.FailedChoice == s.choiceHash() || s.defaultPending() {
		return false
	}
	for _, w := range s.record.Weights {
		if w.weight > 0 && overlap(w.meaning(), s.record.Failed) && !s.isReadyForMore(w.meaning()) {
			return false
		}
	}
	return true
}

func (s *facts) choiceHash() string { return s.choiceHashAt(s.Intent.Texts[api.AnnotationDecidedAt]) }

// choiceHashAt is choiceHash with another decided-at.
func (s *facts) choiceHashAt(decidedAt string) string {
	texts := s.Intent.Texts
	return api.ShortHash(texts[api.AnnotationDefaultVersion] + "|" + texts[api.AnnotationWeights] + "|" + decidedAt + "|")
}

func (s defaultDecision) failed() []finding {
	if !s.hasFailed() {
		return nil
	}
	was := s.record.Failed
	return []finding{s.problem(api.RouteDefaultMoved, fmt.Sprintf("The default was %s, which had no ready pod for %v. Now %s. This lasts until you decide.", was, s.Settings.DefaultGoneAfter, s.takes(s.record.Default)),
		fmt.Sprintf("To go back: outrigger promote %s %s -n %s.", s.Service.Name, api.ShellWord(s.nameable(was)), s.Service.Namespace))}
}

func (s *facts) takes(m meaning) string {
	if m.All {
		return "every version has its share"
	}
	return m.String() + " has its traffic"
}

// unreadySince returns since when the default has had no ready pod, as recorded, or else now.
func (s *facts) unreadySince(m meaning) time.Time {
	if s.ours.destinationRule != nil && !s.renewed {
		text, of, _ := strings.Cut(s.ours.destinationRule.Annotations[api.AnnotationUnready], " ")
		if at, ok := parseTime(text); ok && of == m.String() {
			return at
		}
	}
	return s.now
}

func (s defaultDecision) unreadyText() string {
	if s.unready.IsZero() {
		return ""
	}
	return timeText(s.unready) + " " + s.record.Default.String()
}

// isStarting reports whether all that m means is so new that it may never have been ready.
func (s *facts) isStarting(m meaning) bool {
	starting := false
	for _, t := range s.withPods() {
		if !slices.ContainsFunc(t.groups, func(g podGroup) bool { return m.includes(t, g.Version) }) {
			continue
		}
		if s.waitElapsed(t.created(), youngAge) {
			return false
		}
		starting = true
	}
	return starting
}

func (s *facts) othersHavePods(m meaning) bool {
	return slices.ContainsFunc(s.withPods(), func(t track) bool {
		return slices.ContainsFunc(t.groups, func(g podGroup) bool { return g.Version != "" && !m.includes(t, g.Version) })
	})
}

// nextDefault returns the default among the versions with a ready pod if m did not exist: the lowest or highest if the policy
// requires it, or else the one whose workload was created first.
func (s *facts) nextDefault(m meaning) meaning {
	created := map[string]time.Time{} // of the oldest workload, by version
	for _, t := range s.withPods() {
		for _, group := range t.groups {
			if group.Version == "" || !group.hasReady() || m.includes(t, group.Version) {
				continue
			}
			if at, seen := created[group.Version]; !seen || t.created().Before(at) {
				created[group.Version] = t.created()
			}
		}
	}
	versions := slices.SortedFunc(maps.Keys(created), CompareVersions)
	if len(versions) == 0 {
		return meaning{}
	}
	switch s.Intent.Default.Policy {
	case api.DefaultLowest:
		return s.runningAs(versions[0])
	case api.DefaultHighest:
		return s.runningAs(versions[len(versions)-1])
	}
	earliest := created[slices.MinFunc(versions, func(a, b string) int { return created[a].Compare(created[b]) })]
	at := slices.IndexFunc(versions, func(version string) bool { return !created[version].After(earliest.Add(tieWindow)) })
	return s.runningAs(versions[at])
}
