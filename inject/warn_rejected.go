// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

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
	for field, container := range containersByField(&request.Pod.Spec) {
		for _, named := range namedPorts(container) {
			if slices.ContainsFunc(container.Ports, func(p corev1.ContainerPort) bool { return p.Name == named.port }) {
				continue
			}
			return problemOf(request.Pod, api.InjectUnknownProbePort, field+"."+named.field, named.port,
				fmt.Sprintf("container %s has no port of this name, so the %s always fails.", container.Name, named.what), portAdvice(container)), true
		}
	}
	return api.InjectProblem{}, false
}

// containersByField yields the init containers and containers of a pod by their field, such as spec.containers[app].
func containersByField(spec *corev1.PodSpec) iter.Seq2[string, *corev1.Container] {
	return func(yield func(string, *corev1.Container) bool) {
		for _, list := range []struct {
			field      string
			containers []corev1.Container
		}{{"spec.initContainers", spec.InitContainers}, {"spec.containers", spec.Containers}} {
			for i := range list.containers {
				if !yield(fmt.Sprintf("%s[%s]", list.field, list.containers[i].Name), &list.containers[i]) {
					return
				}
			}
		}
	}
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

// namedPort is a port that a probe or a hook names.
type namedPort struct{ field, what, port string }

// namedPorts are the ports of a container's probes and hooks that are names.
func namedPorts(container *corev1.Container) []namedPort {
	var out []namedPort
	add := func(field, what string, handler corev1.ProbeHandler) {
		if handler.HTTPGet != nil && handler.HTTPGet.Port.Type == intstr.String {
			out = append(out, namedPort{field + ".httpGet.port", what, handler.HTTPGet.Port.StrVal})
		}
		if handler.TCPSocket != nil && handler.TCPSocket.Port.Type == intstr.String {
			out = append(out, namedPort{field + ".tcpSocket.port", what, handler.TCPSocket.Port.StrVal})
		}
	}
	for _, probe := range []struct {
		field string
		is    *corev1.Probe
	}{{"readinessProbe", container.ReadinessProbe}, {"livenessProbe", container.LivenessProbe}, {"startupProbe", container.StartupProbe}} {
		if probe.is != nil {
			add(probe.field, "probe", probe.is.ProbeHandler)
		}
	}
	if hooks := container.Lifecycle; hooks != nil {
		for _, hook := range []struct {
			field string
			is    *corev1.LifecycleHandler
		}{{"lifecycle.postStart", hooks.PostStart}, {"lifecycle.preStop", hooks.PreStop}} {
			if hook.is != nil {
				add(hook.field, "hook", corev1.ProbeHandler{HTTPGet: hook.is.HTTPGet, TCPSocket: hook.is.TCPSocket})
			}
		}
	}
	return out
}
