// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"strconv"

	cmclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned/typed/certmanager/v1"
	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/certs"
	"outrigger.dev/outrigger/webhook"
)

// certificates returns the keeper of the serving certificate.
func certificates(cluster *rest.Config, config api.Config, client kubernetes.Interface, where placement, events *webhook.Events, logger logr.Logger) (*certs.Keeper, error) {
	settings := config.Certificates
	hosts := settings.Hosts
	if len(hosts) == 0 {
		hosts = []string{fmt.Sprintf("%s.%s.svc", api.Outrigger, where.namespace)}
	}
	host := where.address
	if address := net.ParseIP(host); host == "" || address != nil && address.IsUnspecified() {
		host = "localhost"
	}
	certManager, err := cmclient.NewForConfig(cluster)
	if err != nil {
		return nil, err
	}
	return certs.New(certs.Options{
		Client: client, Source: certs.Source(settings.Source), Namespace: where.namespace, SecretName: settings.SecretName,
		CABundle: []byte(settings.CABundle), Certificates: certManager, CertificateName: settings.CertificateName,
		RecordName:           config.LastGoodName(),
		WebhookConfiguration: config.WebhookConfigurationName(),
		Validator:            config.ValidatorName(),
		Hosts:                hosts,
		CADuration:           settings.CADuration,
		LeafDuration:         settings.LeafDuration,
		Overlap:              settings.Overlap,
		Endpoint:             net.JoinHostPort(host, strconv.Itoa(config.Webhook.Port)),
		Metrics:              metrics.Registry,
		Report: func(ctx context.Context, n certs.Notice) error {
			kind := corev1.EventTypeNormal
			if n.Warning {
				kind = corev1.EventTypeWarning
			}
			return events.Record(ctx, n.About, kind, string(n.Reason), "KeepCertificate", n.Note)
		},
		Log: logger.WithName("certs"),
	})
}
