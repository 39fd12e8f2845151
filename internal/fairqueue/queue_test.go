// SPDX-License-Identifier: Apache-2.0

package fairqueue

import (
	"fmt"
	"slices"
	"testing"
)

func nobody(string) bool { return false }

// drain takes all items.
func drain(q *Queue[string]) []string {
	var out []string
	for {
		item, _, ok := q.Next(nobody)
		if !ok {
			return out
		}
		out = append(out, item)
	}
}

func TestNamespacesTakeTurns(t *testing.T) {
	q := New[string](1000, 1000)
	for i := range 500 {
		q.Add("flood", fmt.Sprint(i), fmt.Sprintf("flood-%d", i))
	}
	q.Add("a", "1", "a-1")
	q.Add("b", "1", "b-1")
	q.Add("a", "2", "a-2")
	got := drain(q)
	if want := []string{"flood-0", "a-1", "b-1", "flood-1", "a-2", "flood-2"}; !slices.Equal(got[:6], want) {
		t.Errorf("got %q, want %q", got[:6], want)
	}
	if len(got) != 503 || q.Len() != 0 {
		t.Errorf("%d items, %d left", len(got), q.Len())
	}
}

func TestThePreferredNamespaceIsNext(t *testing.T) {
	q := New[string](10, 10)
	q.Add("flood", "1", "flood-1")
	q.Add("a", "1", "a-1")
	item, preferred, ok := q.Next(func(namespace string) bool { return namespace == "a" })
	if item != "a-1" || !preferred || !ok {
		t.Errorf("got %q, %t, %t", item, preferred, ok)
	}
	if item, preferred, _ = q.Next(func(namespace string) bool { return namespace == "a" }); item != "flood-1" || preferred {
		t.Errorf("got %q, %t", item, preferred)
	}
}

func TestTheSameIsCoalesced(t *testing.T) {
	q := New[string](10, 10)
	q.Add("a", "rule", "v1")
	q.Add("a", "route", "x")
	if got := q.Add("a", "rule", "v2"); got != Coalesced {
		t.Errorf("got %s", got)
	}
	q.Add("b", "rule", "theirs")
	if got, want := drain(q), []string{"v2", "theirs", "x"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAFloodDisplacesOnlyItsOwn(t *testing.T) {
	q := New[string](6, 8)
	dropped := 0
	for i := range 20 {
		if q.Add("flood", fmt.Sprint(i), fmt.Sprint(i)) == Dropped {
			dropped++
		}
	}
	if dropped != 14 || q.Len() != 6 {
		t.Errorf("%d dropped and %d waiting, want 14 and 6", dropped, q.Len())
	}
	for _, namespace := range []string{"a", "b", "c", "d"} {
		q.Add(namespace, "1", namespace)
	}
	if q.Len() != 8 {
		t.Errorf("%d waiting, want 8", q.Len())
	}
	got := drain(q)
	for _, want := range []string{"a", "b", "c", "d", "0", "1", "2", "3"} {
		if !slices.Contains(got, want) {
			t.Errorf("%q was dropped: %q", want, got)
		}
	}
	// With as many namespaces as places, a new one does not displace another.
	for i := range 9 {
		if got := q.Add(fmt.Sprint(i), "1", "x"); (got == Dropped) != (i == 8) {
			t.Errorf("namespace %d: %s", i, got)
		}
	}
}
