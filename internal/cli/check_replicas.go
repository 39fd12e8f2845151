// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
)

// replicas says why pods of the installation are not ready, in notes; nothing where they may not be listed. Without it the check
// of an installation could only say that nobody answers.
func (c *checker) replicas(ctx context.Context) []finding {
	var pods corev1.PodList
	if c.live == nil || c.client.List(ctx, &pods, client.InNamespace(c.live.installed), client.HasLabels{"app.kubernetes.io/name"}) != nil {
		return nil
	}
	var out []finding
	ours := 0
	for i := range pods.Items {
		pod := &pods.Items[i]
		if name := pod.Labels["app.kubernetes.io/name"]; strings.HasSuffix(name, "-hook") {
			continue // the check's own pod, for one
		}
		ours++
		if why := notReady(pod); why != "" {
			out = append(out, note("pod %s in namespace %s is not ready: %s", pod.Name, pod.Namespace, why))
		}
	}
	if ours == 0 {
		out = append(out, note("namespace %s has no pod of Outrigger. Example: kubectl describe replicasets -n %s", c.live.installed, c.live.installed))
	}
	return out
}

// notReady returns why a pod is not ready, empty if it is: what a container waits for, or else its first condition that is false.
func notReady(pod *corev1.Pod) string {
	says := func(reason, message string) string {
		return strings.Trim(reason+": "+api.Shorten(message, 200), ": ")
	}
	if slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue }) {
		return ""
	}
	for _, status := range pod.Status.ContainerStatuses {
		switch {
		case status.State.Waiting != nil && status.LastTerminationState.Terminated != nil:
			return says(status.State.Waiting.Reason, status.State.Waiting.Message) + "; kubectl logs -n " + pod.Namespace + " " + pod.Name + " --previous"
		case status.State.Waiting != nil:
			return says(status.State.Waiting.Reason, status.State.Waiting.Message)
		}
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Status == corev1.ConditionFalse {
			return says(condition.Reason, condition.Message)
		}
	}
	return "its phase is " + string(pod.Status.Phase)
}
