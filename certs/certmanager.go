// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"context"
	"fmt"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	cmclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned/typed/certmanager/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// certManager takes the certificate from the Secret that cert-manager writes for a Certificate. cert-manager's cainjector
// publishes the CA.
type certManager struct {
	secret secretSource
	client cmclient.CertificatesGetter
	name   string // of the Certificate
}

func (c *certManager) renew(ctx context.Context, published trust) (offer, error) {
	out, err := c.secret.renew(ctx, published)
	certificate, readErr := c.client.Certificates(c.secret.namespace).Get(ctx, c.name, metav1.GetOptions{})
	switch {
	case readErr != nil && err != nil:
		return out, fmt.Errorf("%w; and reading its Certificate %s: %w", err, c.name, readErr)
	case readErr != nil:
		out.trouble = fmt.Sprintf("reading Certificate %s/%s: %v", c.secret.namespace, c.name, readErr)
	default:
		out.trouble = CertificateTrouble(certificate)
	}
	if err != nil && out.trouble != "" {
		err = fmt.Errorf("%w; %s", err, out.trouble)
	}
	return out, err
}

// CertificateTrouble returns the problem that cert-manager reports about a Certificate, as a sentence with its reason; empty if
// the Certificate is ready and its last renewal did not fail.
func CertificateTrouble(certificate *cmapi.Certificate) string {
	what := fmt.Sprintf("Certificate %s/%s", certificate.Namespace, certificate.Name)
	if c := condition(certificate, cmapi.CertificateConditionIssuing); c != nil && c.Status == cmmeta.ConditionFalse && c.Reason != "Issued" {
		return fmt.Sprintf("%s could not be issued: %s: %s", what, c.Reason, c.Message)
	}
	switch c := condition(certificate, cmapi.CertificateConditionReady); {
	case c == nil:
		return what + " is not ready: it has no condition yet; check that cert-manager is running"
	case c.Status != cmmeta.ConditionTrue:
		return fmt.Sprintf("%s is not ready: %s: %s", what, c.Reason, c.Message)
	}
	return ""
}

// condition returns the condition of a type; nil if there is none. cert-manager's own function is in a package that depends on
// another logger.
func condition(certificate *cmapi.Certificate, kind cmapi.CertificateConditionType) *cmapi.CertificateCondition {
	for i := range certificate.Status.Conditions {
		if c := &certificate.Status.Conditions[i]; c.Type == kind {
			return c
		}
	}
	return nil
}
