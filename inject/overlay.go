// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// A strategic merge patches a pod with a rendered template, by the patch metadata of the pod's type. It works on JSON trees
// (strategic.go), and converting a pod to a tree and back takes much longer than the merge itself. So, where possible, named list
// elements take part with their names only, which determines their order. Only elements that both have, and other fields, are merged
// as trees.

var podSchema = mustPodSchema()

func mustPodSchema() strategicpatch.LookupPatchMeta {
	schema, err := strategicpatch.NewPatchMetaFromStruct(corev1.Pod{})
	if err != nil {
		panic(err) // the type is compiled in
	}
	return schema
}

// over returns the pod with the template merged into it. The given pod is not changed, but shares parts with the result.
func (r rendered) over(pod *corev1.Pod) (*corev1.Pod, error) {
	if r.pod == nil || !namesAreUnique(&pod.Spec) {
		return overlayPod(pod, r.tree())
	}
	if reflect.ValueOf(*pod).IsZero() {
		return r.pod, nil
	}
	out := *pod
	out.Labels, out.Annotations = union(pod.Labels, r.pod.Labels), union(pod.Annotations, r.pod.Annotations)
	if err := r.overSpec(&out.Spec); err != nil {
		return nil, err
	}
	return &out, nil
}

func union(below, above map[string]string) map[string]string {
	if len(above) == 0 {
		return below
	}
	out := make(map[string]string, len(below)+len(above)+4)
	maps.Copy(out, below)
	maps.Copy(out, above)
	return out
}

// overSpec merges the template's spec into a spec.
func (r rendered) overSpec(spec *corev1.PodSpec) error {
	given, _ := r.shape["spec"].(map[string]any)
	if len(given) == 0 {
		return nil
	}
	original, patch := make(map[string]any, len(given)), make(map[string]any, len(given))
	containers := newNamedMerge(spec.Containers, r.pod.Spec.Containers, containerName)
	init := newNamedMerge(spec.InitContainers, r.pod.Spec.InitContainers, containerName)
	volumes := newNamedMerge(spec.Volumes, r.pod.Spec.Volumes, volumeName)
	pulls := newNamedMerge(spec.ImagePullSecrets, r.pod.Spec.ImagePullSecrets, func(s *corev1.LocalObjectReference) string { return s.Name })
	byKey := map[string]elementMerge{"containers": containers, "initContainers": init, "volumes": volumes, "imagePullSecrets": pulls}
	var trees []string
	for key, value := range given {
		if _, is := value.([]any); is && byKey[key] != nil {
			var err error
			if original[key], patch[key], err = byKey[key].trees(func() []any { return r.specTree(key).([]any) }); err != nil {
				return err
			}
			continue
		}
		trees = append(trees, key)
		tree, err := fieldTree(spec, key)
		if err != nil {
			return err
		}
		if tree != nil {
			original[key] = tree
		}
		patch[key] = runtime.DeepCopyJSONValue(r.specTree(key))
	}
	merged, err := mergeTrees(map[string]any{"spec": original}, map[string]any{"spec": patch}, podSchema)
	if err != nil {
		return err
	}
	result, _ := merged["spec"].(map[string]any)
	for key, merge := range byKey {
		if list, is := given[key].([]any); is && list != nil {
			if err := merge.take(result[key]); err != nil {
				return err
			}
		}
	}
	spec.Containers, spec.InitContainers, spec.Volumes, spec.ImagePullSecrets = containers.result, init.result, volumes.result, pulls.result
	return takeTrees(spec, result, trees)
}

func (r rendered) specTree(key string) any { return r.tree()["spec"].(map[string]any)[key] }

func containerName(c *corev1.Container) string { return c.Name }
func volumeName(v *corev1.Volume) string       { return v.Name }

// elementMerge merges one list of named elements.
type elementMerge interface {
	// trees returns the list of the pod and that of the template for the merge; given returns the latter in full.
	trees(given func() []any) (original, patch any, err error)
	// take reads the merged list.
	take(merged any) error
}

type namedMerge[T any] struct {
	have, give     []T
	result         []T
	name           func(*T) string
	hadBy, givenBy map[string]*T
}

func newNamedMerge[T any](have, give []T, name func(*T) string) *namedMerge[T] {
	return &namedMerge[T]{have: have, give: give, result: have, name: name, hadBy: byName(have, name), givenBy: byName(give, name)}
}

func byName[T any](list []T, name func(*T) string) map[string]*T {
	out := make(map[string]*T, len(list))
	for i := range list {
		out[name(&list[i])] = &list[i]
	}
	return out
}

func (m *namedMerge[T]) trees(given func() []any) (original, patch any, err error) {
	had, wanted := make([]any, 0, len(m.have)+len(m.give)), make([]any, 0, len(m.give))
	for i := range m.have {
		name := m.name(&m.have[i])
		tree := map[string]any{"name": name}
		if m.givenBy[name] != nil {
			if tree, err = treeOf(&m.have[i]); err != nil {
				return nil, nil, err
			}
		}
		had = append(had, tree)
	}
	for i := range m.give {
		name := m.name(&m.give[i])
		tree := map[string]any{"name": name}
		if m.hadBy[name] != nil {
			tree = runtime.DeepCopyJSON(given()[i].(map[string]any))
		}
		wanted = append(wanted, tree)
	}
	return had, wanted, nil
}

func (m *namedMerge[T]) take(merged any) error {
	list, _ := merged.([]any)
	m.result = make([]T, 0, len(list)+1)
	for _, item := range list {
		tree, _ := item.(map[string]any)
		name, _ := tree["name"].(string)
		had, given := m.hadBy[name], m.givenBy[name]
		switch {
		case had != nil && given != nil:
			var element T
			if err := fromTree(tree, &element); err != nil {
				return err
			}
			m.result = append(m.result, element)
		case had != nil:
			m.result = append(m.result, *had)
		case given != nil:
			m.result = append(m.result, *given)
		default:
			return fmt.Errorf("the merge made an element %q that neither the pod nor the template has", name)
		}
	}
	return nil
}

func fromTree(tree, into any) error {
	raw, err := json.Marshal(tree)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}

// specFields maps the JSON names of a pod spec's fields to their indexes.
var specFields = func() map[string]int {
	fields := map[string]int{}
	for i := range reflect.TypeFor[corev1.PodSpec]().NumField() {
		name, _, _ := strings.Cut(reflect.TypeFor[corev1.PodSpec]().Field(i).Tag.Get("json"), ",")
		fields[name] = i
	}
	return fields
}()

// fieldTree returns one field of a spec as a tree; nil if it is not set or does not exist.
func fieldTree(spec *corev1.PodSpec, key string) (any, error) {
	number, known := specFields[key]
	if !known {
		return nil, nil
	}
	piece := &corev1.PodSpec{}
	reflect.ValueOf(piece).Elem().Field(number).Set(reflect.ValueOf(spec).Elem().Field(number))
	tree, err := treeOf(piece)
	return tree[key], err
}

// takeTrees sets the fields of a spec that were merged as trees.
func takeTrees(spec *corev1.PodSpec, merged map[string]any, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	trees := map[string]any{}
	for _, key := range keys {
		if value, has := merged[key]; has {
			trees[key] = value
		}
	}
	piece := &corev1.PodSpec{}
	if err := fromTree(trees, piece); err != nil {
		return err
	}
	for _, key := range keys {
		if number, known := specFields[key]; known {
			reflect.ValueOf(spec).Elem().Field(number).Set(reflect.ValueOf(piece).Elem().Field(number))
		}
	}
	return nil
}

// mergesByElement reports whether a tree can be merged into a pod element by element: it has only metadata and spec, its metadata has
// only labels and annotations that are strings, it has no directive such as $patch, and the elements of its named lists have
// distinct names.
func mergesByElement(tree map[string]any) bool {
	if directs(tree) {
		return false
	}
	for key, value := range tree {
		switch key {
		case "metadata":
			if !isPlainMetadata(value) {
				return false
			}
		case "spec":
			spec, is := value.(map[string]any)
			if !is || !listsAreNamed(spec) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// directs reports whether a tree contains a directive of the strategic merge, such as $patch.
func directs(tree any) bool {
	switch tree := tree.(type) {
	case map[string]any:
		for key, value := range tree {
			if strings.HasPrefix(key, "$") || directs(value) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(tree, directs)
	}
	return false
}

func isPlainMetadata(value any) bool {
	metadata, is := value.(map[string]any)
	if !is {
		return false
	}
	for key, value := range metadata {
		texts, is := value.(map[string]any)
		if !is || key != "labels" && key != "annotations" {
			return false
		}
		for _, text := range texts {
			if _, is := text.(string); !is {
				return false
			}
		}
	}
	return true
}

// listsAreNamed reports whether the lists that are merged by name have distinct names. A value that is not a list is merged as a tree.
func listsAreNamed(spec map[string]any) bool {
	for _, key := range []string{"containers", "initContainers", "volumes", "imagePullSecrets"} {
		list, is := spec[key].([]any)
		if !is {
			continue
		}
		seen := make(map[string]bool, len(list))
		for _, item := range list {
			element, _ := item.(map[string]any)
			name, _ := element["name"].(string)
			if name == "" || seen[name] {
				return false
			}
			seen[name] = true
		}
	}
	return true
}

// namesAreUnique reports whether the elements of a pod's lists have distinct names.
func namesAreUnique(spec *corev1.PodSpec) bool {
	return unique(spec.Containers, containerName) && unique(spec.InitContainers, containerName) &&
		unique(spec.Volumes, volumeName) &&
		unique(spec.ImagePullSecrets, func(s *corev1.LocalObjectReference) string { return s.Name })
}

func unique[T any](list []T, name func(*T) string) bool {
	if len(list) > 16 {
		seen := make(map[string]bool, len(list))
		for i := range list {
			seen[name(&list[i])] = true
		}
		return len(seen) == len(list) && !seen[""]
	}
	for i := range list {
		if name(&list[i]) == "" {
			return false
		}
		for k := range i {
			if name(&list[k]) == name(&list[i]) {
				return false
			}
		}
	}
	return true
}

// overlayPod returns a pod with a tree merged into it as a whole. Neither argument is changed.
func overlayPod(pod *corev1.Pod, tree map[string]any) (*corev1.Pod, error) {
	original, err := treeOf(pod)
	if err != nil {
		return nil, err
	}
	merged, err := mergeTrees(original, runtime.DeepCopyJSON(tree), podSchema)
	if err != nil {
		return nil, err
	}
	out := &corev1.Pod{}
	return out, fromTree(merged, out)
}

// treeOf returns a Go value as a JSON tree.
func treeOf(value any) (tree map[string]any, err error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	return tree, json.Unmarshal(raw, &tree)
}
