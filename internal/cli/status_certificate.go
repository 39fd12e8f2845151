// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/certs"
	"outrigger.dev/outrigger/internal/diagnose"
)

// certificates returns the state of the certificates of all installations of the system namespace, without those whose webhook
// object does not exist or may not be read.
func (l *live) certificates(ctx context.Context) ([]diagnose.CertificateStatus, error) {
	var out []diagnose.CertificateStatus
	for _, config := range l.configs {
		var object admissionregistrationv1.MutatingWebhookConfiguration
		err := l.client.Get(ctx, client.ObjectKey{Name: config.WebhookConfigurationName()}, &object)
		if isForbidden(err) {
			l.gaps.AddObject("MutatingWebhookConfiguration", "", config.WebhookConfigurationName())
		}
		if isUnreadable(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading MutatingWebhookConfiguration %s: %w", config.WebhookConfigurationName(), err)
		}
		status, err := l.certificate(ctx, config.Certificates, &object)
		if err != nil {
			return nil, err
		}
		out = append(out, status)
	}
	return out, nil
}

func (l *live) certificate(ctx context.Context, config api.CertificatesConfig, object *admissionregistrationv1.MutatingWebhookConfiguration) (diagnose.CertificateStatus, error) {
	out := diagnose.CertificateStatus{Webhook: object.Name, Source: string(config.Source)}
	until, problem := diagnose.TrustedUntil(object, l.now())
	if !until.IsZero() {
		out.Until = &until
	}
	if config.Source == api.CertificateCertManager {
		key := client.ObjectKey{Namespace: l.systemNamespace, Name: config.CertificateName}
		out.Certificate = key.String()
		var certificate cmapi.Certificate
		switch err := l.client.Get(ctx, key, &certificate); {
		case isForbidden(err):
			l.gaps.AddObject("Certificate", key.Namespace, key.Name)
		case isUnreadable(err) || meta.IsNoMatchError(err):
			problem = fmt.Sprintf("Certificate %s is not there", key)
		case err != nil:
			return out, fmt.Errorf("reading Certificate %s: %w", key, err)
		default:
			problem = cmp.Or(certs.CertificateTrouble(&certificate), problem)
			if certificate.Status.NotAfter != nil {
				out.Until = &certificate.Status.NotAfter.Time
			}
		}
	}
	out.Problem, out.Ready = problem, problem == ""
	return out, nil
}
