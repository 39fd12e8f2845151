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

// certManager takes the certificate from the Secret that cert-manager writes for a Certificate. Its cainjector publishes
// the CA.
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

// CertificateTrouble returns what cert-manager says is wrong with a Certificate, as a sentence with its reason; empty if
// it is ready and its last renewal did not fail.
func CertificateTrouble(certificate *cmapi.Certificate) string {
	what := fmt.Sprintf("Certificate %s/%s", certificate.Namespace, certificate.Name)
	if c := condition(certificate, cmapi.CertificateConditionIssuing); c != nil && c.Status == cmmeta.ConditionFalse && c.Reason != "Issued" {
		return fmt.Sprintf("%s: issuing it failed: %s: %s", what, c.Reason, c.Message)
	}
	switch c := condition(certificate, cmapi.CertificateConditionReady); {
	case c == nil:
		return what + " is not ready: cert-manager has said nothing about it yet; does it run?"
	case c.Status != cmmeta.ConditionTrue:
		return fmt.Sprintf("%s is not ready: %s: %s", what, c.Reason, c.Message)
	}
	return ""
}

// condition is cert-manager's own function of the kind, whose package would bring another logger along.
func condition(certificate *cmapi.Certificate, kind cmapi.CertificateConditionType) *cmapi.CertificateCondition {
	for i := range certificate.Status.Conditions {
		if c := &certificate.Status.Conditions[i]; c.Type == kind {
			return c
		}
	}
	return nil
}
