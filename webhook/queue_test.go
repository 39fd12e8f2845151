// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// queueOf returns a queue of four slots, three of them for large reviews, and two for each namespace.
func queueOf(memory int64) *fairQueue {
	return newFairQueue(queueLimits{slots: 4, largeSlots: 3, perNamespace: 2, bytes: [2]int64{1 << 40, memory}, waiting: 100})
}

// order finishes what was granted first, again and again, and returns the namespaces in the order in which they ran.
func order(q *fairQueue, running []*ticket) string {
	var out []string
	for running = append(running, q.grant()...); len(running) > 0; running = append(running[1:], q.grant()...) {
		out = append(out, running[0].flow.namespace)
		q.finish(running[0])
	}
	return strings.Join(out, " ")
}

func TestQueueSharesBytesBetweenNamespaces(t *testing.T) {
	repeated := func(name string, times int) string { return strings.TrimSpace(strings.Repeat(name+" ", times)) }
	for _, c := range []struct {
		name  string
		first func(q *fairQueue) // before anything runs
		then  func(q *fairQueue)
		order string
	}{
		{"a namespace that comes late does not wait for one that came first",
			func(q *fairQueue) {
				for range 6 {
					q.add("flood", large, 1<<20, 1)
				}
			},
			func(q *fairQueue) {
				q.add("late", large, 1<<20, 1)
				q.add("late", large, 1<<20, 1)
			}, "flood late flood late flood flood flood flood"},
		{"one large review counts as many small ones",
			func(q *fairQueue) {
				for range 3 {
					q.add("big", large, 160<<10, 1)
				}
			},
			func(q *fairQueue) {
				for range 12 {
					q.add("tiny", small, 16<<10, 1)
				}
			}, "big " + repeated("tiny", 10) + " big tiny tiny big"},
		{"within a namespace they run as they came",
			func(q *fairQueue) {
				q.add("a", small, 1, 1)
				q.add("b", small, 1, 1)
				q.add("a", small, 1, 1)
			}, func(*fairQueue) {}, "a b a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := queueOf(1 << 40)
			q.limits.slots, q.limits.perNamespace = 1, 1 // so that the order is all there is
			c.first(q)
			running := q.grant()
			c.then(q)
			if got := order(q, running); got != c.order {
				t.Errorf("%s, want %s", got, c.order)
			}
		})
	}
}

// The rules of the queue, in every state that random reviews bring it into: no namespace has more than half of the slots,
// large reviews leave one to small ones, memory is never given out twice, and nobody waits for ever.
func TestQueueKeepsItsRules(t *testing.T) {
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 7))
		q := queueOf(1000)
		q.limits.bytes[small], q.limits.waiting = 100, 20
		var live []*ticket
		for range 300 {
			switch random.IntN(3) {
			case 0, 1:
				in, cost := small, int64(random.IntN(60))
				if random.IntN(2) == 0 {
					in, cost = large, int64(random.IntN(1500)) // over the memory of the lane, too
				}
				added, _ := q.add(fmt.Sprint("ns", random.IntN(5)), in, cost*1000, cost)
				live = append(live, added)
			case 2:
				if len(live) > 0 {
					one := live[random.IntN(len(live))]
					q.drop(one)
					q.finish(one)
				}
			}
			q.grant()
			live = keepsRules(t, q, live)
		}
		for len(live) > 0 {
			progress := false
			for _, one := range live {
				if one.state == ticketRunning {
					q.finish(one)
					progress = true
				}
			}
			if !progress {
				t.Fatalf("seed %d: %d reviews wait and none runs", seed, len(live))
			}
			q.grant()
			live = keepsRules(t, q, live)
		}
		if q.waiting != 0 || len(q.flows) != 0 || q.used != [2]int64{} || q.running != 0 || q.runningLarge != 0 {
			t.Fatalf("seed %d: at the end %+v", seed, q)
		}
	}
}

// keepsRules checks the rules and returns the reviews that wait or run.
func keepsRules(t *testing.T, q *fairQueue, live []*ticket) []*ticket {
	t.Helper()
	perNamespace, used, running, waiting := map[string]int{}, [2]int64{}, [2]int{}, 0
	var left []*ticket
	for _, one := range live {
		switch one.state {
		case ticketRunning:
			running[one.lane]++
			perNamespace[one.flow.namespace]++
			used[one.lane] += one.cost
		case ticketWaiting:
			waiting++
		case ticketGone:
			continue
		}
		left = append(left, one)
	}
	for namespace, n := range perNamespace {
		if n > q.limits.perNamespace {
			t.Fatalf("%s has %d slots", namespace, n)
		}
	}
	if running[small]+running[large] > q.limits.slots || running[large] > q.limits.largeSlots ||
		used[small] > q.limits.bytes[small] || used[large] > q.limits.bytes[large] || waiting > q.limits.waiting {
		t.Fatalf("%v run with %v bytes; %d wait", running, used, waiting)
	}
	return left
}

// Where too many wait, the namespace with the most loses its last one.
func TestQueueDropsOfTheLongest(t *testing.T) {
	q := queueOf(1 << 40)
	q.limits.waiting = 10
	for range 12 {
		q.add("flood", large, 1<<20, 1)
		q.grant()
	}
	var dropped []string
	for n := range 6 {
		if _, gone := q.add(fmt.Sprint("ns", n), large, 1, 1); gone != nil {
			dropped = append(dropped, gone.flow.namespace)
		}
	}
	if want := "flood flood flood flood flood flood"; strings.Join(dropped, " ") != want {
		t.Errorf("dropped of %v, want %s", dropped, want)
	}
}

// A large review that is next keeps its place while smaller large ones would fit; small ones pass.
func TestQueueStarvesNoLargeReview(t *testing.T) {
	q := queueOf(100)
	first, _ := q.add("a", large, 1<<20, 60)
	q.grant()
	whole, _ := q.add("b", large, 1<<20, 150) // counts as 100
	less, _ := q.add("c", large, 1<<20, 40)
	little, _ := q.add("d", small, 1, 1)
	q.grant()
	if whole.state != ticketWaiting || less.state != ticketWaiting || little.state != ticketRunning {
		t.Errorf("while 60 of 100 are used: %v %v %v", whole.state, less.state, little.state)
	}
	q.finish(first)
	q.grant()
	if whole.state != ticketRunning || less.state != ticketWaiting {
		t.Errorf("when it fits: %v %v", whole.state, less.state)
	}
}
