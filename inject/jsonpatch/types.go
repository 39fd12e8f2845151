// SPDX-License-Identifier: Apache-2.0

package jsonpatch

import (
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Field is a field of an API type, by its key in JSON. Fields of inlined structs count as the struct's own.
type Field struct {
	Key       string
	Index     []int  // for reflect.Value.FieldByIndex
	MergeKey  string // JSON key of the field that identifies an element of this list; empty if nothing does
	Merges    bool   // a strategic merge merges lists instead of replacing them
	OmitEmpty bool
}

var knownFields sync.Map // reflect.Type → []Field: what is known of compiled types, not of values

// fieldsOf returns the fields of a struct, sorted by key.
func fieldsOf(t reflect.Type) []Field {
	if known, has := knownFields.Load(t); has {
		return known.([]Field)
	}
	var fields []Field
	for i := range t.NumField() {
		f := t.Field(i)
		key, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case !f.IsExported() || key == "-":
		case key == "" && f.Type.Kind() == reflect.Struct:
			for _, inner := range fieldsOf(f.Type) {
				inner.Index = append([]int{i}, inner.Index...)
				fields = append(fields, inner)
			}
		case key != "":
			fields = append(fields, Field{
				Key: key, Index: f.Index, OmitEmpty: strings.Contains(options, "omitempty"),
				MergeKey: f.Tag.Get("patchMergeKey"), Merges: slices.Contains(strings.Split(f.Tag.Get("patchStrategy"), ","), "merge"),
			})
		}
	}
	slices.SortFunc(fields, func(a, b Field) int { return strings.Compare(a.Key, b.Key) })
	knownFields.Store(t, fields)
	return fields
}

// FieldOf returns the field of a struct with this key; false if there is none.
func FieldOf(t reflect.Type, key string) (Field, bool) {
	fields := fieldsOf(t)
	at, found := slices.BinarySearchFunc(fields, key, func(f Field, key string) int { return strings.Compare(f.Key, key) })
	if !found {
		return Field{}, false
	}
	return fields[at], true
}

var marshaler = reflect.TypeFor[json.Marshaler]()

// IsLeaf reports whether values of a type are replaced as a whole.
func IsLeaf(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer:
		return IsLeaf(t.Elem())
	case reflect.Struct, reflect.Map:
		return t.Implements(marshaler) || reflect.PointerTo(t).Implements(marshaler)
	case reflect.Slice:
		return t.Elem().Kind() == reflect.Uint8
	}
	return true
}

// IsOmitted reports whether a value of the field is left out of a document: it is nil, or encoding/json omits it because it is empty.
func (f Field) IsOmitted(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Struct:
		return false
	case reflect.Slice, reflect.Map:
		return v.IsNil() || f.OmitEmpty && v.Len() == 0
	case reflect.Pointer, reflect.Interface:
		return v.IsNil()
	}
	return f.OmitEmpty && v.IsZero()
}

// appendValue encodes a value like encoding/json, but omits empty structs and null times, such as an unset container's resources or a
// pod's status.
func appendValue(out []byte, v reflect.Value) ([]byte, error) {
	t := v.Type()
	switch t.Kind() {
	case reflect.String:
		return appendString(out, v.String()), nil
	case reflect.Bool:
		return strconv.AppendBool(out, v.Bool()), nil
	case reflect.Int, reflect.Int32, reflect.Int64:
		return strconv.AppendInt(out, v.Int(), 10), nil
	case reflect.Pointer:
		if !v.IsNil() && !IsLeaf(t) {
			return appendValue(out, v.Elem())
		}
	case reflect.Struct:
		if !IsLeaf(t) {
			return appendStruct(out, v)
		}
	case reflect.Map:
		if !IsLeaf(t) && !v.IsNil() {
			return appendMap(out, v)
		}
	case reflect.Slice:
		if !IsLeaf(t) && !v.IsNil() {
			return appendList(out, v)
		}
	}
	text, err := json.Marshal(v.Interface())
	return append(out, text...), err
}

func appendStruct(out []byte, v reflect.Value) ([]byte, error) {
	out = append(out, '{')
	start := len(out)
	for _, f := range fieldsOf(v.Type()) {
		value := v.FieldByIndex(f.Index)
		if f.IsOmitted(value) {
			continue
		}
		begin := len(out)
		if begin > start {
			out = append(out, ',')
		}
		out = append(append(append(out, '"'), f.Key...), `":`...)
		from := len(out)
		var err error
		if out, err = appendValue(out, value); err != nil {
			return out, err
		}
		if text := string(out[from:]); value.Kind() == reflect.Struct && (text == "{}" || text == "null") {
			out = out[:begin]
		}
	}
	return append(out, '}'), nil
}

func appendMap(out []byte, v reflect.Value) (_ []byte, err error) {
	out = append(out, '{')
	for i, key := range keysOf(v) {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(appendString(out, key.String()), ':')
		if out, err = appendValue(out, v.MapIndex(key)); err != nil {
			return out, err
		}
	}
	return append(out, '}'), nil
}

func appendList(out []byte, v reflect.Value) (_ []byte, err error) {
	out = append(out, '[')
	for i := range v.Len() {
		if i > 0 {
			out = append(out, ',')
		}
		if out, err = appendValue(out, v.Index(i)); err != nil {
			return out, err
		}
	}
	return append(out, ']'), nil
}

// appendString writes a string. A string that needs no escape, which is almost every one, is copied.
func appendString(out []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(text) // a string cannot fail
			return append(out, quoted...)
		}
	}
	return append(append(append(out, '"'), text...), '"')
}

// keysOf returns the sorted keys of maps whose keys are strings.
func keysOf(maps ...reflect.Value) []reflect.Value {
	var keys []reflect.Value
	for _, m := range maps {
		keys = append(keys, m.MapKeys()...)
	}
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	return slices.CompactFunc(keys, func(a, b reflect.Value) bool { return a.String() == b.String() })
}
