// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The chart excludes namespace cert-manager, and istiod does not: whoever labels it for injection is warned. Whoever checks a
// namespace reads which label keeps its pods from being injected.
func TestAnExcludedOrDisabledNamespaceIsNamed(t *testing.T) {
	needIstio(t)
	listener, warnings := listening(t)
	eventually(t, "a warning about the label", func() error {
		warnings.forget()
		err := listener.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: "cert-manager", Labels: map[string]string{"istio-injection": "enabled"},
		}}, client.DryRunAll)
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
		if !strings.Contains(warnings.all(), `IgnoredNamespace: Namespace cert-manager: metadata.labels[istio-injection] = "enabled" has no effect`) {
			return errors.New("the warnings are " + warnings.all())
		}
		return nil
	})
	disabled := namespace(t, "istio-injection=disabled")
	says(t, refused(t, "check", "-n", disabled),
		"Namespace "+disabled+" has the label istio-injection=disabled", "kubectl label namespace "+disabled+" istio-injection=enabled --overwrite")
}
