// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/inject"
	"outrigger.dev/outrigger/internal/manifest"
)

// The command makes of every pod of the specification what the function makes of it, and reports the same decision.
func TestSpecificationPods(t *testing.T) {
	text, err := os.ReadFile("../../inject/testdata/small.yaml")
	if err != nil {
		t.Fatal(err)
	}
	config, _, err := inject.Parse(inject.Source{Config: string(text), Values: `{"global": {"hub": "registry.example", "tag": "1", "proxy": {"image": "proxyv2"}}}`})
	if err != nil {
		t.Fatal(err)
	}
	i := injection{istio: &istioSource{config: config}, path: "/inject"}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "demo"}}
	files, err := filepath.Glob("../../inject/testdata/pods/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no pods of the specification: %v", err)
	}
	injected := 0
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		stream, err := manifest.Read(bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range stream.Objects() {
			p, err := templatePod(object, namespace.Name)
			if err != nil {
				t.Fatalf("%s: %v", object, err)
			}
			if p == nil {
				continue
			}
			report, written, err := p.injected(namespace, i)
			if err != nil {
				t.Fatalf("%s: %v", object, err)
			}
			want, wantReport, err := inject.Pod(inject.Request{Pod: p.pod, Namespace: namespace, Path: i.path}, config)
			if err != nil {
				t.Fatalf("%s: %v", object, err)
			}
			if diff := cmp.Diff(wantReport, report); diff != "" {
				t.Errorf("%s (-function +command):\n%s", object, diff)
			}
			if report.Result != inject.Injected {
				continue
			}
			injected++
			got := &corev1.Pod{}
			if err := json.Unmarshal(written, got); err != nil {
				t.Fatalf("%s: %v", object, err)
			}
			if diff := cmp.Diff(want.Spec, got.Spec); diff != "" {
				t.Errorf("%s (-function +command):\n%s", object, diff)
			}
		}
	}
	if injected < 100 {
		t.Errorf("only %d pods were injected", injected)
	}
}
