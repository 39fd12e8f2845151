// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"
	"time"

	"outrigger.dev/outrigger/api"
)

// autoCanaries is what the record says about outrigger.dev/canary=auto.
type autoCanaries struct {
	// Since is when auto was first observed. Only versions of workloads that were created later start a canary.
	Since string `json:"since"`
	// Known are the versions that start none, oldest first: existing ones, those that were the default, that an annotation named, or
	// that appeared while the default had no workload.
	Known []string `json:"known,omitempty"`
	// Waiting is the version that starts the next canary; empty if there is none. Skipped are those that a newer one replaced.
	Waiting string   `json:"waiting,omitempty"`
	Skipped []string `json:"skipped,omitempty"`
}

const (
	maxKnown   = 100 // more only if they exist
	maxSkipped = 10
)

func (a *autoCanaries) clone() *autoCanaries {
	out := *a
	out.Known, out.Skipped = slices.Clone(a.Known), slices.Clone(a.Skipped)
	return &out
}

// without returns a copy in which no canary of the version waits or starts.
func (a *autoCanaries) without(version string) *autoCanaries {
	out := a.clone()
	if out.Waiting == version {
		out.Waiting = ""
	}
	if !slices.Contains(out.Known, version) {
		out.Known = append(out.Known, version)
	}
	return out
}

// followAuto decides which version starts the next canary under auto.
func (s defaultDecision) followAuto() (defaultDecision, []finding) {
	next, intent := s, s.Intent.Canary
	before := s.record.Canary.Auto
	isRefused := intent != nil && intent.Auto && intent.OnNamespace && !s.Settings.Canary.AutoOnNamespaces
	switch {
	case s.invalid[api.AnnotationCanary]:
		return s, nil
	case intent == nil || !intent.Auto || isRefused:
		next.record.Canary.Auto = nil
		if isRefused {
			return next, []finding{s.problemAbout(api.AnnotationCanary, api.CanaryAuto, api.RouteWithoutEffect, "The installation does not allow auto on a Namespace (routing.canary.autoOnNamespaces). No canary starts.",
				"Write it on the Service: "+s.annotate(api.AnnotationCanary+"="+api.CanaryAuto)+".")}
		}
		return next, nil
	case s.record.State != "" || s.record.Default.All:
		return s, nil
	case before == nil:
		auto := &autoCanaries{Since: timeText(s.now)}
		for _, version := range sortedVersions(s.versionsSoFar()) {
			auto = auto.without(version)
		}
		next.record.Canary.Auto = auto
		return next, nil
	}
	auto := before
	chosen := s.chosenVersions()
	if w := auto.Waiting; w != "" && (chosen[w] || !slices.Contains(s.knownVersions(), w)) {
		if auto = auto.clone(); chosen[w] {
			auto = auto.without(w)
		}
		auto.Waiting = "" // created again, it may wait again
	}
	since, _ := parseTime(auto.Since)
	newest := s.createdOf(auto.Waiting)
	for _, version := range s.knownVersions() {
		if slices.Contains(auto.Known, version) || version == auto.Waiting || version == s.record.Canary.Version {
			continue
		}
		created := s.createdOf(version)
		isNew := !created.Before(since.Truncate(time.Second)) && !chosen[version] && !s.isGone(s.record.Default) && !s.within(s.literalOr(version))
		switch {
		case !isNew:
			auto = auto.without(version)
		case auto.Waiting == "" || !created.Before(newest):
			auto, newest = auto.skip(auto.Waiting), created
			auto.Waiting = version
		default:
			auto = auto.skip(version)
		}
	}
	next.record.Canary.Auto = auto.forget(func(version string) bool {
		return !s.createdOf(version).IsZero() || s.hasPods(meaning{Version: version})
	})
	return next, next.skippedCanaries()
}

// forget returns the same without the oldest of too many versions. Those that exist are never forgotten: they would start a canary.
func (a *autoCanaries) forget(exists func(version string) bool) *autoCanaries {
	excess := len(a.Known) - maxKnown
	if excess <= 0 {
		return a
	}
	out := a.clone()
	out.Known = slices.DeleteFunc(out.Known, func(version string) bool {
		isForgotten := excess > 0 && !exists(version)
		if isForgotten {
			excess--
		}
		return isForgotten
	})
	return out
}

// skip returns a copy in which a version is skipped.
func (a *autoCanaries) skip(version string) *autoCanaries {
	if version == "" {
		return a.clone()
	}
	out := a.without(version)
	out.Skipped = append(out.Skipped, version)
	out.Skipped = out.Skipped[max(0, len(out.Skipped)-maxSkipped):]
	return out
}

// createdOf returns when the newest workload with a version was created; zero if there is none.
func (s *facts) createdOf(version string) (newest time.Time) {
	for _, t := range s.tracks {
		if version != "" && (t.runs(version) || t.next == version) && t.created().After(newest) {
			newest = t.created()
		}
	}
	return newest
}

// chosenVersions are those that are or were the default, or that weights or matches name.
func (s defaultDecision) chosenVersions() map[string]bool {
	out := map[string]bool{}
	add := func(m meaning) {
		for _, version := range append(s.possible(m), m.Version) {
			out[version] = true
		}
	}
	add(s.record.Default)
	add(s.record.Failed)
	for _, past := range s.record.History {
		add(past.Default)
		for _, w := range past.Weights {
			add(w.meaning())
		}
	}
	if !s.record.Canary.isActive() {
		for _, w := range s.record.Weights {
			add(w.meaning())
		}
	}
	var written []string
	if d := s.Intent.Default; d.Policy == api.DefaultLiteral {
		written = append(written, d.Version)
	}
	for _, w := range s.Intent.Weights {
		written = append(written, w.Version)
	}
	for _, match := range s.Intent.Match {
		written = append(written, match.Version)
	}
	for _, name := range written {
		add(s.meaningOf(name))
		out[name] = true
	}
	for _, ended := range s.record.Canary.Ended {
		out[ended.Version] = true
	}
	delete(out, "")
	return out
}

// versionsSoFar are all versions that exist, or that were chosen.
func (s defaultDecision) versionsSoFar() map[string]bool {
	out := s.chosenVersions()
	for _, version := range s.knownVersions() {
		out[version] = true
	}
	return out
}
