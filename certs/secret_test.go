// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// given makes a replica take its certificate from the Secret.
func given(o *Options) { o.Source = FromSecret }

// tlsData returns a new certificate of a CA as the data of a Secret.
func tlsData(t *testing.T, ca *authority, now time.Time) map[string][]byte {
	t.Helper()
	certificate := mustIssue(t, ca, now)
	key, err := (&authority{key: certificate.PrivateKey.(*ecdsa.PrivateKey)}).keyPEM()
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{corev1.TLSCertKey: certPEM(certificate.Leaf), corev1.TLSPrivateKeyKey: key, keyRootCert: certPEM(ca.cert)}
}

// write replaces the data of the Secret.
func (c *cluster) write(t *testing.T, data map[string][]byte) {
	t.Helper()
	secret, err := c.CoreV1().Secrets(ownNamespace).Get(t.Context(), "ca", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	secret.Data = data
	if _, err := c.CoreV1().Secrets(ownNamespace).Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// Somebody replaces certificate and CA of the Secret while two replicas serve, which look out of step. No entry ever
// distrusts one; in the end both serve the new certificate, and the old CA is trusted no more.
func TestAReplacedSecretIsServedWithoutAGap(t *testing.T) {
	c := newCluster()
	first, second := mustAuthority(t, start, 1000*time.Hour), mustAuthority(t, start, 1000*time.Hour)
	c.write(t, tlsData(t, first, start))
	a, b := c.replica(t, given), c.replica(t, given)
	look(t, a, b)
	c.trusted(t, a, b)
	if err := a.Ready(nil); err != nil {
		t.Error(err)
	}
	c.advance(time.Hour)
	c.write(t, tlsData(t, second, c.now()))
	for step := range 120 {
		c.advance(11 * time.Second)
		if step%3 != 0 {
			look(t, a)
		}
		c.trusted(t, a, b)
		if step%2 == 0 {
			look(t, b)
		}
		c.trusted(t, a, b)
	}
	for i, keeper := range []*Keeper{a, b} {
		if err := keeper.serving.Load().Leaf.CheckSignatureFrom(second.cert); err != nil {
			t.Errorf("replica %d does not serve the new certificate: %v", i, err)
		}
	}
	if got := c.bundles(t)[0]; !bytes.Equal(got, certPEM(second.cert)) {
		t.Errorf("after %v the caBundle is not the new CA alone:\n%s", c.now().Sub(start), got)
	}
	c.ClearActions()
	look(t, a, b)
	for _, action := range c.Actions() {
		if action.GetVerb() != "get" {
			t.Errorf("it is written on: %s %s", action.GetVerb(), action.GetResource().Resource)
		}
	}
}

// A rolling upgrade from one source to another has replicas of both for a while, and both must be trusted.
func TestReplicasOfTwoSourcesAreTrustedTogether(t *testing.T) {
	c := newCluster()
	before := c.replica(t)
	look(t, before)
	if _, err := c.CoreV1().Secrets(ownNamespace).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: ownNamespace, Name: "mine"}, Data: tlsData(t, mustAuthority(t, start, 1000*time.Hour), start),
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	after := c.replica(t, given, func(o *Options) { o.SecretName = "mine" })
	for range 10 {
		look(t, after)
		c.trusted(t, before, after)
		look(t, before)
		c.trusted(t, before, after)
		c.advance(45 * time.Second)
	}
}

func TestTheCABundleThatWasSetIsPublished(t *testing.T) {
	c := newCluster()
	ca, other := mustAuthority(t, start, 1000*time.Hour), mustAuthority(t, start, 1000*time.Hour)
	data := tlsData(t, ca, start)
	delete(data, keyRootCert)
	c.write(t, data)
	set := slices.Concat(certPEM(ca.cert), certPEM(other.cert))
	keeper := c.replica(t, given, func(o *Options) { o.CABundle = set })
	look(t, keeper)
	c.trusted(t, keeper)
	if got := c.bundles(t)[1]; !bytes.Equal(got, set) {
		t.Errorf("the caBundle is\n%s\nwant\n%s", got, set)
	}
}

// What is wrong with the Secret is said, and what was right before is served on.
func TestAWrongSecretIsNamedAndNotServed(t *testing.T) {
	ca := mustAuthority(t, start, 1000*time.Hour)
	for name, test := range map[string]struct {
		spoil func(map[string][]byte)
		want  string
	}{
		"no certificate":  {func(d map[string][]byte) { delete(d, corev1.TLSCertKey) }, "tls.crt and tls.key"},
		"no key":          {func(d map[string][]byte) { delete(d, corev1.TLSPrivateKeyKey) }, "tls.crt and tls.key"},
		"another's key":   {func(d map[string][]byte) { d[corev1.TLSPrivateKeyKey] = tlsData(t, ca, start)[corev1.TLSPrivateKeyKey] }, "tls.crt and tls.key"},
		"no CA":           {func(d map[string][]byte) { delete(d, keyRootCert) }, "otherwise set the chart's webhook.certificate.caBundle"},
		"CA not readable": {func(d map[string][]byte) { d[keyRootCert] = []byte("x") }, "key ca.crt: not a certificate in PEM format"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster()
			c.write(t, tlsData(t, ca, start))
			keeper := c.replica(t, given)
			look(t, keeper)
			data := tlsData(t, ca, start)
			test.spoil(data)
			c.write(t, data)
			_, err := keeper.reconcile(t.Context())
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "Secret outrigger-system/ca") {
				t.Errorf("got %v, want %q of the Secret", err, test.want)
			}
			if err := keeper.Ready(nil); err != nil {
				t.Errorf("what has been ready is not any more: %v", err)
			}
			c.trusted(t, keeper)
		})
	}
}

// A replica that never had a certificate says what it waits for.
func TestReadinessNamesWhatIsMissing(t *testing.T) {
	c := newCluster()
	keeper := c.replica(t, given, func(o *Options) { o.SecretName = "absent" })
	_, err := keeper.reconcile(t.Context())
	keeper.note(err)
	if err := keeper.Ready(nil); err == nil || !strings.Contains(err.Error(), "Secret outrigger-system/absent") {
		t.Errorf("got %v, want the Secret named", err)
	}
}

// The user hears once of what lasts, and that it is over.
func TestTheUserIsToldOnTheWebhookObject(t *testing.T) {
	c := newCluster()
	c.write(t, tlsData(t, mustAuthority(t, start, 1000*time.Hour), start))
	var notices []Notice
	keeper := c.replica(t, given, func(o *Options) {
		o.Report = func(_ context.Context, n Notice) error { notices = append(notices, n); return nil }
	})
	look(t, keeper)
	c.write(t, nil)
	for range 3 {
		if _, err := keeper.reconcile(t.Context()); err == nil {
			t.Error("no error about an empty Secret")
		}
		c.advance(20 * time.Second)
	}
	c.write(t, tlsData(t, mustAuthority(t, start, 1000*time.Hour), start))
	for range 3 {
		c.advance(time.Minute)
		look(t, keeper)
	}
	if len(notices) != 2 || notices[0].Reason != NoticeFailed || !notices[0].Warning || notices[1].Reason != NoticeRecovered || notices[1].Warning {
		t.Fatalf("notices: %+v", notices)
	}
	if about := notices[0].About; about.Kind != "MutatingWebhookConfiguration" || about.Name != webhookName {
		t.Errorf("the notice is about %+v", about)
	}
	if !strings.Contains(notices[0].Note, "Secret outrigger-system/ca: keys tls.crt and tls.key") {
		t.Errorf("the note does not say what is wrong: %s", notices[0].Note)
	}
}
