// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"
)

// Source names where the serving certificate comes from.
type Source string

// The sources.
const (
	SelfManaged Source = "selfManaged" // a Secret holds a CA, and every replica signs a certificate of its own with it
	FromSecret  Source = "secret"      // a Secret holds the certificate, which somebody else renews
	CertManager Source = "certManager" // the same, and cert-manager is who renews it and publishes its CA
)

// source is what the keeper takes its certificate from: generated, given and issued ones are told apart nowhere else.
type source interface {
	// renew brings up to date what is the source's to keep, and says what it has now. published is what API servers
	// trusted when it was last read. With an error comes what can still be offered.
	renew(ctx context.Context, published trust) (offer, error)
}

// offer is what a source has.
type offer struct {
	// certificate is to be served as soon as API servers trust it; nil if there is none.
	certificate *tls.Certificate
	// trusted are the CAs that verify it, and others that must be trusted, in PEM; nil if somebody else publishes them.
	trusted []byte
	// trouble is a sentence about what is wrong, although there is no error; empty if nothing is.
	trouble string
	// again is when the source has something to do without being woken; zero if never.
	again time.Time
}

// sourceOf returns the source that the options ask for.
func sourceOf(o Options) (source, error) {
	secret := secretSource{client: o.Client, namespace: o.Namespace, name: o.SecretName}
	switch o.Source {
	case "", SelfManaged:
		return &selfManaged{options: o}, nil
	case FromSecret:
		secret.caBundle, secret.publishes = o.CABundle, true
		return &secret, nil
	case CertManager:
		if o.Certificates == nil || o.CertificateName == "" {
			return nil, errors.New("certificates: source certManager needs the name of a Certificate and a client that reads it")
		}
		return &certManager{secret: secret, client: o.Certificates, name: o.CertificateName}, nil
	}
	return nil, fmt.Errorf("certificates: source = %q: it must be %s, %s or %s", o.Source, SelfManaged, FromSecret, CertManager)
}
