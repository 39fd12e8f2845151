// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/hack/install"
	"outrigger.dev/outrigger/hack/istio"
)

// injectedBy returns the revision that the sidecar of a pod made here says it is of; empty for a pod without a sidecar.
func injectedBy(t *testing.T, ns string, labels map[string]string) (string, error) {
	t.Helper()
	pod := &corev1.Pod{}
	pod.Namespace, pod.GenerateName, pod.Labels = ns, "p-", labels
	pod.Spec.Containers = []corev1.Container{{Name: "app", Image: "registry.example/app:1"}}
	if err := kube.Create(t.Context(), pod, client.DryRunAll); err != nil || !hasSidecar(pod) {
		return "", err
	}
	status := struct{ Revision string }{}
	if err := json.Unmarshal([]byte(pod.Annotations["sidecar.istio.io/status"]), &status); err != nil {
		return "", err
	}
	return status.Revision, nil
}

func wantInjectedBy(t *testing.T, what, ns string, labels map[string]string, want string) {
	t.Helper()
	eventually(t, what, func() error {
		got, err := injectedBy(t, ns, labels)
		if err == nil && got != want {
			err = fmt.Errorf("it is injected by %q, not by %q", got, want)
		}
		return err
	})
}

// Two releases side by side: each injects the namespaces and pods that name its revision, or a tag of it, and no others.
func TestARevisionHasItsOwnRelease(t *testing.T) {
	needIstio(t)
	values := istio.Values{"revision": "canary", "global": map[string]any{"operatorManageWebhooks": true}}
	if err := istio.InstallConfigMaps(t.Context(), cluster, values); err != nil {
		t.Fatal(err)
	}
	canary, err := install.Outrigger(t.Context(), cluster, install.Options{
		Release: "outrigger-canary", Node: outrigger.Node, Values: map[string]any{"revision": "canary", "revisionTags": []any{"prod"}, "tests": map[string]any{"namespace": "default"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := canary.Uninstall(context.Background()); err != nil {
			t.Error(err)
		}
		canary.Close()
	})
	enabled, plain := namespace(t, injected), namespace(t)
	byRevision, byTag := namespace(t, "istio.io/rev=canary"), namespace(t, "istio.io/rev=prod")
	byDefault, other, both := namespace(t, "istio.io/rev=default"), namespace(t, "istio.io/rev=other"), namespace(t, injected, "istio.io/rev=canary")
	canaryPod, tagPod, defaultPod := map[string]string{"istio.io/rev": "canary"}, map[string]string{"istio.io/rev": "prod"}, map[string]string{"istio.io/rev": "default"}
	for _, test := range []struct {
		what, namespace string
		labels          map[string]string
		want            string
	}{
		{"namespace enabled", enabled, nil, "default"},
		{"namespace enabled beats the pod's revision", enabled, canaryPod, "default"},
		{"namespace enabled beats its own revision", both, nil, "default"},
		{"namespace of the revision", byRevision, nil, "canary"},
		{"namespace of the revision beats the pod's", byRevision, defaultPod, "canary"},
		{"namespace of the revision, pod opts out", byRevision, map[string]string{"sidecar.istio.io/inject": "false"}, ""},
		{"namespace of the tag", byTag, nil, "canary"},
		{"namespace of revision default", byDefault, nil, "default"},
		{"namespace of a revision that nobody serves", other, map[string]string{"sidecar.istio.io/inject": "true"}, ""},
		{"namespace says nothing", plain, nil, ""},
		{"pod of the revision", plain, canaryPod, "canary"},
		{"pod of the tag", plain, tagPod, "canary"},
		{"pod of revision default", plain, defaultPod, "default"},
		{"pod opts in without a revision", plain, map[string]string{"sidecar.istio.io/inject": "true"}, "default"},
	} {
		wantInjectedBy(t, test.what, test.namespace, test.labels, test.want)
	}
	// Only the second release has tests.namespace.
	for release, proven := range map[string]string{outriggerName: "verifies by the caBundle, and a pod gets its sidecar", "outrigger-canary": "its sidecar, from Outrigger"} {
		if out, err := cluster.Helm(t.Context(), nil, "test", release, "-n", outriggerNamespace, "--logs"); err != nil || !strings.Contains(out, proven) {
			t.Errorf("helm test %s: %v\n%s", release, err, out)
		}
	}
	// Routing is the first release's alone: the second has no right to it, and a Lease of its own by which one replica counts pods.
	for account, may := range map[string]string{outriggerName: "yes", "outrigger-canary": "no"} {
		out, _ := cluster.Kubectl(t.Context(), nil, "auth", "can-i", "create", "virtualservices.networking.istio.io", "-A", "--as=system:serviceaccount:"+outriggerNamespace+":"+account) // "no" is an exit status
		if strings.TrimSpace(out) != may {
			t.Errorf("may %s create VirtualServices? %s; want %s", account, out, may)
		}
	}
	if leases := kubectl(t, "-n", outriggerNamespace, "get", "leases", "-o", "name"); strings.Join(strings.Fields(leases), " ") != "lease.coordination.k8s.io/outrigger-coverage-canary lease.coordination.k8s.io/outrigger-routing" {
		t.Errorf("there are the Leases %q", leases)
	}
}

// An Istio that is installed with revisions only has no ConfigMaps without a suffix: the default tag says which stand for
// them, and all namespaces that say nothing may be injected too.
func TestTheDefaultTagAndAllNamespaces(t *testing.T) {
	needIstio(t)
	for _, revision := range []string{"blue", "green"} {
		values := istio.Values{"revision": revision, "global": map[string]any{"operatorManageWebhooks": true}}
		if err := istio.InstallConfigMaps(t.Context(), cluster, values); err != nil {
			t.Fatal(err)
		}
	}
	changed := map[string]any{"istio": map[string]any{"revisions": []any{"blue", "green"}}, "webhook": map[string]any{"enableNamespacesByDefault": true}}
	for key, value := range settings {
		changed[key] = value
	}
	if err := outrigger.Upgrade(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := outrigger.Upgrade(context.Background(), settings); err != nil {
			t.Error(err)
		}
	})
	plain, disabled, enabled := namespace(t), namespace(t, "istio-injection=disabled"), namespace(t, injected)
	wantInjectedBy(t, "a namespace that says nothing", plain, nil, "default")
	wantInjectedBy(t, "a pod that opts out", plain, map[string]string{"sidecar.istio.io/inject": "false"}, "")
	wantInjectedBy(t, "a namespace that is switched off", disabled, nil, "")
	wantInjectedBy(t, "the system's namespace", "kube-system", nil, "")

	tag := &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{
		Name: "istio-revision-tag-default", Labels: map[string]string{"istio.io/rev": "blue", "istio.io/tag": "default"},
	}}
	if err := kube.Create(t.Context(), tag); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := kube.Delete(context.Background(), tag); err != nil {
			t.Error(err)
		}
	})
	wantInjectedBy(t, "the tag beside the ConfigMaps without a suffix", enabled, nil, "default")
	withoutIstioConfigMaps(t)
	wantInjectedBy(t, "the tag's revision", enabled, nil, "blue")
	tag.Labels["istio.io/rev"] = "green"
	if err := kube.Update(t.Context(), tag); err != nil {
		t.Fatal(err)
	}
	wantInjectedBy(t, "the revision that the tag was moved to", enabled, nil, "green")
}

// withoutIstioConfigMaps takes the two ConfigMaps without a suffix away for the time of the test.
func withoutIstioConfigMaps(t *testing.T) {
	t.Helper()
	for _, name := range []string{"istio-sidecar-injector", "istio"} {
		original := &corev1.ConfigMap{}
		if err := kube.Get(t.Context(), client.ObjectKey{Namespace: injectorConfigMap.Namespace, Name: name}, original); err != nil {
			t.Fatal(err)
		}
		if err := kube.Delete(t.Context(), original.DeepCopy()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			original.ResourceVersion, original.UID = "", ""
			if err := kube.Create(context.Background(), original); err != nil {
				t.Error(err)
			}
		})
	}
}
