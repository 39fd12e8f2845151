// SPDX-License-Identifier: Apache-2.0

package jsonpatch

import (
	"cmp"
	"reflect"
	"slices"

	applying "github.com/evanphx/json-patch/v5"
	"github.com/tidwall/gjson"
)

// maxMoved limits how many elements of a list are removed and added one by one, because applying each operation shifts the rest of the
// list. Beyond the limit, the whole list is replaced.
const maxMoved = 512

// element is an element of a list as received, with its Go value before the change.
type element struct {
	received gjson.Result
	before   reflect.Value
}

// movedElements returns, by merge key, the elements that leave another list of the same object and type for the list of this
// field: a proxy that the user wrote among the containers becomes an init container. Nil if there are none.
func movedElements(f Field, members map[string]gjson.Result, before, after reflect.Value) map[string]element {
	if f.MergeKey == "" {
		return nil
	}
	here := before.FieldByIndex(f.Index)
	var out map[string]element
	for _, other := range fieldsOf(before.Type()) {
		there := before.FieldByIndex(other.Index)
		if other.Key == f.Key || other.MergeKey != f.MergeKey || there.Type() != here.Type() || there.Len() == 0 {
			continue
		}
		received := members[other.Key].Array()
		if len(received) != there.Len() {
			continue
		}
		wanted, had := keysIn(after.FieldByIndex(f.Index), f.MergeKey), keysIn(here, f.MergeKey)
		stays := keysIn(after.FieldByIndex(other.Index), f.MergeKey)
		for i := range there.Len() {
			key := keyOf(there.Index(i), f.MergeKey)
			if !wanted[key] || had[key] || stays[key] {
				continue
			}
			if out == nil {
				out = map[string]element{}
			}
			out[key] = element{received[i], there.Index(i)}
		}
	}
	return out
}

func keysIn(list reflect.Value, mergeKey string) map[string]bool {
	keys := make(map[string]bool, list.Len())
	for i := range list.Len() {
		keys[keyOf(list.Index(i), mergeKey)] = true
	}
	return keys
}

// keyOf returns what identifies an element, as JSON; empty if the element has no such field.
func keyOf(v reflect.Value, mergeKey string) string {
	f, found := FieldOf(v.Type(), mergeKey)
	if !found {
		return ""
	}
	text, _ := appendValue(nil, v.FieldByIndex(f.Index)) // a string or a number
	return string(text)
}

// editList changes a list in three steps: it removes elements that are dropped or moved, from the end; it adds elements that are new
// or moved, from the front; and it edits the elements that stayed in place.
func (d *diff) editList(at, mergeKey string, received gjson.Result, before, after reflect.Value, moved map[string]element) {
	had := received.Array()
	if len(had) != before.Len() {
		d.put(at, received, d.encode(after)) // received is null, or not what the Go value was decoded from
		return
	}
	list := list{mergeKey: mergeKey, received: had, before: before, after: after, moved: moved}
	list.match()
	stays := longestRising(list.origin)
	kept, staying := make([]bool, len(had)), 0
	for j, stay := range stays {
		if stay {
			kept[list.origin[j]] = true
			staying++
		}
	}
	if !received.IsArray() || len(had) == 0 || len(had)+after.Len()-2*staying > maxMoved {
		d.put(at, received, d.wholeList(list))
		return
	}
	for i := len(had) - 1; i >= 0; i-- {
		if !kept[i] {
			d.operations = append(d.operations, Operation{Op: "remove", Path: item(at, i)})
		}
	}
	for j, stay := range stays {
		if !stay {
			d.operations = append(d.operations, Operation{Op: "add", Path: item(at, j), Value: d.encodeElement(list, j)})
		}
	}
	for j, stay := range stays {
		if stay {
			from := list.origin[j]
			if was, is := before.Index(from), after.Index(j); !equal(was, is) {
				d.edit(item(at, j), had[from], was, is)
			}
		}
	}
}

// wholeList encodes a list, each element as it was received with its changes applied.
func (d *diff) wholeList(l list) []byte {
	out := []byte{'['}
	for j := range l.after.Len() {
		if j > 0 {
			out = append(out, ',')
		}
		out = append(out, d.encodeElement(l, j)...)
	}
	return append(out, ']')
}

// encodeElement encodes the j-th element of the new list. A received element keeps its encoding, with its changes applied.
func (d *diff) encodeElement(l list, j int) []byte {
	value := l.after.Index(j)
	from, known := element{}, false
	if i := l.origin[j]; i >= 0 {
		from, known = element{l.received[i], l.before.Index(i)}, true
	} else if len(l.moved) > 0 {
		from, known = l.moved[keyOf(value, l.mergeKey)]
	}
	if !known {
		return d.encode(value)
	}
	var changes diff
	if !equal(from.before, value) {
		changes.edit("", from.received, from.before, value)
	}
	if len(changes.operations) == 0 || changes.err != nil {
		d.err = cmp.Or(d.err, changes.err)
		return []byte(from.received.Raw)
	}
	if changes.operations[0].Path == "" {
		return changes.operations[0].Value // replaced as a whole
	}
	patch, err := applying.DecodePatch(Encode(changes.operations))
	if err == nil {
		var out []byte
		if out, err = patch.Apply([]byte(from.received.Raw)); err == nil {
			return out
		}
	}
	d.err = cmp.Or(d.err, err)
	return nil
}

// list is a list being compared.
type list struct {
	mergeKey      string
	received      []gjson.Result
	before, after reflect.Value
	moved         map[string]element
	origin        []int // for each element after, the index of the one before that it comes from, or -1
}

// match fills origin. Equal elements match first, so that of two with the same key the unchanged one stays; then those with
// the same merge key. The work grows linearly with the list, which may be very long, since users write it.
func (l *list) match() {
	l.origin = make([]int, l.after.Len())
	for j := range l.origin {
		l.origin[j] = -1
	}
	used := make([]bool, l.before.Len())
	take := func(i, j int) { l.origin[j], used[i] = i, true }
	start, was, is := 0, l.before.Len(), l.after.Len()
	for start < was && start < is && equal(l.before.Index(start), l.after.Index(start)) {
		take(start, start)
		start++
	}
	for was > start && is > start && equal(l.before.Index(was-1), l.after.Index(is-1)) {
		was, is = was-1, is-1
		take(was, is)
	}
	l.matchBy(start, was, is, used, func(v reflect.Value) string {
		text, _ := appendValue(nil, v) // what cannot be encoded is noticed when it is written
		return string(text)
	})
	if l.mergeKey != "" {
		l.matchBy(start, was, is, used, func(v reflect.Value) string { return keyOf(v, l.mergeKey) })
	}
}

// matchBy pairs the unmatched elements between start and the ends was and is that have the same text, in order.
func (l *list) matchBy(start, was, is int, used []bool, text func(reflect.Value) string) {
	waiting := map[string][]int{}
	for i := start; i < was; i++ {
		if !used[i] {
			key := text(l.before.Index(i))
			waiting[key] = append(waiting[key], i)
		}
	}
	for j := start; j < is && len(waiting) > 0; j++ {
		if l.origin[j] >= 0 {
			continue
		}
		key := text(l.after.Index(j))
		if queue := waiting[key]; len(queue) > 0 {
			l.origin[j], used[queue[0]], waiting[key] = queue[0], true, queue[1:]
		}
	}
}

// longestRising marks a longest increasing subsequence, so that as few elements as possible are moved. It never marks -1.
func longestRising(origin []int) []bool {
	var ends []int                     // ends[n] is the index of the lowest end of a rising run of n+1 elements
	before := make([]int, len(origin)) // the element before, in the best run that ends here; -1 for none
	for i, at := range origin {
		if at < 0 {
			continue
		}
		n, _ := slices.BinarySearchFunc(ends, at, func(end, at int) int { return origin[end] - at })
		before[i] = -1
		if n > 0 {
			before[i] = ends[n-1]
		}
		if n == len(ends) {
			ends = append(ends, i)
		} else {
			ends[n] = i
		}
	}
	out := make([]bool, len(origin))
	if len(ends) == 0 {
		return out
	}
	for i := ends[len(ends)-1]; i >= 0; i = before[i] {
		out[i] = true
	}
	return out
}
