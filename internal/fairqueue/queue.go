// SPDX-License-Identifier: Apache-2.0

// Package fairqueue holds what waits to be sent for many namespaces, so that a flood from one of them delays and displaces
// only its own.
//
// Make a Queue, call Add from any goroutine and Next from the one that sends. The package has no clock and never waits.
package fairqueue

import (
	"slices"
	"sync"
)

// Result says what became of an item that was added.
type Result string

// The results.
const (
	Added     Result = "added"
	Coalesced Result = "coalesced" // it took the place of one with the same key that was waiting
	Dropped   Result = "dropped"   // it, or the newest item of the fullest namespace, was dropped: the queue is full
)

// Queue is a bounded queue that serves namespaces in turn, and the items of one namespace in their order. It is safe for
// concurrent use.
type Queue[T any] struct {
	perNamespace, total int

	mutex   sync.Mutex
	turns   []string // the namespaces with items, the next one first
	waiting map[string][]keyed[T]
	count   int
}

type keyed[T any] struct {
	key  string
	item T
}

// New returns a Queue of at most so many items for each namespace and altogether.
func New[T any](perNamespace, total int) *Queue[T] {
	return &Queue[T]{perNamespace: perNamespace, total: total, waiting: map[string][]keyed[T]{}}
}

// Add puts an item behind those of its namespace. A waiting item with the same key is replaced in its place.
func (q *Queue[T]) Add(namespace, key string, item T) Result {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	own := q.waiting[namespace]
	if at := slices.IndexFunc(own, func(k keyed[T]) bool { return k.key == key }); at >= 0 {
		own[at].item = item
		return Coalesced
	}
	result := Added
	switch {
	case len(own) >= q.perNamespace:
		return Dropped
	case q.count >= q.total:
		fullest := q.fullest()
		if len(q.waiting[fullest]) <= len(own)+1 {
			return Dropped
		}
		q.dropNewest(fullest)
		result = Dropped
	}
	if len(own) == 0 {
		q.turns = append(q.turns, namespace)
	}
	q.waiting[namespace] = append(own, keyed[T]{key, item})
	q.count++
	return result
}

// fullest returns the namespace with the most items.
func (q *Queue[T]) fullest() string {
	return slices.MaxFunc(q.turns, func(a, b string) int { return len(q.waiting[a]) - len(q.waiting[b]) })
}

func (q *Queue[T]) dropNewest(namespace string) {
	items := q.waiting[namespace]
	q.waiting[namespace] = slices.Delete(items, len(items)-1, len(items))
	q.count--
}

// Next takes the first item of the first namespace in turn that is preferred, else of the first in turn, whose turn then
// comes last. It reports false for preferred if no namespace is, and for ok if nothing waits.
func (q *Queue[T]) Next(prefer func(namespace string) bool) (item T, preferred, ok bool) {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	if len(q.turns) == 0 {
		return item, false, false
	}
	at := slices.IndexFunc(q.turns, prefer)
	preferred = at >= 0
	namespace := q.turns[max(at, 0)]
	q.turns = slices.Delete(q.turns, max(at, 0), max(at, 0)+1)
	items := q.waiting[namespace]
	item = items[0].item
	if q.count--; len(items) == 1 {
		delete(q.waiting, namespace)
		return item, preferred, true
	}
	q.waiting[namespace] = slices.Delete(items, 0, 1)
	q.turns = append(q.turns, namespace)
	return item, preferred, true
}

// Has reports whether an item of a preferred namespace waits.
func (q *Queue[T]) Has(prefer func(namespace string) bool) bool {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	return slices.ContainsFunc(q.turns, prefer)
}

// Len returns how many items wait.
func (q *Queue[T]) Len() int {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	return q.count
}
