// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"maps"
	"net/http"
	goruntime "runtime"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel/trace"
	istioclient "istio.io/client-go/pkg/clientset/versioned"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	ctrlcluster "sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
	"outrigger.dev/outrigger/internal/cli"
	"outrigger.dev/outrigger/webhook"
)

// injectorParts are the parts that respond to reviews of pods.
type injectorParts struct {
	istio   *webhook.IstioConfiguration // Istio's live configuration
	owners  *webhook.OwnerEvents        // reports to the owners of pods
	handler http.Handler
}

// injector creates the parts that respond to reviews of pods.
func injector(cluster *rest.Config, config api.Config, namespace string, shared ctrlcluster.Cluster, events *webhook.Events, tracer trace.Tracer, logger logr.Logger) (injectorParts, error) {
	client, err := kubernetes.NewForConfig(cluster)
	if err != nil {
		return injectorParts{}, err
	}
	objects, err := metadata.NewForConfig(cluster)
	if err != nil {
		return injectorParts{}, err
	}
	istioClient, err := istioclient.NewForConfig(cluster)
	if err != nil {
		return injectorParts{}, err
	}
	// Requested now, so that the cache of Namespaces is complete before a replica is ready.
	if _, err := shared.GetCache().GetInformer(context.Background(), &corev1.Namespace{}, cache.BlockUntilSynced(false)); err != nil {
		return injectorParts{}, err
	}
	counts := webhook.NewMetrics(metrics.Registry)
	istio := webhook.NewIstioConfiguration(webhook.IstioOptions{
		Client: client, Metadata: objects, Istio: istioClient,
		Namespace:    config.Istio.Namespace,
		OwnNamespace: namespace, LastGoodName: config.LastGoodName(),
		Release: config.Istio.Version,
		Settings: inject.Settings{
			Revision: config.Istio.Revision, NativeSidecars: config.Istio.NativeSidecars,
			Platform: config.Istio.Platform, CompliancePolicy: config.Istio.CompliancePolicy,
			MaxContainers: config.Webhook.MaxContainers, MaxVolumes: config.Webhook.MaxVolumes,
		},
		Events:  events,
		Metrics: counts,
		Log:     logger.WithName("istio"),
	})
	owners := webhook.NewOwnerEvents(webhook.OwnerEventsOptions{Events: events, Owners: objects, Registerer: metrics.Registry, Log: logger.WithName("webhook")})
	memory := webhook.LimitMemory()
	logger.Info("limits", "memory", memory, "processors", goruntime.GOMAXPROCS(0))
	gate := webhook.NewGate(memory, goruntime.GOMAXPROCS(0), metrics.Registry)
	handler := &webhook.Handler{
		Namespaces: webhook.NamespacesFrom(shared.GetCache()), Config: istio, Metrics: counts, Owners: owners, Tracer: tracer, Gate: gate, Log: logger.WithName("webhook"),
	}
	warnings, err := adviceAbout(config, istio, shared)
	if err != nil {
		return injectorParts{}, err
	}
	routes, err := cli.RoutingAdvice(shared, handler.Namespaces, config)
	if err != nil {
		return injectorParts{}, err
	}
	maps.Copy(warnings, routes)
	for path, advice := range warnings {
		warnings[path] = gate.Limit(advice)
	}
	return injectorParts{istio, owners, webhook.Paths(handler.HTTP(), warnings)}, nil
}

// adviceAbout returns the handlers of the validating webhook for pods and workloads, by path, or none if it does not exist.
func adviceAbout(config api.Config, istio *webhook.IstioConfiguration, shared ctrlcluster.Cluster) (map[string]http.Handler, error) {
	if config.ValidatorName() == "" {
		return map[string]http.Handler{}, nil
	}
	// Requested now, so that a ready replica knows which selectors send pods to it.
	if _, err := shared.GetCache().GetInformer(context.Background(), &admissionregistrationv1.MutatingWebhookConfiguration{}, cache.BlockUntilSynced(false)); err != nil {
		return nil, err
	}
	namespaces := webhook.NamespacesFrom(shared.GetCache())
	paths, entries := webhook.InjectedPods(namespaces, istio), webhook.EntriesFrom(shared.GetCache(), config.WebhookConfigurationName())
	paths[webhook.WorkloadsPath] = webhook.WorkloadAdvice(webhook.Workloads{Namespaces: namespaces, Config: istio, Entries: entries})
	var limits *api.RouteLimits
	if config.Routing.Enabled {
		limits = ptr.To(config.RoutingSettings().Limits)
	}
	paths[webhook.NamespacesPath] = webhook.NamespaceAdvice(limits, entries)
	return paths, nil
}
