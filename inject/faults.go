package inject

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

// newFaults returns what injection itself has broken: faults of a closed list that the pod had not before. Everything
// else is for the API server to say.
func newFaults(before, after *corev1.Pod) []api.InjectProblem {
	had, has := faultsOf(before), faultsOf(after)
	var problems []api.InjectProblem
	for _, field := range slices.Sorted(maps.Keys(has)) {
		if _, old := had[field]; old {
			continue
		}
		problems = append(problems, denied(before, api.InjectInvalidResult, field, "", "injection would make an invalid pod: "+has[field]+".",
			"Change the pod, or the template in Istio's configuration, so that they do not both set it."))
	}
	return problems
}

// faultsOf returns a sentence for every fault by the field that it is in.
func faultsOf(pod *corev1.Pod) map[string]string {
	faults := map[string]string{}
	names := map[string]bool{}
	for _, list := range []struct {
		field      string
		containers []corev1.Container
	}{{"spec.initContainers", pod.Spec.InitContainers}, {"spec.containers", pod.Spec.Containers}} {
		for i := range list.containers {
			c := &list.containers[i]
			field := fmt.Sprintf("%s[%s]", list.field, c.Name)
			if names[c.Name] {
				faults[field] = fmt.Sprintf("two containers are named %s", c.Name)
			}
			names[c.Name] = true
			containerFaults(c, field, faults)
		}
	}
	volumeFaults(pod, faults)
	return faults
}

func containerFaults(c *corev1.Container, field string, faults map[string]string) {
	for name, probe := range map[string]*corev1.Probe{"readinessProbe": c.ReadinessProbe, "livenessProbe": c.LivenessProbe, "startupProbe": c.StartupProbe} {
		if probe != nil && set(probe.HTTPGet, probe.TCPSocket, probe.GRPC, probe.Exec) > 1 {
			faults[field+"."+name] = "the probe has two handlers"
		}
	}
	paths, ports := map[string]bool{}, map[string]bool{}
	for _, mount := range c.VolumeMounts {
		if paths[mount.MountPath] {
			faults[field+".volumeMounts["+mount.MountPath+"]"] = "two volumes are mounted at " + mount.MountPath
		}
		paths[mount.MountPath] = true
	}
	for _, port := range c.Ports {
		if port.Name != "" && ports[port.Name] {
			faults[field+".ports["+port.Name+"]"] = "two ports are named " + port.Name
		}
		ports[port.Name] = true
	}
}

func volumeFaults(pod *corev1.Pod, faults map[string]string) {
	names := map[string]bool{}
	for _, volume := range pod.Spec.Volumes {
		field := "spec.volumes[" + volume.Name + "]"
		if names[volume.Name] {
			faults[field] = "two volumes are named " + volume.Name
		}
		names[volume.Name] = true
		source, sources := reflect.ValueOf(volume.VolumeSource), 0
		for i := range source.NumField() {
			if !source.Field(i).IsNil() {
				sources++
			}
		}
		if sources > 1 {
			faults[field+".source"] = "the volume has two sources"
		}
	}
}

// set counts the pointers that are not nil.
func set(pointers ...any) int {
	count := 0
	for _, pointer := range pointers {
		if !reflect.ValueOf(pointer).IsNil() {
			count++
		}
	}
	return count
}
