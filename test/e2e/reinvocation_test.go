// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/hack/install"
	"outrigger.dev/outrigger/hack/istio"
)

// A webhook that comes after Outrigger adds a container with a probe. With webhook.reinvocationPolicy=IfNeeded the API server
// calls Outrigger again, which rewrites that probe as well; otherwise the probe stays, and a kubelet cannot speak mutual TLS.
func TestProbesOfALaterWebhookAreRewritten(t *testing.T) {
	needIstio(t)
	if err := istio.InstallConfigMaps(t.Context(), cluster, istio.Values{"revision": "again", "global": map[string]any{"operatorManageWebhooks": true}}); err != nil {
		t.Fatal(err)
	}
	again, err := install.Outrigger(t.Context(), cluster, install.Options{Release: "outrigger-again", Node: outrigger.Node, Values: map[string]any{
		"revision": "again", "webhook": map[string]any{"reinvocationPolicy": "IfNeeded", "name": "m-sidecars"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := again.Uninstall(context.Background()); err != nil {
			t.Error(err)
		}
		again.Close()
	})
	twice, once := namespace(t, "istio.io/rev=again"), namespace(t, injected)
	addContainer(t, "z-adds-container", twice, once)
	for ns, want := range map[string]string{twice: "/app-health/added/livez", once: "/alive"} {
		eventually(t, "a pod with the added container, in namespace "+ns, func() error {
			pod := podOf(t, ns, `{metadata: {labels: {app: web}}}`)
			pod.Spec.Containers[0].LivenessProbe = httpProbe("/own")
			if err := kube.Create(t.Context(), pod, client.DryRunAll); err != nil {
				return err
			}
			return wantProbes(pod, map[string]string{"app": "/app-health/app/livez", "added": want})
		})
	}
	// The name is another one, and the commands find the release all the same.
	says(t, cli(t, "check", "-n", twice, "--revision", "again"), "MutatingWebhookConfiguration m-sidecars", "its sidecar, from Outrigger")
}

func httpProbe(path string) *corev1.Probe {
	probe := &corev1.Probe{}
	probe.HTTPGet = &corev1.HTTPGetAction{Path: path}
	probe.HTTPGet.Port.IntVal = 8080
	return probe
}

// wantProbes checks that a pod has one sidecar, and where the liveness probes of its containers go.
func wantProbes(pod *corev1.Pod, want map[string]string) error {
	got, proxies := map[string]string{}, 0
	for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		if c.Name == "istio-proxy" {
			proxies++
		} else if c.LivenessProbe != nil && c.LivenessProbe.HTTPGet != nil {
			got[c.Name] = c.LivenessProbe.HTTPGet.Path
		}
	}
	if proxies != 1 || fmt.Sprint(got) != fmt.Sprint(want) {
		return fmt.Errorf("%d sidecars, probes %v; want 1 and %v", proxies, got, want)
	}
	for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		if c.Name != "istio-proxy" {
			continue
		}
		for name, path := range want {
			for _, variable := range c.Env {
				if known := strings.Contains(variable.Value, "/app-health/"+name+"/livez"); variable.Name == "ISTIO_KUBE_APP_PROBERS" && known != strings.HasPrefix(path, "/app-health/") {
					return fmt.Errorf("the proxy has the probers %s, and the probe of container %s goes to %s", variable.Value, name, path)
				}
			}
		}
	}
	return nil
}

// addContainer makes a mutating webhook that adds a container with a probe to pods of these namespaces.
func addContainer(t *testing.T, name string, namespaces ...string) {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		review, pod := &admissionv1.AdmissionReview{}, &corev1.Pod{}
		if err := errors.Join(json.NewDecoder(r.Body).Decode(review), json.Unmarshal(review.Request.Object.Raw, pod)); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		added := corev1.Container{Name: "added", Image: "registry.example/added:1", LivenessProbe: httpProbe("/alive")}
		patch, _ := json.Marshal([]any{map[string]any{"op": "add", "path": "/spec/containers/-", "value": added}}) // a container can be written
		kind := admissionv1.PatchTypeJSONPatch
		review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true, Patch: patch, PatchType: &kind}
		_ = json.NewEncoder(w).Encode(review)
	}))
	t.Cleanup(server.Close)
	fail, none := admissionregistrationv1.Fail, admissionregistrationv1.SideEffectClassNone
	hook := &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "adds-container.e2e.outrigger.dev", FailurePolicy: &fail, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			ClientConfig: admissionregistrationv1.WebhookClientConfig{
				URL:      &server.URL,
				CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
			},
			NamespaceSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
				{Key: "kubernetes.io/metadata.name", Operator: metav1.LabelSelectorOpIn, Values: namespaces},
			}},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
			}},
		}},
	}
	if err := kube.Create(t.Context(), hook); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = kube.Delete(context.Background(), hook) })
}
