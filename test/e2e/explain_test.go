package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestExplainTellsWhyAPodHasASidecarOrHasNone(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t)
	apply(t, ns, service("web")+fixed("web-v1", "web", "v1"))
	pods := readyPods(t, ns, "app=web", 2)
	says(t, cells(cli(t, "explain", "deployment/web-v1", "-n", ns)),
		"Deployment "+ns+"/web-v1", "Sidecar a new pod gets none: no injector is asked about it", "Pods now 0 of 2 have one",
		"nothing asks for a sidecar", "Outrigger outrigger-sidecar-injector namespace not asked the Namespace has no label istio-injection, and it wants enabled",
		"injected, if it were asked PolicyEnabled", "kubectl label namespace "+ns+" istio-injection=enabled")

	kubectl(t, "label", "namespace", ns, "istio-injection=enabled")
	says(t, cells(cli(t, "explain", "pod/"+pods[0].Name, "-n", ns)),
		"Sidecar a new pod gets it", "This pod has none", "Namespace, label istio-injection=enabled",
		"asked failurePolicy Fail", "injected PolicyEnabled", "templates sidecar", "kubectl rollout restart deployment/web-v1 -n "+ns)
	kubectl(t, "rollout", "restart", "deployment/web-v1", "-n", ns)
	kubectl(t, "rollout", "status", "deployment/web-v1", "-n", ns)
	eventually(t, "explain sees the new pods alone", func() error {
		out := cells(cli(t, "explain", "deploy/web-v1", "-n", ns))
		if !strings.Contains(out, "Pods now 2 of 2 have one") || !strings.Contains(out, "What to change\nNothing.") {
			return errors.New(out)
		}
		return nil
	})
	says(t, cli(t, "__complete", "explain", "-n", ns, "dep"), "deployment/web-v1\n")

	file := filepath.Join(t.TempDir(), "pods.yaml")
	if err := os.WriteFile(file, []byte(`apiVersion: v1
kind: Pod
metadata: {name: host}
spec: {hostNetwork: true, containers: [{name: app, image: "registry.example/app:1"}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: out}
spec: {template: {metadata: {labels: {sidecar.istio.io/inject: "false"}}, spec: {restartPolicy: Never, containers: [{name: app, image: "registry.example/app:1"}]}}}
---
apiVersion: v1
kind: Pod
metadata: {name: wrong, annotations: {inject.istio.io/templates: nosuch}}
spec: {containers: [{name: app, image: "registry.example/app:1"}]}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	says(t, cells(cli(t, "explain", "-n", ns, "-f", file)),
		"Pod "+ns+"/host", "not asked its matchCondition not-host-network says no", "skipped, if it were asked HostNetwork", "Take hostNetwork out of the pod's spec",
		"Job "+ns+"/out", "not asked the pod is labelled sidecar.istio.io/inject=false", "Take sidecar.istio.io/inject off the pod's template",
		"Pod "+ns+"/wrong", "Sidecar a new pod is refused", "denied UnknownTemplate", "Name templates of Istio's configuration")
	says(t, refused(t, "explain", "deployment/nothing", "-n", ns), "read Deployment "+ns+"/nothing", "not found")
}
