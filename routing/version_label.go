// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// A version label that is written later than the route is followed only if no share moves by that: see
// docs/decisions/0021-a-version-label-moves-nothing.md. The label is in one of these states:
//
//	free      nothing was recorded by another label; the written label applies
//	followed  every existing subset selects the same pods by the written label; subsets and record are rewritten by it
//	held      the recorded label still applies, and a problem explains why

// defaultVersionLabel is the label of versions where none is written. Records leave it out.
const defaultVersionLabel = "version"

// LabelChange is the decision about a version label other than the one that the existing subsets use. The zero value means that
// there is none.
type LabelChange struct {
	// From is the label of the existing subsets, where the written label is followed.
	From string
	// Versions are the versions by the written label, by those of From.
	Versions map[string]string
	// NotFollowed is a label that is set and does not apply; Why is the reason.
	NotFollowed, Why string
}

// RecordedVersionLabel returns the version label that the existing objects of a Service were created with, if the Service now has
// another one, and "" otherwise. The rest of observed must be complete.
func RecordedVersionLabel(observed Observed) string {
	recorded := read(observed, time.Time{}, newPodsAndWorkloads(observed)).recordedLabel()
	if recorded == observed.Intent.VersionLabel {
		return ""
	}
	return recorded
}

// FollowVersionLabel decides whether the written version label applies or the recorded one, and puts that and the pods by it
// into observed. before are the pods by the recorded label.
func FollowVersionLabel(observed *Observed, recorded string, before []PodGroup) {
	written := observed.Intent.VersionLabel
	if observed.Intent.Bad[api.AnnotationVersionLabel] { // the problem about the annotation explains it
		observed.Intent.VersionLabel, observed.Pods = recorded, before
		return
	}
	s := read(*observed, time.Time{}, newPodsAndWorkloads(*observed))
	pairs := versionPairs{}
	pairs.addPods(before, observed.Pods)
	for _, w := range observed.Workloads {
		if Selects(observed.Service.Spec.Selector, w.Labels) {
			pairs.add(w.Labels[recorded], w.Labels[written])
		}
	}
	versions, why := s.versionsBy(written, recorded, pairs)
	if s.recorded.Canary.isActive() {
		why = "canary " + s.recorded.Canary.Version + " progresses"
	}
	if why != "" {
		observed.Intent.VersionLabel, observed.Pods = recorded, before
		observed.LabelChange = LabelChange{NotFollowed: written, Why: why}
		return
	}
	observed.LabelChange = LabelChange{From: recorded, Versions: versions}
}

// recordedLabel is the version label that the existing objects use; empty if unknown. Records of earlier releases do not name it,
// but contain a hash of it.
func (s *facts) recordedLabel() string {
	switch {
	case s.renewed:
		return ""
	case s.isRecorded && s.recorded.VersionLabel != "":
		return s.recorded.VersionLabel
	case s.isRecorded:
		for _, label := range []string{defaultVersionLabel, s.Service.Annotations[api.AnnotationVersionLabel], s.namespaceMark(api.AnnotationVersionLabel)} {
			if label != "" && s.recorded.Selector == selectorHash(s.Service.Spec.Selector, label) {
				return label
			}
		}
	}
	for _, name := range s.ownSubsets() {
		if subset := findSubset(s.ours.destinationRule, name); subset != nil && len(subset.Labels) == 1 {
			return sortedKeys(subset.Labels)[0]
		}
	}
	if s.isRecorded {
		return defaultVersionLabel
	}
	return ""
}

// hasStandIn reports whether a VirtualService sends the default's traffic to another version, for the time being.
func hasStandIn(vs *networkingv1.VirtualService) bool {
	return vs.Annotations[api.AnnotationDefaultGone] != ""
}

func (s *facts) namespaceMark(key string) string {
	if s.Namespace == nil {
		return ""
	}
	return s.Namespace.Annotations[key]
}

// versionPairs holds, by version of one label, the versions of another label that the same pods have.
type versionPairs map[string]map[string]bool

func (p versionPairs) add(before, after string) {
	if p[before] == nil {
		p[before] = map[string]bool{}
	}
	p[before][after] = true
}

// addPods pairs the versions of each workload. Where a workload runs several by both labels, each counts as paired with each.
func (p versionPairs) addPods(before, after []PodGroup) {
	for _, a := range before {
		for _, b := range after {
			if a.Workload == b.Workload {
				p.add(a.Version, b.Version)
			}
		}
	}
}

// carriedBy are the versions by the label before of the pods that have a version by the label after.
func (p versionPairs) carriedBy(after string) []string {
	var out []string
	for _, before := range sortedKeys(p) {
		if p[before][after] {
			out = append(out, before)
		}
	}
	return out
}

// versionsBy returns what each version that the route, the record, or a subset knows is by the written label, or why that
// label cannot be followed.
func (s *facts) versionsBy(written, recorded string, pairs versionPairs) (versions map[string]string, why string) {
	known := s.labeledVersions(recorded)
	versions = map[string]string{}
	for before, after := range pairs {
		if len(after) == 1 && before != "" {
			if only := sortedKeys(after)[0]; only != "" && len(pairs.carriedBy(only)) == 1 {
				versions[before] = only
			}
		}
	}
	if s.isUnrouted() {
		return versions, ""
	}
	carried := slices.ContainsFunc(sortedKeys(pairs), func(before string) bool {
		return slices.ContainsFunc(sortedKeys(pairs[before]), func(after string) bool { return after != "" })
	})
	switch {
	case s.Service.Spec.Selector[written] != "":
		return nil, fmt.Sprintf("the Service selects its pods by %s=%s, so all of them have the same value", written, s.Service.Spec.Selector[written])
	case !carried && len(pairs) > 0:
		return nil, "no pod of the Service has the label " + written
	case slices.ContainsFunc(s.Intent.Match, func(m api.Match) bool { return m.Kind == api.MatchSource }):
		return nil, "outrigger.dev/match names versions of callers, whose label would change as well"
	case len(s.distrusted) > 0 || len(s.copies.disagree) > 0 || s.destinationRuleEdited():
		return nil, "another client edited the existing objects, which are repaired first"
	case slices.Contains(slices.Collect(maps.Values(s.recordedVersions(recorded))), ""):
		return nil, "a subset was made by another label"
	case slices.ContainsFunc(s.ours.routes(), hasStandIn):
		return nil, "another version has the traffic of the default, whose workload was deleted"
	}
	for _, version := range known {
		if versions[version] == "" {
			return nil, s.notCarried(version, written, recorded, pairs)
		}
	}
	return versions, ""
}

// notCarried returns why the pods of a version are not those of one version by the written label.
func (s *facts) notCarried(version, written, recorded string, pairs versionPairs) string {
	after := sortedKeys(pairs[version])
	switch {
	case len(after) == 0:
		return fmt.Sprintf("version %s has no pods, so its value of %s is unknown", version, written)
	case slices.Contains(after, ""):
		return fmt.Sprintf("pods with %s=%s do not have the label %s", recorded, version, written)
	case len(after) > 1:
		return fmt.Sprintf("pods with %s=%s have several values of %s: %s", recorded, version, written, strings.Join(after, ", "))
	}
	return fmt.Sprintf("pods of the versions %s have the same %s=%s", strings.Join(pairs.carriedBy(after[0]), ", "), written, after[0])
}

// isUnrouted reports whether no default is recorded and no route names a subset, so that no share can move.
func (s *facts) isUnrouted() bool {
	return (!s.isRecorded || s.recorded.State != "") && len(s.Existing.VirtualServices) == 0 && len(namedSubsets(s.Observed)) == 0
}

// labeledVersions returns the versions of our subsets and of the record, sorted.
func (s *facts) labeledVersions(label string) []string {
	seen := map[string]bool{}
	for _, version := range s.recordedVersions(label) {
		seen[version] = true
	}
	for _, m := range append(s.recorded.meanings(), s.recorded.Failed) {
		seen[m.Version] = true
	}
	delete(seen, "")
	return sortedKeys(seen)
}

// recordedVersions returns the versions of our subsets, by subset name: as recorded, or else by their labels.
func (s *facts) recordedVersions(label string) map[string]string {
	out := map[string]string{}
	for _, name := range s.ownSubsets() {
		if out[name] = s.ours.meanings[name]; out[name] == "" {
			if subset := findSubset(s.ours.destinationRule, name); subset != nil {
				out[name] = subset.Labels[label]
			}
		}
	}
	return out
}

// relabel rewrites what is recorded by the label before, where the written label is followed: subsets keep their names, and
// select the same pods by the new label. The write of the DestinationRule replaces the labels in one step, so that no subset is
// missing at any moment, and the VirtualServices stay as they are.
func (s *reader) relabel() {
	change := s.LabelChange
	if change.From == "" || s.recordedLabel() != change.From {
		return // or written already
	}
	was := s.destinationRuleEdited()
	meanings := s.recordedVersions(change.From)
	if s.ours.destinationRule != nil {
		s.ours.destinationRule = s.ours.destinationRule.DeepCopy()
	}
	for name, version := range meanings {
		now := change.Versions[version]
		if now == "" { // no route names it
			delete(s.ours.meanings, name)
			delete(s.ours.added, name)
			delete(s.ours.unused, name)
			continue
		}
		s.ours.meanings[name] = now
		if subset := findSubset(s.ours.destinationRule, name); subset != nil && maps.Equal(subset.Labels, map[string]string{change.From: version}) {
			subset.Labels = map[string]string{s.Intent.VersionLabel: now}
		}
	}
	if s.ours.destinationRule != nil && !was && s.ours.destinationRule.Annotations[api.AnnotationWritten] != "" {
		s.ours.destinationRule.Annotations[api.AnnotationWritten] = s.destinationRuleDigest(s.ours.destinationRule, s.ours.added)
	}
	for workload, version := range s.ours.lastRan {
		if s.ours.lastRan[workload] = change.Versions[version]; s.ours.lastRan[workload] == "" {
			delete(s.ours.lastRan, workload)
		}
	}
	s.relabelRecord()
}

// relabelRecord puts the versions by the followed label into the record. Names that the user wrote keep what they mean.
func (s *reader) relabelRecord() {
	change, r := s.LabelChange, &s.recorded
	names := map[string]meaning{}
	for name, m := range r.Names {
		names[name] = s.relabeled(m)
	}
	for _, name := range s.writtenNames() {
		if _, bound := names[name]; bound || change.Versions[name] == "" {
			continue
		}
		if m := s.relabeled(meaning{Version: name}); !m.equal(meaning{Version: name}) {
			names[name] = m
		}
	}
	if r.Names = names; len(names) == 0 {
		r.Names = nil
	}
	r.Default, r.Failed = s.relabeled(r.Default), s.relabeled(r.Failed)
	r.Canary = r.Canary.renamed(change.Versions)
	for i, w := range r.Weights {
		if r.Weights[i].bound = s.relabeled(w.meaning()); r.Weights[i].bound.equal(meaning{Version: w.name}) {
			r.Weights[i].bound = meaning{}
		}
	}
	for condition, kept := range r.Kept {
		r.Kept[condition] = s.relabeled(kept)
	}
	if r.Selector == selectorHash(s.Service.Spec.Selector, change.From) {
		r.Selector = selectorHash(s.Service.Spec.Selector, s.Intent.VersionLabel)
	}
}

// relabeled is what a meaning is by the followed label. The workloads of a version are followed where their selector does
// not contain the new label, as those of any rolling workload.
func (s *facts) relabeled(m meaning) meaning {
	now := s.LabelChange.Versions[m.Version]
	if m.Version == "" || now == "" {
		return m
	}
	version := meaning{Version: now}
	runningAs := s.runningAs(now)
	groups := s.groupsOf(runningAs)
	if len(groups) > 0 && !slices.ContainsFunc(groups, func(g podGroup) bool { return g.Version != now }) {
		version = runningAs
	}
	version.Tracks = append(slices.Clone(m.Tracks), version.Tracks...)
	slices.SortFunc(version.Tracks, compareRefs)
	version.Tracks = slices.Compact(version.Tracks)
	return version
}

// reportVersionLabel reports a version label that is not followed, or that no pod has.
func (s *reader) reportVersionLabel() {
	text, written := s.Intent.Texts[api.AnnotationVersionLabel]
	if change := s.LabelChange; change.NotFollowed != "" {
		what := fmt.Sprintf("The version label %s is not followed: %s.", change.NotFollowed, change.Why)
		if !written {
			what = fmt.Sprintf("%s was removed, and the version label %s is not followed: %s.", api.AnnotationVersionLabel, change.NotFollowed, change.Why)
		}
		s.reportAbout(api.AnnotationVersionLabel, text, api.RouteVersionLabelHeld,
			what+fmt.Sprintf(" Versions are still read from the label %s, and the current route is unchanged.", s.Intent.VersionLabel),
			fmt.Sprintf("It is followed once the pods of each version have one value of %s that no other pod has. To keep the label %s: %s.", change.NotFollowed, s.Intent.VersionLabel, s.labelCommand()))
		return
	}
	if _, own := s.Service.Annotations[api.AnnotationVersionLabel]; own && written && len(s.cluster.all()) > 0 && !s.isRecorded && !s.anyVersion() && s.OtherVersionLabel == "" {
		s.reportAbout(api.AnnotationVersionLabel, text, api.RouteVersionLabelHeld,
			fmt.Sprintf("No pod of the Service has the label %s. No route is created.", text),
			fmt.Sprintf("Label the pod templates, or use the label version: kubectl annotate service -n %s %s %s-.", s.Service.Namespace, s.Service.Name, api.AnnotationVersionLabel))
	}
}

// commonVersionLabels name versions in many clusters: Istio's and Kubernetes' own.
var commonVersionLabels = []string{defaultVersionLabel, "app.kubernetes.io/version"}

// UntriedVersionLabels returns other common version labels to look for, if no pod has the version label that applies.
func UntriedVersionLabels(observed Observed) []string {
	if len(observed.Pods) == 0 || slices.ContainsFunc(observed.Pods, func(g PodGroup) bool { return g.Version != "" }) {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(commonVersionLabels), func(label string) bool {
		return label == observed.Intent.VersionLabel || observed.Service.Spec.Selector[label] != ""
	})
}

// NoteVersionLabel records in observed that pods have another version label. byLabel are the pods grouped by one of the untried
// labels.
func NoteVersionLabel(observed *Observed, label string, byLabel []PodGroup) {
	if observed.OtherVersionLabel == "" && slices.ContainsFunc(byLabel, func(g PodGroup) bool { return g.Version != "" }) {
		observed.OtherVersionLabel = label
	}
}

// unlabeled reports that none of the pods has the version label. This is an expected state: many Services need no routes.
func (s *facts) unlabeled() []finding {
	if _, own := s.Service.Annotations[api.AnnotationVersionLabel]; len(s.cluster.all()) == 0 || own && s.OtherVersionLabel == "" {
		return nil // no pods, or reportVersionLabel reports it
	}
	label := s.Intent.VersionLabel
	if other := s.OtherVersionLabel; other != "" {
		return []finding{s.problem(api.RouteVersionLabelMissing, fmt.Sprintf("No pod of the Service has the label %s, but pods have the label %s. No route is created.", label, other),
			fmt.Sprintf("To route by %s: %s.", other, s.annotate(api.AnnotationVersionLabel+"="+other)))}
	}
	advice := fmt.Sprintf("To route between versions, add the label %s to the pod templates.", label)
	var deployments []string
	for _, group := range s.cluster.all() {
		if group.Workload.Kind == "Deployment" {
			deployments = append(deployments, group.Workload.Name)
		}
	}
	if len(deployments) > 0 {
		advice += fmt.Sprintf(` Example: kubectl patch deployment -n %s %s -p '{"spec":{"template":{"metadata":{"labels":{"%s":"v1"}}}}}'.`, s.Service.Namespace, api.ShellWord(slices.Min(deployments)), label)
	}
	return []finding{s.problem(api.RouteVersionLabelMissing, fmt.Sprintf("No pod of the Service has the label %s. No route is created.", label), advice)}
}

// labelCommand is the command that writes the label that applies, where it is written now.
func (s *facts) labelCommand() string {
	_, own := s.Service.Annotations[api.AnnotationVersionLabel]
	if _, above := s.Namespace.GetAnnotations()[api.AnnotationVersionLabel]; above && !own {
		return fmt.Sprintf("kubectl annotate namespace %s %s=%s --overwrite", s.Service.Namespace, api.AnnotationVersionLabel, s.Intent.VersionLabel)
	}
	return s.annotate(api.AnnotationVersionLabel + "=" + s.Intent.VersionLabel)
}
