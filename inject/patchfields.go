// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"gomodules.xyz/jsonpatch/v2"
	corev1 "k8s.io/api/core/v1"
)

// Most of a pod is not touched by injection. So its fields are compared as Go values first, and only those that differ
// become trees.

// patchByField does what Patch does where all that changed are labels, annotations and fields of the spec, and no
// container, init container or volume went or moved; else it is not ok.
func patchByField(received []byte, before, after *corev1.Pod) (operations []jsonpatch.Operation, ok bool) {
	if !sameButFields(before, after) {
		return nil, false
	}
	document, err := fieldsOf(received)
	if err != nil {
		return nil, false
	}
	metadata, err := fieldsOf(document["metadata"])
	if err != nil {
		return nil, false
	}
	spec, err := fieldsOf(document["spec"])
	if err != nil {
		return nil, false
	}
	var p patcher
	for _, texts := range []struct {
		key           string
		before, after map[string]string
	}{{"annotations", before.Annotations, after.Annotations}, {"labels", before.Labels, after.Labels}} {
		if maps.Equal(texts.before, texts.after) {
			continue
		}
		var had any = absent{}
		if raw, has := metadata[texts.key]; has {
			if had, err = parseTree(raw); err != nil {
				return nil, false
			}
		}
		p.edit(place{"metadata", texts.key}, had, textsTree(texts.before), textsTree(texts.after))
	}
	return p.operations, p.editStruct(place{"spec"}, spec, &before.Spec, &after.Spec)
}

// sameButFields says whether two pods agree but for labels, annotations and spec.
func sameButFields(before, after *corev1.Pod) bool {
	a, b := before.ObjectMeta, after.ObjectMeta
	a.Labels, a.Annotations, b.Labels, b.Annotations = nil, nil, nil, nil
	return before.TypeMeta == after.TypeMeta && reflect.DeepEqual(&a, &b) && reflect.DeepEqual(&before.Status, &after.Status)
}

// structFields are the fields of a Go type of the API, sorted by their names in JSON.
type structFields []struct {
	key    string
	number int
}

func fieldsOfType(t reflect.Type) structFields {
	fields := make(structFields, t.NumField())
	for i := range fields {
		fields[i].key, _, _ = strings.Cut(t.Field(i).Tag.Get("json"), ",")
		fields[i].number = i
	}
	slices.SortFunc(fields, func(a, b struct {
		key    string
		number int
	}) int {
		return strings.Compare(a.key, b.key)
	})
	return fields
}

var knownFields = map[reflect.Type]structFields{
	reflect.TypeFor[corev1.PodSpec]():   fieldsOfType(reflect.TypeFor[corev1.PodSpec]()),
	reflect.TypeFor[corev1.Container](): fieldsOfType(reflect.TypeFor[corev1.Container]()),
}

// editStruct edits the fields of a pod spec or a container; before and after are pointers to one. It is not ok if
// elements of a list of containers or volumes went or moved, or the document is not understood.
func (p *patcher) editStruct(at place, received map[string][]byte, before, after any) (ok bool) {
	was, is := reflect.ValueOf(before).Elem(), reflect.ValueOf(after).Elem()
	for _, f := range knownFields[was.Type()] {
		wasField, isField := was.Field(f.number).Addr().Interface(), is.Field(f.number).Addr().Interface()
		if reflect.DeepEqual(wasField, isField) {
			continue
		}
		raw, has := received[f.key]
		below := at.below(f.key)
		switch wasField := wasField.(type) {
		case *[]corev1.Container:
			ok = editNamed(p, below, raw, namedLists[corev1.Container]{*wasField, *isField.(*[]corev1.Container), containerName, containerJSON})
		case *[]corev1.Volume:
			ok = editNamed(p, below, raw, namedLists[corev1.Volume]{*wasField, *isField.(*[]corev1.Volume), volumeName, volumeJSON})
		default:
			ok = p.editTrees(below, raw, has, [2]any{wasField, isField})
		}
		if !ok {
			return false
		}
	}
	return true
}

// editTrees edits what has no lists of its own to take care of, as trees. values are pointers to it before and after.
func (p *patcher) editTrees(at place, raw []byte, has bool, values [2]any) (ok bool) {
	var received any = absent{}
	var err error
	if has {
		if received, err = parseTree(raw); err != nil {
			return false
		}
	}
	var trees [2]any
	for i, value := range values {
		trees[i] = absent{}
		field := reflect.ValueOf(value).Elem()
		if field.IsZero() || (field.Kind() == reflect.Slice || field.Kind() == reflect.Map) && field.Len() == 0 {
			continue // it is left out of the JSON, or means nothing there
		}
		text, err := json.Marshal(value)
		if err != nil {
			return false
		}
		if trees[i], err = parseTree(text); err != nil {
			return false
		}
	}
	p.edit(at, received, trees[0], trees[1])
	return true
}

// namedLists are a list of named elements before and after, and how to write one of them.
type namedLists[T any] struct {
	before, after []T
	name          func(*T) string
	json          func(*T) (json.RawMessage, error)
}

// editNamed edits a list of named elements in which none goes or moves; else it is not ok.
func editNamed[T any](p *patcher, at place, received []byte, lists namedLists[T]) (ok bool) {
	var had [][]byte
	if received != nil && string(received) != "null" {
		var err error
		if had, err = elements(received); err != nil {
			return false
		}
	}
	if len(had) != len(lists.before) || len(lists.after) == 0 || !unique(lists.before, lists.name) || !unique(lists.after, lists.name) {
		return false
	}
	stays, ok := lists.insertions()
	if !ok {
		return false
	}
	var added []json.RawMessage
	for i := range lists.after {
		if stays[i] >= 0 {
			continue
		}
		value, err := lists.json(&lists.after[i])
		if err != nil {
			return false
		}
		added = append(added, value)
		if len(had) > 0 {
			p.add("add", at.item(i), value)
		}
	}
	if len(had) == 0 {
		operation := "replace"
		if received == nil {
			operation = "add"
		}
		p.add(operation, at, added)
		return true
	}
	for i, from := range stays {
		if from >= 0 && !reflect.DeepEqual(&lists.before[from], &lists.after[i]) && !p.editElement(at.item(i), had[from], &lists.before[from], &lists.after[i]) {
			return false
		}
	}
	return true
}

// insertions returns for each element after where it stood before, or -1. It is not ok if one went or moved.
func (l namedLists[T]) insertions() (stays []int, ok bool) {
	stays = make([]int, len(l.after))
	next := 0
	for i := range l.after {
		stays[i] = -1
		if next < len(l.before) && l.name(&l.before[next]) == l.name(&l.after[i]) {
			stays[i] = next
			next++
		}
	}
	return stays, next == len(l.before)
}

// editElement edits an element that stays where it is.
func (p *patcher) editElement(at place, received []byte, before, after any) (ok bool) {
	if _, known := knownFields[reflect.TypeOf(before).Elem()]; !known {
		return p.editTrees(at, received, true, [2]any{before, after})
	}
	fields, err := fieldsOf(received)
	return err == nil && p.editStruct(at, fields, before, after)
}

func volumeName(v *corev1.Volume) string { return v.Name }

// containerJSON writes a container without the empty resources that the Go type prints.
func containerJSON(c *corev1.Container) (json.RawMessage, error) {
	text, err := json.Marshal(c)
	if err == nil && isEmpty(&c.Resources) {
		// No string of JSON holds these bytes, since their quotes would be escaped, and no field before has this name.
		text = bytes.Replace(text, []byte(`,"resources":{}`), nil, 1)
	}
	return text, err
}

func isEmpty(r *corev1.ResourceRequirements) bool {
	return len(r.Limits) == 0 && len(r.Requests) == 0 && len(r.Claims) == 0
}

func volumeJSON(v *corev1.Volume) (json.RawMessage, error) {
	text, err := json.Marshal(v)
	if err != nil || v.Ephemeral == nil {
		return text, err
	}
	tree, err := parseTree(text)
	if err != nil {
		return nil, err
	}
	return json.Marshal(withoutNoise(place{"spec", "volumes", "0"}, tree))
}

func textsTree(texts map[string]string) any {
	if len(texts) == 0 {
		return absent{}
	}
	out := make(map[string]any, len(texts))
	for key, text := range texts {
		out[key] = text
	}
	return out
}

// encoded writes operations as JSON.
func encoded(operations []jsonpatch.Operation) ([]byte, error) {
	out := []byte{'['}
	for i, operation := range operations {
		if i > 0 {
			out = append(out, ',')
		}
		path, err := json.Marshal(operation.Path)
		if err != nil {
			return nil, err
		}
		out = fmt.Appendf(out, `{"op":%q,"path":%s`, operation.Operation, path)
		if operation.Operation != "remove" {
			out = append(out, `,"value":`...)
			if out, err = appendValue(out, operation.Value); err != nil {
				return nil, err
			}
		}
		out = append(out, '}')
	}
	return append(out, ']'), nil
}

// appendValue writes a value. What is raw is of encoding/json's own making.
func appendValue(out []byte, value any) ([]byte, error) {
	switch value := value.(type) {
	case json.RawMessage:
		return append(out, value...), nil
	case []json.RawMessage:
		return append(append(append(out, '['), bytes.Join(rawBytes(value), []byte(","))...), ']'), nil
	}
	text, err := json.Marshal(value)
	return append(out, text...), err
}

func rawBytes(list []json.RawMessage) [][]byte {
	out := make([][]byte, len(list))
	for i := range list {
		out[i] = list[i]
	}
	return out
}
