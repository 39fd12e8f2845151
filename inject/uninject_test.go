// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"outrigger.dev/outrigger/api"
)

func TestUninjectReturnsThePodBefore(t *testing.T) {
	for _, c := range []struct{ what, pod string }{
		{"a small pod", `{}`},
		{"probes and hooks", `{spec: {containers: [{name: app, image: "app:1", ports: [{containerPort: 8080, name: http}],
			readinessProbe: {httpGet: {path: /ready, port: 8080, scheme: HTTPS}, periodSeconds: 3}, livenessProbe: {grpc: {port: 9}, timeoutSeconds: 2},
			startupProbe: {tcpSocket: {port: 7}}, lifecycle: {preStop: {httpGet: {path: /stop, port: 8080}}, postStart: {exec: {command: [sleep]}}}}]}}`},
		{"metrics", `{metadata: {annotations: {prometheus.io/scrape: "true", prometheus.io/port: "8080"}}}`},
		{"several targets", `{metadata: {annotations: {prometheus.io/scrape: "true", prometheus.istio.io/scrape-targets: "8080:/a,8081:/metrics"}}}`},
		{"a proxy of its own", `{spec: {containers: [{name: app, image: "app:1"}, {name: istio-proxy, image: auto, env: [{name: A, value: b}]}]}}`},
		{"labels of its own", `{metadata: {labels: {app: web, security.istio.io/tlsMode: disabled}}}`},
		{"volumes and containers of its own", `{spec: {volumes: [{name: mine, emptyDir: {}}], initContainers: [{name: prepare, image: "app:1"}], containers: [{name: app, image: "app:1", volumeMounts: [{name: mine, mountPath: /mine}]}]}}`},
	} {
		t.Run(c.what, func(t *testing.T) {
			config := parsed(t, func(s *Source) {
				s.Config = strings.Replace(s.Config, "injectedAnnotations: {made.example/by: test}", "", 1)
			})
			before := pod(t, c.pod)
			after, report := inject(t, before, config)
			if report.Result != Injected {
				t.Fatalf("%s: %s", report.Result, report.Message)
			}
			kept := after.DeepCopy()
			got, injected, notes, err := Uninject(after)
			if err != nil || !injected || len(notes) > 0 {
				t.Fatalf("injected %t, %v, %v", injected, notes, err)
			}
			if diff := cmp.Diff(before, got); diff != "" {
				t.Errorf("(-before +removed):\n%s", diff)
			}
			if diff := cmp.Diff(kept, after); diff != "" {
				t.Errorf("the injected pod was changed:\n%s", diff)
			}
		})
	}
}

func TestUninjectNotesWhatIsNotRecorded(t *testing.T) {
	unchanged := pod(t, `{}`)
	if got, injected, _, err := Uninject(unchanged); got != unchanged || injected || err != nil {
		t.Errorf("a pod without a sidecar: %v, %t, %v", got, injected, err)
	}
	config := parsed(t, nil)
	after, _ := inject(t, pod(t, `{spec: {containers: [{name: app, image: "app:1", livenessProbe: {httpGet: {path: /live, port: nosuch}}}]}}`), config)
	if _, _, notes, err := Uninject(after); err != nil || len(notes) != 1 || !strings.Contains(notes[0], "/app-health/app/livez was a probe") {
		t.Errorf("a probe that was not recorded: %v, %v", notes, err)
	}
	after.Annotations["sidecar.istio.io/status"] = "injected"
	if _, _, _, err := Uninject(after); err == nil || !strings.Contains(err.Error(), `sidecar.istio.io/status "injected" is not what an injector writes`) {
		t.Errorf("an unreadable status: %v", err)
	}
}

// The names of ports that injection replaced are restored where they are recorded and still mean the same port. A number stays one.
func TestUninjectRestoresTheNamesOfPorts(t *testing.T) {
	config := parsed(t, func(s *Source) {
		s.Config = strings.Replace(s.Config, "injectedAnnotations: {made.example/by: test}", "", 1)
	})
	before := pod(t, `{spec: {containers: [{name: app, image: "app:1", ports: [{containerPort: 8080, name: http}, {containerPort: 9, name: admin}],
		readinessProbe: {httpGet: {path: /ready, port: http}}, livenessProbe: {tcpSocket: {port: admin}}, startupProbe: {httpGet: {path: /, port: 8080}},
		lifecycle: {preStop: {httpGet: {path: /stop, port: http}}}}]}}`)
	after, _ := inject(t, before, config)
	names := NamedProbePorts(before, after)
	want := map[string]string{"/app-health/app/readyz": "http", "/app-health/app/livez": "admin", "/app-lifecycle/app/prestopz": "http"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Fatal(diff)
	}
	text, err := json.Marshal(names)
	if err != nil {
		t.Fatal(err)
	}
	after.Annotations[api.AnnotationProbePorts] = string(text)
	got, _, notes, err := Uninject(after)
	if diff := cmp.Diff(before, got); diff != "" || err != nil || len(notes) > 0 {
		t.Errorf("%v, %v\n%s", err, notes, diff)
	}
	after.Spec.Containers[0].Ports[0].ContainerPort = 80 // edited since: the name means another port
	if got, _, _, err := Uninject(after); err != nil || got.Spec.Containers[0].ReadinessProbe.HTTPGet.Port.String() != "8080" {
		t.Errorf("%v, %v", got.Spec.Containers[0].ReadinessProbe, err)
	}
	after.Annotations[api.AnnotationProbePorts] = "x"
	if _, _, _, err := Uninject(after); err == nil {
		t.Error("an annotation that cannot be read is accepted")
	}
}
