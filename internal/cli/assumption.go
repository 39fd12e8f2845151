// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"

	"outrigger.dev/outrigger/inject"
	"outrigger.dev/outrigger/internal/manifest"
)

// assumption is a pod template, completed to the pod that the workload's controller would create and the webhook would receive: with
// a generated name, an owner, and a namespace. undo removes them again.
type assumption struct {
	pod *corev1.Pod
	raw []byte // the same pod, including fields that its Go type does not have

	metadata  map[string]json.RawMessage // of the template, unchanged; nil if it has none
	labels    map[string]string          // assumed
	hadLabels bool
	isPod     bool
}

// assume completes a template. For a Pod, it assumes only the namespace.
func assume(object *manifest.Object, path string, template []byte, namespace string) (*assumption, error) {
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(template, &fields); err != nil {
		return nil, err
	}
	a := &assumption{isPod: path == ""}
	if raw, ok := fields["metadata"]; ok {
		if err := json.Unmarshal(raw, &a.metadata); err != nil {
			return nil, fmt.Errorf("%s is not a mapping: %w", metadataPath(path), err)
		}
	}
	metadata := map[string]json.RawMessage{}
	labels := map[string]string{}
	if raw, ok := a.metadata["labels"]; ok {
		if err := json.Unmarshal(raw, &labels); err != nil {
			return nil, fmt.Errorf("%s.labels: every value must be text: %w", metadataPath(path), err)
		}
		a.hadLabels = string(raw) != "null"
	}
	if a.isPod {
		maps.Copy(metadata, a.metadata)
		metadata["namespace"] = mustJSON(namespace)
	} else {
		generated := inject.Generated(metav1.TypeMeta{APIVersion: object.APIVersion, Kind: object.Kind}, object.Name, labels)
		a.labels = generated.Labels
		metadata["namespace"] = mustJSON(namespace)
		metadata["generateName"] = mustJSON(generated.GenerateName)
		if len(generated.OwnerReferences) > 0 {
			metadata["ownerReferences"] = mustJSON(generated.OwnerReferences)
		}
		if annotations, ok := a.metadata["annotations"]; ok {
			metadata["annotations"] = annotations
		}
		maps.Copy(labels, a.labels)
		if len(labels) > 0 {
			metadata["labels"] = mustJSON(labels)
		}
		fields["apiVersion"], fields["kind"] = mustJSON("v1"), mustJSON("Pod")
	}
	fields["metadata"] = mustJSON(metadata)
	a.raw = mustJSON(fields)
	a.pod = &corev1.Pod{}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(a.raw, a.pod); err != nil {
		return nil, fmt.Errorf("%s is not a pod: %s", podPath(path), strings.TrimPrefix(err.Error(), "json: "))
	}
	return a, nil
}

// undo returns the template of a patched pod, without what was assumed.
func (a *assumption) undo(patched []byte) ([]byte, error) {
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(patched, &fields); err != nil {
		return nil, err
	}
	metadata := map[string]json.RawMessage{}
	if err := json.Unmarshal(fields["metadata"], &metadata); err != nil {
		return nil, err
	}
	if a.isPod {
		restore(metadata, a.metadata, "namespace")
	} else {
		kept := map[string]json.RawMessage{}
		maps.Copy(kept, a.metadata)
		restore(kept, metadata, "annotations")
		labels := map[string]string{}
		if raw, ok := metadata["labels"]; ok {
			if err := json.Unmarshal(raw, &labels); err != nil {
				return nil, err
			}
		}
		for key := range a.labels {
			delete(labels, key)
		}
		if len(labels) > 0 || a.hadLabels {
			kept["labels"] = mustJSON(labels)
		}
		metadata = kept
		delete(fields, "apiVersion")
		delete(fields, "kind")
	}
	delete(fields, "metadata")
	if len(metadata) > 0 {
		fields["metadata"] = mustJSON(metadata)
	}
	return json.Marshal(fields)
}

// restore copies one key from another mapping, or deletes it.
func restore(in, from map[string]json.RawMessage, key string) {
	if value, ok := from[key]; ok {
		in[key] = value
	} else {
		delete(in, key)
	}
}

// decodeObject decodes an object of the input into its type, as the API server does.
func decodeObject(object *manifest.Object, into any) error {
	raw, err := object.JSON()
	if err != nil {
		return err
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, into); err != nil {
		return fmt.Errorf("%s: %s", object, strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

// mustJSON encodes values that always can be encoded: strings, maps of them, and decoded JSON.
func mustJSON(value any) json.RawMessage {
	raw, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return raw
}

func metadataPath(path string) string { return strings.TrimPrefix(path+".metadata", ".") }

func podPath(path string) string {
	if path == "" {
		return "it"
	}
	return path
}
