// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	goyaml "go.yaml.in/yaml/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// Two pods of one shape make a template print the same text but for a few names, each in a write of its own. So what
// comes of parsing such a text is kept, with holes where the names are, and the next pod's names are filled in: YAML is
// parsed once a shape.

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

// rendered is what a template printed, parsed.
type rendered struct {
	tree  func() map[string]any // to be read only
	shape map[string]any        // the same, but for strings
	// pod is the tree as a pod, for this rendering alone; nil where only the tree can be merged (see overlay.go).
	pod *corev1.Pod
}

// skeleton is a parsed text with markers in its holes. It is never changed.
type skeleton struct {
	tree   map[string]any
	inTree []hole
	pod    *corev1.Pod // nil as in rendered
	inPod  []hole
}

// hole is a string leaf that holds markers.
type hole struct {
	path []any    // keys and indexes down a tree; for a pod the same, field numbers in place of keys of structs
	text []string // what stands before, between and behind the markers
	fill []int    // which hole's value stands between
}

const (
	holeMark   = 0 // no text that YAML accepts holds it
	markerWord = "zqHole"
	markerForm = markerWord + "%06dqz"
	markerSize = len(markerWord) + 6 + 2
)

// parse returns what a template printed as a tree, from the skeleton of its shape where there is one.
func (c *Config) parse(name string, r *recorder) (rendered, error) {
	if c.cache == nil || c.templates[name].volatile {
		return parseRendered(r.text)
	}
	key, values, ok := shapeOf(name, r)
	if !ok {
		return parseRendered(r.text)
	}
	if found, has := c.cache.get(key); has {
		if s, is := found.(*skeleton); is {
			if filled, ok := s.filled(values); ok {
				return filled, nil
			}
		}
		return parseRendered(r.text)
	}
	s, err := newSkeleton(key, values)
	if err != nil {
		// The text may be wrong, or only the text with markers in it: what it says of itself counts.
		c.cache.put(key, noSkeleton{}, 0)
		return parseRendered(r.text)
	}
	c.cache.put(key, s, 8*len(r.text))
	if filled, ok := s.filled(values); ok {
		return filled, nil
	}
	return parseRendered(r.text)
}

// noSkeleton is kept for a shape that has none.
type noSkeleton struct{}

func ofTree(tree map[string]any) rendered {
	return rendered{tree: func() map[string]any { return tree }, shape: tree}
}

// parseRendered parses a text.
func parseRendered(text []byte) (rendered, error) {
	tree, err := treeOfYAML(text)
	if err != nil {
		return rendered{}, err
	}
	out := ofTree(tree)
	if pod := (&corev1.Pod{}); mergesByElement(tree) && podOfTree(tree, pod) == nil {
		out.pod = pod
	}
	return out, nil
}

// treeOfYAML returns what sigs.k8s.io/yaml and encoding/json make of a text, without the JSON between them.
func treeOfYAML(text []byte) (map[string]any, error) {
	var document any
	if err := goyaml.Unmarshal(text, &document); err == nil {
		if tree, plain := plainTree(document); plain {
			if object, is := tree.(map[string]any); is {
				return object, nil
			}
		}
	}
	raw, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, fmt.Errorf("what it renders is not YAML: %w", err)
	}
	tree := map[string]any{}
	if err := json.Unmarshal(raw, &tree); err != nil {
		return nil, fmt.Errorf("what it renders is not a map: %w", err)
	}
	return tree, nil
}

// plainTree turns what the YAML library makes into what encoding/json would. It is not plain if there is anything that
// JSON has no like for, such as keys that are no strings.
func plainTree(value any) (tree any, plain bool) {
	switch value := value.(type) {
	case nil, bool:
		return value, true
	case string:
		return value, utf8.ValidString(value)
	case int:
		return float64(value), true
	case float64:
		return value, !math.IsNaN(value) && !math.IsInf(value, 0)
	case []any:
		out := make([]any, len(value))
		for i := range value {
			if out[i], plain = plainTree(value[i]); !plain {
				return nil, false
			}
		}
		return out, true
	case map[any]any:
		out := make(map[string]any, len(value))
		for key, item := range value {
			name, is := key.(string)
			if !is || !utf8.ValidString(name) {
				return nil, false
			}
			if out[name], plain = plainTree(item); !plain {
				return nil, false
			}
		}
		return out, true
	}
	return nil, false
}

// podOfTree reads a tree as encoding/json would. The converter knows fields by their exact names only, so a tree with
// another spelling goes through JSON.
func podOfTree(tree map[string]any, pod *corev1.Pod) error {
	if !misspells(tree) && runtime.DefaultUnstructuredConverter.FromUnstructured(tree, pod) == nil {
		return nil
	}
	*pod = corev1.Pod{}
	return fromTree(tree, pod)
}

// podNames holds the names of all fields that a pod may have anywhere, and lowerPodNames the same in lower case.
var podNames, lowerPodNames = func() (names, lower map[string]bool) {
	names, lower = map[string]bool{}, map[string]bool{}
	seen := map[reflect.Type]bool{}
	var collect func(reflect.Type)
	collect = func(t reflect.Type) {
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			collect(t.Elem())
		case reflect.Struct:
			if seen[t] {
				return
			}
			seen[t] = true
			for i := range t.NumField() {
				name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
				names[name] = true
				collect(t.Field(i).Type)
			}
		}
	}
	collect(reflect.TypeFor[corev1.Pod]())
	for name := range names {
		lower[strings.ToLower(name)] = true
	}
	return names, lower
}()

// misspells says whether a key of a tree may be a field's name in other case.
func misspells(tree any) bool {
	switch tree := tree.(type) {
	case map[string]any:
		for key, value := range tree {
			if !podNames[key] && (lowerPodNames[strings.ToLower(key)] || strings.ContainsFunc(key, func(r rune) bool { return r > 'z' })) {
				return true
			}
			if misspells(value) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(tree, misspells)
	}
	return false
}

// shapeOf returns a key that texts of one shape share, and what stands in the holes of this one.
func shapeOf(name string, r *recorder) (key []byte, values []string, ok bool) {
	if bytes.IndexByte(r.text, holeMark) >= 0 || bytes.Contains(r.text, []byte(markerWord)) {
		return nil, nil, false
	}
	key = make([]byte, 0, len(name)+2+len(r.text))
	key = append(key, byte(skeletonLevel))
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

// isHole says whether a write may stand for any other that is one: a word of letters, digits and ._/- that YAML takes
// for a string wherever it stands.
func isHole(write []byte) bool {
	for i, c := range write {
		letter, digit := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z', c >= '0' && c <= '9'
		if !letter && !digit && (i == 0 || c != '.' && c != '_' && c != '/' && c != '-') {
			return false
		}
	}
	return len(write) > 0 && isString(string(write))
}

// isString says that YAML 1.1 takes a bare word for a string. It may say no of one that is a string too: what begins
// with a letter and is none of the words for truth and nothing is one; what begins otherwise must hold a letter that is
// in no number.
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

// newSkeleton parses the text of a shape with a marker in each hole. It is an error if a marker does not come out in
// just one string, or at all.
func newSkeleton(key []byte, values []string) (*skeleton, error) {
	text := make([]byte, 0, len(key)+len(values)*markerSize)
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
		return nil, err
	}
	s := &skeleton{tree: parsed.tree(), pod: parsed.pod}
	if s.inTree, err = holesOf(s.tree, len(values)); err != nil {
		return nil, err
	}
	if parsed.pod == nil {
		return s, nil
	}
	if s.inPod, err = holesOfPod(parsed.pod, s.inTree); err != nil {
		s.pod = nil // a name that is no string of a pod, such as a quantity
	}
	return s, nil
}

// holeFinder collects holes. Every marker must be found once.
type holeFinder struct {
	found []hole
	seen  []int
	bad   bool
}

func (f *holeFinder) err() error {
	for marker, times := range f.seen {
		if times != 1 {
			return fmt.Errorf("the name of hole %d stands in %d strings", marker, times)
		}
	}
	if f.bad {
		return fmt.Errorf("a name stands where none can be filled in")
	}
	return nil
}

// leaf notes a string.
func (f *holeFinder) leaf(path []any, text string) {
	if !strings.Contains(text, markerWord) {
		return
	}
	h := hole{path: slices.Clone(path)}
	rest := text
	for {
		before, after, found := strings.Cut(rest, markerWord)
		if !found {
			break
		}
		if len(after) < 8 {
			f.bad = true
			return
		}
		marker, err := strconv.Atoi(after[:6])
		if err != nil || marker >= len(f.seen) {
			f.bad = true
			return
		}
		f.seen[marker]++
		h.text, h.fill = append(h.text, before), append(h.fill, marker)
		rest = after[markerSize-len(markerWord):]
	}
	h.text = append(h.text, rest)
	f.found = append(f.found, h)
}

func (f *holeFinder) key(key string) { f.bad = f.bad || strings.Contains(key, markerWord) }

func holesOf(tree any, count int) ([]hole, error) {
	f := &holeFinder{seen: make([]int, count)}
	var walk func(path []any, tree any)
	walk = func(path []any, tree any) {
		switch tree := tree.(type) {
		case map[string]any:
			for key, value := range tree {
				f.key(key)
				walk(append(path, key), value)
			}
		case []any:
			for i, value := range tree {
				walk(append(path, i), value)
			}
		case string:
			f.leaf(path, tree)
		}
	}
	walk(nil, tree)
	return f.found, f.err()
}

// holesOfPod returns where in a pod the holes of its tree are.
func holesOfPod(pod *corev1.Pod, inTree []hole) ([]hole, error) {
	out := make([]hole, 0, len(inTree))
	for _, h := range inTree {
		path, text := podPath(reflect.ValueOf(pod), h.path, nil)
		if path == nil || text != h.marked() {
			return nil, fmt.Errorf("%v is no string of a pod", h.path)
		}
		out = append(out, hole{path: path, text: h.text, fill: h.fill})
	}
	return out, nil
}

// podPath follows a way down a tree through a pod, and returns the way there and the string at its end; nil if it does
// not end at a string.
func podPath(value reflect.Value, path, way []any) ([]any, string) {
	for value.Kind() == reflect.Pointer {
		value = value.Elem()
	}
	if len(path) == 0 {
		if value.Kind() != reflect.String {
			return nil, ""
		}
		return way, value.String()
	}
	switch value.Kind() {
	case reflect.Struct:
		key, _ := path[0].(string)
		for i := range value.NumField() {
			name, options, _ := strings.Cut(value.Type().Field(i).Tag.Get("json"), ",")
			if name == key && name != "" {
				return podPath(value.Field(i), path[1:], append(way, i))
			}
			if name == "" && (options == "inline" || value.Type().Field(i).Anonymous) {
				if found, text := podPath(value.Field(i), path, append(slices.Clone(way), i)); found != nil {
					return found, text
				}
			}
		}
	case reflect.Slice:
		if i, is := path[0].(int); is && i < value.Len() {
			return podPath(value.Index(i), path[1:], append(way, i))
		}
	case reflect.Map:
		key, is := path[0].(string)
		if is && len(path) == 1 && value.Type().Key().Kind() == reflect.String && value.Type().Elem().Kind() == reflect.String {
			if text := value.MapIndex(reflect.ValueOf(key).Convert(value.Type().Key())); text.IsValid() {
				return append(way, key), text.String()
			}
		}
	}
	return nil, ""
}

// filled returns the skeleton with values in its holes. It is not ok if a value and what stands beside it could be
// something else than a string.
func (s *skeleton) filled(values []string) (rendered, bool) {
	texts := make([]string, len(s.inTree))
	for i := range s.inTree {
		if texts[i] = s.inTree[i].filled(values); !isString(texts[i]) {
			return rendered{}, false
		}
	}
	out := rendered{shape: s.tree, tree: sync.OnceValue(func() map[string]any {
		tree := runtime.DeepCopyJSON(s.tree)
		for i := range s.inTree {
			fillLeaf(tree, s.inTree[i].path, texts[i])
		}
		return tree
	})}
	if s.pod == nil {
		return out, true
	}
	out.pod = s.pod.DeepCopy()
	for i := range s.inPod {
		setLeaf(reflect.ValueOf(out.pod).Elem(), s.inPod[i].path, s.inPod[i].filled(values))
	}
	return out, true
}

func (h *hole) filled(values []string) string {
	if len(h.fill) == 1 && h.text[0] == "" && h.text[1] == "" {
		return values[h.fill[0]]
	}
	var b strings.Builder
	for i, marker := range h.fill {
		b.WriteString(h.text[i])
		b.WriteString(values[marker])
	}
	b.WriteString(h.text[len(h.fill)])
	return b.String()
}

// marked returns the leaf with its markers.
func (h *hole) marked() string {
	var b strings.Builder
	for i, marker := range h.fill {
		fmt.Fprintf(&b, "%s"+markerForm, h.text[i], marker)
	}
	return b.String() + h.text[len(h.fill)]
}

// fillLeaf sets a string of a tree in place.
func fillLeaf(tree any, path []any, text string) {
	for ; len(path) > 1; path = path[1:] {
		switch at := path[0].(type) {
		case string:
			tree = tree.(map[string]any)[at]
		case int:
			tree = tree.([]any)[at]
		}
	}
	switch at := path[0].(type) {
	case string:
		tree.(map[string]any)[at] = text
	case int:
		tree.([]any)[at] = text
	}
}

// setLeaf sets a string of a pod in place.
func setLeaf(value reflect.Value, path []any, text string) {
	for value.Kind() == reflect.Pointer {
		value = value.Elem()
	}
	switch value.Kind() {
	case reflect.Struct:
		setLeaf(value.Field(path[0].(int)), path[1:], text)
	case reflect.Slice:
		setLeaf(value.Index(path[0].(int)), path[1:], text)
	case reflect.Map:
		// Maps of pods hold strings, or what a hole in it makes holesOfPod give up.
		value.SetMapIndex(reflect.ValueOf(path[0]).Convert(value.Type().Key()), reflect.ValueOf(text).Convert(value.Type().Elem()))
	case reflect.String:
		value.SetString(text)
	}
}
