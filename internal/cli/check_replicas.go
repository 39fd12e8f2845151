// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/internal/diagnose"
)

// replicas returns notes that say why pods of the installation are not ready, or none if they may not be listed. Without them, a
// failed check would only say that no replica answers.
func (c *checker) replicas(ctx context.Context) []diagnose.Finding {
	var pods corev1.PodList
	if c.live == nil || c.client.List(ctx, &pods, client.InNamespace(c.live.installed), client.HasLabels{"app.kubernetes.io/name"}) != nil {
		return nil
	}
	var out []diagnose.Finding
	ours := 0
	for i := range pods.Items {
		pod := &pods.Items[i]
		if name := pod.Labels["app.kubernetes.io/name"]; strings.HasSuffix(name, "-hook") {
			continue // the check's own pod, for one
		}
		ours++
		if why := diagnose.WhyNotReady(pod); why != "" {
			out = append(out, diagnose.Note("pod %s in namespace %s is not ready: %s", pod.Name, pod.Namespace, why))
		}
	}
	if ours == 0 {
		out = append(out, diagnose.Note("namespace %s has no pod of Outrigger. Example: kubectl describe replicasets -n %s", c.live.installed, c.live.installed))
	}
	return out
}
