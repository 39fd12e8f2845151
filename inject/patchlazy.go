// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"encoding/json"
	"reflect"

	corev1 "k8s.io/api/core/v1"
)

// The tree of a small object takes ten times the memory of its JSON. So what injection leaves as it is, which is most of a
// large pod, never becomes one: received parts stay raw until they are edited, and equal fields are left out of the pods
// that are compared.

// lazyTrees returns the document, and the two pods without the fields that agree. It is not ok where the document is not
// of the form that the pod before has; then nothing may be left out, since it may have to be written as a whole.
func lazyTrees(received []byte, before, after *corev1.Pod) (document map[string]any, was, is *corev1.Pod, ok bool) {
	if document, ok = rawFields(received); !ok {
		return nil, nil, nil, false
	}
	raw, _ := document["spec"].(json.RawMessage)
	spec, ok := rawFields(raw)
	if !ok {
		return nil, nil, nil, false
	}
	document["spec"] = spec
	for key, list := range map[string][]corev1.Container{"containers": before.Spec.Containers, "initContainers": before.Spec.InitContainers} {
		if !rawElements(spec, key, len(list)) {
			return nil, nil, nil, false
		}
	}
	was, is = withoutEqual(before, after)
	return document, was, is, true
}

// rawFields returns the members of an object, unparsed.
func rawFields(text []byte) (map[string]any, bool) {
	fields, err := fieldsOf(text)
	if err != nil {
		return nil, false
	}
	out := make(map[string]any, len(fields))
	for key, value := range fields {
		out[key] = json.RawMessage(value)
	}
	return out, true
}

// rawElements replaces a list of so many objects by its elements with unparsed members. It is not ok for another list.
func rawElements(spec map[string]any, key string, count int) (ok bool) {
	raw, has := spec[key].(json.RawMessage)
	if !has {
		return count == 0
	}
	list, err := elements(raw)
	if err != nil || len(list) != count {
		return false
	}
	out := make([]any, len(list))
	for i := range list {
		if out[i], ok = rawFields(list[i]); !ok {
			return false
		}
	}
	spec[key] = out
	return true
}

// withoutEqual returns copies of two pods without the fields of the spec and of containers of the same name that are equal.
// Containers are left whole where their names do not tell them apart.
func withoutEqual(before, after *corev1.Pod) (was, is *corev1.Pod) {
	was, is = new(corev1.Pod), new(corev1.Pod)
	*was, *is = *before, *after
	clearEqual(&was.Spec, &is.Spec, "Containers", "InitContainers")
	had, hadUnique := ownContainers(&was.Spec)
	has, hasUnique := ownContainers(&is.Spec)
	if !hadUnique || !hasUnique {
		return was, is
	}
	for name, container := range had {
		if other := has[name]; other != nil {
			clearEqual(container, other, "Name")
		}
	}
	return was, is
}

// ownContainers gives a spec lists of containers of its own, and returns all by their names, and whether each has one.
func ownContainers(spec *corev1.PodSpec) (byName map[string]*corev1.Container, unique bool) {
	byName = map[string]*corev1.Container{}
	for _, list := range []*[]corev1.Container{&spec.Containers, &spec.InitContainers} {
		if *list == nil {
			continue
		}
		*list = append(make([]corev1.Container, 0, len(*list)), *list...)
		for i := range *list {
			byName[(*list)[i].Name] = &(*list)[i]
		}
	}
	return byName, len(byName) == len(spec.Containers)+len(spec.InitContainers)
}

// clearEqual clears the fields of two structs that are equal; both are pointers.
func clearEqual(a, b any, except ...string) {
	one, other := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
fields:
	for i := range one.NumField() {
		for _, name := range except {
			if one.Type().Field(i).Name == name {
				continue fields
			}
		}
		if reflect.DeepEqual(one.Field(i).Interface(), other.Field(i).Interface()) {
			one.Field(i).SetZero()
			other.Field(i).SetZero()
		}
	}
}
