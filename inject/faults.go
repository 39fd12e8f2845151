// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"maps"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

// newFaults returns the faults that injection introduced, from a closed list. The API server validates everything else.
func newFaults(before, after *corev1.Pod) []api.InjectProblem {
	had, has := faultsOf(before), faultsOf(after)
	var problems []api.InjectProblem
	for _, field := range slices.Sorted(maps.Keys(has)) {
		if _, old := had[field]; old {
			continue
		}
		problems = append(problems, problemOf(before, api.InjectInvalidResult, field, "", "injection would create an invalid pod: "+has[field]+".",
			"Change the pod, or the template in Istio's configuration, so that they do not both set it."))
	}
	return problems
}

func faultsOf(pod *corev1.Pod) map[string]string {
	faults := map[string]string{}
	names := map[string]bool{}
	for list, c := range allContainers(&pod.Spec) {
		note := func(below, fault string) { faults[list+"["+c.Name+"]"+below] = fault }
		if names[c.Name] {
			note("", "two containers are named "+c.Name)
		}
		names[c.Name] = true
		containerFaults(c, note)
	}
	if len(pod.Spec.Containers) == 0 {
		faults["spec.containers"] = "no container is left: the proxy, a native sidecar, is an init container"
	}
	volumeFaults(pod, faults)
	return faults
}

// containerFaults reports each fault of a container with the rest of its field path, below the container.
func containerFaults(c *corev1.Container, note func(below, fault string)) {
	for _, p := range []struct {
		name  string
		probe *corev1.Probe
	}{{"readinessProbe", c.ReadinessProbe}, {"livenessProbe", c.LivenessProbe}, {"startupProbe", c.StartupProbe}} {
		if p.probe != nil && set(p.probe.HTTPGet, p.probe.TCPSocket, p.probe.GRPC, p.probe.Exec) > 1 {
			note("."+p.name, "the probe has two handlers")
		}
	}
	for i := range c.Env {
		if e := &c.Env[i]; e.Value != "" && e.ValueFrom != nil {
			note(".env["+e.Name+"]", "the variable has a value and a valueFrom")
		}
	}
	duplicates(c.VolumeMounts, func(m *corev1.VolumeMount) string { return m.MountPath }, func(path string) {
		note(".volumeMounts["+path+"]", "two volumes are mounted at "+path)
	})
	duplicates(c.Ports, func(p *corev1.ContainerPort) string { return p.Name }, func(name string) {
		if name != "" {
			note(".ports["+name+"]", "two ports are named "+name)
		}
	})
}

// duplicates calls found for each element whose name an earlier element has.
func duplicates[T any](list []T, name func(*T) string, found func(name string)) {
	seen := make(map[string]bool, len(list))
	for i := range list {
		if n := name(&list[i]); seen[n] {
			found(n)
		} else {
			seen[n] = true
		}
	}
}

func volumeFaults(pod *corev1.Pod, faults map[string]string) {
	duplicates(pod.Spec.Volumes, func(v *corev1.Volume) string { return v.Name }, func(name string) { faults["spec.volumes["+name+"]"] = "two volumes are named " + name })
	for i := range pod.Spec.Volumes {
		volume := &pod.Spec.Volumes[i]
		source, sources := reflect.ValueOf(&volume.VolumeSource).Elem(), 0
		for i := range source.NumField() {
			if !source.Field(i).IsNil() {
				sources++
			}
		}
		if sources > 1 {
			faults["spec.volumes["+volume.Name+"].source"] = "the volume has two sources"
		}
	}
}

func set(pointers ...any) int {
	count := 0
	for _, pointer := range pointers {
		if !reflect.ValueOf(pointer).IsNil() {
			count++
		}
	}
	return count
}
