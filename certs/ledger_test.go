// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestALedgerFollowsACAThroughItsStates(t *testing.T) {
	own, foreign := mustAuthority(t, start, 1000*time.Hour).cert, mustAuthority(t, start, 1000*time.Hour).cert
	now := start.Add(30 * time.Hour)
	before := func(d time.Duration) time.Time { return now.Add(-d) }
	both, one := []*x509.Certificate{own, foreign}, []*x509.Certificate{own}
	inEvery := observation{ours: one, foreign: []*x509.Certificate{foreign}, entries: [][]*x509.Certificate{both, both}}
	inOne := observation{ours: one, foreign: []*x509.Certificate{foreign}, entries: [][]*x509.Certificate{both, one}}
	inNone := observation{ours: one, entries: [][]*x509.Certificate{one, one}}
	for name, test := range map[string]struct {
		known record
		seen  observation
		want  record
	}{
		"seen for the first time, in one entry":                 {record{}, inOne, record{FirstSeen: now}},
		"seen again":                                            {record{FirstSeen: before(time.Minute)}, inOne, record{FirstSeen: before(time.Minute)}},
		"seen after its lease":                                  {record{FirstSeen: before(lease)}, inEvery, record{FirstSeen: before(lease)}},
		"gone":                                                  {record{FirstSeen: before(lease)}, inNone, record{FirstSeen: before(lease), AbsentSince: now}},
		"gone for long":                                         {record{FirstSeen: before(lease), AbsentSince: before(absentRetention - time.Second)}, inNone, record{FirstSeen: before(lease), AbsentSince: before(absentRetention - time.Second)}},
		"gone for too long":                                     {record{FirstSeen: before(absentRetention), AbsentSince: before(absentRetention)}, inNone, record{}},
		"back in one entry, its lease is over":                  {record{FirstSeen: before(lease), AbsentSince: before(time.Minute)}, inOne, record{FirstSeen: before(lease), AbsentSince: before(time.Minute)}},
		"back in one entry, within its lease":                   {record{FirstSeen: before(2 * time.Minute), AbsentSince: before(time.Minute)}, inOne, record{FirstSeen: before(2 * time.Minute)}},
		"back in every entry, as after another change":          {record{FirstSeen: before(lease), AbsentSince: before(time.Minute)}, inEvery, record{FirstSeen: now}},
		"recorded by a clock that is ahead":                     {record{FirstSeen: now.Add(time.Hour)}, inOne, record{FirstSeen: now}},
		"offered by another replica, and seen for the 1st time": {record{Offered: before(time.Minute)}, inEvery, record{FirstSeen: now, Offered: before(time.Minute)}},
	} {
		known := ledger{}
		if test.known != (record{}) {
			known[fingerprint(foreign)] = test.known
		}
		got := known.observe(test.seen, now)
		if diff := cmp.Diff(test.want, got[fingerprint(foreign)]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		offered := got[fingerprint(own)].Offered
		if isForeign := len(test.seen.foreign) > 0; isForeign != offered.Equal(now) {
			t.Errorf("%s: the own CA is recorded as offered at %v; it must be exactly while there is a foreign one", name, offered)
		}
	}
}

// A replica that runs beside others for longer than the lease says so again and again: they never take its CA away.
func TestALedgerKeepsTheCAOfARunningSibling(t *testing.T) {
	a, b := mustAuthority(t, start, 1000*time.Hour).cert, mustAuthority(t, start, 1000*time.Hour).cert
	both := []*x509.Certificate{a, b}
	byA := observation{ours: []*x509.Certificate{a}, foreign: []*x509.Certificate{b}, entries: [][]*x509.Certificate{both}}
	byB := observation{ours: []*x509.Certificate{b}, foreign: []*x509.Certificate{a}, entries: [][]*x509.Certificate{both}}
	now, shared := start, ledger{}
	for range 20 {
		shared = shared.observe(byA, now).observe(byB, now)
		if !shared.leased(a, now) || !shared.leased(b, now) {
			t.Fatalf("%v after the start, a CA that is still offered lost its lease: %v", now.Sub(start), shared)
		}
		next := shared.next(byA, now)
		if !next.After(now) || next.After(now.Add(lease)) {
			t.Fatalf("the next look is at %v, %v from now", next, next.Sub(now))
		}
		now = next
	}
	if now.Sub(start) < 2*lease {
		t.Fatalf("only %v have passed", now.Sub(start))
	}
	for range 3 { // the replicas of a have ended
		shared = shared.observe(byB, now)
		now = now.Add(lease / 2)
	}
	if shared.leased(a, now) {
		t.Error("the CA that nobody offers any more keeps its lease")
	}
}

func TestALedgerIsBounded(t *testing.T) {
	now := start.Add(time.Hour)
	foreign := mustAuthority(t, start, 1000*time.Hour).cert
	known := ledger{}
	for i := range 3 * maxRecords {
		known[fmt.Sprint(i)] = record{FirstSeen: start, AbsentSince: start}
	}
	got := known.observe(observation{foreign: []*x509.Certificate{foreign}}, now)
	if len(got) != maxRecords {
		t.Errorf("%d records are kept, want %d", len(got), maxRecords)
	}
	if !got.leased(foreign, now) {
		t.Error("the CA that is there was dropped for those that are gone")
	}
}

func TestALedgerIsReadAsItWasWritten(t *testing.T) {
	want := ledger{"a": {FirstSeen: start.UTC()}, "b": {Offered: start.UTC(), AbsentSince: start.Add(time.Hour).UTC()}}
	text, err := want.text()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text, "0001-01-01") {
		t.Errorf("a time that is not known is written: %s", text)
	}
	got, err := parseLedger(text)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if got, err := parseLedger(""); err != nil || len(got) > 0 {
		t.Errorf("no text: %v, %v", got, err)
	}
	if got, err := parseLedger("{"); err == nil || len(got) > 0 {
		t.Errorf("spoilt text: %v, %v", got, err)
	}
}
