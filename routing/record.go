// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"outrigger.dev/outrigger/api"
)

// record is what must survive a restart and cannot be read from the cluster. It is JSON in the annotation outrigger.dev/record of
// the DestinationRule and of each VirtualService, so that deleting one of them loses nothing.
type record struct {
	// State is stateSplit or stateUndecided where there is no default, else empty.
	State string `json:"state,omitempty"`
	// Default is the default, in the form of meaning.
	Default meaning `json:"default,omitzero"`
	// By is how the default was found, one of the By… constants.
	By string `json:"by,omitempty"`
	// Since is when a default that the user did not choose was recorded (ByFirst only). It may be revised until it is
	// Settings.Settle old. Records of earlier releases have no such time and are never revised.
	Since string `json:"since,omitempty"`
	// Names holds what version names mean, where that is not simply the version.
	Names map[string]meaning `json:"names,omitempty"`
	// Weights are the weights in effect, which may differ from the annotation; empty if the default receives everything. Adopted is
	// true for those that were set on our VirtualService by hand, Provisional for those of the first route, which holds until what
	// is written can be followed.
	Weights     effectiveWeights `json:"weights,omitempty"`
	Adopted     bool             `json:"adopted,omitempty"`
	Provisional bool             `json:"provisional,omitempty"`
	// Returned is when a version last took its share back from the default.
	Returned string `json:"returned,omitempty"`
	// Kept holds where the conditions of the match annotation route, also while the version that is written for one is
	// pending.
	Kept map[string]meaning `json:"kept,omitempty"`
	// Mirrors are the items of the mirror annotation in effect, with percentages as weights.
	Mirrors effectiveWeights `json:"mirrors,omitempty"`
	// LastValid are the values in effect of annotations that are invalid now, by key. Of an exposure they are all annotations.
	LastValid map[string]string `json:"held,omitempty"`
	// Absent are the names in the weights whose share the default has.
	Absent []string `json:"away,omitempty"`
	// Gone is when a version replaced a deleted default, and which one: "2026-01-02T03:04:05.000Z v2".
	Gone string `json:"gone,omitempty"`
	// Detached are our VirtualServices that another client edited and that are no longer written.
	Detached []string `json:"detached,omitempty"`
	// KeptHosts are wildcards that an earlier release exposed and that the installation no longer allows.
	KeptHosts []string `json:"keptHosts,omitempty"`
	// Unrouted is true where no route for the mesh has been created: one that is missing was not deleted.
	Unrouted bool `json:"unrouted,omitempty"`
	// Failed is the default before this one, which had no ready pod for too long. The current default receives its share.
	// FailedChoice is the hash of the annotations at that time; a later choice ends the failure.
	Failed       meaning `json:"failed,omitzero"`
	FailedChoice string  `json:"choiceHash,omitempty"`
	// Selector is the hash of the Service's selector and of the version label.
	Selector string `json:"selector,omitempty"`
	// VersionLabel is the label of the versions that the record and the subsets are made of; empty for "version". Records of
	// earlier releases do not have it.
	VersionLabel string `json:"versionLabel,omitempty"`
	// RefusedExposure is the exposure that was refused because its host was claimed: it does not apply automatically later.
	RefusedExposure string `json:"waiting,omitempty"`
	// RefusedDecision is the current decided-at if it was far in the future when it was first read: it does not apply later either.
	RefusedDecision string `json:"refusedDecision,omitempty"`
	// Canary is the canary that progresses, and those that ended.
	Canary canaryRecord `json:"canary,omitzero"`
	// History holds the decisions that were in effect before, newest first.
	History decisionHistory `json:"history,omitempty"`
	// Revision counts the changes of the record, so that the newer of two copies is known. It is 0 where a release that did
	// not count wrote it.
	Revision int `json:"revision,omitempty"`
}

const (
	stateSplit     = "split"
	stateUndecided = "undecided"
)

// How a default was found. Only ByFirst can change without a decision, until its record is Settings.Settle old.
const (
	ByFirst = "first" // the first workload
	ByOld   = "old"   // it served before Outrigger
	ByUser  = "word"  // an annotation chose it
	ByLeft  = "left"  // the others were deleted
	ByGone  = "gone"  // the previous one had no ready pod for too long
)

// meaning is what a version name, or the default, means. As text it is "v1", "Deployment/app",
// "v1 Deployment/app" or "@all": a version, rolling workloads whatever they run, both, or no version in particular.
type meaning struct {
	Version string        // the pods that carry this version
	Tracks  []WorkloadRef // sorted
	All     bool
}

func (m meaning) isZero() bool { return m.Version == "" && len(m.Tracks) == 0 && !m.All }

// IsZero leaves an empty meaning out of JSON.
func (m meaning) IsZero() bool { return m.isZero() }

func (m meaning) equal(other meaning) bool {
	return m.Version == other.Version && m.All == other.All && slices.Equal(m.Tracks, other.Tracks)
}

func (m meaning) String() string {
	if m.All {
		return string(api.DefaultAll)
	}
	var parts []string
	if m.Version != "" {
		parts = append(parts, m.Version)
	}
	for _, ref := range m.Tracks {
		parts = append(parts, ref.String())
	}
	return strings.Join(parts, " ")
}

func parseMeaning(text string) meaning {
	var m meaning
	for _, part := range strings.Fields(text) {
		if ref, ok := refFrom(part); ok {
			m.Tracks = append(m.Tracks, ref)
		} else if part == string(api.DefaultAll) {
			m.All = true
		} else {
			m.Version = part
		}
	}
	slices.SortFunc(m.Tracks, compareRefs)
	return m
}

// MarshalText and UnmarshalText are for JSON.
func (m meaning) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

func (m *meaning) UnmarshalText(text []byte) error {
	*m = parseMeaning(string(text))
	return nil
}

func (r record) text() string {
	if r.isZero() {
		return "" // nothing is recorded
	}
	out, err := json.Marshal(r)
	if err != nil {
		panic(err) // a struct of texts
	}
	return string(out)
}

// recordOf reads the record of an object. An invalid one is ignored.
func recordOf(object Object) record {
	var r record
	if err := json.Unmarshal([]byte(object.GetAnnotations()[api.AnnotationRecord]), &r); err != nil {
		return record{}
	}
	return r
}

// HasRecord reports whether one of our objects has a record of decisions.
func HasRecord(object Object) bool { return !recordOf(object).isZero() }

// IsRestored reports whether our DestinationRule was created from a backup: it records when its subsets were added, and that was
// before it was created. Creation times are whole seconds.
func IsRestored(object Object) bool {
	created := object.GetCreationTimestamp().Time
	if created.IsZero() {
		return false
	}
	for _, at := range parseStamps(object.GetAnnotations()[api.AnnotationSubsetAdded]) {
		if at.Before(created.Add(-time.Second)) {
			return true
		}
	}
	return false
}

// clone returns a copy that shares nothing that a plan changes.
func (r record) clone() record {
	r.Names, r.Kept, r.Weights, r.Mirrors = maps.Clone(r.Names), maps.Clone(r.Kept), slices.Clone(r.Weights), slices.Clone(r.Mirrors)
	return r
}

func (r record) isZero() bool { return r.State == "" && r.Default.isZero() }

// meanings are all that the record names, the default first.
func (r record) meanings() []meaning {
	out := []meaning{r.Default}
	for _, name := range slices.Sorted(maps.Keys(r.Names)) {
		out = append(out, r.Names[name])
	}
	for _, w := range slices.Concat(r.Weights, r.Mirrors) {
		out = append(out, w.meaning())
	}
	for _, condition := range slices.Sorted(maps.Keys(r.Kept)) {
		out = append(out, r.Kept[condition])
	}
	return out
}

func selectorHash(selector map[string]string, versionLabel string) string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(selector)) {
		b.WriteString(key + "=" + selector[key] + ",")
	}
	return api.ShortHash(b.String() + "|" + versionLabel)
}

// timeFormat has milliseconds, since the waiting times may be less than a second. A time is rounded up, so that no wait
// is cut short.
const timeFormat = "2006-01-02T15:04:05.000Z"

func timeText(t time.Time) string {
	return t.UTC().Add(time.Millisecond - 1).Truncate(time.Millisecond).Format(timeFormat)
}

func parseTime(text string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339, text)
	return t, err == nil
}

// stamps are times by name, as "v1=2026-11-24T03:28:34.000Z,v2=…", sorted by name.
type stamps map[string]time.Time

func parseStamps(text string) stamps {
	out := stamps{}
	for key, value := range parsePairs(text) {
		if t, ok := parseTime(value); ok {
			out[key] = t
		}
	}
	return out
}

func (s stamps) String() string {
	pairs := map[string]string{}
	for key, t := range s {
		pairs[key] = timeText(t)
	}
	return pairsText(pairs)
}

func parsePairs(text string) map[string]string {
	out := map[string]string{}
	for _, item := range strings.Split(text, ",") {
		if key, value, ok := strings.Cut(item, "="); ok {
			out[key] = value
		}
	}
	return out
}

func pairsText(pairs map[string]string) string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(pairs)) {
		out = append(out, key+"="+pairs[key])
	}
	return strings.Join(out, ",")
}

func compareProblems(a, b api.RouteProblem) int {
	return cmp.Or(
		cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Object.String(), b.Object.String()), cmp.Compare(a.Field, b.Field),
		cmp.Compare(a.Value, b.Value), cmp.Compare(a.Message, b.Message), cmp.Compare(a.Advice, b.Advice))
}
