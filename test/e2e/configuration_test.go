// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

var injectorConfigMap = client.ObjectKey{Namespace: "istio-system", Name: "istio-sidecar-injector"}

// withInjectorConfig changes the key "config" of Istio's ConfigMap for the time of the test.
func withInjectorConfig(t *testing.T, change func(string) string) {
	t.Helper()
	update := func(ctx context.Context, change func(string) string) error {
		configMap := &corev1.ConfigMap{}
		if err := kube.Get(ctx, injectorConfigMap, configMap); err != nil {
			return err
		}
		configMap.Data["config"] = change(configMap.Data["config"])
		return kube.Update(ctx, configMap)
	}
	original := &corev1.ConfigMap{}
	if err := kube.Get(t.Context(), injectorConfigMap, original); err != nil {
		t.Fatal(err)
	}
	if err := update(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := update(context.Background(), func(string) string { return original.Data["config"] }); err != nil {
			t.Error(err)
		}
	})
}

// created makes a pod with a name of its own and returns it as the API server has it.
func created(t *testing.T, ns, name string) (*corev1.Pod, error) {
	t.Helper()
	pod := &corev1.Pod{}
	pod.Namespace, pod.Name = ns, name
	pod.Spec.Containers = []corev1.Container{{Name: "app", Image: "registry.example/app:1"}}
	return pod, kube.Create(t.Context(), pod)
}

func TestBadTemplateLeavesTheLastGoodOneAlsoAcrossARestart(t *testing.T) {
	needIstio(t)
	ns := namespace(t, injected)
	for _, bad := range []struct {
		name   string
		config func(string) string
		word   string // what the refusal must say
	}{
		{"template that does not parse", func(config string) string {
			return strings.Replace(config, "metadata:", "metadata: {{ .NoSuch", 1)
		}, "template"},
		{"Istio 1.14", func(string) string { return istio114 }, "Istio"},
	} {
		t.Run(bad.name, func(t *testing.T) {
			withInjectorConfig(t, bad.config)
			eventually(t, "an Event refuses the configuration", func() error {
				events := &corev1.EventList{}
				if err := kube.List(t.Context(), events); err != nil {
					return err
				}
				for _, event := range events.Items {
					if event.InvolvedObject.Name == injectorConfigMap.Name && event.Type == corev1.EventTypeWarning && strings.Contains(event.Message, bad.word) {
						return nil
					}
				}
				return errors.New("there is none")
			})
			name := strings.ToLower(strings.ReplaceAll(bad.name, " ", "-"))
			pod, err := created(t, ns, strings.ReplaceAll(name, ".", "-"))
			if err != nil || !hasSidecar(pod) {
				t.Fatalf("with a bad configuration beside a good one: %v", err)
			}
			restartOutrigger(t)
			pod, err = created(t, ns, strings.ReplaceAll(name, ".", "-")+"-2")
			if err != nil || !hasSidecar(pod) {
				t.Fatalf("after a restart with a bad configuration: %v", err)
			}
		})
	}
}

// istio114 has the shape of a configuration of Istio 1.14: its template uses fields of the data that are gone.
const istio114 = `
policy: enabled
templates:
  sidecar: |
    spec:
      containers:
      - name: istio-proxy
        image: "{{ .ProxyImage }}"
        args: [proxy, sidecar, --domain, "$(POD_NAMESPACE).svc.{{ .Values.global.proxy.clusterDomain }}"]
        env:
        - name: OWNER
          value: "{{ .DeploymentMeta.Name }}"
        - name: WHEN
          value: "{{ .EstimatedConcurrency }}"
`

func TestChangedTemplateIsUsedWithoutARestart(t *testing.T) {
	needIstio(t)
	ns := namespace(t, injected)
	withInjectorConfig(t, func(config string) string {
		if !strings.Contains(config, "injectedAnnotations:") {
			t.Fatalf("Istio's configuration has no injectedAnnotations to change:\n%s", config[:min(len(config), 500)])
		}
		return strings.Replace(config, "injectedAnnotations:", "injectedAnnotations:\n  changed.example/by: test", 1)
	})
	eventually(t, "a pod made from the changed configuration", func() error {
		pod := &corev1.Pod{}
		pod.Namespace, pod.GenerateName = ns, "p-"
		pod.Spec.Containers = []corev1.Container{{Name: "app", Image: "registry.example/app:1"}}
		if err := kube.Create(t.Context(), pod, client.DryRunAll); err != nil {
			return err
		}
		if pod.Annotations["changed.example/by"] != "test" {
			return errors.New("the pod is still made from the old one")
		}
		return nil
	})
}
