// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// apiServerArgs are what this API server is told beside the usual: to take notes of what Outrigger asks it for, and to show
// a certificate of its own to webhooks that ask for one. docs/understand/security.md tells users to write the same files.
func apiServerArgs(dir string) (map[string][]string, error) {
	auditLog = filepath.Join(dir, "audit.log")
	authority, issue, err := newAuthority()
	if err != nil {
		return nil, err
	}
	callers.authority = authority
	certificate, key, err := issue(callerName)
	if err != nil {
		return nil, err
	}
	if callers.right, err = tls.X509KeyPair(certificate, key); err != nil {
		return nil, err
	}
	_, issueWrong, err := newAuthority()
	if err != nil {
		return nil, err
	}
	wrong, wrongKey, err := issueWrong(callerName)
	if err != nil {
		return nil, err
	}
	if callers.wrong, err = tls.X509KeyPair(wrong, wrongKey); err != nil {
		return nil, err
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	plugin := func(name string) string {
		return fmt.Sprintf("- name: %s\n  configuration: {apiVersion: apiserver.config.k8s.io/v1, kind: WebhookAdmissionConfiguration, kubeConfigFile: %s}\n", name, file("webhooks.kubeconfig"))
	}
	for name, text := range map[string]string{
		"audit.yaml": auditPolicy,
		"client.crt": string(certificate),
		"client.key": string(key),
		"admission.yaml": "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n" +
			plugin("MutatingAdmissionWebhook") + plugin("ValidatingAdmissionWebhook"),
		"webhooks.kubeconfig": fmt.Sprintf("apiVersion: v1\nkind: Config\nusers:\n- name: '*'\n  user: {client-certificate: %s, client-key: %s}\n", file("client.crt"), file("client.key")),
	} {
		if err := os.WriteFile(file(name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return map[string][]string{
		"audit-policy-file":             {file("audit.yaml")},
		"audit-log-path":                {auditLog},
		"admission-control-config-file": {file("admission.yaml")},
	}, nil
}

// newAuthority returns the certificate of a new authority, in PEM, and what signs certificates of clients by it.
func newAuthority() (authority string, issue func(name string) (certificate, key []byte, err error), err error) {
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "callers"}, NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, own.Public(), own)
	if err != nil {
		return "", nil, err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed})), func(name string) ([]byte, []byte, error) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, nil, err
		}
		client := &x509.Certificate{
			SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(24 * time.Hour),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
		signed, err := x509.CreateCertificate(rand.Reader, client, template, key.Public(), own)
		if err != nil {
			return nil, nil, err
		}
		text, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, nil, err
		}
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text}), nil
	}, nil
}
