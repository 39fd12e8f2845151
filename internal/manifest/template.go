// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"errors"
	"fmt"
	"strings"
)

// Template is the pod inside an object: a Pod itself, or the template of a workload.
type Template struct {
	// Path is its position in the object: "" for a Pod, "spec.template", "spec.jobTemplate.spec.template", "template".
	Path string

	object *Object
	fields map[string]any
}

// templatePaths are the possible positions of a pod template. Those of the built-in kinds are known.
var (
	templatePaths = [][]string{{"spec", "template"}, {"spec", "jobTemplate", "spec", "template"}, {"template"}}
	builtin       = map[string][]string{
		"v1/Pod":                             nil,
		"v1/PodTemplate":                     {"template"},
		"v1/ReplicationController":           {"spec", "template"},
		"apps/Deployment":                    {"spec", "template"},
		"apps/DaemonSet":                     {"spec", "template"},
		"apps/ReplicaSet":                    {"spec", "template"},
		"apps/StatefulSet":                   {"spec", "template"},
		"batch/Job":                          {"spec", "template"},
		"batch/CronJob":                      {"spec", "jobTemplate", "spec", "template"},
		"extensions/Deployment":              {"spec", "template"},
		"extensions/DaemonSet":               {"spec", "template"},
		"extensions/ReplicaSet":              {"spec", "template"},
		"apps.openshift.io/DeploymentConfig": {"spec", "template"},
	}
)

// Template returns the pod template of the object, or nil if it has none. For a built-in kind, a missing or malformed template is
// an error. Any other kind has one if there is a mapping with spec.containers at one of templatePaths.
func (o *Object) Template() (*Template, error) {
	if path, known := builtin[o.group()+"/"+o.Kind]; known {
		fields, err := o.at(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o, err)
		}
		return &Template{Path: strings.Join(path, "."), object: o, fields: fields}, nil
	}
	for _, path := range templatePaths {
		fields, err := o.at(path)
		if err == nil && holdsContainers(fields) {
			return &Template{Path: strings.Join(path, "."), object: o, fields: fields}, nil
		}
	}
	return nil, nil
}

// JSON returns the current template; for a Pod, the whole object.
func (t *Template) JSON() ([]byte, error) { return encode(t.fields) }

// Replace replaces the template. The Writer then encodes the document again.
func (t *Template) Replace(raw []byte) error {
	value, err := decode(raw)
	if err != nil {
		return fmt.Errorf("%s: the new template is not JSON: %w", t.object, err)
	}
	fields, ok := value.(map[string]any)
	if !ok {
		return fmt.Errorf("%s: the new template is %s, expected a mapping", t.object, describe(value))
	}
	// The document refers to this mapping, so its content is replaced and not the mapping.
	clear(t.fields)
	for key, value := range fields {
		t.fields[key] = value
	}
	t.object.document.changed = true
	return nil
}

// group returns the API group without its version: "apps", or "v1" for the core group.
func (o *Object) group() string {
	group, _, found := strings.Cut(o.APIVersion, "/")
	if !found {
		return "v1"
	}
	return group
}

func (o *Object) at(path []string) (map[string]any, error) {
	fields := o.fields
	for i, key := range path {
		next, ok := fields[key].(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s is %s, expected a mapping", strings.Join(path[:i+1], "."), describe(fields[key]))
		}
		fields = next
	}
	spec, ok := fields["spec"].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s is %s, expected the spec of a pod", strings.Join(append(path[:len(path):len(path)], "spec"), "."), describe(fields["spec"]))
	}
	if len(spec) == 0 {
		return nil, errors.New("the spec of the pod is empty")
	}
	return fields, nil
}

func holdsContainers(fields map[string]any) bool {
	spec, _ := fields["spec"].(map[string]any)
	containers, _ := spec["containers"].([]any)
	if len(containers) == 0 {
		return false
	}
	for _, container := range containers {
		if _, ok := container.(map[string]any); !ok {
			return false
		}
	}
	return true
}
