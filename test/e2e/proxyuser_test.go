// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The guard rail and the webhook judge by one rule which containers run as the proxy's user, and so bypass it.
func TestOneRuleForContainersThatRunAsTheProxy(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t, injected)
	author := accountIn(t, ns, "author", rbacv1.RoleRef{Kind: "ClusterRole", Name: "edit"})
	as := &corev1.SecurityContext{RunAsUser: ptr.To[int64](1337)}
	always := ptr.To(corev1.ContainerRestartPolicyAlways)
	for name, c := range map[string]struct {
		native string
		change func(*corev1.PodSpec)
		warned bool
	}{
		"an ordinary pod": {"false", func(*corev1.PodSpec) {}, false},
		"a container":     {"false", func(s *corev1.PodSpec) { s.Containers[0].SecurityContext = as }, true},
		"a group": {"false", func(s *corev1.PodSpec) {
			s.Containers[0].SecurityContext = &corev1.SecurityContext{RunAsGroup: ptr.To[int64](1337)}
		}, true},
		"an init container":                         {"false", func(s *corev1.PodSpec) { s.InitContainers[0].SecurityContext = as }, false},
		"an init container beside a native sidecar": {"true", func(s *corev1.PodSpec) { s.InitContainers[0].SecurityContext = as }, true},
		"an own native sidecar": {"false", func(s *corev1.PodSpec) {
			s.InitContainers[0].SecurityContext, s.InitContainers[0].RestartPolicy = as, always
		}, true},
		"an ordinary pod with a native sidecar": {"true", func(*corev1.PodSpec) {}, false},
	} {
		pod := &corev1.Pod{}
		pod.Namespace, pod.GenerateName = ns, "p-"
		pod.Annotations = map[string]string{"sidecar.istio.io/nativeSidecar": c.native}
		pod.Spec.InitContainers = []corev1.Container{{Name: "migrate", Image: "registry.example/app:1"}}
		pod.Spec.Containers = []corev1.Container{{Name: "app", Image: "registry.example/app:1"}}
		c.change(&pod.Spec)
		author.warnings.forget()
		if err := author.client.Create(t.Context(), pod, client.DryRunAll); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !hasSidecar(pod) {
			t.Errorf("%s: it has no sidecar", name)
		}
		heard := author.warnings.all()
		rail, webhook := strings.Contains(heard, "runs as the user or group of the proxy"), strings.Contains(heard, "RunsAsProxyUser")
		if rail != c.warned || webhook != c.warned {
			t.Errorf("%s: the guard rail warns %t, the webhook warns %t; want %t\n%s", name, rail, webhook, c.warned, heard)
		}
	}

	// What the API server rejects, it rejects without naming the annotation; the warning does.
	pod := &corev1.Pod{}
	pod.Namespace, pod.GenerateName = ns, "p-"
	pod.Annotations = map[string]string{"sidecar.istio.io/proxyCPU": "2", "sidecar.istio.io/proxyCPULimit": "1"}
	pod.Spec.Containers = []corev1.Container{{Name: "app", Image: "registry.example/app:1"}}
	author.warnings.forget()
	err := author.client.Create(t.Context(), pod, client.DryRunAll)
	if err == nil || !strings.Contains(err.Error(), "must be less than or equal to cpu limit") {
		t.Errorf("the API server says %v", err)
	}
	says(t, author.warnings.all(), "RequestExceedsLimit", "metadata.annotations[sidecar.istio.io/proxyCPU]")
}
