// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"outrigger.dev/outrigger/api"
)

// canaryRecord is what must survive a restart about canaries: the one that progresses, those that ended, and what they superseded.
// Its slices and maps are never changed, only replaced.
type canaryRecord struct {
	// Version is the version that progresses, or empty. Templates are the hashes of its pod templates.
	Version   string   `json:"version,omitempty"`
	Templates []string `json:"templates,omitempty"`
	// Percent is the share of the step. Since is when the step began. If it began again, FirstSince is when it began first.
	Percent    int32  `json:"percent,omitempty"`
	Since      string `json:"since,omitempty"`
	FirstSince string `json:"firstSince,omitempty"`
	// Pods is how many pods the version had then. Restarts are the restarts of its pods then, without those that had none.
	Pods     int            `json:"pods,omitempty"`
	Restarts map[string]int `json:"restarts,omitempty"`
	// Failing is when the last evaluation failed that no passing one has followed.
	Failing string `json:"failing,omitempty"`
	// LateAt is when the deadline of the step was last counted, after the duration of the step. LateMillis is how much of it had elapsed.
	LateAt     string `json:"lateAt,omitempty"`
	LateMillis int64  `json:"lateMillis,omitempty"`
	// StoppedAt is since when the clock of the step is stopped. StoppedMillis is how long it was stopped before.
	StoppedAt     string `json:"stoppedAt,omitempty"`
	StoppedMillis int64  `json:"stoppedMillis,omitempty"`
	// Frozen is true during a freeze. Weights have no effect then, and the controller cannot record that it saw them.
	Frozen bool `json:"frozen,omitempty"`
	// HasMetrics is true once metrics were configured while it progresses: without them, its default check has no value then.
	HasMetrics bool `json:"hasMetrics,omitempty"`
	// Edited is true after an edit of the route, until the user resumes the canary.
	Edited bool `json:"edited,omitempty"`
	// Baselines are the last values of the default version, by metric.
	Baselines map[string]float64 `json:"baselines,omitempty"`
	// Result has the numbers of the last evaluation that was recorded. Missing and TooFew say why it could not pass, if it did not fail: a
	// check had no data, or the version had too few requests.
	Result  string       `json:"result,omitempty"`
	Missing missingValue `json:"missingValue,omitzero"`
	TooFew  string       `json:"tooFew,omitempty"`

	// Superseded are hashes of default-version, weights, and decided-at together (choiceHash). As long as the annotations have one of
	// these values, they have no effect: a canary that started later has decided.
	Superseded []string `json:"superseded,omitempty"`
	// Idle is the choiceText whose weights have had no effect, because the canary progressed. They have none after its end either, until a decision.
	Idle string `json:"idle,omitempty"`
	// DecidedAt and Choice are decided-at, and hashes of default-version and weights, as they were when they were last taken into account.
	DecidedAt string `json:"decidedAt,omitempty"`
	Choice    string `json:"choice,omitempty"`
	// Taken are values of decided-at that were taken into account before DecidedAt although they are later: clocks that were ahead wrote them.
	Taken []string `json:"taken,omitempty"`
	// FrozenDecision is the decided-at of a decision during a freeze that was not about a canary. It is neither a retry nor a resume when the
	// freeze ends, even if the annotations have been restored by then.
	FrozenDecision string `json:"frozenDecision,omitempty"`
	// Ended are the canaries that ended, newest first.
	Ended []endedCanary `json:"ended,omitempty"`
	Auto  *autoCanaries `json:"auto,omitempty"`
}

// endedCanary is a canary that does not start again by itself, unless it was replaced.
type endedCanary struct {
	Version   string      `json:"version"`
	Templates []string    `json:"templates,omitempty"`
	State     CanaryState `json:"state"` // CanarySucceeded or CanaryAborted
	At        string      `json:"at"`
	Percent   int32       `json:"percent,omitempty"` // its last share
	Why       string      `json:"why,omitempty"`
	By        string      `json:"by,omitempty"` // the decision of the user that ended it: byCanary or byChoice; empty if it was not the user
	// Replaced is true if it was aborted only because its pods got another template: its templates have failed no check, and may start again.
	Replaced bool `json:"replaced,omitempty"`
}

func (e endedCanary) asEnd() canaryEnd { return canaryEnd{state: e.State, why: e.Why, by: e.By} }

// Decisions of the user that end a canary.
const (
	byCanary = "canary" // its annotation was removed or changed
	byChoice = "choice" // default-version, weights, or decided-at
)

const (
	// maxEnded is how many canaries that ended are remembered.
	maxEnded = 20
	// maxCanaryText limits a text in the record, in bytes.
	maxCanaryText = 300
	// maxRestarts is how many pods with restarts are recorded one by one.
	maxRestarts = 100
	// maxSuperseded is how many superseded values are remembered, and maxTaken how many values of decided-at that are later.
	maxSuperseded = 20
	maxTaken      = 20
)

// IsZero leaves an empty record out of JSON. Without a version, there is no step.
func (c canaryRecord) IsZero() bool {
	return c.Version == "" && len(c.Superseded) == 0 && c.DecidedAt == "" && c.Choice == "" && len(c.Ended) == 0 && c.Auto == nil
}

// UnmarshalJSON reads a record that it cannot decode as empty, so that the rest of the record is kept.
func (c *canaryRecord) UnmarshalJSON(text []byte) error {
	type plain canaryRecord
	var read plain
	if json.Unmarshal(text, &read) != nil {
		read = plain{}
	}
	*c = canaryRecord(read)
	return nil
}

func (c canaryRecord) isActive() bool { return c.Version != "" }

// withoutCanary returns a record in which the default has the share of a canary that progresses.
func (r record) withoutCanary() record {
	if r.Canary.isActive() {
		r.Weights, r.Adopted = nil, false
	}
	return r
}

// ended returns the canary of a version that ended with these templates or more; false if there was none. Pods without a template hash are
// a template of their own.
func (c canaryRecord) ended(version string, templates []string) (endedCanary, bool) {
	at := slices.IndexFunc(c.Ended, func(e endedCanary) bool {
		if e.Version != version || len(templates) == 0 && len(e.Templates) > 0 {
			return false
		}
		return !slices.ContainsFunc(templates, func(hash string) bool { return !slices.Contains(e.Templates, hash) })
	})
	if at < 0 {
		return endedCanary{}, false
	}
	return c.Ended[at], true
}

// end returns the record after the canary has ended.
func (c canaryRecord) end(as canaryEnd, now time.Time) canaryRecord {
	ended := endedCanary{Version: c.Version, Templates: c.Templates, State: as.state, At: timeText(now), Percent: c.Percent, Why: api.Shorten(as.why, maxCanaryText), By: as.by}
	before, hadEnded := c.ended(c.Version, c.Templates)
	ended.Replaced = as.isReplaced && c.Failing == "" && (!hadEnded || before.Replaced)
	list := []endedCanary{ended}
	for _, e := range c.Ended {
		if e.Version != ended.Version || !slices.Equal(e.Templates, ended.Templates) {
			list = append(list, e)
		}
	}
	return canaryRecord{
		Superseded: c.Superseded, DecidedAt: c.DecidedAt, Taken: c.Taken, Choice: c.Choice, Auto: c.Auto, Ended: list[:min(len(list), maxEnded)],
	}
}

// renamed returns the record with other names for versions. No canary progresses.
func (c canaryRecord) renamed(names map[string]string) canaryRecord {
	renamed := func(version string) string { return cmp.Or(names[version], version) }
	c.Ended = slices.Clone(c.Ended)
	for i, e := range c.Ended {
		c.Ended[i].Version = renamed(e.Version)
	}
	if c.Auto != nil {
		c.Auto = c.Auto.clone()
		c.Auto.Waiting = renamed(c.Auto.Waiting)
		for _, list := range [][]string{c.Auto.Known, c.Auto.Skipped} {
			for i, version := range list {
				list[i] = renamed(version)
			}
		}
	}
	return c
}

// needsMetrics reports whether the default check applies also without routing.metrics: they were configured while the canary progressed, so
// that readiness alone would pass what the check would not. In a record of an earlier release, an evaluation of metrics shows that.
func (c canaryRecord) needsMetrics() bool {
	return c.isActive() && (c.HasMetrics || c.Missing != missingValue{} || c.TooFew != "" || strings.Contains(c.Result, api.MetricErrorRate+" "))
}

// since returns when the step began.
func (c canaryRecord) since() time.Time {
	at, _ := parseTime(c.Since)
	return at
}

// stopped returns how long the clock of the step has been stopped. While it is stopped now, that is until it was stopped.
func (c canaryRecord) stopped() time.Duration {
	return time.Duration(c.StoppedMillis) * time.Millisecond
}

// withClock returns the record with the clock of another record's step.
func (c canaryRecord) withClock(other canaryRecord) canaryRecord {
	c.StoppedAt, c.StoppedMillis, c.Frozen = other.StoppedAt, other.StoppedMillis, other.Frozen
	c.LateAt, c.LateMillis = other.LateAt, other.LateMillis
	return c
}

// late returns how much of the deadline had elapsed when it was last counted.
func (c canaryRecord) late() time.Duration { return time.Duration(c.LateMillis) * time.Millisecond }

// countLate counts the deadline until now. A gap of more than two periods counts as one.
func (c canaryRecord) countLate(now time.Time, period time.Duration) canaryRecord {
	if at, isCounting := parseTime(c.LateAt); isCounting {
		elapsed := max(0, now.Sub(at))
		if elapsed > 2*period {
			elapsed = period
		}
		c.LateMillis += elapsed.Milliseconds()
	}
	c.LateAt = timeText(now)
	return c
}

// noteLack records why an evaluation with samples could not pass, unless a reason of the same kind is recorded: its numbers differ each time,
// and each record is a write. Too few requests are no reason before the duration of the step has elapsed.
func (c canaryRecord) noteLack(result canaryResult, isLate bool) canaryRecord {
	missing, tooFew := missingValue{}, ""
	if len(result.missing) > 0 {
		missing = result.missing[0]
	}
	if isLate {
		tooFew = result.tooFew
	}
	isMissing, wasMissing := missing != missingValue{}, c.Missing != missingValue{}
	if isMissing != wasMissing || (tooFew == "") != (c.TooFew == "") {
		c.Missing, c.TooFew, c.Result = missing, tooFew, cmp.Or(result.text(), c.Result)
	}
	return c
}

// lack returns the result of the last evaluation that was recorded, as far as it says why the step could not pass.
func (c canaryRecord) lack() (result canaryResult) {
	if result.tooFew = c.TooFew; c.Missing != (missingValue{}) {
		result.missing = []missingValue{c.Missing}
	}
	return result
}

// shows reports whether another copy of the record has the same step.
func (c canaryRecord) shows(other canaryRecord) bool {
	return c.Version == other.Version && c.Percent == other.Percent && c.Since == other.Since
}

// choiceText returns hashes of default-version and of weights.
func (s *facts) choiceText() string {
	return api.ShortHash(s.Intent.Texts[api.AnnotationDefaultVersion]) + " " + api.ShortHash(s.Intent.Texts[api.AnnotationWeights])
}

// hasDecidedAnew reports whether decided-at is later than the one that was taken into account last. A value that was removed, that is older,
// or that is the same time in another zone decides nothing. If the last one is still to come, a wrong clock wrote it, and decided-at must be
// later than the start of the step or the end of the last canary.
func (s *facts) hasDecidedAnew(c canaryRecord) bool {
	before, _ := parseTime(c.DecidedAt)
	switch {
	case !before.After(s.now):
	case c.isActive():
		before = c.since()
	case len(c.Ended) > 0:
		before, _ = parseTime(c.Ended[0].At)
	}
	isTaken := slices.ContainsFunc(append(slices.Clone(c.Taken), c.DecidedAt), func(text string) bool {
		at, _ := parseTime(text)
		return at.Equal(s.Intent.DecidedAt)
	})
	return !s.invalid[api.AnnotationDecidedAt] && s.Intent.DecidedAt.After(before) && !isTaken
}

// takeDecidedAt records decided-at if it is that of a new decision.
func (s *facts) takeDecidedAt(c canaryRecord) canaryRecord {
	if !s.hasDecidedAnew(c) {
		return c
	}
	from := s.Intent.DecidedAt
	if s.now.Before(from) {
		from = s.now
	}
	var taken []string
	for _, text := range append(slices.Clone(c.Taken), c.DecidedAt) {
		if at, _ := parseTime(text); at.After(from) {
			taken = append(taken, text)
		}
	}
	c.Taken, c.DecidedAt = taken[max(0, len(taken)-maxTaken):], s.Intent.Texts[api.AnnotationDecidedAt]
	return c
}

// frozenDecision returns what FrozenDecision is during a freeze: the current decided-at if it decides about default-version or weights.
func (s *facts) frozenDecision() string {
	c := s.recorded.Canary
	if !s.hasDecidedAnew(c) || s.decidesAboutCanary() && s.choiceText() == c.Choice {
		return c.FrozenDecision
	}
	return s.Intent.Texts[api.AnnotationDecidedAt]
}

// isFrozenDecision reports whether decided-at is that of a decision during a freeze that has not been taken into account.
func (s *facts) isFrozenDecision(c canaryRecord) bool {
	at, _ := parseTime(c.FrozenDecision)
	return at.Equal(s.Intent.DecidedAt) && s.hasDecidedAnew(c)
}

// choiceHashes are the hashes of the current default-version and weights, with decided-at as it is, and as it was taken into account.
func (s *facts) choiceHashes(c canaryRecord) []string {
	return slices.Compact([]string{s.choiceHash(), s.choiceHashAt(c.DecidedAt)})
}

// supersede removes from the intent what a canary has superseded: the values of default-version and weights with which it started.
// A new decided-at alone revives them only as decidesAgain says. While a canary progresses, weights have no effect, unless they come with a
// new decided-at.
func (s *reader) supersede() {
	c := s.recorded.Canary
	if s.renewed || !s.isRecorded || len(c.Superseded) == 0 && len(c.Ended) == 0 && !c.isActive() {
		return
	}
	s.retried = s.retriedCanary()
	isSame := slices.Contains(c.Superseded, s.choiceHashAt(c.DecidedAt)) && !s.decidesAgain()
	if isSame || slices.Contains(c.Superseded, s.choiceHash()) {
		s.superseded, s.isIdle = true, c.isActive() && len(s.Intent.Weights) > 0
		s.Intent.Default, s.Intent.Weights = api.DefaultIntent{Policy: api.DefaultFirst}, nil
		return
	}
	if c.isActive() && (!s.hasDecidedAnew(c) || s.choiceText() == c.Choice) {
		s.isIdle = len(s.Intent.Weights) > 0
		s.Intent.Weights = nil
	}
}

// decidesAgain reports whether decided-at decides again for the same default-version and weights, as outrigger promote does. It must be
// later than the one before. While a canary is requested of a version that is not the default, it is about that canary.
func (s *facts) decidesAgain() bool {
	c := s.recorded.Canary
	return s.hasDecidedAnew(c) && (!s.decidesAboutCanary() || s.isFrozenDecision(c))
}

// decidesAboutCanary reports whether a new decided-at without other changes is about a canary.
func (s *facts) decidesAboutCanary() bool {
	requested := s.requestedCanary(s.recorded.Canary)
	return requested != "" && !s.isRecordedDefault(requested)
}

// requestedCanary returns the version that the annotation requests. With auto, and while the annotation is invalid, it is the one that
// progresses in a record, or else the one that waits, or else the one that ended last.
func (s *facts) requestedCanary(c canaryRecord) string {
	intent := s.Intent.Canary
	switch {
	case intent == nil && !s.invalid[api.AnnotationCanary]:
		return ""
	case intent != nil && !intent.Auto:
		return intent.Version
	case c.isActive():
		return c.Version
	case c.Auto != nil && c.Auto.Waiting != "":
		return c.Auto.Waiting
	case len(c.Ended) > 0:
		return c.Ended[0].Version
	}
	return ""
}

// retriedCanary returns the version of a canary that has ended, and that the user decided to retry: decided-at is newer, nothing else was
// decided with it, and the version is not the default. It is empty if there is none.
func (s *facts) retriedCanary() string {
	c := s.recorded.Canary
	version := s.requestedCanary(c)
	at := slices.IndexFunc(c.Ended, func(e endedCanary) bool { return e.Version == version })
	if c.isActive() || at < 0 || !s.hasDecidedAnew(c) || s.choiceText() != c.Choice || s.isRecordedDefault(version) || s.isFrozenDecision(c) {
		return ""
	}
	if ended, _ := parseTime(c.Ended[at].At); !s.Intent.DecidedAt.After(ended) {
		return ""
	}
	return version
}

// requestedByName reports whether the annotation names a version to roll out.
func (s *facts) requestedByName() bool {
	return s.Intent.Canary != nil && !s.Intent.Canary.Auto
}

// isRecordedDefault reports whether the recorded default is a version, or a workload that runs it.
func (s *facts) isRecordedDefault(version string) bool {
	d := s.recorded.Default
	return d.Version == version || slices.ContainsFunc(s.cluster.all(), func(g podGroup) bool {
		return g.Version == version && slices.Contains(d.Tracks, g.Workload)
	})
}

// isCanaryInvalid reports whether an annotation of canaries is invalid.
func (s *facts) isCanaryInvalid() bool {
	return slices.ContainsFunc(api.CanaryKeys(), func(key string) bool { return s.invalid[key] })
}
