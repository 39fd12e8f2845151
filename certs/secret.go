// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// keyRootCert is the key of a Secret of type kubernetes.io/tls that holds the CA of its certificate, as cert-manager and
// others write it beside tls.crt and tls.key.
const keyRootCert = "ca.crt"

// secretSource takes the certificate from a Secret that somebody else keeps.
type secretSource struct {
	client          kubernetes.Interface
	namespace, name string
	caBundle        []byte // CAs in PEM, in place of the Secret's ca.crt
	publishes       bool   // false if somebody else writes the caBundle
	held            offer  // what was last read and is right
}

func (s *secretSource) renew(ctx context.Context, _ trust) (offer, error) {
	secret, err := s.client.CoreV1().Secrets(s.namespace).Get(ctx, s.name, metav1.GetOptions{})
	if err != nil {
		return s.held, fmt.Errorf("reading Secret %s/%s: %w", s.namespace, s.name, err)
	}
	read, err := s.read(secret)
	if err != nil {
		return s.held, fmt.Errorf("reading Secret %s/%s: %w", s.namespace, s.name, err)
	}
	s.held = read
	return read, nil
}

// read returns what a Secret offers. An error names the key and what would be right.
func (s *secretSource) read(secret *corev1.Secret) (offer, error) {
	certificate, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return offer{}, fmt.Errorf("keys %s and %s: they must be a certificate, with those between it and its CA behind it, and its key, in PEM: %w",
			corev1.TLSCertKey, corev1.TLSPrivateKeyKey, err)
	}
	if !s.publishes {
		return offer{certificate: &certificate}, nil
	}
	trusted, from := s.caBundle, "the caBundle that was set"
	if len(trusted) == 0 {
		trusted, from = secret.Data[keyRootCert], "key "+keyRootCert
	}
	if len(trusted) == 0 {
		return offer{}, errors.New("key " + keyRootCert + " is empty: it must be the CA of the certificate in PEM, or the chart's webhook.certificate.caBundle must be set")
	}
	cas, err := parseCerts(trusted)
	if err != nil {
		return offer{}, fmt.Errorf("%s: %w", from, err)
	}
	out := offer{certificate: &certificate}
	for _, ca := range cas {
		out.trusted = append(out.trusted, certPEM(ca)...)
	}
	return out, nil
}
