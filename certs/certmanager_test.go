// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"context"
	"strings"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	cmfake "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned/fake"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// certificate returns cert-manager's Certificate with conditions as TYPE=STATUS REASON.
func certificate(conditions ...string) *cmapi.Certificate {
	out := &cmapi.Certificate{ObjectMeta: metav1.ObjectMeta{Namespace: ownNamespace, Name: "webhook"}}
	for _, text := range conditions {
		kind, rest, _ := strings.Cut(text, "=")
		status, reason, _ := strings.Cut(rest, " ")
		out.Status.Conditions = append(out.Status.Conditions, cmapi.CertificateCondition{
			Type: cmapi.CertificateConditionType(kind), Status: cmmeta.ConditionStatus(status), Reason: reason, Message: "as it is",
		})
	}
	return out
}

func TestCertificateTroubleIsReadyAndTheLastRenewal(t *testing.T) {
	for name, test := range map[string]struct {
		certificate *cmapi.Certificate
		want        string
	}{
		"ready":                      {certificate("Ready=True Ready"), ""},
		"renewed now":                {certificate("Ready=True Ready", "Issuing=True Renewing"), ""},
		"was issued":                 {certificate("Ready=True Ready", "Issuing=False Issued"), ""},
		"new":                        {certificate(), "Certificate outrigger-system/webhook is not ready: it has no condition yet; check that cert-manager is running"},
		"not there yet":              {certificate("Ready=False DoesNotExist"), "Certificate outrigger-system/webhook is not ready: DoesNotExist: as it is"},
		"ready, its renewal failed":  {certificate("Ready=True Ready", "Issuing=False Failed"), "Certificate outrigger-system/webhook could not be issued: Failed: as it is"},
		"never issued, it failed":    {certificate("Ready=False DoesNotExist", "Issuing=False Denied"), "Certificate outrigger-system/webhook could not be issued: Denied: as it is"},
		"cert-manager does not know": {certificate("Ready=Unknown Pending"), "Certificate outrigger-system/webhook is not ready: Pending: as it is"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := CertificateTrouble(test.certificate); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// issued makes a replica take its certificate from cert-manager.
func issued(certificate *cmapi.Certificate) func(*Options) {
	return func(o *Options) {
		o.Source, o.CertificateName = CertManager, certificate.Name
		o.Certificates = cmfake.NewSimpleClientset(certificate).CertmanagerV1()
	}
}

// inject writes the caBundle as cainjector does: all of it, everywhere.
func (c *cluster) inject(t *testing.T, bundle []byte) {
	t.Helper()
	webhooks := c.AdmissionregistrationV1().MutatingWebhookConfigurations()
	object, err := webhooks.Get(t.Context(), webhookName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range object.Webhooks {
		object.Webhooks[i].ClientConfig.CABundle = bundle
	}
	if _, err := webhooks.Update(t.Context(), object, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestCertManagersCertificateIsServedWhenItsCAIsInjected(t *testing.T) {
	c := newCluster()
	first, second := mustAuthority(t, start, 1000*time.Hour), mustAuthority(t, start, 1000*time.Hour)
	keeper := c.replica(t, issued(certificate("Ready=True Ready")))
	c.write(t, tlsData(t, first, start))
	if _, err := keeper.reconcile(t.Context()); err == nil || keeper.Verified() {
		t.Errorf("ready before the CA was injected: %v", err)
	}
	c.inject(t, certPEM(first.cert))
	look(t, keeper)
	if err := keeper.Ready(nil); err != nil {
		t.Error(err)
	}
	c.trusted(t, keeper)

	c.advance(time.Hour)
	c.write(t, tlsData(t, second, c.now()))
	look(t, keeper)
	c.trusted(t, keeper) // cainjector has not seen it yet
	c.inject(t, certPEM(second.cert))
	look(t, keeper)
	c.trusted(t, keeper)
	for _, action := range c.Actions() {
		if action.GetVerb() == "patch" {
			t.Errorf("the caBundle was written, which is cert-manager's to do: %s", action.GetResource().Resource)
		}
	}
}

func TestWhatCertManagerSaysIsInTheReadiness(t *testing.T) {
	c := newCluster()
	keeper := c.replica(t, issued(certificate("Ready=False IssuerNotFound")), func(o *Options) { o.SecretName = "absent" })
	_, err := keeper.reconcile(t.Context())
	keeper.note(err)
	if err := keeper.Ready(nil); err == nil || !strings.Contains(err.Error(), "Secret outrigger-system/absent") || !strings.Contains(err.Error(), "is not ready: IssuerNotFound: as it is") {
		t.Errorf("got %v, want the Secret and what cert-manager says of the Certificate", err)
	}
}

// A wrong caBundle makes no replica unready: a metric and an Event report it.
func TestAWrongCABundleIsAMetricAndAnEvent(t *testing.T) {
	c := newCluster()
	ca, wrong := mustAuthority(t, start, 1000*time.Hour), mustAuthority(t, start, 1000*time.Hour)
	registry := prometheus.NewRegistry()
	var notices []Notice
	keeper := c.replica(t, issued(certificate("Ready=True Ready")), func(o *Options) {
		o.Metrics = registry
		o.Report = func(_ context.Context, n Notice) error { notices = append(notices, n); return nil }
	})
	c.write(t, tlsData(t, ca, start))
	c.inject(t, certPEM(ca.cert))
	look(t, keeper)
	mismatch := func(want float64) {
		t.Helper()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			if family.GetName() == "outrigger_certificate_mismatch" {
				if got := family.GetMetric()[0].GetGauge().GetValue(); got != want {
					t.Errorf("the metric is %v, want %v", got, want)
				}
				return
			}
		}
		t.Error("there is no such metric")
	}
	mismatch(0)
	c.inject(t, certPEM(wrong.cert))
	for range 2 {
		if _, err := keeper.reconcile(t.Context()); err == nil || !strings.Contains(err.Error(), "unknown authority") {
			t.Errorf("got %v", err)
		}
		c.advance(time.Minute)
	}
	mismatch(1)
	if err := keeper.Ready(nil); err != nil {
		t.Errorf("what has been ready is not any more: %v", err)
	}
	if len(notices) != 1 || notices[0].Reason != NoticeMismatch {
		t.Errorf("notices: %+v", notices)
	}
	c.inject(t, certPEM(ca.cert))
	look(t, keeper)
	mismatch(0)
}
