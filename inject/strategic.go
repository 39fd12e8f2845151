// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/mergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// mergeTrees merges a patch into a JSON tree by strategic merge, and returns the result. The result equals that of the library
// (FuzzMergeTrees compares the two), in linear time: the library looks up every element of a list in the whole list. Both
// arguments may be changed and become part of the result. Maps that hold a directive, such as $patch, and lists with
// such a map among their elements go to the library: only a template can write one into a list that may be long.
func mergeTrees(original, patch map[string]any, schema strategicpatch.LookupPatchMeta) (map[string]any, error) {
	if hasDirective(patch) {
		return libraryMerge(original, patch, schema)
	}
	if original == nil {
		original = map[string]any{}
	}
	for key, wanted := range patch {
		had, has := original[key]
		var err error
		switch {
		case wanted == nil:
			delete(original, key)
			continue
		case !has || reflect.TypeOf(had) != reflect.TypeOf(wanted):
			takeTree(original, key, wanted)
		default:
			err = mergeField(original, key, wanted, schema)
		}
		if err != nil {
			return nil, err
		}
	}
	return original, nil
}

// mergeField merges one field that both have, with values of the same type.
func mergeField(original map[string]any, key string, wanted any, schema strategicpatch.LookupPatchMeta) (err error) {
	switch wanted := wanted.(type) {
	case map[string]any:
		below, meta, err := schema.LookupPatchMetadataForStruct(key)
		if err != nil {
			return err
		}
		if strategyOf(meta) == "replace" {
			original[key] = wanted
			return nil
		}
		original[key], err = mergeTrees(original[key].(map[string]any), wanted, below)
		return err
	case []any:
		below, meta, err := schema.LookupPatchMetadataForSlice(key)
		if err != nil {
			return err
		}
		if strategyOf(meta) != "merge" {
			original[key] = wanted
			return nil
		}
		if slices.ContainsFunc(wanted, isDirected) {
			merged, err := libraryMerge(map[string]any{key: original[key]}, map[string]any{key: wanted}, schema)
			original[key] = merged[key]
			return err
		}
		original[key], err = mergeLists(original[key].([]any), wanted, meta.GetPatchMergeKey(), below)
		return err
	}
	original[key] = wanted
	return nil
}

func libraryMerge(original, patch map[string]any, schema strategicpatch.LookupPatchMeta) (map[string]any, error) {
	return strategicpatch.StrategicMergeMapPatchUsingLookupPatchMeta(original, patch, schema)
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

// takeTree sets a value that only the patch has, without nulls and without what directives remove.
func takeTree(into map[string]any, key string, value any) {
	withoutNulls(value)
	if kept, keep := undirected(value); keep {
		into[key] = kept
	} else {
		delete(into, key)
	}
}

// withoutNulls removes the fields that are null from a tree.
func withoutNulls(tree any) {
	switch tree := tree.(type) {
	case map[string]any:
		for key, value := range tree {
			if value == nil {
				delete(tree, key)
				continue
			}
			withoutNulls(value)
		}
	case []any:
		for _, item := range tree {
			withoutNulls(item)
		}
	}
}

// undirected returns a tree without maps that contain $patch. keep is false if the tree itself is such a map.
func undirected(tree any) (kept any, keep bool) {
	switch tree := tree.(type) {
	case map[string]any:
		if _, directed := tree["$patch"]; directed {
			return nil, false
		}
		for key, value := range tree {
			if tree[key], keep = undirected(value); !keep {
				delete(tree, key)
			}
		}
	case []any:
		out := make([]any, 0, len(tree))
		for _, item := range tree {
			if item, keep := undirected(item); keep {
				out = append(out, item)
			}
		}
		return out, true
	}
	return tree, true
}

// strategyOf returns how a field is merged: "merge", "replace", or empty for the type's default.
func strategyOf(meta strategicpatch.PatchMeta) string {
	for _, strategy := range meta.GetPatchStrategies() {
		if strategy != "retainKeys" {
			return strategy
		}
	}
	return ""
}

// mergeLists merges two lists of scalars, or of maps that mergeKey identifies. Elements of the patch come in the patch's order. Other
// elements keep their order, and their place before the elements that followed them.
func mergeLists(original, patch []any, mergeKey string, schema strategicpatch.LookupPatchMeta) ([]any, error) {
	if len(original) == 0 && len(patch) == 0 {
		return original, nil
	}
	maps, err := areMaps(original, patch)
	if err != nil {
		return nil, err
	}
	keyOf := func(item any) (any, error) { return item, nil }
	if maps {
		if mergeKey == "" {
			return nil, fmt.Errorf("cannot merge lists without merge key for %s", schema.Name())
		}
		keyOf = func(item any) (any, error) { return elementKey(item.(map[string]any), mergeKey) }
	}
	had, err := firstByKey(original, keyOf)
	if err != nil {
		return nil, err
	}
	wanted, err := firstByKey(patch, keyOf)
	if err != nil {
		return nil, err
	}
	merged := mergedList{items: slices.Clip(original), first: had}
	for _, item := range patch {
		if err := merged.merge(item, keyOf, maps, schema); err != nil {
			return nil, err
		}
	}
	return merged.ordered(len(original), wanted, keyOf, maps), nil
}

// areMaps reports whether the elements of two lists are maps. All must be of one type, and none may be a list.
func areMaps(lists ...[]any) (bool, error) {
	var first reflect.Type
	for _, list := range lists {
		for _, item := range list {
			switch t := reflect.TypeOf(item); {
			case t == nil:
				return false, errors.New("a list contains null")
			case first == nil && t.Kind() == reflect.Slice:
				return false, mergepatch.ErrNoListOfLists
			case first == nil:
				first = t
			case t != first:
				return false, errors.New("the elements of a list are of different types")
			}
		}
	}
	return first.Kind() == reflect.Map, nil
}

func elementKey(element map[string]any, mergeKey string) (any, error) {
	key, has := element[mergeKey]
	if !has {
		return nil, mergepatch.ErrNoMergeKey(element, mergeKey)
	}
	switch key.(type) {
	case map[string]any, []any:
		return nil, fmt.Errorf("field %s of an element is neither a string nor a number", mergeKey)
	}
	return key, nil
}

// firstByKey returns the index of the first element with each key.
func firstByKey(list []any, keyOf func(any) (any, error)) (map[any]int, error) {
	first := make(map[any]int, len(list))
	for i, item := range list {
		key, err := keyOf(item)
		if err != nil {
			return nil, err
		}
		if _, seen := first[key]; !seen {
			first[key] = i
		}
	}
	return first, nil
}

// mergedList is a list that a patch is being merged into.
type mergedList struct {
	items []any
	first map[any]int // index of the first element with each key
}

// merge merges an element into the first one with its key, or appends it.
func (l *mergedList) merge(item any, keyOf func(any) (any, error), maps bool, schema strategicpatch.LookupPatchMeta) error {
	key, err := keyOf(item)
	if err != nil {
		return err
	}
	at, has := l.first[key]
	if !has {
		l.first[key] = len(l.items)
		l.items = append(l.items, item)
		return nil
	}
	if maps {
		l.items[at], err = mergeTrees(l.items[at].(map[string]any), item.(map[string]any), schema)
	}
	return err
}

// ordered returns the elements in their final order: each original element stays before the elements of the patch that it preceded.
func (l *mergedList) ordered(count int, wanted map[any]int, keyOf func(any) (any, error), maps bool) []any {
	type placed struct {
		item     any
		rank, at int // by which it is sorted; its key's place in the original list, or -1
	}
	var named, others []placed
	seen := make(map[any]bool, len(l.items))
	for _, item := range l.items {
		key, _ := keyOf(item) // cannot fail: every key was read before
		if !maps && seen[key] {
			continue
		}
		seen[key] = true
		at := l.first[key]
		if at >= count {
			at = -1
		}
		if rank, is := wanted[key]; is {
			named = append(named, placed{item, rank, at})
		} else {
			others = append(others, placed{item, at, at})
		}
	}
	byRank := func(a, b placed) int { return a.rank - b.rank }
	slices.SortStableFunc(named, byRank)
	slices.SortStableFunc(others, byRank)
	out := make([]any, 0, len(l.items))
	for len(named) > 0 || len(others) > 0 {
		if len(named) == 0 || len(others) > 0 && named[0].at >= 0 && others[0].at < named[0].at {
			out, others = append(out, others[0].item), others[1:]
		} else {
			out, named = append(out, named[0].item), named[1:]
		}
	}
	return out
}
