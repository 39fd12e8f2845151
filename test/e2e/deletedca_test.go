// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The chart grants no permission to create Secrets: an Event says that the Secret of the CA was deleted and what to do.
// "helm upgrade" creates it empty, a running replica writes back the CA that it holds, and replicas that start later have it.
func deleteSecretOfCA(t *testing.T) {
	values := map[string]any{"certificates": map[string]any{"overlap": "2s"}}
	r := prepareRelease(t, "certs-deleted", values)
	r.install(t)
	traffic := keepCreatingEvery(t, r.namespace(t), creationPause)
	name := r.name + "-ca"
	before := r.secret(t, name)
	kubectl(t, "-n", outriggerNamespace, "delete", "secret", name)
	wantEvent(t, metav1.NamespaceDefault, r.webhook, "CertificateFailed")
	says(t, kubectl(t, "get", "events", "-n", metav1.NamespaceDefault, "--field-selector", "reason=CertificateFailed,involvedObject.name="+r.webhook, "-o", "jsonpath={.items[*].message}"),
		"Secret "+outriggerNamespace+"/"+name+", which was deleted", "run helm upgrade")
	if err := kube.Get(t.Context(), client.ObjectKeyFromObject(before), &corev1.Secret{}); !apierrors.IsNotFound(err) {
		t.Errorf("the Secret exists before helm upgrade, with the rights of the chart: %v", err)
	}
	waitForReadyPods(t, r.name, 2)

	if err := r.installed.Upgrade(t.Context(), values); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the CA is in the Secret again", func() error {
		if after := r.secret(t, name); !bytes.Equal(after.Data["ca.crt"], before.Data["ca.crt"]) || !bytes.Equal(after.Data["ca.key"], before.Data["ca.key"]) {
			return fmt.Errorf("it is another one, or none: %q", after.Data["ca.crt"])
		}
		return nil
	})
	served := r.leaves(t)
	kubectl(t, "-n", outriggerNamespace, "rollout", "restart", "deployment", r.name)
	kubectl(t, "-n", outriggerNamespace, "rollout", "status", "deployment", r.name, "--timeout", patience.String())
	current := parseCertificate(t, before.Data["ca.crt"])
	eventually(t, "new replicas serve what the CA signed", func() error {
		if got := len(r.pods(t)); got != 2 {
			return fmt.Errorf("there are %d replicas", got)
		}
		return r.everyReplica(t, func(leaf *x509.Certificate) error {
			if slices.ContainsFunc(served, leaf.Equal) {
				return errors.New("it is a replica of before")
			}
			return leaf.CheckSignatureFrom(current)
		})
	})
	r.nothingWentWrong(t, traffic)
}
