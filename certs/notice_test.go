// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"strings"
	"testing"
	"time"
)

func TestProblemIsTheMostUrgent(t *testing.T) {
	fine := state{notBefore: start, notAfter: start.Add(100 * time.Hour)}
	with := func(change func(*state)) state { s := fine; change(&s); return s }
	for name, test := range map[string]struct {
		state  state
		after  time.Duration
		reason NoticeReason
		note   string
	}{
		"in order":              {fine, 89 * time.Hour, "", ""},
		"nothing served":        {state{}, 0, "", ""},
		"the last tenth":        {fine, 90 * time.Hour, NoticeExpiring, "expires at 2026-11-28T07:00:00Z"},
		"ended":                 {fine, 101 * time.Hour, NoticeExpiring, "expires at"},
		"a year, eight days":    {with(func(s *state) { s.notAfter = start.Add(365 * 24 * time.Hour) }), 357 * 24 * time.Hour, "", ""},
		"a year, seven days":    {with(func(s *state) { s.notAfter = start.Add(365 * 24 * time.Hour) }), 358 * 24 * time.Hour, NoticeExpiring, "expires at"},
		"refused":               {with(func(s *state) { s.refused = "no" }), 95 * time.Hour, NoticeNotTrusted, "still served: no."},
		"failed and refused":    {with(func(s *state) { s.refused, s.failed = "no", "gone" }), 0, NoticeFailed, "be maintained: gone."},
		"everything at once":    {state{failed: "a", mismatch: "b", refused: "c", notAfter: start}, time.Hour, NoticeMismatch, "served certificate: b."},
		"failed, and it serves": {with(func(s *state) { s.failed = "gone" }), 0, NoticeFailed, "gone"},
	} {
		t.Run(name, func(t *testing.T) {
			reason, note := test.state.problem(start.Add(test.after))
			if reason != test.reason || !strings.Contains(note, test.note) {
				t.Errorf("got %s %q, want %s %q", reason, note, test.reason, test.note)
			}
		})
	}
}

// A problem is reported once, after it has lasted for a while. Its end is reported only if the problem was.
func TestOnlyWhatLastsIsTold(t *testing.T) {
	bad, fine := state{failed: "gone"}, state{}
	mismatch := state{mismatch: "unknown authority"}
	m := reported{}
	for i, step := range []struct {
		state state
		at    time.Duration
		want  NoticeReason
		again time.Duration // 0 = never
	}{
		{fine, 0, "", 0},
		{bad, 1 * time.Second, "", 31 * time.Second},
		{bad, 20 * time.Second, "", 31 * time.Second},
		{fine, 21 * time.Second, "", 0}, // it was nothing
		{bad, 40 * time.Second, "", 70 * time.Second},
		{bad, 70 * time.Second, NoticeFailed, 0},
		{bad, time.Hour, "", 0},
		{mismatch, time.Hour, "", time.Hour + 30*time.Second},
		{mismatch, time.Hour + 30*time.Second, NoticeMismatch, 0},
		{fine, 2 * time.Hour, "", 2*time.Hour + 30*time.Second},
		{mismatch, 2*time.Hour + time.Second, "", 0}, // reported already
		{fine, 3 * time.Hour, "", 3*time.Hour + 30*time.Second},
		{fine, 3*time.Hour + 30*time.Second, NoticeRecovered, 0},
		{fine, 4 * time.Hour, "", 0},
	} {
		var got NoticeReason
		var again time.Time
		m, got, _, again = m.next(step.state, start.Add(step.at))
		want := time.Time{}
		if step.again != 0 {
			want = start.Add(step.again)
		}
		if got != step.want || !again.Equal(want) {
			t.Errorf("step %d: got %q, again %v; want %q, again %v", i, got, again, step.want, want)
		}
	}
}
