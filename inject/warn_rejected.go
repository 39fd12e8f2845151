// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

// requestOverLimit warns about a proxy that requests more than its limit. The API server rejects the pod without naming the
// annotations.
func requestOverLimit(request Request, after *corev1.Pod) (api.InjectProblem, bool) {
	proxy := findProxy(after)
	for _, resource := range []struct {
		name           corev1.ResourceName
		request, limit string // annotations
	}{
		{corev1.ResourceCPU, "sidecar.istio.io/proxyCPU", "sidecar.istio.io/proxyCPULimit"},
		{corev1.ResourceMemory, "sidecar.istio.io/proxyMemory", "sidecar.istio.io/proxyMemoryLimit"},
	} {
		wanted, wants := proxy.Resources.Requests[resource.name]
		limit, limited := proxy.Resources.Limits[resource.name]
		if !wants || !limited || wanted.Cmp(limit) <= 0 {
			continue
		}
		field, value := "spec.containers["+proxyName+"].resources.requests", wanted.String()
		advice := fmt.Sprintf("Raise the limit, or lower the request. Example: %s: %q.", resource.limit, wanted.String())
		for _, key := range []string{resource.request, resource.limit} {
			if text, written := request.Pod.Annotations[key]; written {
				field, value = "metadata.annotations["+key+"]", text
				break
			}
		}
		return problemOf(request.Pod, api.InjectRequestExceedsLimit, field, value,
			fmt.Sprintf("the proxy requests %s of %s and its limit is %s, so the API server rejects the pod.", wanted.String(), resource.name, limit.String()), advice), true
	}
	return api.InjectProblem{}, false
}

// unknownProbePort warns about a probe or hook with a port name that the container does not have. It always fails, in the kubelet
// and in the agent.
func unknownProbePort(request Request, _ *corev1.Pod) (api.InjectProblem, bool) {
	for list, container := range allContainers(&request.Pod.Spec) {
		for _, h := range handlersOf(container) {
			name := h.portName()
			if _, known := portsByName(container)[name]; known || name == "" {
				continue
			}
			below := ".tcpSocket.port"
			if *h.httpGet != nil {
				below = ".httpGet.port"
			}
			return problemOf(request.Pod, api.InjectUnknownProbePort, list+"["+container.Name+"]."+h.field+below, name,
				fmt.Sprintf("container %s has no port of this name, so the %s always fails.", container.Name, h.what), portAdvice(container)), true
		}
	}
	return api.InjectProblem{}, false
}

func portAdvice(container *corev1.Container) string {
	var names []string
	for _, port := range container.Ports {
		if port.Name != "" {
			names = append(names, port.Name)
		}
	}
	if len(names) == 0 {
		return "Write the port's number, or name a port of the container."
	}
	return "Write the port's number, or one of the container's ports: " + strings.Join(names, ", ") + "."
}
