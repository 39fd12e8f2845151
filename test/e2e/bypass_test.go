// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// Each path past the versions is reported by the controller and by the commands while it is there, and not after that.
func TestPathsThatBypassTheVersionsAreReported(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t, injected)
	apply(t, ns, service("app")+fixed("app-v1", "app", "v1"))
	wantRoutes(t, ns, "app", "v1=100")
	apply(t, ns, fixed("app-v2", "app", "v2"))
	wantSubsets(t, ns, "app", "v1 v2")
	needKindsOfOthers(t) // they come after the controller has started
	reported := func(reason string, want bool) {
		t.Helper()
		eventually(t, fmt.Sprintf("status reports %s: %t", reason, want), func() error {
			if out := cli(t, "status", "app", "-n", ns); strings.Contains(out, reason) != want {
				return fmt.Errorf("it says:\n%s", out)
			}
			return nil
		})
	}
	for _, path := range []struct{ reason, kinds, object, ends string }{
		{"GatewayAPIBypassesSubsets", "httproutes.gateway.networking.k8s.io/web", `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec: {hostnames: [web.` + ns + `.example], parentRefs: [{name: front}], rules: [{backendRefs: [{name: app, port: 8080}]}]}
`, `{"spec":{"rules":[{"backendRefs":[{"name":"app-v1","port":8080,"weight":90},{"name":"app-v2","port":8080,"weight":10}]}]}}`},
		{"GatewayAPIBypassesSubsets", "tcproutes.gateway.networking.k8s.io/db", `
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata: {name: db}
spec: {parentRefs: [{name: front}], rules: [{backendRefs: [{name: app, port: 8080}]}]}
`, ""},
		{"IngressBypassesSubsets", "ingresses.networking.k8s.io/web", `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, annotations: {kubernetes.io/ingress.class: istio}}
spec: {rules: [{host: web.` + ns + `.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: app, port: {number: 8080}}}}]}}]}
`, `{"metadata":{"annotations":{"kubernetes.io/ingress.class":"nginx"}}}`},
		{"DelegateBypassesSubsets", "virtualservices.networking.istio.io/root,virtualservices.networking.istio.io/part", `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: part}
spec: {http: [{route: [{destination: {host: app}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: root}
spec: {hosts: [root.` + ns + `.example], gateways: [front], http: [{delegate: {name: part}}]}
`, ""},
		{"MeshBypassesSubsets", "virtualservices.networking.istio.io/inside", `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: inside}
spec: {hosts: [inside.` + ns + `.example], http: [{route: [{destination: {host: app}}]}]}
`, `{"spec":{"http":[{"route":[{"destination":{"host":"app","subset":"v1"}}]}]}}`},
	} {
		apply(t, ns, path.object)
		wantEvent(t, ns, "app", path.reason)
		reported(path.reason, true)
		if path.ends != "" { // it follows the versions
			kubectl(t, "-n", ns, "patch", path.kinds, "--type=merge", "-p", path.ends)
			reported(path.reason, false)
		}
		for _, one := range strings.Split(path.kinds, ",") {
			kubectl(t, "-n", ns, "delete", one)
		}
		reported(path.reason, false)
	}
	// The command of the advice makes a Service that Outrigger leaves alone.
	kubectl(t, "expose", "service", "-n", ns, "app", "--name=app-v1", "--selector=app=app,version=v1")
	says(t, cells(cli(t, "status", "app-v1", "-n", ns)), "app-v1 skipped")
}
