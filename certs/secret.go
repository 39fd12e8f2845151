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

// keyRootCert is the key of the CA in a Secret of type kubernetes.io/tls. cert-manager and others write it beside tls.crt and tls.key.
const keyRootCert = "ca.crt"

// secretSource takes the certificate from a Secret that the user or another controller manages.
type secretSource struct {
	client          kubernetes.Interface
	namespace, name string
	caBundle        []byte // CAs in PEM, instead of the Secret's ca.crt
	publishes       bool   // false if another controller writes the caBundle
	held            offer  // the last valid content
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

// read returns what a Secret offers. Its errors name the key and the expected content.
func (s *secretSource) read(secret *corev1.Secret) (offer, error) {
	certificate, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return offer{}, fmt.Errorf("keys %s and %s: must be a certificate, followed by its intermediate CAs, and its key, in PEM format: %w",
			corev1.TLSCertKey, corev1.TLSPrivateKeyKey, err)
	}
	if !s.publishes {
		return offer{certificate: &certificate}, nil
	}
	trusted, from := s.caBundle, "the configured caBundle"
	if len(trusted) == 0 {
		trusted, from = secret.Data[keyRootCert], "key "+keyRootCert
	}
	if len(trusted) == 0 {
		return offer{}, errors.New("key " + keyRootCert + " is empty: must be the CA of the certificate in PEM format; otherwise set the chart's webhook.certificate.caBundle")
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
