// SPDX-License-Identifier: Apache-2.0

// Package jsonpatch describes a change of a Go value as a JSON patch (RFC 6902) for the document that the value was
// decoded from. Call Diff, then Encode.
//
// The patch contains only what changed. Elements of lists are found by the field that the API names as their merge key,
// and stay in place or move as they were received. So a field that the Go types do not know stays on its element, and
// what both values agree on keeps its spelling.
package jsonpatch

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// Operation is one step of a patch. The patches of this package only add, remove, and replace.
type Operation struct {
	Op    string          `json:"op"`
	Path  string          `json:"path"`
	Value json.RawMessage `json:"value,omitempty"` // nil for remove
}

// Diff returns the operations that change the document from before to after. Both are pointers to structs of the same
// type, and before was decoded from the document. Neither is changed. Equal arguments give equal operations; without a
// difference there are none. Diff returns an error if the document is not a JSON object, or if a value cannot be encoded.
func Diff(document []byte, before, after any) ([]Operation, error) {
	if !json.Valid(document) {
		return nil, errors.New("the received document is not JSON")
	}
	received := gjson.ParseBytes(document)
	if !received.IsObject() {
		return nil, errors.New("the received document is not a JSON object")
	}
	was, is := reflect.ValueOf(before).Elem(), reflect.ValueOf(after).Elem()
	var d diff
	d.editStruct("", received, was, is)
	return d.operations, d.err
}

// Encode returns the patch as JSON.
func Encode(operations []Operation) []byte {
	size := 2
	for _, operation := range operations {
		size += len(operation.Path) + len(operation.Value) + 40
	}
	out := append(make([]byte, 0, size), '[')
	for i, operation := range operations {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, `{"op":"`...)
		out = append(out, operation.Op...)
		out = append(out, `","path":`...)
		out = appendString(out, operation.Path)
		if operation.Value != nil {
			out = append(out, `,"value":`...)
			out = append(out, operation.Value...)
		}
		out = append(out, '}')
	}
	return append(out, ']')
}

// diff collects operations. Its methods take a place in the document as a JSON pointer, what was received there (the zero
// Result if nothing was), and the Go values before and after.
type diff struct {
	operations []Operation
	err        error // the first value that could not be encoded
}

func (d *diff) editStruct(at string, received gjson.Result, before, after reflect.Value) {
	var members map[string]gjson.Result
	for _, f := range fieldsOf(before.Type()) {
		was, is := before.FieldByIndex(f.Index), after.FieldByIndex(f.Index)
		if equal(was, is) {
			continue
		}
		if members == nil {
			members = membersOf(received)
		}
		here := at + "/" + escape(f.Key)
		switch {
		case f.IsOmitted(is):
			if !f.IsOmitted(was) {
				d.remove(here, members[f.Key])
			}
		case is.Kind() == reflect.Slice && !IsLeaf(is.Type()):
			d.editList(here, f.MergeKey, members[f.Key], was, is, movedElements(f, members, before, after))
		default:
			d.edit(here, members[f.Key], was, is)
		}
	}
}

func (d *diff) edit(at string, received gjson.Result, before, after reflect.Value) {
	if IsLeaf(after.Type()) {
		was, is := d.encode(before), d.encode(after)
		if string(was) != string(is) {
			d.put(at, received, is)
		}
		return
	}
	switch after.Kind() {
	case reflect.Pointer:
		if !before.IsNil() && received.Exists() {
			d.edit(at, received, before.Elem(), after.Elem())
			return
		}
	case reflect.Struct:
		if received.IsObject() {
			d.editStruct(at, received, before, after)
			return
		}
	case reflect.Map:
		if received.IsObject() {
			d.editMap(at, received, before, after)
			return
		}
	}
	d.put(at, received, d.encode(after))
}

func (d *diff) editMap(at string, received gjson.Result, before, after reflect.Value) {
	members := membersOf(received)
	for _, key := range keysOf(before, after) {
		was, is := before.MapIndex(key), after.MapIndex(key)
		member, here := members[key.String()], at+"/"+escape(key.String())
		switch {
		case !is.IsValid():
			d.remove(here, member)
		case !was.IsValid():
			d.put(here, member, d.encode(is))
		case !equal(was, is):
			if was, is := d.encode(was), d.encode(is); string(was) != string(is) {
				d.put(here, member, is)
			}
		}
	}
}

// put adds or replaces what is at a place.
func (d *diff) put(at string, received gjson.Result, value []byte) {
	operation := Operation{Op: "replace", Path: at, Value: value}
	if !received.Exists() {
		operation.Op = "add"
	}
	d.operations = append(d.operations, operation)
}

func (d *diff) remove(at string, received gjson.Result) {
	if received.Exists() {
		d.operations = append(d.operations, Operation{Op: "remove", Path: at})
	}
}

func (d *diff) encode(value reflect.Value) []byte {
	out, err := appendValue(nil, value)
	if err != nil && d.err == nil {
		d.err = fmt.Errorf("encoding a %s: %w", value.Type(), err)
	}
	return out
}

// membersOf returns the members of an object by key; none for anything else. Of two with the same key, the last counts, as
// for encoding/json.
func membersOf(object gjson.Result) map[string]gjson.Result {
	members := make(map[string]gjson.Result, 16)
	if object.IsObject() {
		object.ForEach(func(key, value gjson.Result) bool {
			members[key.String()] = value
			return true
		})
	}
	return members
}

var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")

// escape returns a key as a part of a JSON pointer, RFC 6901.
func escape(key string) string { return pointerEscapes.Replace(key) }

func item(at string, index int) string { return at + "/" + strconv.Itoa(index) }

// equal compares two values of the same type without copying them where it can.
func equal(a, b reflect.Value) bool {
	if a.CanAddr() && b.CanAddr() {
		return reflect.DeepEqual(a.Addr().Interface(), b.Addr().Interface())
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}
