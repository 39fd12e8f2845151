// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/routing"
)

// Decision is what a user chooses for Services with shift, promote, canary, or undo.
type Decision struct {
	Service      string
	Annotations  map[string]string // annotations; an empty value removes the annotation
	Versions     []string          // the named versions
	AllowPending bool              // accept versions that do not exist yet
	AllServices  bool              // also decide for the other Services that select the same pods
	Inputs       Inputs            // what messages call the flags
	OneService   bool              // it is about the canary of one Service, and cannot be made for others
	// Ended is the canary that a retry restarts; nil for other decisions.
	Ended *CanaryStatus
	// KeepsDecidedAt is true for decisions about canaries only: the default and the weights are not decided again.
	KeepsDecidedAt bool
}

// SamePods reports whether two Services select a common pod.
func SamePods(a, b *corev1.Service, pods []corev1.Pod) bool {
	return slices.ContainsFunc(pods, func(pod corev1.Pod) bool {
		return routing.Selects(a.Spec.Selector, pod.Labels) && routing.Selects(b.Spec.Selector, pod.Labels)
	})
}
