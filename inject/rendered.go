// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// rendered is the parsed output of a template.
type rendered struct {
	tree   map[string]any // read-only; its strings may contain markers (shapes.go) for the values
	values []string
	pod    *corev1.Pod // the tree as a pod, for this rendering alone; nil if only the library can merge it
}

// parseRendered parses a text. A field that the pod's type does not have, such as one in another case, is left to the library.
func parseRendered(text []byte) (rendered, error) {
	raw, err := yaml.YAMLToJSON(text)
	if err != nil {
		return rendered{}, fmt.Errorf("the rendered output is not YAML: %w", err)
	}
	out := rendered{tree: map[string]any{}, pod: &corev1.Pod{}}
	if err := json.Unmarshal(raw, &out.tree); err != nil {
		return rendered{}, fmt.Errorf("the rendered output is not a map: %w", err)
	}
	unknown, err := kjson.UnmarshalStrict(raw, out.pod)
	if err != nil || len(unknown) > 0 || !haveDistinctNames(out.pod.Spec.Containers) || !haveDistinctNames(out.pod.Spec.InitContainers) {
		out.pod = nil
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

// copied returns a deep copy of a part of the tree, with its markers replaced.
func (r rendered) copied(part any) any {
	switch part := part.(type) {
	case map[string]any:
		out := make(map[string]any, len(part))
		for key, value := range part {
			out[key] = r.copied(value)
		}
		return out
	case []any:
		out := make([]any, len(part))
		for i, value := range part {
			out[i] = r.copied(value)
		}
		return out
	case string:
		return r.text(part)
	}
	return part
}
