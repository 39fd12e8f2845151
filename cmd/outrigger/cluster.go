// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	cmclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned/typed/certmanager/v1"
	"github.com/go-logr/logr"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlcluster "sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/certs"
	"outrigger.dev/outrigger/internal/process"
	"outrigger.dev/outrigger/webhook"
)

// restConfig returns how to reach the API server: by the file, else by KUBECONFIG, else by the pod's account.
func restConfig(kubeconfig string, bound api.RequestConfig) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return nil, errors.New("no cluster: there is no --kubeconfig, KUBECONFIG or account of a pod")
	}
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	config.UserAgent = "outrigger/" + version
	// Far above what a large first start needs: it bounds a loop that nobody foresaw. Each client has a bound of its own, so
	// routing never takes the certificate's requests.
	config.QPS, config.Burst = float32(bound.QPS), bound.Burst
	return config, nil
}

// newCluster makes what all parts share: the caches, and what writes Events. It asks the API server for nothing yet.
func newCluster(cluster *rest.Config, config api.Config, logger logr.Logger) (ctrlcluster.Cluster, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, networkingv1.AddToScheme, apiextensionsv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	return ctrlcluster.New(cluster, func(o *ctrlcluster.Options) {
		o.Scheme, o.Logger, o.MapperProvider = scheme, logger, process.NewRESTMapper
		o.Cache = cache.Options{
			DefaultTransform: cache.TransformStripManagedFields(),
			// Our own webhook object alone: our rights name it.
			ByObject: map[client.Object]cache.ByObject{
				&admissionregistrationv1.MutatingWebhookConfiguration{}: {Field: fields.OneTermEqualSelector(metav1.ObjectNameField, config.WebhookConfigurationName())},
			},
		}
	})
}

// certificates returns the keeper of the serving certificate.
func certificates(cluster *rest.Config, config api.Config, client kubernetes.Interface, where placement, events *webhook.Events, logger logr.Logger) (*certs.Keeper, error) {
	settings := config.Certificates
	hosts := settings.Hosts
	if len(hosts) == 0 {
		hosts = []string{fmt.Sprintf("%s.%s.svc", api.Outrigger, where.namespace)}
	}
	own := where.address
	if address := net.ParseIP(own); own == "" || address != nil && address.IsUnspecified() {
		own = "localhost"
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
		Endpoint:             net.JoinHostPort(own, strconv.Itoa(config.Webhook.Port)),
		Metrics:              metrics.Registry,
		Report: func(ctx context.Context, n certs.Notice) error {
			kind := corev1.EventTypeNormal
			if n.Warning {
				kind = corev1.EventTypeWarning
			}
			return events.Tell(ctx, n.About, kind, string(n.Reason), "KeepCertificate", n.Note)
		},
		Log: logger.WithName("certs"),
	})
}
