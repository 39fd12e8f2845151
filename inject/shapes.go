// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
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

// Shape is a parsed output with markers in place of names.
type Shape struct {
	tree    map[string]any // nil if the shape cannot be used, so each text must be parsed
	pod     *corev1.Pod    // nil as in rendered
	special bool           // as in rendered
}

const (
	holeMark   = 0 // no text that YAML accepts contains it
	markerWord = "zqHole"
	markerForm = markerWord + "%06dqz"
	markerSize = len(markerWord) + 6 + 2
)

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

// newShape parses the text of a shape with a marker in each hole. The shape cannot be used if a marker is not found in
// exactly one string, because then a name would mean something else than text.
func newShape(key []byte, holes int) *Shape {
	text := make([]byte, 0, len(key)+holes*markerSize)
	n := 0
	for _, c := range key[bytes.IndexByte(key, '\n')+1:] {
		if c != holeMark {
			text = append(text, c)
			continue
		}
		text = fmt.Appendf(text, markerForm, n)
		n++
	}
	parsed, err := parseRendered(text)
	if err != nil {
		return &Shape{} // the text may be wrong, or only the text with markers in it
	}
	shape := &Shape{tree: parsed.tree(), pod: parsed.pod, special: parsed.special}
	count := &filler{seen: make([]int, holes)}
	count.tree(shape.tree)
	if !count.once() {
		return &Shape{}
	}
	if shape.pod != nil {
		count = &filler{seen: make([]int, holes)}
		count.strings(reflect.ValueOf(shape.pod.DeepCopy()).Elem())
		if !count.once() {
			shape.pod = nil // a name that is not a string of a pod, such as a quantity
		}
	}
	return shape
}

// filled returns the shape with values in its holes. It is not ok if a string that results could be something else in YAML.
func (s *Shape) filled(values []string) (rendered, bool) {
	if s.tree == nil {
		return rendered{}, false
	}
	fill := &filler{values: values}
	if s.pod == nil {
		tree := fill.tree(s.tree).(map[string]any)
		return rendered{shape: s.tree, tree: func() map[string]any { return tree }, special: s.special}, !fill.bad
	}
	pod := s.pod.DeepCopy()
	fill.strings(reflect.ValueOf(pod).Elem())
	tree := sync.OnceValue(func() map[string]any { return (&filler{values: values}).tree(s.tree).(map[string]any) })
	return rendered{shape: s.tree, tree: tree, pod: pod, special: s.special}, !fill.bad
}

// filler replaces the markers in strings. With values, it fills them in; without, it counts the markers in seen.
type filler struct {
	values []string
	seen   []int
	bad    bool // a marker is where no value can be filled in, or a string could be something else in YAML
}

func (f *filler) once() bool {
	for _, times := range f.seen {
		if times != 1 {
			return false
		}
	}
	return !f.bad
}

// text returns a string with its markers replaced.
func (f *filler) text(text string) string {
	before, rest, found := strings.Cut(text, markerWord)
	if !found {
		return text
	}
	var b strings.Builder
	for found {
		b.WriteString(before)
		if len(rest) < markerSize-len(markerWord) {
			f.bad = true
			return text
		}
		marker, err := strconv.Atoi(rest[:6])
		switch {
		case err != nil, f.values == nil && marker >= len(f.seen):
			f.bad = true
			return text
		case f.values == nil:
			f.seen[marker]++
		default:
			b.WriteString(f.values[marker])
		}
		before, rest, found = strings.Cut(rest[markerSize-len(markerWord):], markerWord)
	}
	b.WriteString(before)
	f.bad = f.bad || f.values != nil && !isString(b.String())
	return b.String()
}

// tree returns a copy of a tree with the markers in its strings replaced.
func (f *filler) tree(tree any) any {
	switch tree := tree.(type) {
	case map[string]any:
		out := make(map[string]any, len(tree))
		for key, value := range tree {
			f.bad = f.bad || f.values == nil && strings.Contains(key, markerWord)
			out[key] = f.tree(value)
		}
		return out
	case []any:
		out := make([]any, len(tree))
		for i, value := range tree {
			out[i] = f.tree(value)
		}
		return out
	case string:
		return f.text(tree)
	}
	return tree
}

// strings replaces the markers in all strings of a Go value in place.
func (f *filler) strings(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		if text := v.String(); strings.Contains(text, markerWord) {
			v.SetString(f.text(text))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			f.strings(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if field := v.Field(i); field.CanSet() {
				f.strings(field)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			f.strings(v.Index(i))
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			if value := v.MapIndex(key); value.Kind() == reflect.String && strings.Contains(value.String(), markerWord) {
				v.SetMapIndex(key, reflect.ValueOf(f.text(value.String())).Convert(value.Type()))
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
