// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// isFrozen reports whether routing.freeze keeps the objects of the Service as they are. It does not if there is no route, or only that of a
// deleted Service with the same name: nothing is recorded about the new one, so its versions would later count as a split. Such a Service
// gets its route with all decisions, as without a freeze, but no canary starts.
func (s *facts) isFrozen() bool {
	return s.Settings.Freeze && len(s.Existing.VirtualServices) > 0 && !s.renewed
}

// freeze ends the plan of a Service that isFrozen. It reports what else would change.
func (s *reader) freeze(end planEnd) Result {
	result := s.result(end)
	wanted := result.Objects
	result.Objects, result.Release, result.Pending, result.Transitions = s.frozenObjects(end.decided, wanted), nil, nil, nil
	var would []string
	for _, change := range Diff(result.Objects, wanted) {
		would = append(would, change.verb()+" "+KindOf(change.Object)+" "+change.Object.GetName())
		if change.Action == Create && KindOf(change.Object) == "VirtualService" && change.Object.GetName() == s.names.meshRoute {
			result.Problems = append(result.Problems, s.missingMeshRoute())
		}
	}
	if len(would) == 0 {
		return result
	}
	result.Problems = append(result.Problems, api.RouteProblem{
		Object: s.serviceRef(), Reason: api.RouteFrozen,
		Message: fmt.Sprintf("Routes are frozen (routing.freeze). Without that, Outrigger would %s.", strings.Join(would, ", ")),
		Advice:  thawAdvice,
	})
	slices.SortStableFunc(result.Problems, compareProblems)
	return result
}

// missingMeshRoute reports that callers in the mesh have no route while a route for the ingress keeps the Service frozen.
func (s *facts) missingMeshRoute() api.RouteProblem {
	return api.RouteProblem{
		Object: s.serviceRef(), Reason: api.RouteFrozen,
		Message: fmt.Sprintf("VirtualService %s does not exist. Until the freeze ends, requests from the mesh go to the ready pods of all versions.", s.names.meshRoute),
		Advice:  thawAdvice,
	}
}

// thawAdvice is how to end a freeze.
const thawAdvice = "Set routing.freeze to false to let routes change."

// frozenObjects returns our objects as they stay during a freeze, with what must be recorded (recordInFreeze). A DestinationRule that lacks
// a subset which a route names is replaced by that of the plan, with the record of the routes, so that no part of a decision is recorded
// alone. decided is nil if nothing was decided.
func (s *reader) frozenObjects(decided *outcome, wanted Objects) Objects {
	out, was := s.observedOurs.sorted(), s.copies.read
	isRepaired := s.lacksSubset()
	if isRepaired {
		out.DestinationRules = slices.Clone(wanted.DestinationRules)
	}
	if decided == nil || was.isZero() || s.Offline {
		return out
	}
	record, routes := s.recordInFreeze(*decided), decided.stepRoutes(decided.exposed)
	isRecorded := func(object Object) bool {
		r := recordOf(object)
		if r.text() == was.text() {
			return record.Revision > was.Revision
		}
		return r.Revision < was.Revision && r.withFreeze(record).text() == record.text() // a leader stopped between the writes
	}
	for i, rule := range out.DestinationRules {
		switch {
		case isRepaired && rule.Name == s.names.destinationRule:
			out.DestinationRules[i] = withRecord(s, rule, record)
		case rule == s.ours.destinationRule && isRecorded(rule):
			out.DestinationRules[i] = withRecord(s, rule, record)
			if rule.Annotations[api.AnnotationInherited] == "" {
				out.DestinationRules[i].Spec.TrafficPolicy = nil // another client's, which keeps it
			}
		}
	}
	for i, vs := range out.VirtualServices {
		if slices.Contains(routes, vs) && isRecorded(vs) {
			out.VirtualServices[i] = withRecord(s, vs, record)
		}
	}
	return out
}

// recordInFreeze returns the record as it is during a freeze. It differs from the stored one in the clock of a canary, which is stopped, in
// a decided-at that is refused, and in one that does not decide about a canary. None of them can be determined after the freeze.
func (s *reader) recordInFreeze(decided outcome) record {
	was := s.copies.read
	out := was
	if was.Canary.isActive() {
		out.Canary = was.Canary.withClock(decided.record.Canary)
	}
	if was.Canary.isActive() || len(was.Canary.Ended) > 0 {
		out.Canary.FrozenDecision = s.frozenDecision()
	}
	if refused := s.recorded.RefusedDecision; refused != "" {
		out.RefusedDecision = refused
	}
	if out.text() != was.text() {
		out.Detached, out.Revision = s.detached, s.copies.newest+1
	}
	return out
}

// withFreeze returns the record with what can differ between two copies of it while the route is the same, as in another copy.
func (r record) withFreeze(other record) record {
	if r.Canary.shows(other.Canary) {
		r.Canary = other.Canary
	}
	r.RefusedDecision, r.Detached, r.Revision = other.RefusedDecision, other.Detached, other.Revision
	return r
}

// withRecord returns an object with another record, and only with our metadata: that of other clients remains theirs.
func withRecord[T interface {
	Object
	DeepCopy() T
}](s *reader, object T, r record) T {
	out, meta := object.DeepCopy(), s.meta(object.GetName())
	if wizard, has := object.GetLabels()[api.LabelKialiWizard]; has && KindOf(object) == "VirtualService" {
		meta.Labels[api.LabelKialiWizard] = wizard
	}
	annotations := ownMarks(object.GetAnnotations())
	annotations[api.AnnotationRecord], annotations[api.AnnotationDefault] = r.text(), r.display()
	annotations[api.AnnotationSeal] = seal(annotations)
	out.GetObjectKind().SetGroupVersionKind(networkingv1.SchemeGroupVersion.WithKind(KindOf(object)))
	out.SetLabels(meta.Labels)
	out.SetAnnotations(annotations)
	out.SetOwnerReferences(meta.OwnerReferences)
	return out
}

// lacksSubset reports whether one of our routes names a subset of the Service that no DestinationRule has.
func (s *facts) lacksSubset() bool {
	rules := slices.Concat(s.Existing.DestinationRules, s.Foreign.DestinationRules)
	return slices.ContainsFunc(s.Existing.VirtualServices, func(vs *networkingv1.VirtualService) bool {
		return slices.ContainsFunc(subsetsNamed(vs, s.host, s.Settings.ClusterDomain), func(name string) bool {
			return name != "" && !slices.ContainsFunc(rules, func(rule *networkingv1.DestinationRule) bool { return findSubset(rule, name) != nil })
		})
	})
}
