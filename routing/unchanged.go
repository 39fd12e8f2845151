// SPDX-License-Identifier: Apache-2.0

package routing

import (
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// unchanged leaves everything as it is, except for our subsets that another client edited, or removed although a route names them: while
// nothing can be decided, the routes still need them. Annotations that the client edited stay as they are, so that they do not count as ours.
func (s outcome) unchanged() planEnd {
	out, existing := planEnd{objects: s.Existing}, s.ours.destinationRule
	if existing == nil && !s.renewed && s.isRecorded {
		return planEnd{objects: s.withDestinationRule()}
	}
	if existing == nil || s.renewed {
		return out
	}
	original, isDistrusted := s.distrusted[existing].(*networkingv1.DestinationRule)
	if !isDistrusted {
		original = existing
	}
	rule := original.DeepCopy()
	rule.TypeMeta = typeMeta("DestinationRule")
	if !s.restoreSubsets(rule) {
		return out
	}
	if isDistrusted || trustOf(existing) == blank {
		out.unsealed = rule
	} else {
		rule.Annotations[api.AnnotationWritten] = s.destinationRuleDigest(rule, s.ours.added)
	}
	out.objects.DestinationRules, out.found = []*networkingv1.DestinationRule{rule}, s.destinationRuleDrift()
	return out
}

// withDestinationRule recreates a DestinationRule that another client deleted, with the subsets that our routes name.
func (s outcome) withDestinationRule() Objects {
	objects := s.Existing
	rule := &networkingv1.DestinationRule{ObjectMeta: s.meta(s.names.destinationRule), TypeMeta: typeMeta("DestinationRule")}
	rule.Spec.Host = s.host
	rule.Spec.ExportTo = s.exportOfSubsets(nil)
	added, meanings := stamps{}, map[string]string{}
	s.keepNamed(rule, added, nil)
	if len(added) == 0 {
		return objects
	}
	for name := range added {
		meanings[name] = s.subsets.versions[name]
	}
	mark(&rule.ObjectMeta, map[string]string{
		api.AnnotationRecord:      s.recordText(s.record),
		api.AnnotationDefault:     s.record.display(),
		api.AnnotationSubsetAdded: added.String(),
		api.AnnotationSubsets:     pairsText(meanings),
		api.AnnotationWritten:     s.destinationRuleDigest(rule, added),
	})
	objects.DestinationRules = []*networkingv1.DestinationRule{rule}
	return objects
}
