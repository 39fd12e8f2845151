// SPDX-License-Identifier: Apache-2.0

package process

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"outrigger.dev/outrigger/api"
)

// issuer is a certificate authority of a test.
type issuer struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newIssuer(t *testing.T) issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return issuer{certificate, key}
}

func (i issuer) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.certificate.Raw}))
}

// issue signs a certificate for a client, or for the server 127.0.0.1 if it has no name.
func (i issuer) issue(t *testing.T, name string, dnsNames ...string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	usage := x509.ExtKeyUsageClientAuth
	if name == "" {
		usage, dnsNames = x509.ExtKeyUsageServerAuth, []string{"localhost"}
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: dnsNames, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, i.certificate, key.Public(), i.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// serving starts the webhook's endpoint as newProcess does, and returns how a caller with a certificate fares.
func serving(t *testing.T, config api.WebhookConfig, authority issuer) func(certificate *tls.Certificate, maxVersion uint16) (status int, body string, err error) {
	t.Helper()
	own := authority.issue(t, "")
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "reviewed") })
	e, err := Listen("webhook", "127.0.0.1:0", KnownCallers(config, handler), TLSConfig(config, func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own, nil }))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- e.Serve(logr.Discard()) }()
	t.Cleanup(func() {
		_ = e.Server.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	roots := x509.NewCertPool()
	roots.AddCert(authority.certificate)
	return func(certificate *tls.Certificate, maxVersion uint16) (int, string, error) {
		settings := &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS10, MaxVersion: maxVersion} //nolint:gosec // what must be refused is offered
		if certificate != nil {
			// Given whatever the server says that it accepts.
			settings.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: settings, DisableKeepAlives: true}, Timeout: 10 * time.Second}
		response, err := client.Get("https://" + e.Listener.Addr().String() + "/inject")
		if err != nil {
			return 0, "", err
		}
		defer func() { _ = response.Body.Close() }()
		text, err := io.ReadAll(response.Body)
		return response.StatusCode, string(text), err
	}
}

func TestOnlyKnownCallersAreAnswered(t *testing.T) {
	ours, theirs := newIssuer(t), newIssuer(t)
	anyName := api.WebhookConfig{ClientCA: ours.pem()}
	named := api.WebhookConfig{ClientCA: ours.pem(), ClientNames: []string{"apiserver", "other.example"}}
	for name, test := range map[string]struct {
		config      api.WebhookConfig
		certificate *tls.Certificate
		status      int // 0: the connection is refused
		says        string
	}{
		"nothing is asked for":                {api.WebhookConfig{}, nil, 200, "reviewed"},
		"nothing is asked for, one given":     {api.WebhookConfig{}, theirs.issue(t, "apiserver"), 200, "reviewed"},
		"right":                               {anyName, ours.issue(t, "somebody"), 200, "reviewed"},
		"right, by its common name":           {named, ours.issue(t, "apiserver"), 200, "reviewed"},
		"right, by its DNS name":              {named, ours.issue(t, "x", "other.example"), 200, "reviewed"},
		"none":                                {anyName, nil, 401, "webhook.clientCA"},
		"of another authority":                {anyName, theirs.issue(t, "apiserver"), 0, "tls: "},
		"of the authority, with no such name": {named, ours.issue(t, "kubelet"), 403, `"kubelet" has none of the names in webhook.clientNames`},
		"of the authority, for a server":      {anyName, ours.issue(t, ""), 0, "tls: "},
	} {
		t.Run(name, func(t *testing.T) {
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				config := test.config
				config.MinTLSVersion = "1.2"
				status, body, err := serving(t, config, ours)(test.certificate, version)
				if err != nil {
					body = err.Error()
				}
				if status != test.status || !strings.Contains(body, test.says) {
					t.Errorf("%s: status %d, %q; want %d, %q", tls.VersionName(version), status, body, test.status, test.says)
				}
			}
		})
	}
}

func TestLowestTLSVersion(t *testing.T) {
	authority := newIssuer(t)
	for minimum, accepted := range map[string][]uint16{
		"1.3": {tls.VersionTLS13},
		"1.2": {tls.VersionTLS12, tls.VersionTLS13},
	} {
		ask := serving(t, api.WebhookConfig{MinTLSVersion: minimum}, authority)
		for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13} {
			status, _, err := ask(nil, version)
			if wanted := slices.Contains(accepted, version); (err == nil && status == http.StatusOK) != wanted {
				t.Errorf("minTLSVersion %s, a caller of at most %s: status %d, %v", minimum, tls.VersionName(version), status, err)
			}
		}
	}
}
