// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	claimsProxy = "claims that the pod is injected, but no container istio-proxy keeps running"
	asProxy     = "runs as the user or group of the proxy"
	otherProxy  = "ForeignProxy"
)

// podAttack is a pod of a tenant that evades the sidecar, and what is said of it.
type podAttack struct{ name, pod, says string }

// forgedWith is a pod that claims to be injected.
func forgedWith(rest string) string {
	return `
metadata:
  annotations: {sidecar.istio.io/status: '{"initContainers":["istio-init"],"containers":["istio-proxy"],"volumes":null,"imagePullSecrets":null,"revision":"default"}'}
` + rest
}

var podAttacks = []podAttack{
	{"claims to be injected, and opts out", `
metadata:
  labels: {sidecar.istio.io/inject: "false"}
  annotations: {sidecar.istio.io/status: '{"containers":["istio-proxy"]}'}`, claimsProxy},
	{"an init container of the proxy's name that completes", `
metadata:
  labels: {sidecar.istio.io/inject: "false"}
  annotations: {sidecar.istio.io/status: '{"initContainers":["istio-proxy"]}'}
spec: {initContainers: [{name: istio-proxy, image: busybox, command: ["true"]}], containers: [{name: app, image: a}]}`, claimsProxy},
	{"an init container of the proxy's name that completes, asking for a sidecar", `
metadata:
  labels: {sidecar.istio.io/inject: "true"}
  annotations: {sidecar.istio.io/status: '{"initContainers":["istio-proxy"]}'}
spec: {initContainers: [{name: istio-proxy, image: busybox, command: ["true"]}], containers: [{name: app, image: a}]}`, claimsProxy},
	{"a container of the proxy's name with another image", forgedWith(`spec: {containers: [{name: app, image: a}, {name: istio-proxy, image: evil.example/pause}]}`), otherProxy},
	{"a native sidecar of the proxy's name with another image", `
metadata:
  annotations: {sidecar.istio.io/status: '{"initContainers":["istio-proxy"]}'}
spec: {initContainers: [{name: istio-proxy, image: evil.example/pause, restartPolicy: Always}], containers: [{name: app, image: a}]}`, otherProxy},
	{"another image of the same last name", forgedWith(`spec: {containers: [{name: app, image: a}, {name: istio-proxy, image: evil.example/proxyv2}]}`), otherProxy},
	{"another image behind a status that lists nothing", `
metadata: {annotations: {sidecar.istio.io/status: '{}'}}
spec: {containers: [{name: app, image: a}, {name: istio-proxy, image: evil.example/pause}]}`, otherProxy},
	{"another image behind a status that is no JSON", `
metadata: {annotations: {sidecar.istio.io/status: injected}}
spec: {containers: [{name: app, image: a}, {name: istio-proxy, image: evil.example/pause}]}`, otherProxy},
	{"another image of a pod that opts out", strings.Replace(forgedWith(`spec: {containers: [{name: app, image: a}, {name: istio-proxy, image: evil.example/pause}]}`),
		"  annotations:", "  labels: {sidecar.istio.io/inject: \"false\"}\n  annotations:", 1), otherProxy},
	{"another image and an annotation that cannot be rendered", strings.Replace(forgedWith(`spec: {containers: [{name: app, image: a}, {name: istio-proxy, image: evil.example/pause}]}`),
		"annotations: {", "annotations: {inject.istio.io/templates: nosuch, ", 1), otherProxy},
	{"a template's name beside a claim", `
metadata:
  labels: {sidecar.istio.io/inject: "false"}
  annotations: {inject.istio.io/templates: custom, sidecar.istio.io/status: '{}'}`, claimsProxy},
	{"a container as the proxy's user", `spec: {containers: [{name: app, image: a, securityContext: {runAsUser: 1337}}]}`, asProxy},
	{"a container as the proxy's group", `spec: {containers: [{name: app, image: a, securityContext: {runAsUser: 1000, runAsGroup: 1337}}]}`, asProxy},
	{"the pod as the proxy's user", `spec: {securityContext: {runAsUser: 1337}}`, asProxy},
}

// By default a pod that evades the sidecar is created, and its author is warned: Deny would refuse the next pods of what runs.
func TestTenantEvadesTheSidecar(t *testing.T) {
	needIstio(t)
	attacker := newTenant(t)
	warned := func(pod string) (string, error) {
		attacker.warnings.forget()
		err := attacker.client.Create(t.Context(), podOf(t, attacker.namespace, pod), client.DryRunAll)
		return attacker.warnings.all(), err
	}
	for _, first := range []podAttack{podAttacks[0], podAttacks[3], podAttacks[11]} {
		eventually(t, first.says+" is enforced", func() error {
			if out, err := warned(first.pod); err != nil || !strings.Contains(out, first.says) {
				return fmt.Errorf("%w, warned of %q", err, out)
			}
			return nil
		})
	}
	for _, attack := range podAttacks {
		t.Run(attack.name, func(t *testing.T) {
			if out, err := warned(attack.pod); err != nil || !strings.Contains(out, attack.says) {
				t.Errorf("%v, warned of %q; want it created, and a warning %q", err, out, attack.says)
			}
		})
	}
	t.Run("a claim without a proxy", func(t *testing.T) {
		pod := podOf(t, attacker.namespace, forgedWith(""))
		if err := attacker.client.Create(t.Context(), pod, client.DryRunAll); err != nil || !hasSidecar(pod) {
			t.Errorf("%v, with a sidecar: %t; want it injected", err, hasSidecar(pod))
		}
	})
	t.Run("an ordinary pod", func(t *testing.T) {
		if out, err := warned(""); err != nil || out != "" {
			t.Errorf("%v, warned of %q", err, out)
		}
	})
}

// hostilePods are denied at any setting: injection would make something else of them than their author may ask for.
var hostilePods = []podAttack{
	{"a negative request of the proxy", `metadata: {annotations: {sidecar.istio.io/proxyCPU: "-1"}}`, "must not be negative"},
	{"a negative limit of the proxy", `metadata: {annotations: {sidecar.istio.io/proxyMemoryLimit: "-1Gi"}}`, "must not be negative"},
	{"an argument in a log level", `metadata: {annotations: {sidecar.istio.io/logLevel: "info, --evil], command: [sh"}}`, "UnsafeValue"},
	{"a variable in a ProxyConfig", `metadata: {annotations: {proxy.istio.io/config: 'proxyMetadata: {A: "x\"\n    - name: EVIL\n      value: \"y"}'}}`, "UnsafeValue"},
	{"a field behind an image", `metadata: {annotations: {sidecar.istio.io/proxyImage: "a\"\n    tty: true\n    workingDir: \"/"}}`, "UnsafeValue"},
	{"a template that is not there", `metadata: {annotations: {inject.istio.io/templates: "sidecar,../../etc"}}`, "UnknownTemplate"},
	{"a port of the proxy's own", `metadata: {annotations: {prometheus.io/port: "15090", prometheus.io/scrape: "true"}}`, "InvalidAnnotation"},
	{"an interception mode that is none", `metadata: {annotations: {sidecar.istio.io/interceptionMode: "NONE; true"}}`, "InvalidAnnotation"},
	{"networks that are none", `metadata: {annotations: {traffic.sidecar.istio.io/includeOutboundIPRanges: "10.0.0.0/8 -j ACCEPT"}}`, "InvalidAnnotation"},
	{"ports that are none", `metadata: {annotations: {traffic.sidecar.istio.io/excludeInboundPorts: "80,-1"}}`, "InvalidAnnotation"},
	{"containers recorded by no injector", `metadata: {annotations: {proxy.istio.io/overrides: "[]"}}`, "InvalidAnnotation"},
}

func TestTenantSendsHostilePods(t *testing.T) {
	needIstio(t)
	attacker := newTenant(t)
	for _, attack := range hostilePods {
		t.Run(attack.name, func(t *testing.T) {
			err := attacker.client.Create(t.Context(), podOf(t, attacker.namespace, attack.pod), client.DryRunAll)
			if err == nil || apierrors.IsInternalError(err) || !strings.Contains(err.Error(), attack.says) {
				t.Errorf("%v; want it denied with %q", err, attack.says)
			}
		})
	}
	t.Run("afterwards an ordinary pod", func(t *testing.T) {
		pod := podOf(t, attacker.namespace, "")
		if err := attacker.client.Create(t.Context(), pod, client.DryRunAll); err != nil || !hasSidecar(pod) {
			t.Errorf("%v, with a sidecar: %t", err, hasSidecar(pod))
		}
	})
}
