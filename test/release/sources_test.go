// SPDX-License-Identifier: Apache-2.0

package release

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/hack/chart"
	"outrigger.dev/outrigger/hack/install"
	"outrigger.dev/outrigger/hack/istio"
	"outrigger.dev/outrigger/test/issuer"
)

// copyingForeignCAs is the last commit whose replicas copy foreign CAs to every entry and keep no record of them.
const copyingForeignCAs = "b78e000737c3aed8ae49a99b7a4ed17373d85276"

// The source of the certificate changes together with the version, back by a rollback, and with the version of today on
// both sides. Replicas of both run side by side each time, and no pod is refused.
func TestTheSourceOfTheCertificateChangesBesideAnEarlierVersion(t *testing.T) {
	t.Run("a Secret", func(t *testing.T) {
		changeSource(t, "sources", "a Secret", []string{"--set", "webhook.certificate.secretName=given"}, func(host, release string) {
			if err := kube.Create(t.Context(), givenSecret(t, host, release)); err != nil {
				t.Fatal(err)
			}
		})
	})
	t.Run("cert-manager", func(t *testing.T) {
		issuer.Start(t, cluster)
		changeSource(t, "issued", "cert-manager", []string{"--set", "certManager.enabled=true"}, func(string, string) {})
	})
}

// changeSource changes between the self-managed certificate and another source, by these arguments of Helm.
func changeSource(t *testing.T, revision, source string, values []string, prepare func(host, release string)) {
	t.Helper()
	before, binary := releaseAt(t, copyingForeignCAs)
	release := "outrigger-" + revision
	installed, err := install.Prepare(t.Context(), cluster, install.Options{
		Release: release, Images: map[string]string{"earlier": binary},
		Values: map[string]any{"revision": revision, "shutdown": map[string]any{"linger": "3s"}, "certificates": map[string]any{"overlap": "2s"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(installed.Close)
	t.Cleanup(func() {
		if err := installed.Uninstall(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := istio.InstallConfigMaps(t.Context(), cluster, istio.Values{"revision": revision, "global": map[string]any{"operatorManageWebhooks": true}}); err != nil {
		t.Fatal(err)
	}
	args := func(verb, chart string, more ...string) []string {
		return append([]string{verb, release, chart, "-n", system, "-f", installed.ValuesFile, "--wait", "--timeout", "2m"}, more...)
	}
	helm(t, args("install", before, "--create-namespace", "--set", "image.tag=earlier")...)
	host, _, err := net.SplitHostPort(installed.Webhook.Address())
	if err != nil {
		t.Fatal(err)
	}
	prepare(host, release)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: revision, Labels: map[string]string{"istio.io/rev": revision}}}
	if err := kube.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	eventually(t, "pods get their sidecar", func() error { return injects(t.Context(), namespace.Name) })

	today := chart.Folder(installed.Root)
	for _, change := range []struct {
		what string
		args []string
	}{
		{"from the earlier version, self-managed, to today's with " + source, args("upgrade", today, values...)},
		{"back to the earlier version, self-managed", []string{"rollback", release, "1", "-n", system, "--wait", "--timeout", "2m"}},
		{"to today's version, self-managed", args("upgrade", today)},
		{"to " + source, args("upgrade", today, values...)},
		{"back to self-managed", args("upgrade", today)},
	} {
		pods := keep(t, func(ctx context.Context) error { return injects(ctx, namespace.Name) })
		helm(t, change.args...)
		eventually(t, "the replicas before are gone", func() error {
			list := &corev1.PodList{}
			if err := kube.List(t.Context(), list, client.InNamespace(system), client.MatchingLabels{"app.kubernetes.io/instance": release, "app.kubernetes.io/name": name}); err != nil {
				return err
			}
			if len(list.Items) != 2 {
				return fmt.Errorf("there are %d replicas", len(list.Items))
			}
			return nil
		})
		pods.without(t, change.what)
	}
	record := kubectl(t, "", "get", "configmap", "outrigger-last-good-"+revision, "-n", system, "-o", "jsonpath={.metadata.annotations.outrigger\\.dev/certificate-authorities}|{.data.config}")
	if records, config, _ := strings.Cut(record, "|"); !strings.Contains(records, "firstSeen") || config == "" {
		t.Errorf("the ConfigMap has the records %q and a configuration of %d bytes; want both, after a rollback and the way forward", records, len(config))
	}
}

// givenSecret is the Secret of a certificate that verifies itself.
func givenSecret(t *testing.T, host, release string) *corev1.Secret {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "given"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.ParseIP(host)}, DNSNames: []string{release + "." + system + ".svc"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "given"}, Type: corev1.SecretTypeTLS, Data: map[string][]byte{
		corev1.TLSCertKey: certificate, corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), "ca.crt": certificate,
	}}
}
