// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// PodsWithoutSidecar returns the workloads whose pods would get a sidecar by the label of the namespace if they were created now:
// they are older than the label, or were created while no injector answered.
func PodsWithoutSidecar(namespace *corev1.Namespace, pods []corev1.Pod) []RestartStatus {
	if !requestsInjection(namespace) {
		return nil
	}
	counts := map[routing.WorkloadRef]int{}
	for i := range pods {
		ref, serves := routing.WorkloadOf(&pods[i])
		if serves && lacksSidecar(&pods[i]) {
			counts[ref]++
		}
	}
	out := []RestartStatus{}
	for ref, count := range counts {
		out = append(out, RestartStatus{ref.String(), count, restartCommand(ref, namespace.Name)})
	}
	slices.SortFunc(out, func(a, b RestartStatus) int { return cmp.Compare(a.Workload, b.Workload) })
	return out
}

// requestsInjection reports whether a label of the Namespace requests sidecars.
func requestsInjection(namespace *corev1.Namespace) bool {
	injection := InjectionOf(namespace)
	return injection == "enabled" || strings.HasPrefix(injection, "revision ")
}

// lacksSidecar reports whether a running pod has no sidecar and does not opt out of one.
func lacksSidecar(pod *corev1.Pod) bool {
	word, labeled := pod.Labels["sidecar.istio.io/inject"]
	if !labeled {
		word = pod.Annotations["sidecar.istio.io/inject"]
	}
	return word != "false" && !pod.Spec.HostNetwork && !HasEnded(pod) && !HasSidecar(pod)
}

// HasEnded reports whether a pod has ended or is being deleted.
func HasEnded(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// HasSidecar reports whether a pod was injected or defines its own proxy.
func HasSidecar(pod *corev1.Pod) bool {
	return pod.Annotations[api.AnnotationStatus] != "" ||
		slices.ContainsFunc(slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers), func(c corev1.Container) bool { return c.Name == api.ProxyContainer })
}

func countSidecars(pods []corev1.Pod) int {
	count := 0
	for i := range pods {
		if HasSidecar(&pods[i]) {
			count++
		}
	}
	return count
}

func restartCommand(ref routing.WorkloadRef, namespace string) string {
	switch ref.Kind {
	case "Deployment", "StatefulSet", "DaemonSet":
		return fmt.Sprintf("kubectl rollout restart %s/%s -n %s", strings.ToLower(ref.Kind), api.ShellWord(ref.Name), namespace)
	case "Rollout":
		return fmt.Sprintf("kubectl argo rollouts restart %s -n %s", api.ShellWord(ref.Name), namespace)
	case "Pod":
		return fmt.Sprintf("kubectl get pod %s -n %s -o yaml | kubectl replace --force -f -", api.ShellWord(ref.Name), namespace)
	}
	return fmt.Sprintf("(restart %s in namespace %s)", ref, namespace)
}
