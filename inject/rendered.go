// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	goyaml "go.yaml.in/yaml/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// rendered is the parsed output of a template.
type rendered struct {
	tree  func() map[string]any // read-only
	shape map[string]any        // the same, except for strings
	pod   *corev1.Pod           // the tree as a pod, for this rendering alone; nil if only the library can merge it
	// special means that the tree contains directives or nulls.
	special bool
}

func ofTree(tree map[string]any) rendered {
	return rendered{tree: func() map[string]any { return tree }, shape: tree, special: isSpecial(tree)}
}

// parseRendered parses a text.
func parseRendered(text []byte) (rendered, error) {
	tree, err := treeOfYAML(text)
	if err != nil {
		return rendered{}, err
	}
	out := ofTree(tree)
	if pod := (&corev1.Pod{}); !misspells(tree) && runtime.DefaultUnstructuredConverter.FromUnstructured(tree, pod) == nil &&
		haveDistinctNames(pod.Spec.Containers) && haveDistinctNames(pod.Spec.InitContainers) {
		out.pod = pod
	}
	return out, nil
}

func haveDistinctNames(containers []corev1.Container) bool {
	seen := make(map[string]bool, len(containers))
	for i := range containers {
		seen[containers[i].Name] = true
	}
	return len(seen) == len(containers)
}

// treeOfYAML decodes a text like sigs.k8s.io/yaml, without the detour through JSON.
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
		return nil, fmt.Errorf("the rendered output is not YAML: %w", err)
	}
	tree := map[string]any{}
	if err := json.Unmarshal(raw, &tree); err != nil {
		return nil, fmt.Errorf("the rendered output is not a map: %w", err)
	}
	return tree, nil
}

// plainTree converts the YAML library's values into those of encoding/json. It reports false if there is no equivalent, for example for
// keys that are not strings.
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

// misspells reports whether a key in a tree may be the name of a field in another case, which encoding/json accepts and the converter
// does not.
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
