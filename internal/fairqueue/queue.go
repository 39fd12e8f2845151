// SPDX-License-Identifier: Apache-2.0

// Package fairqueue queues items of many namespaces, so that a flood of items from one namespace delays and displaces only items of
// this namespace.
//
// Create a Queue with New, call Add from any goroutine and Next from the one that sends. The package has no clock and never waits.
package fairqueue

import (
	"slices"
	"sync"
)

// Result is the result of Add.
type Result string

// The results.
const (
	Added     Result = "added"
	Coalesced Result = "coalesced" // it replaced a waiting item with the same key
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

// New returns a Queue with at most perNamespace items for each namespace, and total items.
func New[T any](perNamespace, total int) *Queue[T] {
	return &Queue[T]{perNamespace: perNamespace, total: total, waiting: map[string][]keyed[T]{}}
}

// Add appends an item to those of its namespace, or replaces the waiting item with the same key.
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

// Next removes and returns the first item of the next preferred namespace, or else of the next namespace, which then comes last.
// preferred is false if no namespace is preferred, and ok is false if the queue is empty.
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
