// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

// A pod that an injector made passes, of whatever release; a claim to be injected that hides another proxy does not.
func TestForeignProxy(t *testing.T) {
	const claim = `{"initContainers":["istio-init"],"containers":["istio-proxy"],"volumes":null,"imagePullSecrets":null,"revision":"default"}`
	const forged = `{metadata: {annotations: {sidecar.istio.io/status: '` + claim + `'}}, spec: {containers: [{name: app, image: a}, {name: istio-proxy, image: "evil.example/proxy:1"}]}}`
	image := func(image string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { findProxy(p).Image = image }
	}
	for name, test := range map[string]struct {
		pod    string
		inject bool // before change
		change func(*corev1.Pod)
		want   string // empty: no Problem
	}{
		"injected":                      {pod: `{}`, inject: true},
		"injected by another release":   {pod: `{}`, inject: true, change: image("registry.example/istio/proxyv2:1.29.0")},
		"injected, pinned by digest":    {pod: `{}`, inject: true, change: image("registry.example/istio/proxyv2@sha256:0123")},
		"injected, from a mirror":       {pod: `{}`, inject: true, change: image("mirror.example/registry.example/istio/proxyv2:1.31.1")},
		"image by annotation":           {pod: `{metadata: {annotations: {sidecar.istio.io/proxyImage: "mine.example/proxy:2"}}}`, inject: true},
		"container of the author's own": {pod: `{spec: {containers: [{name: app, image: a}, {name: istio-proxy, image: "mine.example/proxy:2"}]}}`, inject: true},
		"claims nothing":                {pod: `{spec: {containers: [{name: app, image: a}, {name: istio-proxy, image: "evil.example/proxy:1"}]}}`},
		"no proxy":                      {pod: `{metadata: {annotations: {sidecar.istio.io/status: '{}'}}}`},

		"forged":                       {pod: forged, want: "runs image evil.example/proxy:1, but injection would use registry.example/istio/proxyv2:1.31.1"},
		"forged and opted out":         {pod: strings.Replace(forged, "metadata: {", `metadata: {labels: {sidecar.istio.io/inject: "false"}, `, 1), want: "runs image evil.example/proxy:1"},
		"forged, listing nothing":      {pod: strings.Replace(forged, claim, "{}", 1), want: "runs image evil.example/proxy:1"},
		"forged, unreadable":           {pod: strings.Replace(forged, claim, "injected", 1), want: "invalid JSON"},
		"forged, in no injectable pod": {pod: strings.Replace(forged, "annotations: {", `annotations: {sidecar.istio.io/proxyCPU: "1", inject.istio.io/templates: nosuch, `, 1), want: "injection would refuse it"},
		"forged, as a native sidecar": {pod: `{metadata: {annotations: {sidecar.istio.io/status: '` + strings.Replace(claim, "istio-init", "istio-proxy", 1) + `'}}, spec: {initContainers: [{name: istio-proxy, image: "evil.example/proxy:1", restartPolicy: Always}], containers: [{name: app, image: a}]}}`,
			want: "runs image evil.example/proxy:1"},
		"injected and then changed":   {pod: `{}`, inject: true, change: image("evil.example/proxyv2:1.31.1"), want: "runs image evil.example/proxyv2:1.31.1"},
		"a name that only ends alike": {pod: `{}`, inject: true, change: image("evilregistry.example/istio/proxyv2:1.31.1"), want: "runs image evilregistry.example"},
	} {
		t.Run(name, func(t *testing.T) {
			config := parsed(t, nil)
			subject := pod(t, test.pod)
			if test.inject {
				var report Report
				if subject, report = inject(t, subject, config); report.Result != Injected {
					t.Fatalf("%s: %s", report.Result, report.Message)
				}
				subject = subject.DeepCopy()
			}
			if test.change != nil {
				test.change(subject)
			}
			before := subject.DeepCopy()
			problem, err := ForeignProxy(Request{Pod: subject, Namespace: &corev1.Namespace{}}, config)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case test.want == "" && problem != nil:
				t.Errorf("got %s; want none", problem)
			case test.want != "" && (problem == nil || problem.Reason != api.InjectForeignProxy || !strings.Contains(problem.String(), test.want)):
				t.Errorf("got %v; want %q", problem, test.want)
			}
			if before.String() != subject.String() {
				t.Error("the pod was changed")
			}
		})
	}
}
