// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

// facts are what was observed, interpreted: what our objects record, which workloads and versions there are, what others wrote.
// The reading steps fill them; after that they do not change (see TestFactsAreReadOnly). A method of facts decides nothing: it
// cannot see what the plan has decided.
type facts struct {
	Observed
	Pods, Workloads struct{} // hides those of Observed, which rules read through cluster
	cluster         *podsAndWorkloads

	now             time.Time
	host            string
	observedOurs    Objects           // ours, as they were observed
	observedObjects []Object          // likewise
	replaced        replacedObjects   // those that the user replaced and that still carry our marks
	distrusted      map[Object]Object // copies of those whose annotations another client edited, to what was observed
	copies          recordCopies
	recorded        record // as our objects have it, with the names and weights that it implies
	isRecorded      bool   // false at first sight

	names   objectNames
	ours    ourObjects
	renewed bool // the Service has another UID than the one that the objects stand for

	invalid            map[string]bool // invalid annotations, whose values are ignored
	invalidLabel       bool            // the version label is invalid, so that nothing new is created
	badExposure        []string        // invalid annotations about exposure, so that the current exposure stays
	unrecordedExposure bool            // and nothing records what the current exposure was written for
	badExport          bool            // exportTo is invalid, so that the current visibility stays
	portless           bool            // the port that a gateway is to route to does not exist, and no gateway routes to the Service yet

	tracks  []track
	subsets subsetTable
	foreign foreignFindings

	edited          []string // our VirtualServices that another client changed since we wrote them
	reverted        []string // those of them that are written back: the plan continues from what we wrote
	detached        []string // those of them that are not written any more
	gatewayDetached bool     // likewise
	left            stamps   // subsets that our routes no longer name, since when
}

// existing are our objects as they are, by their role.
type ourObjects struct {
	rule        *networkingv1.DestinationRule
	mesh        *networkingv1.VirtualService // <service>
	exposed     *networkingv1.VirtualService // <service>-gateway
	gateway     *networkingv1.Gateway
	annotations map[string]string
	absent      []string // names in the weights
	added       stamps
	unused      stamps
	// meanings are the versions that our subsets stand for, by subset name, as recorded.
	meanings map[string]string
	lastRan  map[string]string // by WorkloadRef.String()
	waiting  []string          // likewise
}

// reader fills the facts. Only its methods write them.
type reader struct {
	facts
	found []finding
}

// read reads our objects and what they record, and the annotations that apply.
func read(observed Observed, now time.Time, reads *podsAndWorkloads) *reader {
	s := &reader{facts: facts{Observed: observed, cluster: reads, now: now, host: hostOf(observed.Service, observed.Settings.ClusterDomain)}}
	s.Existing, s.Foreign = s.Existing.sorted(), s.Foreign.sorted()
	s.observedOurs, s.observedObjects = s.Existing.sorted(), s.Existing.all()
	s.invalidLabel = observed.Intent.Bad[api.AnnotationVersionLabel]
	s.disown()
	s.distrustEdited()
	s.names = s.chooseNames()
	s.findOurs()
	s.readRecord()
	s.refuseHosts()
	s.restoreAnnotations()
	s.followTimes()
	return s
}

// findOurs finds our objects by name. What bears another of our names (a name was free or taken before) is not
// wanted and goes.
func (s *reader) findOurs() {
	st := &s.ours
	for _, rule := range s.Existing.DestinationRules {
		if rule.Name == s.names.rule {
			st.rule = rule
		}
	}
	for _, vs := range s.Existing.VirtualServices {
		switch vs.Name {
		case s.names.mesh:
			st.mesh = vs
		case s.names.exposed:
			st.exposed = vs
		}
	}
	for _, gateway := range s.Existing.Gateways {
		if gateway.Name == s.names.gateway {
			st.gateway = gateway
		}
	}
	var marks map[string]string
	if st.rule != nil {
		marks = st.rule.Annotations
	} else if s.replaced.rule != nil {
		marks = s.replaced.rule.Annotations
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
	st.waiting = splitList(marks[api.AnnotationWaiting])
}

// leftBy reads since when routes name subsets no more that a workload beside others has replaced. Of one that somebody has
// edited nothing is known.
func (s *facts) leftBy(routes []*networkingv1.VirtualService) stamps {
	out := stamps{}
	for _, vs := range routes {
		if slices.Contains(s.edited, vs.Name) {
			continue
		}
		for name, at := range parseStamps(vs.Annotations[api.AnnotationUnusedSince]) {
			if at.After(out[name]) {
				out[name] = at
			}
		}
	}
	return out
}

func (st ourObjects) routes() []*networkingv1.VirtualService {
	var out []*networkingv1.VirtualService
	for _, vs := range []*networkingv1.VirtualService{st.mesh, st.exposed} {
		if vs != nil {
			out = append(out, vs)
		}
	}
	return out
}

// isRestored reports whether one of our objects was restored from a backup together with its Service. Its record then
// still applies, and the write that follows makes the present Service its owner before the garbage collector deletes it.
// A route is known by the record of its DestinationRule, which may be deleted already.
func (s *facts) isRestored(object Object) bool {
	rule := s.ours.rule
	if rule == nil {
		rule = s.DeletedRule
	}
	return IsRestored(object) || rule != nil && IsRestored(rule) && recordOf(object).text() == recordOf(rule).text()
}

// restoreAnnotations replaces an invalid annotation with its last valid value, so that a typing error moves no traffic.
func (s *reader) restoreAnnotations() {
	for _, vs := range s.recordingRoutes() {
		words := map[string]string{}
		if err := json.Unmarshal([]byte(vs.Annotations[api.AnnotationWords]), &words); err == nil && s.ours.annotations == nil && !s.renewed && !s.isOutdated(vs) {
			s.ours.annotations, s.ours.absent = words, splitList(vs.Annotations[api.AnnotationAway])
		}
	}
	if s.copies.read.Revision > 0 {
		s.ours.absent = s.copies.read.Absent
	}
	if s.ours.annotations == nil && s.isRecorded && slices.ContainsFunc(s.ours.routes(), func(vs *networkingv1.VirtualService) bool { return trustOf(vs) == blank || s.isOutdated(vs) }) {
		s.ours.annotations = maps.Clone(s.Intent.Texts) // another client wiped or replaced them: nothing new is said by that
	}
	s.invalid = s.Intent.Bad
	held := s.recorded.Held
	if s.recorded.Held = nil; len(s.Intent.Bad) == 0 {
		return
	}
	s.recorded.Held = held
	service := &corev1.Service{ObjectMeta: *s.Service.ObjectMeta.DeepCopy(), Spec: corev1.ServiceSpec{Ports: s.Service.Spec.Ports}}
	recorded := map[string]bool{} // an earlier release may have accepted what this one refuses
	for key := range s.Intent.Bad {
		delete(service.Annotations, key)
		if text, said := s.inEffect(key); said {
			recorded[key] = true
			if service.Annotations == nil {
				service.Annotations = map[string]string{}
			}
			service.Annotations[key] = text
		}
	}
	namespace := s.holdExposure(service, recorded)
	s.recorded.Held = s.heldBy(service)
	bad, label := s.Intent.Bad, s.Intent.VersionLabel
	s.Intent, _ = s.Settings.Limits.IntentOf(service, namespace, recorded)
	s.Intent.VersionLabel = label // the pods were counted by it
	// Without an earlier value, an invalid one holds the route rather than move traffic.
	s.Intent.HoldDeleted = s.Intent.HoldDeleted || bad[api.AnnotationDefaultDeleted] && !recorded[api.AnnotationDefaultDeleted]
	s.Intent.HoldScaledToZero = s.Intent.HoldScaledToZero || bad[api.AnnotationScaledToZero] && !recorded[api.AnnotationScaledToZero]
	s.portless = s.Intent.Bad[api.AnnotationServicePort]
	s.badExport = bad[api.AnnotationExportTo]
}

// noteTime says that time alone changes the answer at t.
func (s *facts) noteTime(t time.Time) {
	if t.After(s.now) {
		s.cluster.readTime(t)
	}
}

// hasElapsed reports whether a wait that began at since is over, and looks again when it will be.
func (s *facts) hasElapsed(since time.Time, wait time.Duration) bool {
	end := since.Add(wait)
	if wait <= 0 || !end.After(s.now) {
		return true
	}
	s.noteTime(end)
	return false
}

// annotationsText is what the annotations say now, for the VirtualServices.
func annotationsText(texts map[string]string) string {
	if len(texts) == 0 {
		return ""
	}
	out, err := json.Marshal(texts) // sorted by key
	if err != nil {
		panic(err) // a map of texts
	}
	return string(out)
}

// isChanged reports whether one of these annotations says something else than when the route was written last.
func (s *facts) isChanged(keys ...string) bool {
	return (len(s.ours.routes()) > 0 || s.ours.annotations != nil) && slices.ContainsFunc(keys, func(key string) bool {
		return s.ours.annotations[key] != s.Intent.Texts[key]
	})
}

func splitList(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' })
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
