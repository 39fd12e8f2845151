// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"time"

	"outrigger.dev/outrigger/api"
)

// reader reads the facts. Nothing else writes them. found is what it reports.
type reader struct {
	facts
	found []finding
}

// read reads our objects and what they record, and the annotations that apply. It changes the intent where an annotation does not apply:
// hosts that are reserved (refuseHosts), a decided-at in the future (refuseFutureDecision), invalid values, which are replaced by their
// last valid ones (restoreAnnotations), and what a canary has superseded (supersede). followTimes adds delays that failover needs.
func read(observed Observed, now time.Time, reads *podsAndWorkloads) *reader {
	s := &reader{facts: facts{Observed: observed, cluster: reads, now: now, host: hostOf(observed.Service, observed.Settings.ClusterDomain)}}
	s.Existing, s.Foreign = s.Existing.sorted(), s.Foreign.sorted()
	s.observedOurs, s.observedObjects = s.Existing.sorted(), s.Existing.All()
	s.invalidLabel = observed.Intent.Bad[api.AnnotationVersionLabel]
	s.disown()
	s.distrustEdited()
	s.names = s.chooseNames()
	s.findOurs()
	s.readRecord()
	s.refuseHosts()
	s.refuseFutureDecision()
	s.restoreAnnotations()
	s.supersede()
	s.followTimes()
	return s
}

// findOurs finds our objects by name. An object with another of our possible names, which was free or taken before, is not wanted
// and is deleted.
func (s *reader) findOurs() {
	st := &s.ours
	for _, rule := range s.Existing.DestinationRules {
		if rule.Name == s.names.destinationRule {
			st.destinationRule = rule
		}
	}
	for _, vs := range s.Existing.VirtualServices {
		switch vs.Name {
		case s.names.meshRoute:
			st.meshRoute = vs
		case s.names.gatewayRoute:
			st.gatewayRoute = vs
		}
	}
	for _, gateway := range s.Existing.Gateways {
		if gateway.Name == s.names.gateway {
			st.gateway = gateway
		}
	}
	var marks map[string]string
	if st.destinationRule != nil {
		marks = st.destinationRule.Annotations
	} else if s.replaced.destinationRule != nil {
		marks = s.replaced.destinationRule.Annotations
	}
	st.added, st.unused = parseStamps(marks[api.AnnotationSubsetAdded]), parseStamps(marks[api.AnnotationUnusedSince])
	s.left = s.leftBy(st.routes())
	st.meanings = parsePairs(marks[api.AnnotationSubsets])
	for _, vs := range st.routes() {
		for name, version := range parsePairs(vs.Annotations[api.AnnotationSubsets]) {
			if st.meanings[name] == "" {
				st.meanings[name] = version
			}
		}
	}
	s.restoreAdded()
	s.restoreMeant()
	st.lastRan = parsePairs(marks[api.AnnotationLastRan])
	st.otherWorkloads = splitList(marks[api.AnnotationWaiting])
}

// interpreted reads what a plan would read. It is false if the plan would end without a decision.
func interpreted(observed Observed, now time.Time) (*reader, bool) {
	s := read(observed, now, newPodsAndWorkloads(observed))
	if _, ends := s.endWithoutRoutes(); ends {
		return s, false
	}
	s.interpret()
	_, ends := s.endWithoutDecision()
	return s, !ends
}
