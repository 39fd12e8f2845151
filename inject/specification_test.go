// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/internal/manifest"
)

var update = flag.Bool("update", false, "write testdata/decisions.txt; review the difference")

// specified is a pod of testdata/pods as the API server sends it.
type specified struct {
	name string // file and object
	raw  []byte
}

// specification returns the pods of testdata/pods. The oracle compares Istio's injector and ours over the same files.
func specification(t *testing.T) []specified {
	t.Helper()
	files, err := filepath.Glob("testdata/pods/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no pods in testdata/pods: %v", err)
	}
	var out []specified
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		stream, err := manifest.Read(bytes.NewReader(content))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, object := range stream.Objects() {
			template, err := object.Template()
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if template == nil {
				continue
			}
			raw, err := template.JSON()
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			out = append(out, specified{filepath.Base(file) + "/" + object.Name, withUnknownFields(t, raw)})
		}
	}
	return out
}

// withUnknownFields gives a pod, its spec, and its containers a field that the Go types do not know.
func withUnknownFields(t *testing.T, raw []byte) []byte {
	t.Helper()
	var pod map[string]any
	if err := json.Unmarshal(raw, &pod); err != nil {
		t.Fatal(err)
	}
	delete(pod, "status")
	pod["tomorrow"] = "pod"
	spec, _ := pod["spec"].(map[string]any)
	spec["tomorrow"] = "spec"
	for _, list := range []string{"containers", "initContainers"} {
		containers, _ := spec[list].([]any)
		for i, container := range containers {
			container.(map[string]any)["tomorrow"] = fmt.Sprint(list, i)
		}
	}
	out, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestSpecification holds for every pod of the specification: the patch makes the pod that Pod returns, no unknown field
// is lost, a second injection changes nothing, and kept shapes change no answer. testdata/decisions.txt records each decision.
func TestSpecification(t *testing.T) {
	var decisions strings.Builder
	for _, native := range []string{"enabled", "disabled"} {
		config := parsed(t, func(s *Source) { s.Settings.NativeSidecars = native })
		shapes := &shapesInMap{}
		for _, s := range specification(t) {
			received := Received{JSON: s.raw, NamespaceName: "demo", Namespace: &corev1.Namespace{}}
			answer, err := Review(received, config)
			if err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
			fmt.Fprintf(&decisions, "native=%s %s: %s %s\n", native, s.name, answer.Report.Result, answer.Report.Reason)
			received.Shapes = shapes
			again, err := Review(received, config)
			if err != nil || !bytes.Equal(answer.Patch, again.Patch) || !cmp.Equal(answer.Report, again.Report) {
				t.Errorf("%s: shapes of earlier pods change the answer (%v):\n%s", s.name, err, cmp.Diff(string(answer.Patch), string(again.Patch)))
			}
			if answer.Report.Result != Injected {
				continue
			}
			want, _, err := Pod(Request{Pod: answer.Pod, Namespace: received.Namespace}, config)
			if err != nil {
				t.Fatal(err)
			}
			after := patchedBy(t, s.raw, answer.Patch)
			got, _, err := Received{JSON: after, NamespaceName: "demo"}.pod(Settings{})
			if err != nil {
				t.Fatal(err)
			}
			if wanted, made := canonicalPod(t, want), canonicalPod(t, got); wanted != made {
				t.Errorf("%s: the patch makes another pod (-Pod +patched):\n%s", s.name, cmp.Diff(wanted, made))
			}
			nothingUnknownIsLost(t, s.raw, after)
			t.Run(s.name, func(t *testing.T) { injectedOnce(t, received, after, config) })
		}
	}
	const golden = "testdata/decisions.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(decisions.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), decisions.String()); diff != "" {
		t.Errorf("the decisions differ; if they should, run with -update (-want +got):\n%s", diff)
	}
}

func canonicalPod(t *testing.T, pod *corev1.Pod) string {
	t.Helper()
	text, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
