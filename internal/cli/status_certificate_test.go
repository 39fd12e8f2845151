// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/diagnose"
)

// caUntil returns a CA in PEM that ends then.
func caUntil(t *testing.T, until time.Time) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: until.Add(-time.Hour), NotAfter: until, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// webhookTrusting is our webhook object, an entry for each caBundle.
func webhookTrusting(bundles ...[]byte) *admissionregistrationv1.MutatingWebhookConfiguration {
	out := &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "outrigger-sidecar-injector"}}
	for i, bundle := range bundles {
		entry := admissionregistrationv1.MutatingWebhook{Name: []string{"namespace", "object"}[i] + ".sidecar-injector.outrigger.dev"}
		entry.ClientConfig.CABundle = bundle
		out.Webhooks = append(out.Webhooks, entry)
	}
	return out
}

func TestStatusOfTheCertificate(t *testing.T) {
	later, latest := noon.Add(time.Hour).UTC(), noon.Add(48*time.Hour).UTC()
	short, long, over := caUntil(t, later), caUntil(t, latest), caUntil(t, noon.Add(-time.Hour))
	ofCertManager := func(conditions ...cmapi.CertificateCondition) *cmapi.Certificate {
		return &cmapi.Certificate{
			ObjectMeta: metav1.ObjectMeta{Namespace: defaultSystemNamespace, Name: "webhook"},
			Status:     cmapi.CertificateStatus{Conditions: conditions, NotAfter: &metav1.Time{Time: later}},
		}
	}
	ready := cmapi.CertificateCondition{Type: cmapi.CertificateConditionReady, Status: cmmeta.ConditionTrue, Reason: "Ready"}
	notReady := cmapi.CertificateCondition{Type: cmapi.CertificateConditionReady, Status: cmmeta.ConditionFalse, Reason: "DoesNotExist", Message: "no Secret"}
	with := func(source api.CertificateSource) api.Config {
		config := api.DefaultConfig()
		config.Certificates.Source = source
		if source == api.CertificateCertManager {
			config.Certificates.CertificateName = "webhook"
		}
		return config
	}
	webhook := func(s diagnose.CertificateStatus) []diagnose.CertificateStatus {
		s.Webhook = "outrigger-sidecar-injector"
		return []diagnose.CertificateStatus{s}
	}
	for name, test := range map[string]struct {
		source      api.CertificateSource
		object      *admissionregistrationv1.MutatingWebhookConfiguration
		certificate *cmapi.Certificate
		want        []diagnose.CertificateStatus
	}{
		"not installed": {api.CertificateSelfManaged, nil, nil, nil},
		"published, the old beside the new": {api.CertificateSelfManaged, webhookTrusting(append(long, short...), long), nil,
			webhook(diagnose.CertificateStatus{Source: "selfManaged", Ready: true, Until: &latest})},
		"one entry ends earlier": {api.CertificateFromSecret, webhookTrusting(long, short), nil,
			webhook(diagnose.CertificateStatus{Source: "secret", Ready: true, Until: &later})},
		"not published": {api.CertificateSelfManaged, webhookTrusting(long, nil), nil,
			webhook(diagnose.CertificateStatus{Source: "selfManaged", Problem: "entry object.sidecar-injector.outrigger.dev has no caBundle: no CA has been published yet"})},
		"ended": {api.CertificateFromSecret, webhookTrusting(over), nil,
			webhook(diagnose.CertificateStatus{Source: "secret", Problem: "entry namespace.sidecar-injector.outrigger.dev: every CA in its caBundle has expired, the last one at 2026-01-02T11:00:00Z", Until: new(noon.Add(-time.Hour).UTC())})},
		"cert-manager's, ready": {api.CertificateCertManager, webhookTrusting(long), ofCertManager(ready),
			webhook(diagnose.CertificateStatus{Source: "certManager", Certificate: "outrigger-system/webhook", Ready: true, Until: &later})},
		"cert-manager's, not ready": {api.CertificateCertManager, webhookTrusting(long), ofCertManager(notReady),
			webhook(diagnose.CertificateStatus{
				Source: "certManager", Certificate: "outrigger-system/webhook", Until: &later,
				Problem: "Certificate outrigger-system/webhook is not ready: DoesNotExist: no Secret",
			})},
		"cert-manager's, not there": {api.CertificateCertManager, webhookTrusting(long), nil,
			webhook(diagnose.CertificateStatus{
				Source: "certManager", Certificate: "outrigger-system/webhook", Until: &latest,
				Problem: "Certificate outrigger-system/webhook is not there",
			})},
	} {
		t.Run(name, func(t *testing.T) {
			s := newLiveStage(t)
			s.configs = []api.Config{with(test.source)}
			if test.object != nil {
				if err := s.client.Create(t.Context(), test.object); err != nil {
					t.Fatal(err)
				}
			}
			if test.certificate != nil {
				if err := s.client.Create(t.Context(), test.certificate); err != nil {
					t.Fatal(err)
				}
			}
			got, err := s.certificates(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestStatusTellsACertificateThatIsNotReady(t *testing.T) {
	s := shop(t, webhookTrusting(nil))
	s.configs = []api.Config{api.DefaultConfig()}
	table := s.table(tableView{}, false)
	want := `The certificate of MutatingWebhookConfiguration outrigger-sidecar-injector: entry namespace.sidecar-injector.outrigger.dev has no caBundle: no CA has been published yet.
    Pods may be refused: kubectl describe mutatingwebhookconfiguration outrigger-sidecar-injector
`
	if !strings.Contains(table, want) {
		t.Errorf("it does not say\n%s\nbut\n%s", want, table)
	}
	s = shop(t, webhookTrusting(caUntil(t, noon.Add(time.Hour))))
	s.configs = []api.Config{api.DefaultConfig()}
	if table := s.table(tableView{}, false); strings.Contains(table, "ertificate") {
		t.Errorf("a certificate that is in order takes room:\n%s", table)
	}
	wide := "outrigger-sidecar-injector   selfManaged        -             true    "
	if table := s.table(tableView{wide: true}, false); !strings.Contains(table, wide) {
		t.Errorf("the wide table does not show it:\n%s", table)
	}
}
