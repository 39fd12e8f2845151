// SPDX-License-Identifier: Apache-2.0

package inject_test

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/inject"
)

func ExampleReview() {
	// Both texts come from Istio's ConfigMap istio-sidecar-injector. This template is much shorter than Istio's.
	config, warnings, err := inject.Parse(inject.Source{
		Config: `
policy: enabled
defaultTemplates: [sidecar]
templates:
  sidecar: |
    spec:
      containers:
      - name: istio-proxy
        image: {{ .ProxyImage }}
`,
		Values: `{"global": {"hub": "docker.io/istio", "tag": "1.31.1"}}`,
	})
	if err != nil || len(warnings) > 0 {
		panic(fmt.Sprint(err, warnings))
	}
	answer, err := inject.Review(inject.Received{
		JSON:          []byte(`{"metadata":{"name":"web"},"spec":{"containers":[{"name":"app","image":"registry.example/web:1"}]}}`),
		NamespaceName: "shop",
		Namespace:     &corev1.Namespace{},
	}, config)
	if err != nil {
		panic(err) // not caused by the user
	}
	fmt.Println(answer.Report.Result, answer.Report.Reason, answer.Report.Templates)
	fmt.Println(len(answer.Patch) > 0)
	// Output:
	// injected PolicyEnabled [sidecar]
	// true
}
