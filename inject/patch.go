// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"gomodules.xyz/jsonpatch/v2"
	corev1 "k8s.io/api/core/v1"
)

// Patch writes the difference between two pods as operations on the document that was received. before is the pod as
// decoded from received, after the pod as it is to be.
//
// Elements of lists are matched by what names them (containers by name, mounts by path, and so on) and are left where
// they are, or taken out and put in again as they were received, so that a field which the Go types do not know stays
// on its own element. What before and after agree on is not touched, however it was written. Equal arguments give equal
// operations; no difference gives none. An error means that received is not the JSON of a pod.
func Patch(received []byte, before, after *corev1.Pod) ([]jsonpatch.Operation, error) {
	if operations, ok := patchByField(received, before, after); ok {
		return operations, nil
	}
	var document any
	if lazy, trimmedBefore, trimmedAfter, ok := lazyTrees(received, before, after); ok {
		document, before, after = lazy, trimmedBefore, trimmedAfter
	} else {
		var err error
		if document, err = parseTree(received); err != nil {
			return nil, fmt.Errorf("the document received is not JSON: %w", err)
		}
		if _, is := document.(map[string]any); !is {
			return nil, fmt.Errorf("the document received is not a JSON object")
		}
	}
	was, err := podTree(before)
	if err != nil {
		return nil, err
	}
	is, err := podTree(after)
	if err != nil {
		return nil, err
	}
	var p patcher
	p.edit(nil, document, was, is)
	return p.operations, nil
}

// A tree is a JSON value as encoding/json decodes it, numbers as json.Number. Trees are never changed.

func parseTree(text []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var tree any
	err := decoder.Decode(&tree)
	return tree, err
}

func podTree(pod *corev1.Pod) (any, error) {
	text, err := json.Marshal(pod)
	if err != nil {
		return nil, fmt.Errorf("encoding pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return parseTree(text)
}

// patcher collects operations. Each method takes a place in the document, what was received there, and the typed value
// before and after, and returns what stands there once the operations are applied.
type patcher struct {
	operations []jsonpatch.Operation
}

// absent stands for a field that is not there.
type absent struct{}

func field(tree any, key string) any {
	if object, is := tree.(map[string]any); is {
		if value, has := object[key]; has {
			return value
		}
	}
	return absent{}
}

func (p *patcher) edit(at place, received, before, after any) any {
	if equal(before, after) {
		return received
	}
	if raw, is := received.(json.RawMessage); is {
		var err error
		if received, err = parseTree(raw); err != nil {
			return p.write(at, raw, after) // it was scanned, not parsed: it is replaced
		}
	}
	switch after := after.(type) {
	case absent:
		if received != (absent{}) {
			p.add("remove", at, nil)
		}
		return absent{}
	case map[string]any:
		if object, is := received.(map[string]any); is {
			return p.editObject(at, object, before, after)
		}
	case []any:
		had, is := received.([]any)
		was, agrees := before.([]any)
		if is && agrees && len(had) == len(was) {
			return p.editList(at, pair(had, was), nil, after)
		}
	}
	return p.write(at, received, after)
}

// write puts a value of ours where nothing can be kept.
func (p *patcher) write(at place, received, after any) any {
	return p.put(at, received, withoutNoise(at, after))
}

func (p *patcher) put(at place, received, value any) any {
	if received == (absent{}) {
		p.add("add", at, value)
	} else {
		p.add("replace", at, value)
	}
	return value
}

func (p *patcher) add(operation string, at place, value any) {
	p.operations = append(p.operations, jsonpatch.NewOperation(operation, at.pointer(), value))
}

func (p *patcher) editObject(at place, received map[string]any, before any, after map[string]any) any {
	out := make(map[string]any, len(received)+len(after))
	for key, value := range received {
		out[key] = value
	}
	for _, key := range keysOf(before, after) {
		var result any
		if strangers := strangersFor(at, key, received, before, after); strangers != nil {
			wanted, _ := after[key].([]any)
			result = p.editContainers(at.below(key), field(received, key), field(before, key), wanted, strangers)
		} else {
			result = p.edit(at.below(key), field(received, key), field(before, key), field(after, key))
		}
		if result == (absent{}) {
			delete(out, key)
			continue
		}
		out[key] = result
	}
	return out
}

func keysOf(trees ...any) []string {
	var keys []string
	for _, tree := range trees {
		object, _ := tree.(map[string]any)
		for key := range object {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// element is an element of a list: as it was received, and the typed value before.
type element struct {
	received, before any
}

func pair(received, before []any) []element {
	out := make([]element, len(before))
	for i := range before {
		out[i] = element{received: received[i], before: before[i]}
	}
	return out
}

// strangersFor returns, by name, the elements of the other list of containers that leave it for this one: a proxy that
// the user wrote among the containers becomes an init container. It is nil if there are none, or key is no such list.
func strangersFor(at place, key string, received map[string]any, before any, after map[string]any) map[string]element {
	other := map[string]string{"containers": "initContainers", "initContainers": "containers"}[key]
	if other == "" || !slices.Equal(at, place{"spec"}) {
		return nil
	}
	had, _ := field(received, other).([]any)
	was, _ := field(before, other).([]any)
	if len(had) != len(was) {
		return nil
	}
	wanted, here, there := names(after[key]), names(field(before, key)), names(after[other])
	var out map[string]element
	for _, candidate := range pair(had, was) {
		name := textOf(field(candidate.before, "name"))
		if !wanted[name] || here[name] || there[name] {
			continue
		}
		if out == nil {
			out = map[string]element{}
		}
		out[name] = candidate
	}
	return out
}

func names(list any) map[string]bool {
	items, _ := list.([]any)
	out := make(map[string]bool, len(items))
	for _, item := range items {
		out[textOf(field(item, "name"))] = true
	}
	return out
}

// textOf returns a text that is the same for equal trees and for no others.
func textOf(tree any) string {
	text, err := json.Marshal(tree)
	if err != nil {
		return "" // not for what encoding/json has decoded
	}
	return string(text)
}

// editContainers edits a list of containers that takes in elements of the other one.
func (p *patcher) editContainers(at place, received, before any, after []any, strangers map[string]element) any {
	had, isList := received.([]any)
	was, _ := before.([]any)
	if len(had) != len(was) {
		return p.write(at, received, after)
	}
	if isList {
		return p.editList(at, pair(had, was), strangers, after)
	}
	// There was no such list: it is put in whole.
	var unused patcher
	return p.put(at, received, unused.editList(at, nil, strangers, after))
}

// editList brings a list into its new form: first the elements that go or change place are taken out, from the end;
// then what is new or comes from elsewhere is put in, from the front; then those that stayed are edited.
func (p *patcher) editList(at place, had []element, strangers map[string]element, after []any) any {
	origin := match(at, had, after)
	stays := longestRising(origin)
	kept, staying := make([]bool, len(had)), 0
	for j, stay := range stays {
		if stay {
			kept[origin[j]] = true
			staying++
		}
	}
	if moved := len(had) + len(after) - 2*staying; moved > maxMoved {
		return p.replaceList(at, had, strangers, after, origin)
	}
	for i := len(had) - 1; i >= 0; i-- {
		if !kept[i] {
			p.add("remove", at.item(i), nil)
		}
	}
	out := make([]any, len(after))
	for j, wanted := range after {
		if !stays[j] {
			out[j] = broughtIn(at.item(j), origin[j], had, strangers, wanted)
			p.add("add", at.item(j), out[j])
		}
	}
	for j, wanted := range after {
		if stays[j] {
			out[j] = p.edit(at.item(j), had[origin[j]].received, had[origin[j]].before, wanted)
		}
	}
	return out
}

// maxMoved bounds how many elements of one list are taken out and put in one by one. Whoever applies the patch shifts the
// rest of the list each time, so that beyond it the list is put in as a whole.
const maxMoved = 512

// replaceList puts a list in as a whole, each element as it was received with its changes applied.
func (p *patcher) replaceList(at place, had []element, strangers map[string]element, after []any, origin []int) any {
	out := make([]any, len(after))
	for j, wanted := range after {
		out[j] = broughtIn(at.item(j), origin[j], had, strangers, wanted)
	}
	p.add("replace", at, out)
	return out
}

// broughtIn returns an element that is put in: from had, where origin says, or from the strangers, or a new one.
func broughtIn(at place, origin int, had []element, strangers map[string]element, wanted any) any {
	if origin >= 0 {
		return carried(at, had[origin], true, wanted)
	}
	from, known := strangers[textOf(field(wanted, "name"))]
	return carried(at, from, known, wanted)
}

// carried returns an element as it is put in: as it was received, if it was, with its changes applied.
func carried(at place, from element, known bool, wanted any) any {
	if !known {
		return withoutNoise(at, wanted)
	}
	var unused patcher // the changes are part of the value that is put in
	return unused.edit(at, from.received, from.before, wanted)
}

// match returns for each element of after the index of the one before that it comes from, or -1. Elements that are
// equal match first, so that of two with one name the unchanged one stays; then those of one name. Lists may be very
// long, since whoever makes a pod writes them, so nothing here is quadratic.
func match(at place, had []element, after []any) []int {
	origin := make([]int, len(after))
	for j := range origin {
		origin[j] = -1
	}
	used := make([]bool, len(had))
	matchBy(origin, used, had, after, textOf)
	if key := nameKey(at); key != "" {
		matchBy(origin, used, had, after, func(item any) string { return textOf(field(item, key)) })
	}
	return origin
}

func matchBy(origin []int, used []bool, had []element, after []any, text func(any) string) {
	waiting := map[string][]int{}
	for i := range had {
		if !used[i] {
			name := text(had[i].before)
			waiting[name] = append(waiting[name], i)
		}
	}
	for j, wanted := range after {
		if origin[j] >= 0 {
			continue
		}
		name := text(wanted)
		if queue := waiting[name]; len(queue) > 0 {
			origin[j], used[queue[0]], waiting[name] = queue[0], true, queue[1:]
		}
	}
}

// nameKey returns the field that names an element of the list, in the API's own words its patchMergeKey; "" where
// elements are only known by being equal.
func nameKey(at place) string {
	switch at.last() {
	case "containers", "initContainers", "ephemeralContainers", "volumes", "env", "imagePullSecrets", "resourceClaims":
		return "name"
	case "volumeMounts":
		return "mountPath"
	case "volumeDevices":
		return "devicePath"
	case "ports":
		return "containerPort"
	case "hostAliases":
		return "ip"
	case "ownerReferences":
		return "uid"
	case "topologySpreadConstraints":
		return "topologyKey"
	}
	return ""
}

// longestRising marks a largest set of elements that keep their order, so that as few as possible are moved. -1 is
// never marked.
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

// withoutNoise leaves out what the Go types print although nothing is meant by it: the empty resources of a container,
// and those, the creation time and the status of a claim in a volume.
func withoutNoise(at place, tree any) any {
	switch tree := tree.(type) {
	case []any:
		out := make([]any, len(tree))
		for i, item := range tree {
			out[i] = withoutNoise(at.item(i), item)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(tree))
		for key, value := range tree {
			if !isNoise(at, key, value) {
				out[key] = withoutNoise(at.below(key), value)
			}
		}
		return out
	}
	return tree
}

func isNoise(at place, key string, value any) bool {
	list := ""
	if len(at) == 3 && at[0] == "spec" {
		list = at[1]
	}
	object, isObject := value.(map[string]any)
	empty := isObject && len(object) == 0
	switch {
	case key == "creationTimestamp":
		return value == nil && at.last() == "metadata"
	case key == "resources" && strings.HasSuffix(strings.ToLower(list), "containers"):
		return empty
	case key == "resources":
		return empty && at.last() == "spec" && slices.Contains(at, "volumeClaimTemplate")
	case key == "status":
		return empty && len(at) == 0
	}
	return false
}

// equal compares trees. A number is equal to itself however large.
func equal(a, b any) bool {
	switch a := a.(type) {
	case string:
		b, is := b.(string)
		return is && a == b
	case map[string]any:
		b, is := b.(map[string]any)
		if !is || len(a) != len(b) {
			return false
		}
		for key, value := range a {
			other, has := b[key]
			if !has || !equal(value, other) {
				return false
			}
		}
		return true
	case []any:
		b, is := b.([]any)
		return is && slices.EqualFunc(a, b, equal)
	}
	return reflect.DeepEqual(a, b)
}

// place is a way down the document, by field names and indexes.
type place []string

func (p place) below(key string) place { return append(slices.Clip(p), key) }
func (p place) item(i int) place       { return p.below(strconv.Itoa(i)) }

func (p place) last() string {
	if len(p) == 0 {
		return ""
	}
	return p[len(p)-1]
}

var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")

// pointer returns the place as a JSON pointer, RFC 6901.
func (p place) pointer() string {
	var b strings.Builder
	for _, part := range p {
		b.WriteByte('/')
		b.WriteString(pointerEscapes.Replace(part))
	}
	return b.String()
}
