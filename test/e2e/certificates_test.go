// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/hack/install"
	"outrigger.dev/outrigger/hack/istio"
	"outrigger.dev/outrigger/test/issuer"
)

// Whoever keeps the certificate: pods are created all the while that it and its CA are replaced, and none is refused.
// The releases, each of a revision of its own, are rotated at the same time.
func TestCertificatesAreRotatedUnderTraffic(t *testing.T) {
	needIstio(t)
	t.Run("self-managed", func(t *testing.T) { t.Parallel(); rotateSelfManaged(t) })
	t.Run("deleted Secret", func(t *testing.T) { t.Parallel(); deleteSecretOfCA(t) })
	t.Run("existing Secret", func(t *testing.T) { t.Parallel(); rotateSecret(t) })
	t.Run("cert-manager", func(t *testing.T) { t.Parallel(); rotateCertManagers(t) })
}

func rotateSelfManaged(t *testing.T) {
	r := prepareRelease(t, "certs-self", map[string]any{"certificates": map[string]any{"leafDuration": "1m", "overlap": "2s"}})
	r.install(t)
	traffic := keepCreatingEvery(t, r.namespace(t), creationPause)
	first := parseCertificate(t, r.secret(t, r.name+"-ca").Data["ca.crt"])

	// As if a Secret of long ago had been restored: its CA takes over, and is due itself.
	due := newCA(t, "of long ago", time.Now().Add(-100*time.Hour), time.Now().Add(time.Hour))
	r.writeSecret(t, r.name+"-ca", map[string][]byte{"ca.crt": due.certPEM(), "ca.key": due.keyPEM(t)})
	var current *x509.Certificate
	eventually(t, "every replica serves what the next CA signed", func() error {
		current = parseCertificate(t, r.secret(t, r.name+"-ca").Data["ca.crt"])
		if current.Equal(due.cert) || current.Equal(first) {
			return errors.New("the CA has not been changed yet")
		}
		return r.everyReplica(t, func(leaf *x509.Certificate) error { return leaf.CheckSignatureFrom(current) })
	})
	r.publishes(t, current, due.cert, first)

	served := r.leaves(t)
	eventually(t, "every replica has renewed its certificate", func() error {
		return r.everyReplica(t, func(leaf *x509.Certificate) error {
			if slices.ContainsFunc(served, leaf.Equal) {
				return errors.New("it is the same")
			}
			return leaf.CheckSignatureFrom(current)
		})
	})
	r.nothingWentWrong(t, traffic)
	for _, pod := range r.pods(t) {
		leaf := r.leafOf(t, pod)
		metrics, err := scrape(t.Context(), &pod)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]float64{"certificate=serving": float64(leaf.NotAfter.Unix()), "certificate=ca": float64(current.NotAfter.Unix())}
		if diff := cmp.Diff(want, samples(metrics, "outrigger_certificate_expiry_timestamp_seconds")); diff != "" {
			t.Errorf("the metric of %s says another end (-want +got):\n%s", pod.Name, diff)
		}
		if got := samples(metrics, "outrigger_certificate_mismatch"); metrics["outrigger_certificate_mismatch"] == nil || len(got) > 0 {
			t.Errorf("the metric says that %s is not trusted: %v", pod.Name, got)
		}
	}
}

func rotateSecret(t *testing.T) {
	r := prepareRelease(t, "certs-secret", map[string]any{
		"webhook": map[string]any{"certificate": map[string]any{"secretName": "given"}}, "certificates": map[string]any{"overlap": "2s"},
	})
	first, second := newCA(t, "first", time.Now().Add(-time.Hour), time.Now().Add(1000*time.Hour)), newCA(t, "second", time.Now().Add(-time.Hour), time.Now().Add(1000*time.Hour))
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: outriggerNamespace, Name: "given"}, Type: corev1.SecretTypeTLS, Data: r.tlsData(t, first)}
	if err := kube.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = kube.Delete(context.Background(), secret) })
	r.install(t)
	traffic := keepCreatingEvery(t, r.namespace(t), creationPause)
	for _, ca := range []*ca{first, second} {
		data := r.tlsData(t, ca)
		r.writeSecret(t, "given", data)
		eventually(t, "every replica serves the certificate of CA "+ca.cert.Subject.CommonName, func() error { return r.everyReplica(t, isIn(data)) })
	}
	r.publishes(t, second.cert, first.cert)

	// What is served is served on, and the user is told.
	r.writeSecret(t, "given", map[string][]byte{corev1.TLSCertKey: {}, corev1.TLSPrivateKeyKey: {}})
	wantEvent(t, metav1.NamespaceDefault, r.webhook, "CertificateFailed")
	waitForReadyPods(t, r.name, 2)
	data := r.tlsData(t, second)
	r.writeSecret(t, "given", data)
	eventually(t, "every replica serves the certificate after the mishap", func() error { return r.everyReplica(t, isIn(data)) })
	r.nothingWentWrong(t, traffic)
	r.usesItsRights(t)
}

func rotateCertManagers(t *testing.T) {
	issuer.Start(t, cluster)
	r := prepareRelease(t, "certs-manager", map[string]any{
		"certManager": map[string]any{"enabled": true, "duration": "48h", "renewBefore": "16h"}, "certificates": map[string]any{"overlap": "2s"},
	})
	r.install(t)
	webhook, root := r.name+"-webhook", r.name+"-root"
	traffic := keepCreatingEvery(t, r.namespace(t), creationPause)
	for _, leaf := range r.leaves(t) {
		if got := leaf.NotAfter.Sub(leaf.NotBefore); got != 48*time.Hour {
			t.Errorf("the certificate is valid for %v, not for what the value says", got)
		}
	}
	renewed := func(what, name string) *corev1.Secret {
		t.Helper()
		before := r.secret(t, name)
		renew(t, what)
		var after *corev1.Secret
		eventually(t, "cert-manager has renewed "+what, func() error {
			if after = r.secret(t, name); bytes.Equal(after.Data[corev1.TLSCertKey], before.Data[corev1.TLSCertKey]) {
				return errors.New("the Secret is the same")
			}
			return nil
		})
		return after
	}
	leaf := renewed(webhook, webhook+"-tls")
	eventually(t, "every replica serves the renewed certificate", func() error { return r.everyReplica(t, isIn(leaf.Data)) })

	takesOver := func(ca *x509.Certificate) {
		t.Helper()
		for try := range 10 { // the issuer signs with the CA that it has seen last
			if leaf = renewed(webhook, webhook+"-tls"); parseCertificate(t, leaf.Data["ca.crt"]).Equal(ca) {
				break
			}
			t.Logf("the issuer did not know the new CA yet, try %d", try+1)
		}
		eventually(t, "every replica serves the certificate of the new CA", func() error { return r.everyReplica(t, isIn(leaf.Data)) })
		r.publishes(t, ca)
	}
	oldRoot := parseCertificate(t, r.secret(t, root).Data[corev1.TLSCertKey])
	newRoot := parseCertificate(t, renewed(root, root).Data[corev1.TLSCertKey])
	if !oldRoot.PublicKey.(*ecdsa.PublicKey).Equal(newRoot.PublicKey) {
		t.Error("the CA has another key after its renewal")
	}
	takesOver(newRoot)

	// Its key is lost, and the CA that is made anew has another one.
	kubectl(t, "-n", outriggerNamespace, "delete", "secret", root)
	var again *x509.Certificate
	eventually(t, "there is a CA again", func() error {
		secret := &corev1.Secret{}
		if err := kube.Get(t.Context(), client.ObjectKey{Namespace: outriggerNamespace, Name: root}, secret); err != nil {
			return err
		}
		again = parseCertificate(t, secret.Data[corev1.TLSCertKey])
		return nil
	})
	if newRoot.PublicKey.(*ecdsa.PublicKey).Equal(again.PublicKey) {
		t.Error("the CA has its old key")
	}
	takesOver(again)
	r.nothingWentWrong(t, traffic)

	says(t, cli(t, "status", "--system-namespace", outriggerNamespace, "-n", outriggerNamespace, "-o", "yaml"), "ready: true")
	r.usesItsRights(t)
}

// creationPause lets each of the clients create some twenty pods a second, for minutes.
const creationPause = 50 * time.Millisecond

// release is one of a revision of its own, whose certificate is looked at.
type release struct {
	name, revision, webhook string
	installed               *install.Installed
}

// prepareRelease makes a release ready to be installed: the address of its webhook is known.
func prepareRelease(t *testing.T, revision string, values map[string]any) *release {
	t.Helper()
	if err := istio.InstallConfigMaps(t.Context(), cluster, istio.Values{"revision": revision, "global": map[string]any{"operatorManageWebhooks": true}}); err != nil {
		t.Fatal(err)
	}
	values["revision"] = revision
	values["extraEnv"] = []any{listing}
	r := &release{name: "outrigger-" + revision, revision: revision, webhook: "outrigger-sidecar-injector-" + revision}
	var err error
	r.installed, err = install.Prepare(t.Context(), cluster, install.Options{Release: r.name, Node: outrigger.Node, Binary: outrigger.Binary, Values: values})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *release) install(t *testing.T) {
	t.Helper()
	r.installChart(t)
	waitForReadyPods(t, r.name, 2)
}

// installChart installs the release; its pods may not be ready yet.
func (r *release) installChart(t *testing.T) {
	t.Helper()
	if _, err := cluster.Helm(t.Context(), nil, r.installed.HelmArgs()...); err != nil {
		t.Fatal(r.installed.Explain(err))
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the pods of %s wrote about their certificates\n%s", r.name, aboutCertificates(r.installed.Logs()))
		}
		if err := r.installed.Uninstall(context.Background()); err != nil {
			t.Error(err)
		}
		r.installed.Close()
	})
}

// aboutCertificates leaves out what is said about each pod.
func aboutCertificates(logs string) string {
	lines := slices.Collect(strings.Lines(logs))
	return strings.Join(slices.DeleteFunc(lines, func(line string) bool { return !strings.Contains(line, `"logger":"certs"`) }), "")
}

// namespace makes one that is injected by the release, and waits until it is.
func (r *release) namespace(t *testing.T) string {
	t.Helper()
	ns := namespace(t, "istio.io/rev="+r.revision)
	wantInjectedBy(t, "a pod of revision "+r.revision, ns, nil, r.revision)
	return ns
}

func (r *release) nothingWentWrong(t *testing.T, traffic *creations) {
	t.Helper()
	count, faults := traffic.stop()
	t.Logf("%d pods were created while certificate and CA were replaced, %d were refused or had no sidecar", count, len(faults))
	if len(faults) > 0 {
		t.Errorf("%d of %d went wrong:\n%s", len(faults), count, strings.Join(faults[:min(5, len(faults))], "\n"))
	}
	if count < 100 {
		t.Errorf("only %d pods were created: that shows nothing", count)
	}
	if got := r.pods(t); len(got) != 2 || got[0].Status.ContainerStatuses[0].RestartCount+got[1].Status.ContainerStatuses[0].RestartCount > 0 {
		t.Errorf("the replicas are not those of the beginning")
	}
}

// usesItsRights requires that what a source of certificates needs is granted, and used: not all of them need the same.
func (r *release) usesItsRights(t *testing.T) {
	t.Helper()
	ownersHear(t, r.namespace(t))
	wantEveryRightUsed(t, outriggerNamespace, r.name, 0, false)
}

func (r *release) pods(t *testing.T) []corev1.Pod {
	t.Helper()
	list := &corev1.PodList{}
	if err := kube.List(t.Context(), list, client.InNamespace(outriggerNamespace), client.MatchingLabels{"app.kubernetes.io/instance": r.name}); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

func waitForReadyPods(t *testing.T, instance string, count int) {
	t.Helper()
	readyPods(t, outriggerNamespace, "app.kubernetes.io/instance="+instance, count)
}

func (r *release) secret(t *testing.T, name string) *corev1.Secret {
	t.Helper()
	secret := &corev1.Secret{}
	if err := kube.Get(t.Context(), client.ObjectKey{Namespace: outriggerNamespace, Name: name}, secret); err != nil {
		t.Fatal(err)
	}
	return secret
}

func (r *release) writeSecret(t *testing.T, name string, data map[string][]byte) {
	t.Helper()
	eventually(t, "Secret "+name+" is written", func() error {
		secret := r.secret(t, name)
		secret.Data = data
		return kube.Update(t.Context(), secret)
	})
}

// bundles are the caBundles of all entries of both webhook objects.
func (r *release) bundles(t *testing.T) [][]byte {
	t.Helper()
	var mutating admissionregistrationv1.MutatingWebhookConfiguration
	var validating admissionregistrationv1.ValidatingWebhookConfiguration
	if err := kube.Get(t.Context(), client.ObjectKey{Name: r.webhook}, &mutating); err != nil {
		t.Fatal(err)
	}
	if err := kube.Get(t.Context(), client.ObjectKey{Name: "outrigger-validator-" + r.revision}, &validating); err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for _, entry := range mutating.Webhooks {
		out = append(out, entry.ClientConfig.CABundle)
	}
	for _, entry := range validating.Webhooks {
		out = append(out, entry.ClientConfig.CABundle)
	}
	return out
}

// publishes waits until every entry trusts these CAs, the old ones besides the new. A renewed CA with its old key verifies what it
// signed before cert-manager has published it.
func (r *release) publishes(t *testing.T, cas ...*x509.Certificate) {
	t.Helper()
	eventually(t, "the CAs are published", func() error {
		for i, bundle := range r.bundles(t) {
			for _, ca := range cas {
				if !bytes.Contains(bundle, bytes.TrimSpace(pemOf(ca))) {
					return fmt.Errorf("entry %d does not trust %s", i, ca.Subject.CommonName)
				}
			}
		}
		return nil
	})
}

// leafOf asks a replica for its certificate.
func (r *release) leafOf(t *testing.T, pod corev1.Pod) *x509.Certificate {
	t.Helper()
	address := net.JoinHostPort(outrigger.Node.Address(pod.Status.PodIP), "10250")
	connection, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // G402: what it serves is looked at, not trusted
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	return connection.ConnectionState().PeerCertificates[0]
}

func (r *release) leaves(t *testing.T) []*x509.Certificate {
	t.Helper()
	var out []*x509.Certificate
	for _, pod := range r.pods(t) {
		out = append(out, r.leafOf(t, pod))
	}
	return out
}

func (r *release) everyReplica(t *testing.T, check func(*x509.Certificate) error) error {
	t.Helper()
	for _, leaf := range r.leaves(t) {
		if err := check(leaf); err != nil {
			return err
		}
	}
	return nil
}

// isIn checks that a certificate is the one in the data of a Secret.
func isIn(data map[string][]byte) func(*x509.Certificate) error {
	return func(leaf *x509.Certificate) error {
		if !bytes.HasPrefix(data[corev1.TLSCertKey], bytes.TrimSpace(pemOf(leaf))) {
			return errors.New("another certificate is served")
		}
		return nil
	}
}

// tlsData returns a new certificate of a CA for the release, as the data of a Secret.
func (r *release) tlsData(t *testing.T, by *ca) map[string][]byte {
	t.Helper()
	host, _, err := net.SplitHostPort(r.installed.Webhook.Address())
	if err != nil {
		t.Fatal(err)
	}
	leaf := by.sign(t, &x509.Certificate{
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.ParseIP(host)}, DNSNames: []string{r.name + "." + outriggerNamespace + ".svc"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return map[string][]byte{corev1.TLSCertKey: leaf.certPEM(), corev1.TLSPrivateKeyKey: leaf.keyPEM(t), "ca.crt": by.certPEM()}
}

// ca is a certificate with its key.
type ca struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCA(t *testing.T, name string, from, until time.Time) *ca {
	t.Helper()
	return (&ca{}).sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
}

// sign makes a certificate that is signed by the CA, or by itself where there is none.
func (c *ca) sign(t *testing.T, template *x509.Certificate) *ca {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		t.Fatal(err)
	}
	parent, signer := c.cert, c.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &ca{cert: made, key: key}
}

func (c *ca) certPEM() []byte { return pemOf(c.cert) }

func (c *ca) keyPEM(t *testing.T) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func pemOf(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}

func parseCertificate(t *testing.T, text []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("no certificate: %q", text)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// renew asks cert-manager to issue a Certificate anew, as its command line does.
func renew(t *testing.T, name string) {
	t.Helper()
	condition, err := json.Marshal([]any{map[string]any{"op": "add", "path": "/status/conditions/-", "value": map[string]any{
		"type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "message": "for a test", "lastTransitionTime": metav1.Now(),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	kubectl(t, "-n", outriggerNamespace, "patch", "certificates.cert-manager.io", name, "--subresource=status", "--type=json", "-p", string(condition))
}
