// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// recordCopies compares the copies of the record. Each of our objects has one; the DestinationRule's is written first, so that the
// others may be older for a while.
type recordCopies struct {
	read     record   // the copy that counts
	newest   int      // the highest revision of all
	disagree []string // the objects whose copies have the same revision and differ
	lost     []string // the objects whose copy another client edited
	outdated []string // the objects on which another client restored an older copy
	restored bool     // an object has the Service of a backup as its owner
}

// readRecord reads the newest copy, the DestinationRule's first. Objects of a Service with another UID are written over:
// nothing is recorded about this one.
func (s *reader) readRecord() {
	var candidates []Object
	if s.ours.destinationRule != nil {
		candidates = append(candidates, s.ours.destinationRule)
	}
	for _, vs := range s.ours.routes() {
		candidates = append(candidates, vs)
	}
	c, from := &s.copies, ""
	for _, object := range candidates {
		if owner := controllerOf(object); owner == nil || owner.UID != s.Service.UID {
			switch {
			case s.isRestored(object):
				c.restored = true
			case !s.ownerEdited(object):
				s.renewed = true
				continue
			}
		}
		name := KindOf(object) + " " + object.GetName()
		if trustOf(object) == blank {
			c.lost = append(c.lost, name)
		}
		r := recordOf(object)
		if r.isZero() {
			continue
		}
		c.newest = max(c.newest, r.Revision)
		switch {
		case !s.isRecorded:
			s.recorded, s.isRecorded, from = r, true, name
		case r.Revision > s.recorded.Revision:
			if !r.equalContent(s.recorded) {
				c.outdated = append(c.outdated, from)
			}
			s.recorded, from = r, name
		case r.Revision == s.recorded.Revision && r.Revision > 0 && r.text() != s.recorded.text():
			c.disagree = append(c.disagree, from, name)
		}
	}
	for _, vs := range s.ours.routes() {
		if name := KindOf(vs) + " " + vs.Name; s.isOutdated(vs) && !slices.Contains(c.outdated, name) {
			c.outdated = append(c.outdated, name)
		}
	}
	s.readReplacedRecord()
	c.read = s.recorded.clone()
	s.readDeletedDestinationRule()
}

// isOutdated reports whether another client restored an older VirtualService. Ours are behind the DestinationRule only
// while a subset that was just added, or a namespace that it was just shown to, makes them wait, or during a freeze.
func (s *facts) isOutdated(vs *networkingv1.VirtualService) bool {
	r, rule := recordOf(vs), s.ours.destinationRule
	if slices.Contains(s.recorded.Detached, vs.Name) { // no longer written
		return false
	}
	if s.renewed || s.isFrozen() || rule == nil || r.Revision == 0 || r.Revision >= s.copies.newest || r.equalContent(s.recorded) {
		return false
	}
	latest := exportedAt(rule)
	for _, at := range s.ours.added {
		if at.After(latest) {
			latest = at
		}
	}
	return s.waitElapsed(latest, 2*s.Settings.PropagationDelay)
}

// readReplacedRecord reads the record that is still on objects which the user replaced, until ours carry it.
func (s *reader) readReplacedRecord() {
	if s.isRecorded || s.renewed {
		return
	}
	var candidates []Object
	if s.replaced.destinationRule != nil && s.replaced.destinationRule != s.DeletedDestinationRule {
		candidates = append(candidates, s.replaced.destinationRule)
	}
	if s.replaced.meshRoute != nil {
		candidates = append(candidates, s.replaced.meshRoute)
	}
	for _, object := range candidates {
		owner := controllerOf(object)
		if r := recordOf(object); !s.isRecorded && owner != nil && owner.UID == s.Service.UID && !r.isZero() {
			s.recorded, s.isRecorded, s.copies.newest = r, true, r.Revision
		}
	}
}

// recordingRoutes are the VirtualServices whose annotations say what was written last: ours, or the one that the user
// replaced while ours does not exist yet.
func (s *facts) recordingRoutes() []*networkingv1.VirtualService {
	routes := s.ours.routes()
	if s.ours.meshRoute == nil && s.replaced.meshRoute != nil {
		routes = append(routes, s.replaced.meshRoute)
	}
	return routes
}

// readDeletedDestinationRule reads the record of a DestinationRule that Kubernetes deleted after a backup was restored, and reports
// the loss, also while a restored route still has the record.
func (s *reader) readDeletedDestinationRule() {
	if s.renewed || s.DeletedDestinationRule == nil || s.isRecorded && (s.ours.destinationRule != nil || !s.copies.restored) {
		return
	}
	if r := recordOf(s.DeletedDestinationRule); !r.isZero() {
		if !IsRestored(s.DeletedDestinationRule) {
			s.recorded, s.isRecorded = r, true
			s.reportForeign(s.DeletedDestinationRule, "metadata.annotations", "", api.RouteObjectReplaced, "This DestinationRule was replaced, and with it Outrigger's record. The record continues on Outrigger's own objects: the default is "+s.recorded.display()+".", "")
			return
		}
		if !s.isRecorded {
			s.recorded, s.isRecorded = r, true
		}
		s.report(api.RouteRestored, fmt.Sprintf("DestinationRule %s came from a backup and named the Service of the backup as its owner, so Kubernetes deleted it. It is recreated with its recorded default, %s.", s.DeletedDestinationRule.Name, s.recorded.display()),
			"Check the route: outrigger status "+s.Service.Name+" -n "+s.Service.Namespace+".")
	}
}

// equalContent reports whether two records are equal except for their revision, and for fields that the release that wrote one of
// them did not record.
func (r record) equalContent(other record) bool {
	if r.Revision == 0 || other.Revision == 0 {
		r, other = r.asEarlier(), other.asEarlier()
	}
	r.Revision = other.Revision
	return r.text() == other.text()
}

// recordText returns a record to write, with its revision and history.
func (s *facts) recordText(r record) string {
	if r.isZero() {
		return ""
	}
	if r.VersionLabel = s.Intent.VersionLabel; r.VersionLabel == defaultVersionLabel {
		r.VersionLabel = ""
	}
	r.History = s.historyFor(r)
	if r.Revision = s.copies.read.Revision; s.Offline {
		r.Revision = 0
	} else if r.Revision == 0 || r.text() != s.copies.read.text() {
		r.Revision = s.copies.newest + 1
	}
	return r.text()
}

// holdRoute reports that no copy of the record can be trusted, and returns whether existing objects must stay until the user
// decides. Annotations that decide everything (isFullySpecified) are such a decision. It also reports edits of the record that
// another copy repairs.
func (s *reader) holdRoute() bool {
	c := s.copies
	unknown := !s.isRecorded && len(c.lost) > 0
	if !s.areRecordsUnclear() {
		s.reportRestored()
		return false
	}
	if s.isFullySpecified() {
		s.recorded, s.isRecorded = record{}, false
		return false
	}
	what := "The records on " + strings.Join(slices.Compact(c.disagree), " and ") + " differ in one revision"
	if unknown {
		what = "Another client edited the record on " + strings.Join(c.lost, " and ") + ", and there is no other copy"
	}
	s.report(api.RouteRecordEdited, what+". Everything stays as it is until you decide.", s.deciding(s.podVersions()))
	return true
}

// areRecordsUnclear reports whether the records differ in one revision, or the only one was edited.
func (s *facts) areRecordsUnclear() bool {
	return len(s.copies.disagree) > 0 || !s.isRecorded && len(s.copies.lost) > 0
}

// isFullySpecified reports whether the annotations of the Service itself decide where all requests go, and can be followed: then no
// record is needed.
func (s *facts) isFullySpecified() bool {
	d := s.Intent.Default
	if len(s.invalid) > 0 || !d.OnService && len(s.Intent.Weights) == 0 {
		return false
	}
	names := map[string]bool{}
	if d.OnService && d.Policy == api.DefaultLiteral {
		names[d.Version] = true
	}
	for _, w := range slices.Concat(s.Intent.Weights, s.Intent.Mirror) {
		names[w.Version] = w.Weight > 0 || names[w.Version]
	}
	for _, m := range s.Intent.Match {
		names[m.Version] = true
	}
	for name, isUsed := range names {
		if m := s.runningAs(name); isUsed && (!s.isReady(m) || !s.isSeenReady(m)) {
			return false
		}
	}
	return true
}

// reportRestored reports edits of the record that its other copy repairs.
func (s *reader) reportRestored() {
	if s.renewed || s.foreign.clash { // nothing is written then
		return
	}
	s.reportMarks()
	for _, object := range s.Existing.All() {
		if s.distrusted[object] != nil {
			s.reportForeign(object, "metadata.annotations", "", api.RouteRecordEdited,
				"Another client edited annotations in which Outrigger keeps its record. They are written back, and the route is unchanged.",
				fmt.Sprintf("Decide with annotations of the Service. Example: %s.", s.annotate(api.AnnotationDefaultVersion+"=VERSION")))
		}
	}
	if s.BetweenWrites {
		return
	}
	for _, name := range s.copies.outdated {
		s.report(api.RouteRecordEdited, "Another client restored an older record on "+name+". It is replaced by the newer one.", "")
	}
}

// restoreLastRan finds out which version a rolling default ran last, where another client deleted the DestinationRule or its
// annotations: the only version that our route sends requests to, unless another workload runs it.
func (s *reader) restoreLastRan() {
	refs := s.recorded.Default.Tracks
	if !s.forgotOtherWorkloads() || len(refs) != 1 || s.recorded.Default.Version != "" || len(s.recorded.Weights) > 0 || s.ours.lastRan[refs[0].String()] != "" {
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
	if _, shares, _, uneven := s.digest(vs); !uneven && len(shares) == 1 {
		return shares[0].version
	}
	return ""
}

// restoreMeant infers versions from the subset names of our host in foreign routes, if another client deleted the DestinationRule
// and no annotation records their meaning.
func (s *reader) restoreMeant() {
	if s.ours.destinationRule != nil || len(s.ours.routes()) == 0 {
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
