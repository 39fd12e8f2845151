// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
)

// What is worth a warning is told with the decision, and changes nothing about it.
func TestWhatWillNotWorkIsNamed(t *testing.T) {
	const job = "metadata: {generateName: backup-29000000-, ownerReferences: [{apiVersion: batch/v1, kind: Job, name: backup-29000000, uid: u, controller: true}]}\nspec: {restartPolicy: OnFailure}"
	for name, test := range map[string]struct {
		pod       string
		native    string
		namespace map[string]string // labels
		want      []string          // reason and field
		says      string
	}{
		"an ordinary pod":                    {pod: "{}"},
		"a Job with an ordinary sidecar":     {pod: job, native: "disabled", want: []string{"JobWillNotComplete spec.restartPolicy"}, says: "CronJob backup never completes"},
		"a Job with a native sidecar":        {pod: job, native: "enabled"},
		"a bare pod that is to end":          {pod: "spec: {restartPolicy: Never}", native: "disabled", want: []string{"JobWillNotComplete spec.restartPolicy"}, says: "the pod never completes"},
		"a pod that restarts always":         {pod: "spec: {restartPolicy: Always}", native: "disabled"},
		"Linkerd's sidecar":                  {pod: "spec: {containers: [{name: app}, {name: linkerd-proxy}]}", want: []string{"ForeignSidecar spec.containers[linkerd-proxy]"}, says: "Linkerd also injected the pod"},
		"Consul's sidecar":                   {pod: "spec: {initContainers: [{name: consul-connect-inject-init}], containers: [{name: app}, {name: consul-dataplane}]}", want: []string{"ForeignSidecar spec.initContainers[consul-connect-inject-init]"}, says: "Consul"},
		"a container as the proxy's user":    {pod: "spec: {containers: [{name: app, securityContext: {runAsUser: 1337}}]}", want: []string{"RunsAsProxyUser spec.containers[app].securityContext.runAsUser"}, says: "container app"},
		"the pod as the proxy's user":        {pod: "spec: {securityContext: {runAsUser: 1337}, containers: [{name: app}]}", want: []string{"RunsAsProxyUser spec.securityContext.runAsUser"}, says: "container app"},
		"a container over the pod's user":    {pod: "spec: {securityContext: {runAsUser: 1337}, containers: [{name: app, securityContext: {runAsUser: 1}}]}"},
		"the user's own proxy as that user":  {pod: "spec: {containers: [{name: app}, {name: istio-proxy, image: auto, securityContext: {runAsUser: 1337}}]}"},
		"that user without redirection":      {pod: "metadata: {annotations: {sidecar.istio.io/interceptionMode: NONE}}\nspec: {containers: [{name: app, securityContext: {runAsUser: 1337}}]}"},
		"the pod as the proxy's group":       {pod: "spec: {securityContext: {runAsGroup: 1337}, containers: [{name: app}]}", want: []string{"RunsAsProxyUser spec.securityContext.runAsGroup"}, says: "the proxy's group"},
		"an init container that completes":   {pod: "spec: {initContainers: [{name: migrate, securityContext: {runAsUser: 1337}}], containers: [{name: app}]}", native: "disabled"},
		"one beside a native sidecar":        {pod: "spec: {initContainers: [{name: migrate, securityContext: {runAsUser: 1337}}], containers: [{name: app}]}", native: "enabled", want: []string{"RunsAsProxyUser spec.initContainers[migrate].securityContext.runAsUser"}, says: "container migrate"},
		"the user's own native sidecar":      {pod: "spec: {initContainers: [{name: log, restartPolicy: Always, securityContext: {runAsUser: 1337}}], containers: [{name: app}]}", native: "disabled", want: []string{"RunsAsProxyUser spec.initContainers[log].securityContext.runAsUser"}, says: "container log"},
		"more CPU than the limit":            {pod: "metadata: {annotations: {sidecar.istio.io/proxyCPU: '2', sidecar.istio.io/proxyCPULimit: '1'}}\nspec: {containers: [{name: app}, {name: istio-proxy, image: auto, resources: {requests: {cpu: '2'}, limits: {cpu: '1'}}}]}", want: []string{"RequestExceedsLimit metadata.annotations[sidecar.istio.io/proxyCPU]"}, says: "sidecar.istio.io/proxyCPULimit: \"2\""},
		"more memory than the limit":         {pod: "metadata: {annotations: {sidecar.istio.io/proxyMemory: 1Gi, sidecar.istio.io/proxyMemoryLimit: 512Mi}}\nspec: {containers: [{name: app}, {name: istio-proxy, image: auto, resources: {requests: {memory: 1Gi}, limits: {memory: 512Mi}}}]}", want: []string{"RequestExceedsLimit metadata.annotations[sidecar.istio.io/proxyMemory]"}, says: "its limit is 512Mi"},
		"the same without an annotation":     {pod: "spec: {containers: [{name: app}, {name: istio-proxy, image: auto, resources: {requests: {cpu: '2'}, limits: {cpu: '1'}}}]}", want: []string{"RequestExceedsLimit spec.containers[istio-proxy].resources.requests"}},
		"as much as the limit":               {pod: "metadata: {annotations: {sidecar.istio.io/proxyCPU: '1', sidecar.istio.io/proxyCPULimit: 1000m}}\nspec: {containers: [{name: app}, {name: istio-proxy, image: auto, resources: {requests: {cpu: '1'}, limits: {cpu: 1000m}}}]}"},
		"a probe of an unknown port":         {pod: "spec: {containers: [{name: app, ports: [{name: http, containerPort: 80}], readinessProbe: {httpGet: {port: htpp}}}]}", want: []string{"UnknownProbePort spec.containers[app].readinessProbe.httpGet.port"}, says: "one of the container's ports: http."},
		"a probe of another container's":     {pod: "spec: {containers: [{name: app, livenessProbe: {tcpSocket: {port: http}}}, {name: web, ports: [{name: http, containerPort: 80}]}]}", want: []string{"UnknownProbePort spec.containers[app].livenessProbe.tcpSocket.port"}, says: "container app has no port of this name"},
		"a hook of an unknown port":          {pod: "spec: {containers: [{name: app, lifecycle: {preStop: {httpGet: {port: admin}}}}]}", want: []string{"UnknownProbePort spec.containers[app].lifecycle.preStop.httpGet.port"}, says: "the hook always fails"},
		"probes of known ports":              {pod: "spec: {containers: [{name: app, ports: [{name: http, containerPort: 80}], readinessProbe: {httpGet: {port: http}}, livenessProbe: {httpGet: {port: 81}}}]}"},
		"Windows by the node selector alone": {pod: "spec: {nodeSelector: {kubernetes.io/os: windows}}", want: []string{"WindowsPod spec.nodeSelector[kubernetes.io/os]"}, says: "spec.os.name"},
		"a misspelled label":                 {pod: "metadata: {labels: {sidecar.istio.io/injct: 'false'}}", want: []string{"MisspelledKey metadata.labels[sidecar.istio.io/injct]"}, says: "sidecar.istio.io/inject"},
		"an unknown key of ours":             {pod: "metadata: {annotations: {outrigger.dev/x: y}}", want: []string{"UnknownKey metadata.annotations[outrigger.dev/x]"}, says: "no such key"},
		"a misspelled word of the namespace": {pod: "metadata: {labels: {sidecar.istio.io/inject: 'true'}}", namespace: map[string]string{"istio-injection": "enable"}, want: []string{"MisspelledKey metadata.labels[istio-injection]"}, says: "Namespace demo"},
		"several things at once":             {pod: "metadata: {labels: {sidecar.istio.io/injct: x}}\nspec: {restartPolicy: Never, containers: [{name: linkerd-proxy}]}", native: "disabled", want: []string{"MisspelledKey metadata.labels[sidecar.istio.io/injct]", "ForeignSidecar spec.containers[linkerd-proxy]", "JobWillNotComplete spec.restartPolicy"}},
	} {
		t.Run(name, func(t *testing.T) {
			config := parsed(t, func(s *Source) { s.Settings.NativeSidecars = test.native })
			request := Request{Pod: pod(t, test.pod), Namespace: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "demo", Labels: test.namespace}}}
			after, report, err := Pod(request, config)
			if err != nil || report.Result != Injected {
				t.Fatalf("%v, %v", report, err)
			}
			var got []string
			told := ""
			for _, problem := range report.Problems {
				got = append(got, string(problem.Reason)+" "+problem.Field)
				told += problem.String()
			}
			if diff := cmp.Diff(test.want, got); diff != "" || !strings.Contains(told, test.says) {
				t.Errorf("%s\nwant %q in %q", diff, test.says, told)
			}
			if reflect.DeepEqual(request.Pod, after) {
				t.Error("the pod was not injected")
			}
		})
	}
}

// What is not injected is not warned about as if it were, but misspelled words are told.
func TestASkippedPodIsWarnedAboutWordsOnly(t *testing.T) {
	config := parsed(t, func(s *Source) { s.Settings.NativeSidecars = "disabled" })
	request := Request{Pod: pod(t, "metadata: {labels: {sidecar.istio.io/injct: x}}\nspec: {hostNetwork: true, restartPolicy: Never, containers: [{name: linkerd-proxy}]}")}
	before := request.Pod.DeepCopy()
	after, report, err := Pod(request, config)
	if err != nil || report.Result != Skipped || len(report.Problems) != 1 || report.Problems[0].Reason != api.InjectMisspelledKey {
		t.Fatalf("%v, %v", report, err)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("a pod that is not injected was changed: %s", diff)
	}
}
