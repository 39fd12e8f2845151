// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"maps"
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// heldList is what was listed, and the same by namespace.
type heldList struct {
	items       []item
	whole       client.ObjectList // with all items, for all readers; nil = not needed yet
	byNamespace map[string][]item
	byKey       map[client.ObjectKey]item // nil = not needed yet
	byLabels    map[listRead][]item       // the items that choose has found
}

// find returns an object of the list, or nil.
func (h *heldList) find(key client.ObjectKey) item {
	if h.byKey == nil {
		h.byKey = make(map[client.ObjectKey]item, len(h.items))
		for _, one := range h.items {
			h.byKey[client.ObjectKey{Namespace: one.GetNamespace(), Name: one.GetName()}] = one
		}
	}
	return h.byKey[key]
}

// fill sets all items of a list. Readers share them, unless they are packed.
func (h *heldList) fill(list client.ObjectList) error {
	if h.whole != nil {
		reflect.ValueOf(list).Elem().Set(reflect.ValueOf(h.whole).Elem())
		return nil
	}
	if err := setItems(list, h.items); err != nil {
		return err
	}
	if !slices.ContainsFunc(h.items, isPacked) {
		h.whole = reflect.New(reflect.TypeOf(list).Elem()).Interface().(client.ObjectList)
		reflect.ValueOf(h.whole).Elem().Set(reflect.ValueOf(list).Elem())
	}
	return nil
}

// chosen are the items of a namespace, or of all in the order of their names, that a selector matches.
func (h *heldList) chosen(namespace string, selector labels.Selector) []item {
	namespaces := []string{namespace}
	if namespace == "" {
		namespaces = slices.Sorted(maps.Keys(h.byNamespace))
	}
	var out []item
	for _, name := range namespaces {
		for _, one := range h.byNamespace[name] {
			if selector == nil || one.hasLabels(selector) {
				out = append(out, one)
			}
		}
	}
	return out
}
