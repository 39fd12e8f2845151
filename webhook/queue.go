// SPDX-License-Identifier: Apache-2.0

package webhook

import "slices"

// fairQueue decides which review is next. It is pure: no clock, no lock, no goroutine.
//
//	waiting ──grant──▶ running ──finish──▶ gone
//	   └─────drop─────▶ gone
//
// Each namespace gets the same share of bytes (start-time fair queuing): a review starts where the namespace's one before
// it ended, counted in bytes, or at the present of the queue if that is later; the earliest start is next. A large
// review that is next and does not fit into the free memory holds back other large ones, or it would wait forever; small
// ones have separate memory and pass it.
type fairQueue struct {
	limits  queueLimits
	present int64 // the start of the review that was granted last
	flows   map[string]*flow
	waiting int
	arrived int64 // reviews so far

	running, runningLarge int      // slots in use
	used                  [2]int64 // bytes in use, by lane
}

// queueLimits bound what runs and waits at the same time.
type queueLimits struct {
	slots        int      // reviews
	largeSlots   int      // of which large
	perNamespace int      // of which of one namespace
	bytes        [2]int64 // memory, by lane
	waiting      int
}

// lane separates reviews of ordinary pods from large ones.
type lane int

const (
	small lane = iota
	large
)

// flow is what one namespace has in the queue.
type flow struct {
	namespace string
	start     int64 // of its next review
	running   int
	waiting   [2][]*ticket
}

// ticket is one review on its way through the queue.
type ticket struct {
	flow    *flow
	lane    lane
	size    int64 // bytes that count in the namespace's share
	cost    int64 // bytes of memory that it takes while it runs
	arrival int64
	state   ticketState
	granted chan struct{} // closed when it may run
}

type ticketState int

const (
	ticketWaiting ticketState = iota
	ticketRunning
	ticketGone
)

// leastSize is what the smallest review counts in a namespace's share.
const leastSize = 16 << 10

func newFairQueue(limits queueLimits) *fairQueue {
	return &fairQueue{limits: limits, flows: map[string]*flow{}}
}

// add puts a review of so many bytes in, which takes cost bytes of memory while it runs. A cost over the lane's memory
// counts as all of it, so that the review runs alone in its lane. Where too many wait, the last one of the namespace with
// the most waiting is dropped and returned; it may be the new one.
func (q *fairQueue) add(namespace string, in lane, size, cost int64) (added, dropped *ticket) {
	f := q.flows[namespace]
	if f == nil {
		f = &flow{namespace: namespace}
		q.flows[namespace] = f
	}
	if f.length() == 0 {
		f.start = max(f.start, q.present)
	}
	q.arrived++
	t := &ticket{flow: f, lane: in, size: max(size, leastSize), cost: min(cost, q.limits.bytes[in]), arrival: q.arrived, granted: make(chan struct{})}
	f.waiting[in] = append(f.waiting[in], t)
	if q.waiting++; q.waiting > q.limits.waiting {
		dropped = q.longest().last()
		q.drop(dropped)
	}
	return t, dropped
}

// longest returns the namespace with the most waiting, the first by name of several.
func (q *fairQueue) longest() *flow {
	var longest *flow
	for _, f := range q.flows {
		if n := f.length(); longest == nil || n > longest.length() || n == longest.length() && f.namespace < longest.namespace {
			longest = f
		}
	}
	return longest
}

func (f *flow) length() int { return len(f.waiting[small]) + len(f.waiting[large]) }

func (f *flow) last() *ticket {
	var last *ticket
	for _, list := range f.waiting {
		if n := len(list); n > 0 && (last == nil || list[n-1].arrival > last.arrival) {
			last = list[n-1]
		}
	}
	return last
}

// grant starts every review that may run, and returns them in order.
func (q *fairQueue) grant() []*ticket {
	var granted []*ticket
	for next := q.next(); next != nil; next = q.next() {
		f := next.flow
		f.waiting[next.lane] = f.waiting[next.lane][1:]
		f.running++
		q.waiting--
		q.running++
		if next.lane == large {
			q.runningLarge++
		}
		q.used[next.lane] += next.cost
		q.present = max(q.present, f.start)
		f.start += next.size
		next.state = ticketRunning
		close(next.granted)
		granted = append(granted, next)
	}
	return granted
}

// next returns the waiting review with the earliest start that may run now; nil if there is none.
func (q *fairQueue) next() *ticket {
	if q.running >= q.limits.slots {
		return nil
	}
	var first [2]*ticket
	for name, f := range q.flows {
		if f.running >= q.limits.perNamespace {
			continue
		}
		if f.running == 0 && f.length() == 0 && f.start <= q.present {
			delete(q.flows, name) // it would begin at the present anyway
		}
		for in, list := range f.waiting {
			if len(list) > 0 && (first[in] == nil || list[0].before(first[in])) {
				first[in] = list[0]
			}
		}
	}
	if first[large] != nil && q.runningLarge >= q.limits.largeSlots {
		first[large] = nil
	}
	for in, t := range first {
		if t != nil && q.used[in]+t.cost > q.limits.bytes[in] {
			first[in] = nil
		}
	}
	if first[small] == nil || first[large] != nil && first[large].before(first[small]) {
		return first[large]
	}
	return first[small]
}

// before orders reviews by the start of their namespaces, then as they came.
func (t *ticket) before(other *ticket) bool {
	if t.flow.start != other.flow.start {
		return t.flow.start < other.flow.start
	}
	return t.arrival < other.arrival
}

func (q *fairQueue) finish(t *ticket) {
	if t.state != ticketRunning {
		return
	}
	t.state = ticketGone
	q.running--
	if t.lane == large {
		q.runningLarge--
	}
	q.used[t.lane] -= t.cost
	t.flow.running--
	q.forgetShares()
}

// drop removes a waiting review. It returns false if the review no longer waits.
func (q *fairQueue) drop(t *ticket) bool {
	if t.state != ticketWaiting {
		return false
	}
	t.state = ticketGone
	list := t.flow.waiting[t.lane]
	at := slices.Index(list, t)
	t.flow.waiting[t.lane] = slices.Delete(list, at, at+1)
	q.waiting--
	q.forgetShares()
	return true
}

// forgetShares resets the shares of all namespaces if nothing runs or waits.
func (q *fairQueue) forgetShares() {
	if q.waiting == 0 && q.running == 0 {
		clear(q.flows)
	}
}
