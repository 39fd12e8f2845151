package controller

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// mustTakeOver reports whether an apply would leave something that it should take away: a field that we own by a create
// alone and that the new body lacks. Else the apply alone is enough, and is one write.
func mustTakeOver(fields []metav1.ManagedFieldsEntry, body *unstructured.Unstructured) bool {
	return slices.ContainsFunc(fields, func(entry metav1.ManagedFieldsEntry) bool {
		if !createdByUs(entry) || entry.FieldsV1 == nil {
			return false
		}
		var owned map[string]any
		if err := json.Unmarshal(entry.FieldsV1.GetRawBytes(), &owned); err != nil {
			return true
		}
		return lacks(body.Object, owned)
	})
}

// leavesOut reports whether a new body has not all the fields of the one that stands, or other owners: only then can an
// apply leave something that it should take away. Lists are one field each, but for the owners.
func leavesOut(was, body *unstructured.Unstructured) bool {
	return fieldLeftOut(was.Object, body.Object) || !reflect.DeepEqual(was.GetOwnerReferences(), body.GetOwnerReferences())
}

func fieldLeftOut(was, is any) bool {
	fields, isObject := was.(map[string]any)
	if !isObject {
		return false
	}
	in, _ := is.(map[string]any)
	for name, value := range fields {
		now, has := in[name]
		if !has || fieldLeftOut(value, now) {
			return true
		}
	}
	return false
}

// lacks reports whether a value misses one of the fields of a set, in the form of managed fields. What is neither a
// field nor a keyed element counts as missing: the CustomResourceDefinitions have no such thing.
func lacks(value any, owned map[string]any) bool {
	for step, below := range owned {
		name, isField := strings.CutPrefix(step, "f:")
		if step == "." {
			continue
		}
		if strings.HasPrefix(step, "k:") && lists(value, step) {
			continue
		}
		object, isObject := value.(map[string]any)
		if !isField || !isObject {
			return true
		}
		field, has := object[name]
		if deeper, _ := below.(map[string]any); !has || lacks(field, deeper) {
			return true
		}
	}
	return false
}

// lists reports whether a list has an element with the keys of a step like k:{"uid":"11"}.
func lists(value any, step string) bool {
	var keys map[string]any
	if err := json.Unmarshal([]byte(strings.TrimPrefix(step, "k:")), &keys); err != nil {
		return false
	}
	elements, _ := value.([]any)
	return slices.ContainsFunc(elements, func(element any) bool {
		object, _ := element.(map[string]any)
		for key, want := range keys {
			if object[key] != want {
				return false
			}
		}
		return object != nil
	})
}
