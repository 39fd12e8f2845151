// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"outrigger.dev/outrigger/api"
)

// The record holds the last decisions about the default and the weights that were in effect before the current one, newest
// first. The write that replaces a decision also records it, so the history causes no additional writes.

const (
	// maxDecisions is how many past decisions the record holds.
	maxDecisions = 5
	// maxDecisionBytes bounds the JSON of all of them. The oldest are dropped first.
	maxDecisionBytes = 4096
)

// recordedDecision is a decision that was in effect.
type recordedDecision struct {
	Until   string           `json:"until"` // when it was replaced
	Default meaning          `json:"default,omitzero"`
	Weights effectiveWeights `json:"weights,omitempty"`
	// By is a hash of the annotations that replaced it. Later changes with the same annotations are not new decisions.
	By string `json:"by,omitempty"`
	// Long is true where the weights are too long to be recorded.
	Long bool `json:"long,omitempty"`
}

// decisionHistory is a list of past decisions. A list that does not parse is read as empty, so that the rest of the record is kept.
type decisionHistory []recordedDecision

// UnmarshalJSON reads at most as many decisions as are kept.
func (h *decisionHistory) UnmarshalJSON(text []byte) error {
	var list []recordedDecision
	if json.Unmarshal(text, &list) != nil {
		list = nil
	}
	*h = bounded(list)
	return nil
}

// bounded keeps the newest decisions within the limits.
func bounded(list []recordedDecision) decisionHistory {
	list = slices.Clone(list[:min(len(list), maxDecisions)])
	for i, d := range list {
		if len(bytesOfJSON(d)) > maxDecisionBytes/2 {
			list[i].Weights, list[i].Long = nil, true
		}
	}
	for len(list) > 0 && len(bytesOfJSON(list)) > maxDecisionBytes {
		list = list[:len(list)-1]
	}
	if len(list) == 0 {
		return nil
	}
	return list
}

func bytesOfJSON(value any) []byte {
	out, err := json.Marshal(value)
	if err != nil {
		panic(err) // structs of texts
	}
	return out
}

// isDecision reports whether the destinations in a record are a decision: not of a split, of the provisional shares of a
// first route, or of a default that may still be revised.
func (s *facts) isDecision(r record) bool {
	if r.isZero() || r.State != "" || r.Provisional {
		return false
	}
	since, stamped := parseTime(r.Since)
	return r.By != ByFirst || !stamped || s.waitElapsed(since, s.Settings.Settle)
}

// sameDecision reports whether two records send requests to the same versions. What the names mean may differ: a workload that
// changes its version is not a decision about shares, and neither is a
// step of a canary.
func sameDecision(a, b record) bool {
	a, b = a.withoutCanary(), b.withoutCanary()
	return (a.Default.equal(b.Default) || overlap(a.Default, b.Default)) && a.Weights.String() == b.Weights.String()
}

// historyFor returns the past decisions to write with a record.
func (s *facts) historyFor(r record) decisionHistory {
	was, list := s.copies.read.withoutCanary(), r.History
	before := was
	before.Default = s.fixedByNow(was.Default) // the same workload in another form is not a decision
	switch {
	case s.Offline || len(s.copies.disagree) > 0 || r.VersionLabel != was.VersionLabel && !was.isZero(): // names of another label mean other pods
		return nil
	case sameDecision(before, r) || !s.isDecision(was):
		return list
	}
	by := s.decidingHash()
	isOfCanary := was.Canary.Version != r.Canary.Version // its start or its success, which no annotation shows
	isSequel := len(list) > 0 && list[0].By == by && !r.Adopted && r.By == was.By && !isOfCanary
	if !isSequel {
		list = append(decisionHistory{{Until: timeText(s.now), Default: was.Default, Weights: was.Weights, By: by}}, list...)
	}
	var out []recordedDecision
	for _, d := range list {
		isSame := func(kept recordedDecision) bool {
			return !d.Long && !kept.Long && sameDecision(d.asRecord(), kept.asRecord())
		}
		if !d.Long && sameDecision(d.asRecord(), r) || slices.ContainsFunc(out, isSame) {
			continue
		}
		out = append(out, d)
	}
	return bounded(out)
}

func (d recordedDecision) asRecord() record { return record{Default: d.Default, Weights: d.Weights} }

// decidingHash is a hash of the annotations by which users decide about the default and the weights.
func (s *facts) decidingHash() string {
	var texts []string
	for _, key := range []string{api.AnnotationDefaultVersion, api.AnnotationWeights, api.AnnotationDecidedAt} {
		texts = append(texts, s.Intent.Texts[key])
	}
	return api.ShortHash(strings.Join(texts, "\n"))
}

// Decision is where requests go that no match claims: by weights, or all to the default.
type Decision struct {
	// Default is the version by which annotations name the default now, or @all.
	Default string
	// Weights are in the annotation's syntax, with the versions that its workloads run now. They are empty where the default
	// receives everything.
	Weights string
	// Until is when the decision was replaced; zero for the one in effect.
	Until time.Time
	// Missing are versions, or workloads, that are named and that nothing behind the Service carries now.
	Missing []string
	// IsTooLong is true where the weights were too long to be recorded.
	IsTooLong bool
}

// String returns "v1=90,v2=10", or "v1" where the default receives everything.
func (d Decision) String() string {
	switch {
	case d.IsTooLong:
		return "weights that are too long to be recorded"
	case d.Weights != "":
		return d.Weights
	}
	return d.Default
}

// Decisions returns what is in effect, which includes the step of a canary, and the decisions before it, newest first. It returns nil where
// no decision is recorded.
func Decisions(observed Observed, now time.Time) []Decision {
	s := read(observed, now, newPodsAndWorkloads(observed))
	s.readTracks()
	if !s.isRecorded || s.recorded.State != "" || len(s.copies.disagree) > 0 {
		return nil
	}
	out := []Decision{s.named(recordedDecision{Default: s.recorded.Default, Weights: s.recorded.Weights})}
	decided := s.recorded.withoutCanary() // a past decision can have the same shares as the step of a canary
	known := []Decision{s.named(recordedDecision{Default: decided.Default, Weights: decided.Weights})}
	for _, past := range s.recorded.History {
		d := s.named(past)
		isSame := func(other Decision) bool {
			return !d.IsTooLong && d.Default == other.Default && d.Weights == other.Weights
		}
		if !slices.ContainsFunc(known, isSame) {
			known = append(known, d)
			out = append(out, d)
		}
	}
	return out
}

// named returns a decision with the version names that annotations use now.
func (s *facts) named(d recordedDecision) Decision {
	out := Decision{IsTooLong: d.Long}
	out.Until, _ = parseTime(d.Until)
	name := func(m meaning, fallback string) string {
		now, exists := s.nameNow(m)
		if exists {
			return now
		}
		if !slices.Contains(out.Missing, fallback) {
			out.Missing = append(out.Missing, fallback)
		}
		return fallback
	}
	out.Default = name(d.Default, d.Default.String())
	var items []string
	for _, w := range d.Weights {
		if w.weight == 0 {
			if now, exists := s.nameNow(w.meaning()); exists {
				items = append(items, now+"=0")
			}
			continue
		}
		items = append(items, fmt.Sprintf("%s=%d", name(w.meaning(), w.name), w.weight))
	}
	out.Weights = strings.Join(items, ",")
	return out
}

// nameNow returns the version by which an annotation names m. It returns false if no pod or workload of the Service has it.
func (s *facts) nameNow(m meaning) (string, bool) {
	if m.All {
		return string(api.DefaultAll), true
	}
	known := s.knownVersions()
	for _, ref := range m.Tracks {
		t, _ := s.trackOf(ref)
		for _, version := range []string{t.newest(), t.next} {
			if version != "" {
				return version, true
			}
		}
	}
	return m.Version, m.Version != "" && slices.Contains(known, m.Version)
}
