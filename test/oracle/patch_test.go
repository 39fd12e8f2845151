// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"encoding/json"
	"testing"

	applying "github.com/evanphx/json-patch/v5"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/inject/jsonpatch"
)

// mark is a field that no build knows yet; its value names the element that it is on.
const mark = "aFieldOfTheFuture"

// The pods are Istio's, so that this speaks of the patch alone. A cluster may be newer than we are: what our types do not know stays where it was, at every level, wherever its
// element moves, and nothing else appears in the document.
func TestUnknownFieldsSurvive(t *testing.T) {
	istio := Start(t)
	i := installations[0]
	texts := i.configMaps(t, istio)
	for _, native := range onAndOff {
		for _, s := range corpus(t) {
			t.Run(native+"/"+s.name, func(t *testing.T) {
				document := tree(t, s.raw(t))
				delete(document, "status")
				want := marked(document)
				received, err := json.Marshal(document)
				if err != nil {
					t.Fatal(err)
				}
				verdict, err := istio.Inject(i.review(texts, native, s, s.raw(t)))
				if err != nil {
					t.Fatalf("the oracle: %v", err)
				}
				before, after := decode(t, received), decode(t, verdict.Pod)
				patched := applied(t, received, before, after)
				if diff := cmp.Diff(fields(t, after), fields(t, decode(t, patched))); diff != "" {
					t.Errorf("the patch does not make the pod that was decided on (-decided +patched):\n%s", diff)
				}
				if diff := cmp.Diff(want, marks(tree(t, patched))); diff != "" {
					t.Errorf("unknown fields (-received +patched):\n%s", diff)
				}
				if _, there := tree(t, patched)["status"]; there {
					t.Error("the patch adds a status")
				}
			})
		}
	}
}

// applied makes our patch and applies it to the received document, as the API server does.
func applied(t *testing.T, received []byte, before, after *corev1.Pod) []byte {
	t.Helper()
	operations, err := jsonpatch.Diff(received, before, after)
	if err != nil {
		t.Fatalf("the patch: %v", err)
	}
	if len(operations) == 0 {
		return received
	}
	encoded := jsonpatch.Encode(operations)
	patch, err := applying.DecodePatch(encoded)
	if err != nil {
		t.Fatal(err)
	}
	patched, err := patch.Apply(received)
	if err != nil {
		t.Fatalf("applying %s: %v", encoded, err)
	}
	return patched
}

// marked puts a mark on every element of the pod that may carry fields of the future, and returns the marks.
func marked(pod map[string]any) map[string]string {
	visit(pod, func(name string, element map[string]any) { element[mark] = name })
	return marks(pod)
}

// marks returns the marks of the pod: what each names, and the name of the element that carries it now.
func marks(pod map[string]any) map[string]string {
	found := map[string]string{}
	visit(pod, func(name string, element map[string]any) {
		if value, ok := element[mark].(string); ok {
			found[value] = name
		}
	})
	return found
}

// visit walks over pod, metadata, spec, containers of both lists with their env, ports, mounts and probes, and volumes.
func visit(pod map[string]any, do func(name string, element map[string]any)) {
	do("pod", pod)
	if metadata, ok := pod["metadata"].(map[string]any); ok {
		do("metadata", metadata)
	}
	spec, ok := pod["spec"].(map[string]any)
	if !ok {
		return
	}
	do("spec", spec)
	for _, list := range []string{"initContainers", "containers"} {
		each(spec, list, "name", "container", func(name string, container map[string]any) {
			do(name, container)
			each(container, "env", "name", name+" env", do)
			each(container, "ports", "containerPort", name+" port", do)
			each(container, "volumeMounts", "mountPath", name+" mount", do)
			for _, probe := range []string{"readinessProbe", "livenessProbe", "startupProbe"} {
				if element, ok := container[probe].(map[string]any); ok {
					do(name+" "+probe, element)
				}
			}
		})
	}
	each(spec, "volumes", "name", "volume", do)
}

// each calls do for the elements of a list, named by what they are and by their key.
func each(parent map[string]any, list, key, what string, do func(name string, element map[string]any)) {
	elements, _ := parent[list].([]any)
	for _, entry := range elements {
		if element, ok := entry.(map[string]any); ok {
			name, _ := json.Marshal(element[key])
			do(what+" "+string(name), element)
		}
	}
}

func tree(t *testing.T, raw []byte) map[string]any {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal(raw, &fields); err != nil {
		t.Fatal(err)
	}
	return fields
}

// fields is the pod as a tree, so that a difference is shown with its path and nothing is normalised.
func fields(t *testing.T, p *corev1.Pod) any {
	t.Helper()
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(raw, &tree); err != nil {
		t.Fatal(err)
	}
	return tree
}

func decode(t *testing.T, raw json.RawMessage) *corev1.Pod {
	t.Helper()
	var p corev1.Pod
	if err := json.Unmarshal(raw, &p); err != nil {
		t.Fatalf("decoding a pod: %v", err)
	}
	return &p
}
