// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"
)

// Source is where the serving certificate comes from.
type Source string

// The sources.
const (
	SelfManaged Source = "selfManaged" // a Secret holds a CA, with which every replica signs its own certificate
	FromSecret  Source = "secret"      // a Secret holds the certificate; the user renews it
	CertManager Source = "certManager" // a Secret holds the certificate; cert-manager renews it and publishes its CA
)

// source provides the certificate of a Keeper. Only implementations of source know where it comes from.
type source interface {
	// renew renews what the source manages, and returns what it offers now. published is what API servers trusted when the
	// webhook object was last read. With an error, renew still returns what can be offered.
	renew(ctx context.Context, published trust) (offer, error)
}

// offer is what a source provides.
type offer struct {
	// certificate is served as soon as API servers trust it; nil if there is none.
	certificate *tls.Certificate
	// trusted holds the CAs that must be published, in PEM; nil if another controller publishes them.
	trusted []byte
	// trouble describes a problem that is not an error, as a sentence; empty if there is none.
	trouble string
	// again is when the source must be renewed even if no object changes; zero if never.
	again time.Time
}

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
			return nil, errors.New("certificates: source certManager requires CertificateName and Certificates")
		}
		return &certManager{secret: secret, client: o.Certificates, name: o.CertificateName}, nil
	}
	return nil, fmt.Errorf("certificates: source = %q: must be %s, %s, or %s", o.Source, SelfManaged, FromSecret, CertManager)
}
