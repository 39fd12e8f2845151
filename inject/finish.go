// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

// finish does what templates cannot: it sets cluster and network, merges metrics, rewrites probes, orders containers, and writes
// metadata.
func (j *job) finish() error {
	j.setProxyEnv()
	if err := j.mergePrometheus(); err != nil {
		return err
	}
	if err := j.rewriteProbes(); err != nil {
		return err
	}
	j.order()
	return j.setMetadata()
}

// statusPort returns the port of the agent, which is always that of the mesh configuration.
func (j *job) statusPort() string {
	return strconv.Itoa(int(j.mesh.GetDefaultConfig().GetStatusPort()))
}

// setProxyEnv appends cluster, network, and the other parameters of the URL path to the proxy's environment.
func (j *job) setProxyEnv() {
	proxy := findProxy(j.merged)
	if proxy == nil || len(j.proxyEnv) == 0 {
		return
	}
	proxy.Env = slices.DeleteFunc(proxy.Env, func(e corev1.EnvVar) bool { _, replaced := j.proxyEnv[e.Name]; return replaced })
	for _, name := range slices.Sorted(maps.Keys(j.proxyEnv)) {
		proxy.Env = append(proxy.Env, corev1.EnvVar{Name: name, Value: j.proxyEnv[name]})
	}
}

// setMetadata writes the network label, the status, and finally the configured annotations.
func (j *job) setMetadata() error {
	pod := j.merged
	if network, known := j.proxyEnv[envNetwork]; known {
		if pod.Labels == nil {
			pod.Labels = map[string]string{}
		}
		pod.Labels[labelNetwork] = network
	}
	newStatus := status{Revision: j.settings.Revision}
	if newStatus.Revision == "" {
		newStatus.Revision = "default"
	}
	for _, c := range j.fromTemplates.Spec.InitContainers {
		newStatus.InitContainers = append(newStatus.InitContainers, c.Name)
	}
	for _, c := range j.fromTemplates.Spec.Containers {
		newStatus.Containers = append(newStatus.Containers, c.Name)
	}
	for _, v := range j.fromTemplates.Spec.Volumes {
		newStatus.Volumes = append(newStatus.Volumes, v.Name)
	}
	for _, s := range j.fromTemplates.Spec.ImagePullSecrets {
		newStatus.ImagePullSecrets = append(newStatus.ImagePullSecrets, s.Name)
	}
	text, err := json.Marshal(newStatus)
	if err != nil {
		return err
	}
	annotate(pod, api.AnnotationStatus, string(text))
	maps.Copy(pod.Annotations, j.injectAnnotations)
	return nil
}

// order sorts the containers. The proxy comes last, or first if the application waits for it. If the proxy is an init container, it
// comes first with the containers that set up the network.
func (j *job) order() {
	spec := &j.merged.Spec
	spec.Containers = withMoved(spec.Containers, proxyName, j.effective.hold || j.values.hold())
	if findContainer(spec.InitContainers, proxyName) != nil {
		for _, name := range []string{"enable-core-dump", proxyName, "istio-validation", "istio-init"} {
			spec.InitContainers = withMoved(spec.InitContainers, name, true)
		}
		return
	}
	spec.InitContainers = withMoved(spec.InitContainers, "istio-validation", true)
	spec.InitContainers = withMoved(spec.InitContainers, "istio-init", false)
	spec.InitContainers = withMoved(spec.InitContainers, "enable-core-dump", false)
}

// withMoved returns the list with the named container moved to the front or the end.
func withMoved(list []corev1.Container, name string, first bool) []corev1.Container {
	at := slices.IndexFunc(list, func(c corev1.Container) bool { return c.Name == name })
	if at < 0 {
		return list
	}
	container := list[at]
	rest := slices.Delete(slices.Clone(list), at, at+1)
	if first {
		return slices.Insert(rest, 0, container)
	}
	return append(rest, container)
}
