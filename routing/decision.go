// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"
	"time"

	"outrigger.dev/outrigger/api"
)

// outcome is what a plan decides, with the facts that it is made from. decide builds it, and rendering only reads it. It promotes the
// fields of what it embeds:
//
//	defaultDecision    record, as it will be written; which names, default, and weights apply
//	  facts            recorded, the record as it was read, with version names bound to workloads; copies.read, the same as it was stored
//	    Observed       what was gathered, and the intent
//	routeRules         the rules, and what the record says about them
type outcome struct {
	defaultDecision
	exposed  exposureDecision
	exportTo []string // of all our objects; nil: the mesh default
	policy   policyDecision
	routeRules
}

// defaultDecision is what is decided about names, the default, the canary, and the weights, with the record that will be written. It is a
// value: each rule returns a changed copy. Route rules use it to resolve names and the current default.
type defaultDecision struct {
	*facts
	record         record      // as recorded, then as it will be recorded
	isRecorded     bool        // false at first sight
	isNew          bool        // an annotation has changed the default just now
	reselected     bool        // the Service selects other pods: the destination gives up its subset immediately
	otherWorkloads []string    // known workloads that are not of the default, by WorkloadRef.String()
	gone           goneDefault // a default whose workload was deleted
	unready        time.Time   // when the default lost its last ready pod; zero unless failover is enabled
	isReported     bool        // what happens to a default without a ready pod is reported
	canary         canaryVerdict
}

// routeRules are the decided rules of the route, and what the record says about them.
type routeRules struct {
	rules               []rule
	absent              []string // weighted versions without pods; the default receives their share
	isMeshRouteWithheld bool     // no route for the mesh is created
	unversioned         bool     // the route names no version

	// Of the record that will be written:
	kept     map[string]meaning // what the conditions of the match annotation mean
	mirrors  effectiveWeights   // the mirrors in effect
	returned string             // when a version last took its share back from the default
}

// recordedOutcome is an outcome in which everything stays as recorded. It is also what decideDefault starts from.
func (s *facts) recordedOutcome() outcome {
	return outcome{defaultDecision: defaultDecision{facts: s, record: s.recorded, isRecorded: s.isRecorded, otherWorkloads: s.ours.otherWorkloads}}
}

// decide makes the decision, rule by rule, in the order in which they depend on each other. It returns false if nothing can be decided
// yet; then only our subsets are restored (unchanged).
func decide(f *facts) (outcome, []finding, bool) {
	c, found, ok := f.decideDefault()
	if !ok {
		return outcome{defaultDecision: c}, found, false
	}
	exposed, exposureFound := f.decideExposure()
	exportTo, exportFound := f.decideExport(exposed)
	policy, policyFound := f.decidePolicy()
	c, canaryFound := c.decideCanary(exposed)
	c, route, routeFound := c.decideRoute(exposed)
	found = slices.Concat(found, canaryFound, exposureFound, exportFound, policyFound, routeFound, f.telemetry(), f.unroutedPorts())
	r := &c.record // decideDefault, decideCanary, and decideWeights set the other fields; recordText sets Revision, History, and VersionLabel
	r.Kept, r.Mirrors, r.Absent, r.Returned = route.kept, route.mirrors, route.absent, route.returned
	r.LastValid, r.KeptHosts, r.RefusedExposure = exposed.lastValid, exposed.keptHosts, exposed.refusedExposure
	r.RefusedDecision = f.recorded.RefusedDecision
	r.Unrouted = r.State == "" && (route.isMeshRouteWithheld || f.foreign.meshTaken)
	return outcome{defaultDecision: c, exposed: exposed, exportTo: exportTo, policy: policy, routeRules: route}, found, true
}

// decideRoute decides which versions each rule of the route sends requests to. The decision that it returns has the weights in effect.
func (s defaultDecision) decideRoute(exposed exposureDecision) (defaultDecision, routeRules, []finding) {
	if s.record.State != "" {
		out, found := s.routeToAll()
		return s, out, found
	}
	if s.endpointsElsewhere() {
		out, found := s.routeToAll()
		return s, out, append(found, s.unseenEndpoints())
	}
	weighted, found := s.decideWeights()
	isWithheld := weighted.withholdsMeshRoute(false)
	matches, kept, matchFound := weighted.decideMatches()
	shares, returned, shareFound := weighted.shareOut()
	rest, stickyFound := weighted.defaultRules(matches, shares.shares)
	rules, mirrors, mirrorFound := weighted.decideMirrors(append(matches, rest...))
	found = slices.Concat(found, matchFound, shareFound, stickyFound, mirrorFound, s.bypassed(rules, exposed),
		weighted.adoptedShares(), weighted.unreadyDefault(), weighted.renamed(), weighted.unversionedPods())
	return weighted, routeRules{rules: weighted.withoutNewSubsets(rules), absent: shares.absent, isMeshRouteWithheld: isWithheld, kept: kept, mirrors: mirrors, returned: returned}, found
}

// routeToAll is the route that names no version: in a split, without a decision, or with endpoints in other clusters.
func (s defaultDecision) routeToAll() (routeRules, []finding) {
	missing := s.unreadyGrowth(s.writtenWeights(), nil)
	return routeRules{
		rules: []rule{{to: []portion{{weight: 1}}}}, isMeshRouteWithheld: s.withholdsMeshRoute(true), unversioned: true,
		absent: s.record.Absent, kept: s.record.Kept, mirrors: s.record.Mirrors, returned: s.record.Returned,
	}, s.pending(api.AnnotationWeights, missing, "Weights take effect as a whole; until then no route is written.")
}

// waitsForSecond reports whether outrigger.dev/eager=false defers subsets and route, because there is only one workload. The
// DestinationRule then has only the record, since each subset is another cluster in every sidecar. A setting of the Service that
// needs a route ends this, and so does a second workload. What exists stays.
func (s defaultDecision) waitsForSecond() bool {
	if !s.Intent.Deferred || s.Intent.SubsetsOnly || s.record.State != "" || len(s.withPods()) > 1 || len(s.ours.routes()) > 0 || len(s.ours.added) > 0 {
		return false
	}
	return !s.Intent.Default.OnService && s.Intent.Expose == nil && s.Intent.Canary == nil && len(s.Intent.Weights)+len(s.Intent.Match)+len(s.Intent.Mirror) == 0
}

// spansClusters reports whether the Service may have endpoints in other clusters of the mesh, by the setting or else by
// what the mesh shows.
func (s *facts) spansClusters() bool {
	return s.Settings.MultiCluster == api.MultiClusterEnabled || s.MultiCluster && s.Settings.MultiCluster != api.MultiClusterDisabled
}

// endpointsElsewhere reports whether a default route could divert traffic from endpoints in other clusters, whose versions are
// not known here. A decision of the user about versions is enough for a route, and an existing route stays.
func (s defaultDecision) endpointsElsewhere() bool {
	if !s.spansClusters() || s.record.State != "" || s.record.Default.All {
		return false
	}
	if s.wasRouteLost() {
		return false
	}
	for _, vs := range s.ours.routes() {
		if vs == s.ours.meshRoute || !unpinned(vs) {
			return false
		}
	}
	d := s.Intent.Default
	isDecided := d.OnService && (d.Policy != api.DefaultLiteral || s.within(s.meaningOf(d.Version))) || s.record.By == ByUser || len(s.record.Weights) > 0 || !s.impliedDefault().isZero()
	return !isDecided
}

func (s defaultDecision) unseenEndpoints() finding {
	return s.problem(api.RouteEndpointsElsewhere,
		"The mesh spans several clusters, and the Service's endpoints in other clusters are not visible here. A default route to "+s.record.Default.String()+" could divert their traffic, so none is written.",
		s.deciding(s.podVersions())+" In a mesh of one cluster set routing.multiCluster: disabled.")
}
