// SPDX-License-Identifier: Apache-2.0

package jsonpatch_test

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/inject/jsonpatch"
)

// The field "tomorrow" is unknown to the Go type. It stays on its container, whose place changes.
func Example() {
	document := []byte(`{"metadata":{"name":"web"},"spec":{"containers":[{"name":"app","tomorrow":true}]}}`)
	before, after := &corev1.Pod{}, &corev1.Pod{}
	for _, pod := range []*corev1.Pod{before, after} {
		if err := json.Unmarshal(document, pod); err != nil {
			panic(err)
		}
	}
	after.Labels = map[string]string{"version": "v1"}
	after.Spec.Containers = []corev1.Container{{Name: "istio-proxy"}, after.Spec.Containers[0]}
	operations, err := jsonpatch.Diff(document, before, after)
	if err != nil {
		panic(err)
	}
	for _, operation := range operations {
		fmt.Printf("%s %s %s\n", operation.Op, operation.Path, operation.Value)
	}
	// Output:
	// add /metadata/labels {"version":"v1"}
	// add /spec/containers/0 {"name":"istio-proxy"}
}
