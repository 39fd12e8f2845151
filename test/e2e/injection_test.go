// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestOrdinaryDeploymentsComeUpWithTheSidecar(t *testing.T) {
	t.Parallel()
	needIstio(t)
	for _, example := range []struct {
		file string
		pods map[string]int // label selector → number of pods
	}{
		{"../../examples/springbootapp/app.yaml", map[string]int{"app=springbootapp,version=v1": 1, "app=springbootapp,version=v2": 1}},
		{"../../examples/bookinfo/app.yaml", map[string]int{"app=productpage": 1, "app=details": 1, "app=ratings": 1, "app=reviews": 3}},
	} {
		name := strings.Split(example.file, "/")[3]
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(example.file)
			if err != nil {
				t.Fatal(err)
			}
			ns := namespace(t, injected)
			apply(t, ns, string(text))
			for selector, count := range example.pods {
				for _, pod := range readyPods(t, ns, selector, count) {
					if !hasSidecar(&pod) {
						t.Errorf("pod %s has no sidecar", pod.Name)
					}
					if pod.Status.Phase != corev1.PodRunning {
						t.Errorf("pod %s is %s", pod.Name, pod.Status.Phase)
					}
				}
			}
		})
	}
}

func TestWhoIsInjected(t *testing.T) {
	t.Parallel()
	needIstio(t)
	enabled := namespace(t, injected)
	plain := enabled + "-plain"
	disabled := enabled + "-off"
	kubectl(t, "create", "namespace", plain)
	kubectl(t, "create", "namespace", disabled)
	t.Cleanup(func() {
		_, _ = cluster.Kubectl(context.Background(), nil, "delete", "namespace", plain, disabled, "--wait=false")
	})
	kubectl(t, "label", "namespace", disabled, "istio-injection=disabled")
	const optIn, optOut = "labels: {sidecar.istio.io/inject: 'true'}", "labels: {sidecar.istio.io/inject: 'false'}"
	for i, test := range []struct {
		name, namespace string
		metadata, spec  string
		want            bool
	}{
		{name: "namespace enabled", namespace: enabled, want: true},
		{name: "namespace disabled", namespace: disabled},
		{name: "namespace disabled beats the pod's label", namespace: disabled, metadata: optIn},
		{name: "namespace without a label", namespace: plain},
		{name: "pod opts in", namespace: plain, metadata: optIn, want: true},
		{name: "pod opts out by label", namespace: enabled, metadata: optOut},
		{name: "pod opts out by annotation", namespace: enabled, metadata: "annotations: {sidecar.istio.io/inject: 'false'}"},
		{name: "label beats annotation", namespace: enabled, metadata: optIn + ", annotations: {sidecar.istio.io/inject: 'false'}", want: true},
		{name: "host network", namespace: enabled, spec: "hostNetwork: true, "},
	} {
		t.Run(test.name, func(t *testing.T) {
			name := fmt.Sprintf("p-%d", i)
			apply(t, test.namespace, fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, %s}\nspec: {%scontainers: [{name: app, image: registry.example/app:1}]}\n",
				name, test.metadata, test.spec))
			got := &corev1.Pod{}
			if err := kube.Get(t.Context(), client.ObjectKey{Namespace: test.namespace, Name: name}, got); err != nil {
				t.Fatal(err)
			}
			if hasSidecar(got) != test.want {
				t.Errorf("sidecar: %v, want %v", !test.want, test.want)
			}
			if _, touched := got.Annotations["sidecar.istio.io/status"]; !test.want && touched {
				t.Errorf("a pod that is not injected was changed: %v", got.Annotations)
			}
		})
	}
}
