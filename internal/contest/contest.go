// SPDX-License-Identifier: Apache-2.0

// Package contest decides how often an object may be written that another client keeps changing back.
//
// Create a Ledger for the objects that one part of the process writes. Call Ledger.Judge before each write and Ledger.Wrote after
// it. If nothing needs to be written, call Ledger.Settled. The package has no clock: callers pass the time.
// See docs/decisions/0016-a-contested-object-is-written-rarely.md.
//
//	quiet ──5 reverts in a minute──▶ contested: one write in 10s, 20s, 40s … 5m
//	  ▲                                  │
//	  └──unchanged for max(1m, delay)────┘
//
// While a revert does harm, repairs are not delayed but limited to one a second, in both states.
package contest

import (
	"slices"
	"sync"
	"time"
)

// The pace of writes.
const (
	freeReverts  = 5                // reverts within a window that are answered without delay
	window       = time.Minute      // in which reverts are counted
	firstDelay   = 10 * time.Second // between two writes of an object that has just become contested
	maxDelay     = 5 * time.Minute  // it doubles with every write up to this
	harmInterval = time.Second      // between two repairs of harm
)

// Object identifies an object that this process writes. Ledger.Forget removes all objects of an Owner.
type Object struct{ Owner, Kind, Namespace, Name string }

// Absent is the digest of an object that does not exist.
const Absent = ""

// Attempt describes a write that is about to be made.
type Attempt struct {
	Object Object
	// Found is the digest of the fields of the current object that this process writes; Absent if the object does not exist.
	Found string
	// Harm is true while the state of the object breaks requests.
	Harm bool
	// Decision is a digest of what the user requested. A new decision is not delayed.
	Decision string
	Now      time.Time
}

// Verdict says whether an Attempt may be made now.
type Verdict struct {
	Write bool
	// Again is when the write may be made; zero if Write is true.
	Again time.Time
	// Reverts is true if another client changed the object since the last write, so that the write reverts that change.
	Reverts bool
	// Contested is true if the write reverts a change and the object is contested, or becomes contested with this Attempt.
	Contested bool
}

// Ledger records the last write of each object and how often it was reverted. It is safe for concurrent use.
type Ledger struct {
	mutex  sync.Mutex
	owners map[string]map[Object]*entry
}

// entry is the record of one object.
type entry struct {
	wrote     string // digest after the last write; Absent after a delete
	decision  string
	repairs   []time.Time   // the last writes after a revert, oldest first, at most freeReverts
	delay     time.Duration // until the next repair; 0 while the object is not contested
	manager   string        // the other field manager, while the object is contested
	contested bool
}

// NewLedger returns a Ledger without records.
func NewLedger() *Ledger {
	return &Ledger{owners: map[string]map[Object]*entry{}}
}

// Judge returns whether a write may be made now. It records nothing; call Wrote after the write has succeeded.
func (l *Ledger) Judge(a Attempt) Verdict {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.owners[a.Object.Owner][a.Object].judge(a)
}

func (e *entry) judge(a Attempt) Verdict {
	if e == nil || e.wrote == a.Found {
		return Verdict{Write: true}
	}
	v := Verdict{Reverts: true, Contested: e.contested || e.isContestedAt(a.Now)}
	delay := time.Duration(0)
	switch {
	case a.Harm:
		delay = harmInterval
	case v.Contested && a.Decision == e.decision:
		delay = max(e.delay, firstDelay)
	}
	if at := e.lastRepair().Add(delay); a.Now.Before(at) {
		v.Again = at
		return v
	}
	v.Write = true
	return v
}

// isContestedAt reports whether freeReverts reverts were answered within the window.
func (e *entry) isContestedAt(now time.Time) bool {
	return len(e.repairs) == freeReverts && now.Before(e.repairs[0].Add(window))
}

func (e *entry) lastRepair() time.Time {
	if len(e.repairs) == 0 {
		return time.Time{}
	}
	return e.repairs[len(e.repairs)-1]
}

// Wrote records an Attempt. digest is that of the written object, or Absent if it was deleted.
func (l *Ledger) Wrote(a Attempt, digest string) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	e := l.owners[a.Object.Owner][a.Object]
	if e == nil {
		e = &entry{}
		if l.owners[a.Object.Owner] == nil {
			l.owners[a.Object.Owner] = map[Object]*entry{}
		}
		l.owners[a.Object.Owner][a.Object] = e
	} else if v := e.judge(a); v.Reverts {
		if v.Contested {
			e.contested, e.delay = true, min(2*max(e.delay, firstDelay), maxDelay)
		}
		e.repairs = append(e.repairs, a.Now)
		e.repairs = slices.Clone(e.repairs[max(0, len(e.repairs)-freeReverts):])
	}
	e.wrote, e.decision = digest, a.Decision
}

// Contest records the field manager that contests an object. Call it if Judge returns Contested.
func (l *Ledger) Contest(object Object, manager string) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if e := l.owners[object.Owner][object]; e != nil {
		e.contested, e.manager, e.delay = true, manager, max(e.delay, firstDelay)
	}
}

// Settled records that an object needs no write. If the object is still contested, it returns the other field manager and the time
// until which the object must stay unchanged for the contest to end.
func (l *Ledger) Settled(object Object, now time.Time) (manager string, until time.Time) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	e := l.owners[object.Owner][object]
	if e == nil || !e.contested {
		return "", time.Time{}
	}
	if until = e.lastRepair().Add(max(window, e.delay)); now.Before(until) {
		return e.manager, until
	}
	e.contested, e.delay, e.repairs, e.manager = false, 0, nil, ""
	return "", time.Time{}
}

// Manager returns the other field manager of a contested object; empty if it is not contested.
func (l *Ledger) Manager(object Object) string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if e := l.owners[object.Owner][object]; e != nil {
		return e.manager
	}
	return ""
}

// Of returns the contested objects of an owner, sorted.
func (l *Ledger) Of(owner string) []Object {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	var out []Object
	for object, e := range l.owners[owner] {
		if e.contested {
			out = append(out, object)
		}
	}
	slices.SortFunc(out, compareObjects)
	return out
}

// Forget removes the records of all objects of an owner.
func (l *Ledger) Forget(owner string) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	delete(l.owners, owner)
}
