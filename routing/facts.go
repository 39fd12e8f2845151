// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// facts are what was observed, interpreted: what our objects record, which workloads and versions exist, what other clients wrote.
// The steps up to judgeEdits fill them; after that they do not change (see TestFactsAndDecisionsAreReadOnly). A method of facts cannot
// see what the plan has decided; a rule about facts alone returns its verdict.
type facts struct {
	Observed
	Pods, Workloads struct{} // hides those of Observed, which rules read through cluster
	cluster         *podsAndWorkloads

	now             time.Time
	host            string
	observedOurs    Objects           // our objects, as they were observed
	observedObjects []Object          // the same in one list
	replaced        replacedObjects   // foreign objects that still carry our marks
	distrusted      map[Object]Object // copies of those whose annotations another client edited, to what was observed
	copies          recordCopies
	recorded        record // from our objects, with the names and weights that it implies
	isRecorded      bool   // false at first sight

	names   objectNames
	ours    ourObjects
	renewed bool // the Service has another UID than the owner of the objects

	invalid            map[string]bool // invalid annotations, whose values are ignored
	invalidLabel       bool            // the version label is invalid, so that nothing new is created
	badExposure        []string        // invalid annotations about exposure, so that the current exposure stays
	unrecordedExposure bool            // badExposure, and no record of the annotations that the current exposure was written for
	badExport          bool            // exportTo is invalid, so that the current visibility stays
	portless           bool            // the port that a gateway is to route to does not exist, and no gateway routes to the Service yet

	tracks  []track
	subsets subsetTable
	foreign foreignFindings

	edited          []string // our VirtualServices that another client changed since we wrote them
	reverted        []string // those of them that are written back: the plan continues from what we wrote
	detached        []string // those of them that are no longer written
	gatewayDetached bool     // our Gateway is no longer written, because another client changed it
	left            stamps   // subsets that our routes no longer name, since when

	superseded bool   // default-version and weights have the values that a canary superseded
	retried    string // the version of a canary that ended and that the user decided to retry; empty if there is none
	isIdle     bool   // the weights have no effect, because a canary progresses
}

// ourObjects are the existing objects of Outrigger, by role.
type ourObjects struct {
	destinationRule *networkingv1.DestinationRule
	meshRoute       *networkingv1.VirtualService // <service>
	gatewayRoute    *networkingv1.VirtualService // <service>-gateway
	gateway         *networkingv1.Gateway
	annotations     map[string]string
	absent          []string // names in the weights
	added           stamps
	unused          stamps
	// meanings are the versions of our subsets, by subset name, as recorded.
	meanings       map[string]string
	lastRan        map[string]string // by WorkloadRef.String()
	otherWorkloads []string          // by WorkloadRef.String()
}

// leftBy returns since when routes no longer name subsets that a rollout replaced. Routes that are known to be edited are ignored.
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
	for _, vs := range []*networkingv1.VirtualService{st.meshRoute, st.gatewayRoute} {
		if vs != nil {
			out = append(out, vs)
		}
	}
	return out
}

// isRestored reports whether one of our objects was restored from a backup with its Service. Its record then still applies, and
// the next write makes the present Service its owner before the garbage collector deletes it. A VirtualService is recognized by
// the record of its DestinationRule, which may be deleted already.
func (s *facts) isRestored(object Object) bool {
	rule := s.ours.destinationRule
	if rule == nil {
		rule = s.DeletedDestinationRule
	}
	return IsRestored(object) || rule != nil && IsRestored(rule) && recordOf(object).text() == recordOf(rule).text()
}

// noteTime records that the result may differ at t.
func (s *facts) noteTime(t time.Time) {
	if t.After(s.now) {
		s.cluster.readTime(t)
	}
}

// waitElapsed reports whether a wait that began at since has ended. If not, it records the end as a time at which to plan again, so
// every rule that asks, directly or not, schedules that plan: see podsAndWorkloads.
func (s *facts) waitElapsed(since time.Time, wait time.Duration) bool {
	end := since.Add(wait)
	if wait <= 0 || !end.After(s.now) {
		return true
	}
	s.noteTime(end)
	return false
}

// annotationsText returns annotations as a VirtualService records them.
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

// isChanged reports whether one of these annotations has changed since the route was written last.
func (s *facts) isChanged(keys ...string) bool {
	return (len(s.ours.routes()) > 0 || s.ours.annotations != nil) && slices.ContainsFunc(keys, func(key string) bool {
		return s.ours.annotations[key] != s.Intent.Texts[key]
	})
}

func splitList(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' })
}

// sortedVersions returns versions in natural order.
func sortedVersions(set map[string]bool) []string {
	return slices.SortedFunc(maps.Keys(set), CompareVersions)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
