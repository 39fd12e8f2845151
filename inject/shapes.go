// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// A shape is the output of a template without the names in it. Parsing the YAML takes more than half the time of an injection,
// and two pods of one shape make a template print the same text except for a few names, each in a separate write. So
// the text is parsed once for each shape, with a marker for each name; for the next pod, its names replace the markers.

// Shapes keeps parsed shapes by key for later pods. Package inject keeps nothing itself; the webhook implements this
// interface. What is kept is immutable. The methods are called concurrently.
type Shapes interface {
	Shape(key []byte) *Shape                      // nil if there is none
	KeepShape(key []byte, shape *Shape, size int) // size is an estimate in bytes
}

// Shape is a parsed output with markers in place of names. The zero value cannot be used: each text must be parsed.
type Shape struct{ parsed rendered }

const (
	holeMark   = 0 // no text that YAML accepts contains it
	markerWord = "zqHole"
)

var marker = regexp.MustCompile(markerWord + `(\d{6})qz`)

// parse parses the output of a template, with the help of an earlier output of the same shape if there was one.
func (j *job) parse(name string, r *recorder) (rendered, error) {
	shapes := j.request.Shapes
	if shapes == nil || j.templates[name].volatile {
		return parseRendered(r.text)
	}
	key, values, ok := shapeOf(name, r)
	if !ok {
		return parseRendered(r.text)
	}
	shape := shapes.Shape(key)
	if shape == nil {
		shape = newShape(key, len(values))
		shapes.KeepShape(key, shape, 8*len(r.text))
	}
	if filled, ok := shape.filled(values); ok {
		return filled, nil
	}
	return parseRendered(r.text)
}

// newShape parses the text of a shape with a marker in each hole. The shape cannot be used if a marker is not in exactly one string of
// the pod, because then a name would mean something else than text.
func newShape(key []byte, holes int) *Shape {
	text := make([]byte, 0, len(key)+holes*len(markerWord+"000000qz"))
	n := 0
	for _, c := range key[bytes.IndexByte(key, '\n')+1:] {
		if c != holeMark {
			text = append(text, c)
			continue
		}
		text = fmt.Appendf(text, markerWord+"%06dqz", n)
		n++
	}
	parsed, err := parseRendered(text)
	if err != nil || parsed.pod == nil {
		return &Shape{} // the text may be wrong, or only the text with markers in it
	}
	seen := make([]int, holes)
	replaceStrings(reflect.ValueOf(parsed.pod).Elem(), func(text string) string {
		for _, found := range marker.FindAllString(text, -1) {
			seen[markerIndex(found)]++
		}
		return text
	})
	if slices.ContainsFunc(seen, func(times int) bool { return times != 1 }) {
		return &Shape{}
	}
	return &Shape{parsed}
}

// filled returns the shape with values in its holes. It is not ok if a string that results could be something else in YAML.
func (s *Shape) filled(values []string) (_ rendered, ok bool) {
	if s.parsed.pod == nil {
		return rendered{}, false
	}
	out := rendered{tree: s.parsed.tree, values: values, pod: s.parsed.pod.DeepCopy()}
	ok = true
	replaceStrings(reflect.ValueOf(out.pod).Elem(), func(text string) string {
		text = out.text(text)
		ok = ok && isString(text)
		return text
	})
	return out, ok
}

// text returns a string of the tree with its markers replaced.
func (r rendered) text(text string) string {
	if !strings.Contains(text, markerWord) {
		return text
	}
	return marker.ReplaceAllStringFunc(text, func(found string) string { return r.values[markerIndex(found)] })
}

func markerIndex(found string) int {
	n, _ := strconv.Atoi(found[len(markerWord) : len(found)-len("qz")]) // the pattern matches digits only
	return n
}

// replaceStrings replaces all strings of a Go value that contain markers, in place.
func replaceStrings(v reflect.Value, replace func(string) string) {
	switch v.Kind() {
	case reflect.String:
		if text := v.String(); strings.Contains(text, markerWord) {
			v.SetString(replace(text))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			replaceStrings(v.Elem(), replace)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if field := v.Field(i); field.CanSet() {
				replaceStrings(field, replace)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			replaceStrings(v.Index(i), replace)
		}
	case reflect.Map:
		for all := v.MapRange(); all.Next(); {
			if value := all.Value(); value.Kind() == reflect.String && strings.Contains(value.String(), markerWord) {
				v.SetMapIndex(all.Key(), reflect.ValueOf(replace(value.String())).Convert(value.Type()))
			}
		}
	}
}

// shapeOf returns a key that texts of one shape share, and the values in the holes of this text.
func shapeOf(name string, r *recorder) (key []byte, values []string, ok bool) {
	if bytes.IndexByte(r.text, holeMark) >= 0 || bytes.Contains(r.text, []byte(markerWord)) {
		return nil, nil, false
	}
	key = make([]byte, 0, len(name)+2+len(r.text))
	key = append(key, name...)
	key = append(key, '\n')
	from := 0
	for _, end := range r.ends {
		write := r.text[from:end]
		from = end
		quoted := len(write) > 2 && write[0] == '"' && write[len(write)-1] == '"'
		switch {
		case isHole(write):
			key = append(key, holeMark)
			values = append(values, string(write))
		case quoted && isHole(write[1:len(write)-1]):
			key = append(key, '"', holeMark, '"')
			values = append(values, string(write[1:len(write)-1]))
		default:
			key = append(key, write...)
		}
	}
	return key, values, true
}

// isHole reports whether a write is exchangeable for others of its kind: letters, digits, and ._/- that YAML reads as a string
// in every position.
func isHole(write []byte) bool {
	for i, c := range write {
		letter, digit := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z', c >= '0' && c <= '9'
		if !letter && !digit && (i == 0 || c != '.' && c != '_' && c != '/' && c != '-') {
			return false
		}
	}
	return len(write) > 0 && isString(string(write))
}

// isString reports whether YAML 1.1 reads a bare word as a string. It may be false for some strings. A word that begins with a
// letter and is not a word for true, false, or null is one. Other words must contain a letter that occurs in no number.
func isString(text string) bool {
	if text == "" {
		return false
	}
	first := text[0] | 0x20
	if first >= 'a' && first <= 'z' {
		switch len(text) {
		case 1, 2, 3, 4, 5:
			switch strings.ToLower(text) {
			case "y", "n", "yes", "no", "on", "off", "true", "false", "null":
				return false
			}
		}
		return true
	}
	switch strings.ToLower(strings.TrimLeft(text, "+-")) {
	case ".inf", ".nan":
		return false
	}
	return strings.ContainsAny(text, "ghijklmnpqrsuvwyGHIJKLMNPQRSUVWY")
}

// recorder collects what a template prints, and where each of its writes ends. It refuses to grow over maxRendered.
type recorder struct {
	text []byte
	ends []int
}

func (r *recorder) Write(p []byte) (int, error) {
	if len(r.text)+len(p) > maxRendered {
		return 0, errTooLong
	}
	r.text = append(r.text, p...)
	r.ends = append(r.ends, len(r.text))
	return len(p), nil
}

func (r *recorder) reset() { r.text, r.ends = r.text[:0], r.ends[:0] }

var recorders = sync.Pool{New: func() any { return &recorder{} }}

var errTooLong = errors.New("it renders more than 1 MiB")
