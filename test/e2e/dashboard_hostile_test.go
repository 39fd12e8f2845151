// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/test/dashboard"
)

// hostileText executes, if a page shows it as anything else than text.
const hostileText = `"'><script>window.hacked=1;alert(1)</script><img src=x onerror="window.hacked=2;alert(2)"><svg onload=alert(3)></svg>{{.}}</title></textarea></script>javascript:alert(4)`

// Whoever may write objects may write script into each of their fields. None of it is executed, on any page.
func TestDashboardExecutesNothing(t *testing.T) {
	dashboard.Need(t)
	t.Parallel()
	needIstio(t)
	ns := namespace(t, injected)
	apply(t, ns, service("app")+service("other")+fixed("app-v1", "app", "v1")+fixed("app-v2", "app", "v2"))
	wantRoutes(t, ns, "app", "v1=100")
	readyPods(t, ns, "app=app", 4)
	hostileObjects(t, ns)
	wantEvent(t, ns, "app", "InvalidAnnotation")
	path := kubeconfig(t, func(config *clientcmdapi.Config) {
		config.Contexts[hostileText] = config.Contexts[config.CurrentContext]
		config.CurrentContext = hostileText
	})
	tab := dashboard.Start(t, outrigger.Binary, path, "-n", ns).Open()
	tab.WantText("header", "<script>window.hacked=1")
	shown := 0
	for _, path := range []string{
		"/", "/services/" + ns + "/app", "/services/" + ns + "/other", "/services/" + ns + "/foreign", "/actions/" + ns + "/app/shift", "/actions/" + ns + "/app/canary", "/actions/" + ns + "/app/undo",
		"/injection", "/injection/" + ns + "/Deployment/app-v1", "/injection/" + ns + "/Deployment/hostile",
		"/?q=" + url.QueryEscape(hostileText), "/services/" + url.PathEscape(hostileText) + "/" + url.PathEscape(hostileText), "/injection/a/b/" + url.PathEscape(hostileText), "/" + url.PathEscape(hostileText),
	} {
		tab.Go(tab.URL(path))
		tab.WantElement("main h1")
		dashboard.Eval[bool](tab, `(document.querySelectorAll("details").forEach(d => d.open = true), true)`)
		for _, look := range []string{"light", "360"} {
			tab.Look(dashboard.Looks[look])
		}
		if dashboard.Eval[bool](tab, `"hacked" in window || [...document.querySelectorAll("script")].some(s => !s.src.startsWith(location.origin + "/static/")) || [...document.querySelectorAll("a[href]")].some(a => !/^https?:$/.test(a.protocol)) || [...document.querySelectorAll("*")].some(e => [...e.attributes].some(a => a.name.startsWith("on") || a.name === "style"))`) {
			t.Errorf("%s has elements that come from an object", path)
		}
		if alarms := tab.Alarms(); len(alarms) > 0 {
			t.Errorf("%s: %q", path, alarms)
		}
		if strings.Contains(tab.Text("main"), "<script>window.hacked=1") {
			shown++
		}
	}
	if shown < 6 {
		t.Errorf("only %d pages show the text that they must not execute", shown)
	}
	tab.Go(tab.URL("/services/" + ns + "/app"))
	looked(t, tab, "hostile")

	// The fields of a form come back as they were typed, as text.
	act(t, tab, ns, "promote", map[string]string{"#other": hostileText})
	tab.WantText("#problem", "<script>window.hacked=1")
	if got := dashboard.Eval[string](tab, `document.querySelector("#other").value`); got != hostileText {
		t.Errorf("the field contains %q", got)
	}
	if dashboard.Eval[bool](tab, `"hacked" in window`) {
		t.Error("the form executes what was typed")
	}
}

// hostileObjects writes the hostile text into every field that the API server accepts it in and that a page could show.
func hostileObjects(t *testing.T, ns string) {
	t.Helper()
	annotations := map[string]string{"description": hostileText, "outrigger.dev/unknown": hostileText, "kubernetes.io/change-cause": hostileText}
	for _, key := range strings.Fields(`version-label default-version weights match mirror sticky expose hosts gateway gateway-selector gateway-port tls-credential https-redirect path
		path-rewrite service-port unversioned subset-retention default-gone-after default-gone default-deleted scaled-to-zero decided-at drift eager inherit-policy
		canary canary-steps canary-interval canary-checks canary-min-requests canary-deadline canary-paused`) {
		annotations["outrigger.dev/"+key] = hostileText
	}
	set := func(object client.Object, name string) {
		t.Helper()
		object.SetNamespace(ns)
		object.SetName(name)
		patch := fmt.Sprintf(`{"metadata":{"annotations":%s}}`, asJSON(t, annotations))
		if err := kube.Patch(t.Context(), object, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
			t.Fatal(err)
		}
	}
	set(&corev1.Service{}, "app")
	namespaceObject := &corev1.Namespace{}
	namespaceObject.Name = ns
	if err := kube.Patch(t.Context(), namespaceObject, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"annotations":%s}}`, asJSON(t, map[string]string{
		"outrigger.dev/allowed-hosts": hostileText, "outrigger.dev/gateway": hostileText, "outrigger.dev/canary": hostileText,
	})))); err != nil {
		t.Fatal(err)
	}
	for _, reason := range []string{"InvalidAnnotation", hostileText[:120]} {
		event := &corev1.Event{
			ObjectMeta:     metav1.ObjectMeta{Namespace: ns, GenerateName: "hostile-"},
			InvolvedObject: corev1.ObjectReference{Kind: "Service", APIVersion: "v1", Namespace: ns, Name: "app"},
			Reason:         reason, Message: hostileText, Type: corev1.EventTypeWarning, FirstTimestamp: metav1.Now(), LastTimestamp: metav1.Now(), Count: 3,
			Source: corev1.EventSource{Component: hostileText, Host: hostileText},
		}
		if err := kube.Create(t.Context(), event); err != nil {
			t.Fatal(err)
		}
	}
	apply(t, ns, fmt.Sprintf(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: foreign, annotations: {description: %[1]s}}
spec:
  hosts: [other]
  http:
  - name: %[1]s
    match: [{headers: {end-user: {exact: %[1]s}}}, {queryParams: {x: {regex: %[1]s}}}, {sourceLabels: {app: %[1]s}}]
    route: [{destination: {host: other, subset: %[1]s}}]
  - route: [{destination: {host: other}}]
---
apiVersion: v1
kind: Service
metadata: {name: foreign, annotations: {outrigger.dev/weights: %[1]s}}
spec: {selector: {app: app}, ports: [{port: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: hostile, annotations: {description: %[1]s}}
spec:
  selector: {matchLabels: {app: other}}
  template:
    metadata:
      labels: {app: other, version: v1}
      annotations: {sidecar.istio.io/proxyCPU: %[1]s, inject.istio.io/templates: %[1]s, traffic.sidecar.istio.io/includeInboundPorts: %[1]s}
    spec: {containers: [{name: app, image: %[1]s, env: [{name: A, value: %[1]s}]}]}
`, asJSON(t, hostileText)))
}

func asJSON(t *testing.T, value any) string {
	t.Helper()
	out, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
