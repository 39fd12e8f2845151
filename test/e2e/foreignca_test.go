// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// A third party puts its CA into one entry. It is in no other entry afterwards, its first sighting is recorded, and a
// restart of all replicas changes neither. Not parallel: the replicas are replaced.
func TestAThirdPartysCAStaysInItsEntry(t *testing.T) {
	needIstio(t)
	const webhook = "outrigger-sidecar-injector"
	stranger := newCA(t, "stranger", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	object := &admissionregistrationv1.MutatingWebhookConfiguration{}
	has := func() []bool {
		t.Helper()
		if err := kube.Get(t.Context(), client.ObjectKey{Name: webhook}, object); err != nil {
			t.Fatal(err)
		}
		var out []bool
		for _, entry := range object.Webhooks {
			out = append(out, bytes.Contains(entry.ClientConfig.CABundle, bytes.TrimSpace(stranger.certPEM())))
		}
		return out
	}
	eventually(t, "the CA is in the first entry", func() error {
		has()
		before := object.DeepCopy()
		object.Webhooks[0].ClientConfig.CABundle = append(object.Webhooks[0].ClientConfig.CABundle, stranger.certPEM()...)
		return kube.Patch(t.Context(), object, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	})
	record := func() string {
		t.Helper()
		configMap := &corev1.ConfigMap{}
		if err := kube.Get(t.Context(), client.ObjectKey{Namespace: outriggerNamespace, Name: "outrigger-last-good"}, configMap); err != nil {
			t.Fatal(err)
		}
		var records map[string]struct{ FirstSeen string }
		text := configMap.Annotations["outrigger.dev/certificate-authorities"]
		if text != "" {
			if err := json.Unmarshal([]byte(text), &records); err != nil {
				t.Fatal(err)
			}
		}
		return records[fingerprintOf(stranger.cert)].FirstSeen
	}
	var first string
	eventually(t, "the sighting is recorded", func() error {
		if first = record(); first == "" {
			return errors.New("there is no record")
		}
		return nil
	})
	restartOutrigger(t)
	if got := record(); got != first {
		t.Errorf("the restart changed the first sighting from %s to %s", first, got)
	}
	got := has()
	if !got[0] {
		t.Error("the first entry lost the CA before its ten minutes were over")
	}
	for i := range got[1:] {
		if got[i+1] {
			t.Errorf("entry %s has the CA too", object.Webhooks[i+1].Name)
		}
	}
	validator := &admissionregistrationv1.ValidatingWebhookConfiguration{}
	if err := kube.Get(t.Context(), client.ObjectKey{Name: "outrigger-validator"}, validator); err != nil {
		t.Fatal(err)
	}
	for _, entry := range validator.Webhooks {
		if bytes.Contains(entry.ClientConfig.CABundle, bytes.TrimSpace(stranger.certPEM())) {
			t.Errorf("entry %s has the CA too", entry.Name)
		}
	}
	if err := createsInjected(t); err != nil {
		t.Errorf("a pod after the restart: %v", err)
	}
}

// createsInjected creates a pod that must get its sidecar, as a dry run.
func createsInjected(t *testing.T) error {
	t.Helper()
	pod := appPod(namespace(t, injected), "p-", nil)
	if err := kube.Create(t.Context(), pod, client.DryRunAll); err != nil {
		return err
	}
	if !hasSidecar(pod) {
		return errors.New("it has no sidecar")
	}
	return nil
}

// fingerprintOf is the SHA-256 of a certificate, in hex.
func fingerprintOf(cert *x509.Certificate) string {
	return fmt.Sprintf("%x", sha256.Sum256(cert.Raw))
}
