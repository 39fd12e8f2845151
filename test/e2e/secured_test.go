// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"outrigger.dev/outrigger/hack/install"
	"outrigger.dev/outrigger/hack/istio"
)

// listing has clients list as they do where the API server cannot stream lists, so that this is seen to be granted, and used.
var listing = map[string]any{"name": "KUBE_FEATURE_WatchListClient", "value": "false"}

// securedNamespace takes none but restricted pods.
const securedNamespace = "outrigger-secured"

// A release with every lock on: in a namespace that takes restricted pods only, asking the API server for its certificate,
// with the guard rails up, and with no right that it does not use.
func TestASecuredRelease(t *testing.T) {
	needIstio(t)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: securedNamespace, Labels: map[string]string{
		"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "latest",
	}}}
	if err := kube.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a pod that is not restricted is refused", func() error { // before that the namespace has no account for it
		err := kube.Create(t.Context(), podOf(t, securedNamespace, ""), client.DryRunAll)
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "violates PodSecurity") {
			return fmt.Errorf("the answer is %w", errors.Join(err, errors.New("no violation of PodSecurity")))
		}
		return nil
	})
	if err := istio.InstallConfigMaps(t.Context(), cluster, istio.Values{"revision": "secured", "global": map[string]any{"operatorManageWebhooks": true}}); err != nil {
		t.Fatal(err)
	}
	values := map[string]any{
		"tests":      map[string]any{"namespace": "default"},
		"revision":   "secured",
		"webhook":    map[string]any{"clientCA": callers.authority, "clientNames": []any{callerName}},
		"guardRails": map[string]any{"action": "Deny"},
		"extraEnv":   []any{listing},
	}
	secured, err := install.Outrigger(t.Context(), cluster, install.Options{Namespace: securedNamespace, Release: securedNamespace, Node: outrigger.Node, Values: values})
	if err != nil {
		t.Fatal(err)
	}
	removed := false
	t.Cleanup(func() {
		if !removed {
			if err := secured.Uninstall(context.Background()); err != nil {
				t.Error(err)
			}
		}
		secured.Close()
	})
	injected := namespace(t, "istio.io/rev=secured")
	wantInjectedBy(t, "a pod of the API server's, which shows its certificate", injected, nil, "secured")

	t.Run("callers", func(t *testing.T) { onlyTheAPIServerIsAnswered(t, "https://"+secured.Webhook.Address()+"/inject") })
	t.Run("guard rails", func(t *testing.T) { guardRailsDeny(t, injected) })
	t.Run("rights", func(t *testing.T) {
		ownersHear(t, injected)
		wantEveryRightUsed(t, securedNamespace, securedNamespace, 0, false)
	})
	t.Run("hooks", func(t *testing.T) { // their pods are restricted, too
		hooks, standing := hookRights(t, securedNamespace, securedNamespace), granted(t, securedNamespace, securedNamespace)
		if out, err := cluster.Helm(t.Context(), nil, "test", securedNamespace, "-n", securedNamespace); err != nil {
			t.Fatalf("helm test: %v\n%s", err, out)
		}
		wantHookRightsUsed(t, asker{namespace: securedNamespace, account: securedNamespace + "-pod-test"}, hooks["test"], nil)
		removed = true
		if err := secured.Uninstall(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantHookRightsUsed(t, asker{securedNamespace, securedNamespace, securedNamespace + "-pre-delete-"}, hooks["delete"], standing)
	})
}

// callerName is the name in the API server's certificate, and callers what TestMain has made for it.
const callerName = "apiserver.example"

var callers struct {
	authority string // in PEM
	right     tls.Certificate
	wrong     tls.Certificate // with the same name, of another authority
}

func onlyTheAPIServerIsAnswered(t *testing.T, url string) {
	ask := func(certificate *tls.Certificate) (int, string, error) {
		settings := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // who is called is not the question here
		if certificate != nil {
			settings.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
		}
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: settings, DisableKeepAlives: true}, Timeout: 10 * time.Second}
		response, err := c.Post(url, "application/json", strings.NewReader("{}"))
		if err != nil {
			return 0, "", err
		}
		defer func() { _ = response.Body.Close() }()
		text, err := io.ReadAll(response.Body)
		return response.StatusCode, string(text), err
	}
	// Let through, it is the handler that finds nothing to review.
	if status, text, err := ask(&callers.right); err != nil || status != http.StatusInternalServerError || !strings.Contains(text, "the request has no pod") {
		t.Errorf("with the API server's certificate: %d, %s, %v", status, text, err)
	}
	if status, text, err := ask(nil); err != nil || status != http.StatusUnauthorized || !strings.Contains(text, "webhook.clientCA") {
		t.Errorf("without a certificate: %d, %s, %v", status, text, err)
	}
	if status, text, err := ask(&callers.wrong); err == nil || !strings.Contains(err.Error(), "tls: ") {
		t.Errorf("with a certificate of another authority: %d, %s, %v", status, text, err)
	}
}

// podOf reads what differs from a pod of one ordinary container.
func podOf(t *testing.T, ns, differs string) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{}
	pod.Spec.Containers = []corev1.Container{{Name: "app", Image: "registry.example/app:1"}}
	if err := yaml.UnmarshalStrict([]byte(differs), pod); err != nil {
		t.Fatalf("%v in\n%s", err, differs)
	}
	pod.Namespace, pod.GenerateName = ns, "p-"
	return pod
}

// forged is not injected, and says that it is.
const forged = `
metadata:
  labels: {sidecar.istio.io/inject: "false"}
  annotations: {sidecar.istio.io/status: '{"initContainers":null,"containers":["istio-proxy"],"volumes":null,"imagePullSecrets":null,"revision":"default"}'}
`

func guardRailsDeny(t *testing.T, injected string) {
	const status, user = claimsProxy, asProxy
	eventually(t, "the guard rails are up", func() error {
		for _, pod := range []string{forged, "spec: {securityContext: {runAsUser: 1337}}"} {
			if err := kube.Create(t.Context(), podOf(t, injected, pod), client.DryRunAll); !apierrors.IsInvalid(err) {
				return fmt.Errorf("not denied yet: %w", errors.Join(err, errors.New(pod)))
			}
		}
		return nil
	})
	plain := namespace(t)
	for name, test := range map[string]struct {
		namespace, pod, denied string
	}{
		"ordinary":                         {injected, "", ""},
		"in no native form":                {injected, `metadata: {annotations: {sidecar.istio.io/nativeSidecar: "false"}}`, ""},
		"with a native sidecar of its own": {injected, `spec: {initContainers: [{name: log, image: a, restartPolicy: Always, securityContext: {runAsUser: 1000}}]}`, ""},
		"gateway": {injected, `
metadata: {annotations: {inject.istio.io/templates: gateway}, labels: {istio: gw}}
spec: {containers: [{name: istio-proxy, image: auto}]}`, ""},
		"gateway with its own user": {injected, `
metadata: {annotations: {inject.istio.io/templates: gateway}}
spec: {securityContext: {runAsUser: 1337, runAsGroup: 1337}, containers: [{name: istio-proxy, image: auto}]}`, ""},
		"without a proxy by its template": {injected, `metadata: {annotations: {inject.istio.io/templates: grpc-simple}}`, ""},
		"proxy with another user": {injected, `
spec: {containers: [{name: app, image: a, securityContext: {runAsUser: 1000}}, {name: istio-proxy, image: auto, securityContext: {runAsUser: 2000, runAsGroup: 2000}}]}`, ""},
		"first steps as the proxy's user": {injected, `
metadata: {annotations: {sidecar.istio.io/nativeSidecar: "false"}}
spec: {initContainers: [{name: fetch, image: a, securityContext: {runAsUser: 1337}}]}`, ""},
		"not injected, with that user": {injected, `
metadata: {labels: {sidecar.istio.io/inject: "false"}}
spec: {securityContext: {runAsUser: 1337}}`, ""},
		"forged in a namespace that is not injected": {plain, forged, ""},

		"forged":                              {injected, forged, status},
		"forged, with the name of a template": {injected, strings.Replace(forged, "annotations: {", "annotations: {inject.istio.io/templates: custom, ", 1), status},
		"forged, naming nothing, with the name of a template": {injected, `
metadata:
  labels: {sidecar.istio.io/inject: "false"}
  annotations: {inject.istio.io/templates: custom, sidecar.istio.io/status: '{}'}`, status},
		"pod with the proxy's user":            {injected, `spec: {securityContext: {runAsUser: 1337}}`, user},
		"container with the proxy's user":      {injected, `spec: {containers: [{name: app, image: a, securityContext: {runAsUser: 1337}}]}`, user},
		"container with the proxy's group":     {injected, `spec: {containers: [{name: app, image: a, securityContext: {runAsUser: 1000, runAsGroup: 1337}}]}`, user},
		"native sidecar with the proxy's user": {injected, `spec: {initContainers: [{name: log, image: a, restartPolicy: Always, securityContext: {runAsUser: 1337}}]}`, user},
		"first steps as the proxy's user, after a native sidecar": {injected, `
metadata: {annotations: {sidecar.istio.io/nativeSidecar: "true"}}
spec: {initContainers: [{name: fetch, image: a, securityContext: {runAsUser: 1337}}]}`, user},
		"container with the user of a proxy that has another": {injected, `
spec: {containers: [{name: app, image: a, securityContext: {runAsUser: 2000}}, {name: istio-proxy, image: auto, securityContext: {runAsUser: 2000}}]}`, user},
	} {
		t.Run(name, func(t *testing.T) {
			err := kube.Create(t.Context(), podOf(t, test.namespace, test.pod), client.DryRunAll)
			switch {
			case test.denied == "" && err != nil:
				t.Errorf("it is refused: %v", err)
			case test.denied != "" && (!apierrors.IsInvalid(err) || !strings.Contains(err.Error(), test.denied)):
				t.Errorf("%v; want it denied, because %s", err, test.denied)
			}
		})
	}

	for _, attack := range podAttacks {
		t.Run(attack.name, func(t *testing.T) {
			err := kube.Create(t.Context(), podOf(t, injected, attack.pod), client.DryRunAll)
			if err == nil || apierrors.IsInternalError(err) || !strings.Contains(err.Error(), attack.says) {
				t.Errorf("%v; want it denied with %q", err, attack.says)
			}
		})
	}

	t.Run("injected beforehand", func(t *testing.T) { // as istiod and kube-inject do: our webhook is not asked about it
		file := filepath.Join(t.TempDir(), "pod.yaml")
		if err := os.WriteFile(file, []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: beforehand}\nspec: {containers: [{name: app, image: registry.example/app:1}]}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		kubectlIn(t, cli(t, "inject", "-f", file, "-n", injected, "--revision", "secured"), "-n", injected, "create", "-f", "-")
		kubectl(t, "-n", injected, "annotate", "pod", "beforehand", "note=changed")
	})
	t.Run("forged later", func(t *testing.T) {
		apply(t, injected, "apiVersion: v1\nkind: Pod\nmetadata: {name: later, labels: {sidecar.istio.io/inject: 'false'}}\nspec: {containers: [{name: app, image: registry.example/app:1}]}\n")
		out, err := cluster.Kubectl(t.Context(), nil, "-n", injected, "annotate", "pod", "later", "sidecar.istio.io/status={}")
		if err == nil || !strings.Contains(err.Error(), status) {
			t.Errorf("kubectl annotate: %v %s", err, out)
		}
		kubectl(t, "-n", injected, "annotate", "pod", "later", "note=changed")
	})
}

// kubectlIn runs kubectl with a text as its input.
func kubectlIn(t *testing.T, stdin string, args ...string) {
	t.Helper()
	if out, err := cluster.Kubectl(t.Context(), strings.NewReader(stdin), args...); err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
