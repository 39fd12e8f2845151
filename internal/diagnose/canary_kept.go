// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// removesCanary reports whether a decision removes the request for a canary of one version. shift, promote, and undo do: otherwise the next
// restart of the version would start a canary again.
func removesCanary(service *corev1.Service, d Decision) bool {
	return !d.OneService && !d.KeepsDecidedAt && isOwnCanary(service)
}

// keptCanary says which requests for canaries, or which pause, a decision keeps. observed has the new annotations.
func keptCanary(observed routing.Observed, d Decision) []Text {
	intent := observed.Intent.Canary
	switch {
	case intent == nil:
		return nil
	case d.Annotations[api.AnnotationCanary] != "" && intent.Paused:
		return []Text{Sentences("the canary stays paused; to continue: ").withCommand(canaryCommand(observed.Service, "--resume"))}
	case d.OneService || d.KeepsDecidedAt:
		return nil
	case intent.OnNamespace:
		return texts(fmt.Sprintf("keeps %s=%s of Namespace %s", api.AnnotationCanary, observed.Intent.Texts[api.AnnotationCanary], observed.Service.Namespace))
	}
	return texts(fmt.Sprintf("keeps %s=%s: each new version still starts a canary", api.AnnotationCanary, api.CanaryAuto))
}
