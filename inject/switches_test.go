// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// releases are every minor release that is served, and one that is not known ("").
var releases = []string{"1.24.6", "1.25.5", "1.26.8", "1.27.9", "1.28.6", "1.29.4", "1.30.2", "1.31.1", "1.32.0", ""}

// from returns what a release does: before up to but not including the minor release since, after from it on, and unknown
// where the release is not known.
func from(since int, before, after, unknown string) func(release string) string {
	return func(release string) string {
		r := parseRelease(release)
		switch {
		case r == 0:
			return unknown
		case int(r) < since:
			return before
		}
		return after
	}
}

// What older releases of Istio do otherwise cannot be compared with their code, so each switch is seen here at each of
// its values: all rows of the table of switches, as the releases' sources and release notes say.
func TestEveryReleaseHasItsSwitches(t *testing.T) {
	for behaviour, test := range map[string]struct {
		change func(*Source) // of the configuration; nil for none
		pod    string
		see    func(pod *corev1.Pod, report Report) string
		want   func(release string) string
	}{
		"an unreadable choice in an enabled policy": {
			pod: `metadata: {labels: {sidecar.istio.io/inject: "off"}}`, see: resultOfReport,
			want: from(27, "skipped OptedOut", "injected PolicyEnabled UnreadableChoice", "injected PolicyEnabled UnreadableChoice"),
		},
		"a choice that was any text": {
			pod: `metadata: {labels: {sidecar.istio.io/inject: "1"}}`, see: resultOfReport,
			want: from(27, "skipped OptedOut", "injected PolicyEnabled UnreadableChoice", "injected PolicyEnabled UnreadableChoice"),
		},
		"a choice in capitals in a disabled policy": {
			change: func(s *Source) { s.Config = strings.Replace(s.Config, "policy: enabled", "policy: disabled", 1) },
			pod:    `metadata: {labels: {sidecar.istio.io/inject: "True"}}`, see: resultOfReport,
			want: from(27, "injected OptedIn", "skipped PolicyDisabled UnreadableChoice", "skipped PolicyDisabled UnreadableChoice"),
		},
		"native sidecars where nothing is said": {
			see: proxyIsIn, want: from(27, "containers", "initContainers", "initContainers"),
		},
		"native sidecars said to be auto": {
			change: withValue(`"pilot": {"env": {"ENABLE_NATIVE_SIDECARS": "auto"}}`),
			see:    proxyIsIn, want: from(27, "containers", "initContainers", "initContainers"),
		},
		"native sidecars said to be on": {
			change: withValue(`"pilot": {"env": {"ENABLE_NATIVE_SIDECARS": "true"}}`),
			see:    proxyIsIn, want: from(0, "", "initContainers", "initContainers"),
		},
		"native sidecars said to be off": {
			change: withValue(`"pilot": {"env": {"ENABLE_NATIVE_SIDECARS": false}}`),
			see:    proxyIsIn, want: from(0, "", "containers", "containers"),
		},
		"native sidecars by our own setting": {
			change: func(s *Source) { s.Settings.NativeSidecars = "enabled" },
			see:    proxyIsIn, want: from(0, "", "initContainers", "initContainers"),
		},
		"a template that asks the environment for native sidecars": {
			change: func(s *Source) {
				withValue(`"pilot": {"env": {"ENABLE_NATIVE_SIDECARS": "true"}}`)(s)
				s.Config = strings.ReplaceAll(s.Config, "if .NativeSidecars", `if eq (env "ENABLE_NATIVE_SIDECARS" "false") "true"`)
			},
			see: proxyIsIn, want: from(0, "", "initContainers", "initContainers"),
		},
		"hooks are rewritten": {
			pod: "spec: {containers: [{name: app, lifecycle: {preStop: {httpGet: {port: 80, path: /stop}}, postStart: {tcpSocket: {port: 81}}}}]}",
			see: func(pod *corev1.Pod, _ Report) string {
				app := findContainer(pod.Spec.Containers, "app")
				return strings.TrimSpace(app.Lifecycle.PreStop.HTTPGet.Path + " " + proberKeys(pod))
			},
			want: from(25, "/stop", "/app-lifecycle/app/prestopz poststartz prestopz", "/app-lifecycle/app/prestopz poststartz prestopz"),
		},
		"several targets for Prometheus": {
			pod: `metadata: {annotations: {prometheus.istio.io/scrape-targets: "9090:/a,9091"}}`,
			see: func(pod *corev1.Pod, _ Report) string {
				return fmt.Sprintf("%t %s", pod.Annotations[annotationTargets] != "", envOf(pod, "ISTIO_PROMETHEUS_ANNOTATIONS"))
			},
			want: from(31, "true ", `false {"scrape":"","path":"/a","port":"9090","targets":[{"port":"9090","path":"/a"},{"port":"9091","path":"/metrics"}]}`, "true "),
		},
		"a port for Prometheus that the proxy has": {
			pod: `metadata: {annotations: {prometheus.io/port: "15090"}}`, see: resultOfReport,
			want: from(31, "injected PolicyEnabled", "denied InvalidAnnotation", "injected PolicyEnabled"),
		},
		"a port for Prometheus that is none": {
			pod: `metadata: {annotations: {prometheus.io/port: http}}`, see: resultOfReport,
			want: from(31, "injected PolicyEnabled", "denied InvalidAnnotation", "injected PolicyEnabled"),
		},
		"the secure port for Prometheus": {
			change: func(s *Source) {
				s.Config = strings.Replace(s.Config, "        env:\n", "        env:\n        - {name: ENVOY_SECURE_MERGED_METRICS_PORT, value: \"15091\"}\n", 1)
			},
			see:  func(pod *corev1.Pod, _ Report) string { return pod.Annotations["prometheus.istio.io/secure-port"] },
			want: from(31, "", "15091", ""),
		},
		"the name of a network interface": {
			pod: `metadata: {annotations: {traffic.sidecar.istio.io/excludeInterfaces: "eth+"}}`, see: resultOfReport,
			want: from(30, "injected PolicyEnabled InvalidAnnotation", "denied InvalidAnnotation", "injected PolicyEnabled InvalidAnnotation"),
		},
		"an image without a type": {
			change: func(s *Source) { s.Values = strings.Replace(s.Values, `"tag"`, `"variant": "distroless", "tag"`, 1) },
			pod:    `metadata: {annotations: {proxy.istio.io/config: "image: {}"}}`,
			see:    func(pod *corev1.Pod, _ Report) string { return findProxy(pod).Image },
			want: from(31, "registry.example/istio/proxyv2:1.31.1", "registry.example/istio/proxyv2:1.31.1-distroless",
				"registry.example/istio/proxyv2:1.31.1-distroless"),
		},
		"a resource that is no quantity is refused by every release": {
			pod: `metadata: {annotations: {sidecar.istio.io/proxyCPU: "x"}}`, see: resultOfReport,
			want: from(0, "", "denied InvalidAnnotation", "denied InvalidAnnotation"),
		},
		"the application's user is taken from the proxy on OpenShift, init containers looked at": {
			change: func(s *Source) { s.Settings.Platform = "openshift" },
			pod: `spec: {initContainers: [{name: i, securityContext: {runAsUser: 7}}],
containers: [{name: istio-proxy, image: auto, securityContext: {runAsUser: 7}}, {name: app, image: a, securityContext: {runAsUser: 7}}]}`,
			see: func(pod *corev1.Pod, _ Report) string {
				return fmt.Sprint(findProxy(pod).SecurityContext.RunAsUser == nil)
			},
			want: from(0, "", "true", "true"),
		},
		"probes that come with a second injection get their probers": {
			change: func(s *Source) { s.Settings.NativeSidecars = "disabled" },
			pod: `{metadata: {annotations: {sidecar.istio.io/status: '{"containers":["istio-proxy"]}'}},
spec: {containers: [{name: app, readinessProbe: {httpGet: {port: 80}}}, {name: istio-proxy, image: auto}]}}`,
			see:  func(pod *corev1.Pod, _ Report) string { return proberKeys(pod) },
			want: from(0, "", "readyz", "readyz"),
		},
	} {
		t.Run(behaviour, func(t *testing.T) {
			for _, release := range releases {
				config := parsed(t, func(s *Source) {
					ofRelease(release)(s)
					if test.change != nil {
						test.change(s)
					}
				})
				config.release = parseRelease(release) // which the template's words would tell, where nothing else does
				after, report := inject(t, pod(t, test.pod), config)
				if got, want := test.see(after, report), test.want(release); got != want {
					t.Errorf("release %q: %s, want %s (%s)", release, got, want, report.Message)
				}
			}
		})
	}
}

// withValue adds a field to the values.
func withValue(field string) func(*Source) {
	return func(s *Source) { s.Values = strings.Replace(s.Values, "{", "{"+field+", ", 1) }
}

func resultOfReport(_ *corev1.Pod, report Report) string {
	words := []string{string(report.Result), string(report.Reason)}
	if report.Result != Denied {
		for _, problem := range report.Problems {
			words = append(words, string(problem.Reason))
		}
	}
	return strings.Join(words, " ")
}

func proxyIsIn(pod *corev1.Pod, _ Report) string {
	if findContainer(pod.Spec.InitContainers, proxyName) != nil {
		return "initContainers"
	}
	return "containers"
}

func envOf(pod *corev1.Pod, name string) string {
	for _, env := range findProxy(pod).Env {
		if env.Name == name {
			return env.Value
		}
	}
	return ""
}

// proberKeys returns the last words of the paths that the agent is told to serve, sorted.
func proberKeys(pod *corev1.Pod) string {
	probers := map[string]any{}
	_ = json.Unmarshal([]byte(envOf(pod, envProbers)), &probers) // absent where there are none
	var words []string
	for _, path := range slices.Sorted(maps.Keys(probers)) {
		words = append(words, path[strings.LastIndex(path, "/")+1:])
	}
	return strings.Join(words, " ")
}
