// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"
	"strings"
	"time"

	"outrigger.dev/outrigger/api"
)

// StrandedTraffic is traffic that would have no destination, or that would go to a version that the user did not choose.
type StrandedTraffic struct {
	Versions []string // whose share it is, in natural order
	Now      string   // the current shares, "v1=90 v2=10"
	Others   []string // versions with a ready pod that could receive it, in natural order; never empty
	// To are the versions that have no share now and would receive one, in natural order: the version that is left when
	// the default's workload is deleted. Empty if the route is kept.
	To []string
	// Matches are the conditions by which alone requests go to Versions: no other request is lost. Empty if others are.
	Matches []string
	// Match is the match annotation without the items for Versions; empty if none is left.
	Match string
}

// PredictStrandedTraffic predicts what becomes of the traffic of a Service when a workload is deleted, or no longer has pods. It
// plans the resulting routes: what they send to versions without a ready pod is lost. It is false if nothing is lost, or if no
// other version could receive it.
func PredictStrandedTraffic(observed Observed, ref WorkloadRef, deleted bool, now time.Time) (StrandedTraffic, bool) {
	before := readExisting(observed)
	if len(before.Rules) == 0 {
		return StrandedTraffic{}, false
	}
	versionsHere := map[string]bool{}
	left := observed
	left.Pods, left.Workloads = nil, nil
	for _, group := range observed.Pods {
		if group.Workload != ref {
			left.Pods = append(left.Pods, group)
		} else if group.Ready > 0 {
			versionsHere[group.Version] = true
		}
	}
	for _, w := range observed.Workloads {
		if w.WorkloadRef == ref {
			if deleted {
				continue
			}
			w.Replicas = 0
		}
		left.Workloads = append(left.Workloads, w)
	}
	left.Settings.Settle, left.Settings.PropagationDelay = 0, 0
	left.Settings.DefaultGoneAfter, left.Intent.UnreadyAfter = 0, 0 // default-gone has a separate Problem
	others := readyVersions(left.Pods)
	if len(versionsHere) == 0 || len(others) == 0 {
		return StrandedTraffic{}, false
	}
	left.Existing = Plan(left, now).Objects
	loss, after := StrandedTraffic{Now: before.String(), Others: others}, readExisting(left)
	for _, version := range after.Names() {
		switch {
		case versionsHere[version] && !slices.Contains(others, version):
			loss.Versions = append(loss.Versions, version)
		case deleted && !slices.Contains(before.Names(), version):
			loss.To = append(loss.To, version)
		}
	}
	loss.onlyMatches(after, observed.Intent.Match)
	return loss, len(loss.Versions)+len(loss.To) > 0
}

// onlyMatches finds whether only matched requests go to the versions that lose their pods.
func (l *StrandedTraffic) onlyMatches(after Reading, written []api.Match) {
	for _, version := range l.Versions {
		if weight, named := after.WeightOf(version); weight > 0 || !named {
			l.Matches = nil
			return
		}
		l.Matches = append(l.Matches, after.MatchesOf(version)...)
	}
	var items []string
	for _, m := range written {
		if !slices.Contains(l.Versions, m.Version) {
			items = append(items, m.String())
		}
	}
	l.Match = strings.Join(items, ";")
}

func readExisting(observed Observed) Reading {
	return Read(observed.Existing, observed.Service, observed.Intent, observed.Settings)
}

// readyVersions are the versions with a ready pod, in natural order.
func readyVersions(pods []PodGroup) []string {
	seen := map[string]bool{}
	for _, group := range pods {
		if group.Ready > 0 && group.Version != "" {
			seen[group.Version] = true
		}
	}
	return sortedVersions(seen)
}
