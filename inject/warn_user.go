// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

// istioContainers are the containers of Istio's templates; some run as the proxy's user on purpose.
var istioContainers = map[string]bool{proxyName: true, "istio-init": true, "istio-validation": true, "enable-core-dump": true}

// identity is a user or group, and the field that sets it.
type identity struct {
	is    *int64
	field string
	what  string
}

// runsAsProxyUser warns about a container that runs as the proxy's user or group. The redirection rules exclude their traffic. The
// guard rail proxy-user of the chart applies the same rule.
func (c *Config) runsAsProxyUser(request Request, after *corev1.Pod) (api.InjectProblem, bool) {
	if after.Annotations["sidecar.istio.io/interceptionMode"] == "NONE" {
		return api.InjectProblem{}, false
	}
	ids := c.proxyIDs(request, after)
	spec := &request.Pod.Spec
	for list, container := range allContainers(spec) {
		if istioContainers[container.Name] || list == "spec.initContainers" && runsWithoutProxy(container, after) {
			continue
		}
		for _, id := range identitiesOf(spec, container, list+"["+container.Name+"]") {
			if id.is != nil && slices.Contains(ids, *id.is) {
				return problemOf(request.Pod, api.InjectRunsAsProxyUser, id.field, fmt.Sprint(*id.is),
					fmt.Sprintf("container %s runs as the proxy's %s, so its traffic bypasses the proxy: no mTLS, no routes, no telemetry.", container.Name, id.what),
					"Give the container another "+id.what+"."), true
			}
		}
	}
	return api.InjectProblem{}, false
}

// proxyIDs are the users and groups whose traffic is not redirected.
func (c *Config) proxyIDs(request Request, after *corev1.Pod) []int64 {
	uid, gid := c.proxyUser(request.Namespace)
	out := []int64{uid, gid}
	if proxy := findProxy(after); proxy.SecurityContext != nil && proxy.SecurityContext.RunAsUser != nil && *proxy.SecurityContext.RunAsUser > 0 {
		out = append(out, *proxy.SecurityContext.RunAsUser)
	}
	return out
}

// runsWithoutProxy reports whether an init container ends before the proxy starts. With Istio's CNI plugin, running such a container
// as the proxy's user is how it reaches the network. A native sidecar runs while later init containers do.
func runsWithoutProxy(container *corev1.Container, after *corev1.Pod) bool {
	if isNative(container) {
		return false
	}
	at := func(name string) int {
		return slices.IndexFunc(after.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == name })
	}
	proxy := at(proxyName)
	return proxy < 0 || at(container.Name) < proxy
}

func isNative(container *corev1.Container) bool {
	return container.RestartPolicy != nil && *container.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// identitiesOf returns the user and group of a container, from its security context or the pod's.
func identitiesOf(spec *corev1.PodSpec, container *corev1.Container, path string) []identity {
	user, group := identity{field: "spec.securityContext.runAsUser", what: "user"}, identity{field: "spec.securityContext.runAsGroup", what: "group"}
	if pod := spec.SecurityContext; pod != nil {
		user.is, group.is = pod.RunAsUser, pod.RunAsGroup
	}
	if set := container.SecurityContext; set != nil && set.RunAsUser != nil {
		user.is, user.field = set.RunAsUser, path+".securityContext.runAsUser"
	}
	if set := container.SecurityContext; set != nil && set.RunAsGroup != nil {
		group.is, group.field = set.RunAsGroup, path+".securityContext.runAsGroup"
	}
	return []identity{user, group}
}
