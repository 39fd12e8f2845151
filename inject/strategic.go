// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"outrigger.dev/outrigger/inject/jsonpatch"
)

// A strategic merge patches a pod with a rendered template, by the patch metadata of the pod's type. The library merges JSON trees,
// looks up each element of a list in the whole list, and needs the pod converted to a tree and back. So this file merges Go values, in time
// linear in the pod's size; the template's tree says which fields the template sets. FuzzMerge compares the result with the library's.
// The library merges what only a few templates contain: directives such as $patch, and lists of scalars that are merged.

// mergedInto returns the pod with the template merged into it. The given pod is not changed, but shares parts with the result.
func (r rendered) mergedInto(pod *corev1.Pod) (*corev1.Pod, error) {
	if r.pod == nil || hasDirective(r.tree) {
		return mergeTree(pod, r.copied(r.tree).(map[string]any))
	}
	out := *pod
	if err := r.mergeStruct(reflect.ValueOf(&out).Elem(), reflect.ValueOf(r.pod).Elem(), r.tree); err != nil {
		return nil, err
	}
	return &out, nil
}

// mergeStruct merges the fields of patch that the tree has into a struct. It replaces everything that is below the struct, so other
// values that share it do not change.
func (r rendered) mergeStruct(into, patch reflect.Value, tree map[string]any) error {
	for key, value := range tree {
		f, known := jsonpatch.FieldOf(into.Type(), key)
		if !known {
			continue // the pod's type does not have it
		}
		if err := r.mergeField(into, patch, f, value); err != nil {
			return err
		}
	}
	return nil
}

func (r rendered) mergeField(parent, patch reflect.Value, f jsonpatch.Field, value any) error {
	into, wanted := parent.FieldByIndex(f.Index), patch.FieldByIndex(f.Index)
	switch value := value.(type) {
	case nil:
		into.SetZero()
		return nil
	case map[string]any:
		if hasDirective(value) {
			return r.mergeByLibrary(parent, f, value)
		}
	case []any:
		if f.Merges && (slices.ContainsFunc(value, isDirected) || into.Type().Elem().Kind() != reflect.Struct) {
			return r.mergeByLibrary(parent, f, value)
		}
	}
	if into.Kind() == reflect.Slice && into.IsNil() || into.Kind() != reflect.Slice && f.IsOmitted(into) {
		if isSpecial(value) {
			return r.mergeByLibrary(parent, f, value) // it removes nulls and directives
		}
		into.Set(wanted)
		return nil
	}
	return r.mergeValue(into, wanted, value, f)
}

// mergeValue merges a value that both have.
func (r rendered) mergeValue(into, patch reflect.Value, value any, f jsonpatch.Field) error {
	if jsonpatch.IsLeaf(into.Type()) {
		into.Set(patch)
		return nil
	}
	switch into.Kind() {
	case reflect.Pointer:
		copied := reflect.New(into.Type().Elem())
		copied.Elem().Set(into.Elem())
		into.Set(copied)
		return r.mergeValue(copied.Elem(), patch.Elem(), value, f)
	case reflect.Struct:
		return r.mergeStruct(into, patch, value.(map[string]any))
	case reflect.Map:
		mergeMap(into, patch, value.(map[string]any))
	case reflect.Slice:
		if f.Merges {
			return r.mergeList(into, patch, value.([]any), f)
		}
		into.Set(patch)
	}
	return nil
}

// mergeMap merges a map whose values are leaves.
func mergeMap(into, patch reflect.Value, tree map[string]any) {
	out := reflect.MakeMapWithSize(into.Type(), into.Len()+len(tree))
	for _, values := range []reflect.Value{into, patch} {
		for all := values.MapRange(); all.Next(); {
			out.SetMapIndex(all.Key(), all.Value())
		}
	}
	for key, value := range tree {
		if value == nil {
			out.SetMapIndex(reflect.ValueOf(key).Convert(into.Type().Key()), reflect.Value{})
		}
	}
	into.Set(out)
}

// mergeList merges a list of structs that a merge key identifies. An element of the patch is merged into the first one with its key, or
// appended. Elements of the patch come in the patch's order. Other elements keep their order, and their place before the elements that
// followed them.
func (r rendered) mergeList(into, patch reflect.Value, tree []any, f jsonpatch.Field) error {
	key, _ := jsonpatch.FieldOf(into.Type().Elem(), f.MergeKey)
	keysOf := func(list reflect.Value) ([]any, error) {
		keys := make([]any, list.Len())
		for i := range keys {
			field := list.Index(i).FieldByIndex(key.Index)
			if key.IsOmitted(field) {
				return nil, fmt.Errorf("an element of %s has no %s", f.Key, f.MergeKey)
			}
			keys[i] = field.Interface()
		}
		return keys, nil
	}
	keys, err := keysOf(into)
	if err != nil {
		return err
	}
	patchKeys, err := keysOf(patch)
	if err != nil {
		return err
	}
	count := into.Len()
	items := reflect.MakeSlice(into.Type(), count, count+patch.Len())
	reflect.Copy(items, into)
	first := make(map[any]int, count+patch.Len()) // index of the first element with each key
	for i, key := range slices.Backward(keys) {
		first[key] = i
	}
	for i, key := range patchKeys {
		element, is := tree[i].(map[string]any)
		if _, has := element[f.MergeKey]; !is || !has {
			return fmt.Errorf("an element of %s has no %s", f.Key, f.MergeKey)
		}
		if at, has := first[key]; has {
			if err := r.mergeStruct(items.Index(at), patch.Index(i), element); err != nil {
				return err
			}
			continue
		}
		first[key] = items.Len()
		items, keys = reflect.Append(items, patch.Index(i)), append(keys, key)
	}
	out := reflect.MakeSlice(into.Type(), 0, items.Len()+1)
	for _, i := range mergedOrder(keys, first, patchKeys, count) {
		out = reflect.Append(out, items.Index(i))
	}
	into.Set(out)
	return nil
}

// mergedOrder returns the indexes of a merged list in their final order. The first count keys are those of the original list.
func mergedOrder(keys []any, first map[any]int, patchKeys []any, count int) []int {
	rank := make(map[any]int, len(patchKeys))
	for i, key := range slices.Backward(patchKeys) {
		rank[key] = i
	}
	var named, others []int
	for i, key := range keys {
		if _, is := rank[key]; is {
			named = append(named, i)
		} else {
			others = append(others, i)
		}
	}
	slices.SortStableFunc(named, func(a, b int) int { return cmp.Compare(rank[keys[a]], rank[keys[b]]) })
	slices.SortStableFunc(others, func(a, b int) int { return cmp.Compare(first[keys[a]], first[keys[b]]) })
	out := make([]int, 0, len(keys))
	for len(named) > 0 || len(others) > 0 {
		takesOther := len(named) == 0
		if !takesOther && len(others) > 0 {
			at := first[keys[named[0]]]
			takesOther = at < count && first[keys[others[0]]] < at
		}
		if takesOther {
			out, others = append(out, others[0]), others[1:]
		} else {
			out, named = append(out, named[0]), named[1:]
		}
	}
	return out
}

func (r rendered) mergeByLibrary(parent reflect.Value, f jsonpatch.Field, value any) error {
	piece := reflect.New(parent.Type())
	piece.Elem().FieldByIndex(f.Index).Set(parent.FieldByIndex(f.Index))
	tree, err := treeOf(piece.Interface())
	if err != nil {
		return err
	}
	original := map[string]any{}
	if had, has := tree[f.Key]; has && had != nil {
		original[f.Key] = had
	}
	patch := map[string]any{f.Key: r.copied(value)}
	merged, err := strategicpatch.StrategicMergeMapPatchUsingLookupPatchMeta(original, patch, strategicpatch.PatchMetaFromStruct{T: parent.Type()})
	if err != nil {
		return err
	}
	piece.Elem().SetZero()
	if err := fromTree(merged, piece.Interface()); err != nil {
		return err
	}
	parent.FieldByIndex(f.Index).Set(piece.Elem().FieldByIndex(f.Index))
	return nil
}

// mergeTree merges a tree into a pod by the library. It may change the tree.
func mergeTree(pod *corev1.Pod, tree map[string]any) (*corev1.Pod, error) {
	original, err := treeOf(pod)
	if err != nil {
		return nil, err
	}
	merged, err := strategicpatch.StrategicMergeMapPatch(original, tree, corev1.Pod{})
	if err != nil {
		return nil, err
	}
	out := &corev1.Pod{}
	return out, fromTree(merged, out)
}

func treeOf(value any) (tree map[string]any, err error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	return tree, json.Unmarshal(raw, &tree)
}

func fromTree(tree, into any) error {
	raw, err := json.Marshal(tree)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}

func hasDirective(tree map[string]any) bool {
	for key := range tree {
		if strings.HasPrefix(key, "$") {
			return true
		}
	}
	return false
}

func isDirected(element any) bool {
	tree, is := element.(map[string]any)
	return is && hasDirective(tree)
}

// isSpecial reports whether a tree contains a null or a directive at any depth.
func isSpecial(tree any) bool {
	switch tree := tree.(type) {
	case nil:
		return true
	case map[string]any:
		for key, value := range tree {
			if strings.HasPrefix(key, "$") || isSpecial(value) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(tree, isSpecial)
	}
	return false
}
