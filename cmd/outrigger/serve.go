// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net"
	"net/http"
	"os"
	"os/signal"
	goruntime "runtime"
	"strconv"
	"syscall"
	"time"

	cmclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned/typed/certmanager/v1"
	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"go.opentelemetry.io/otel/trace"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	istioclient "istio.io/client-go/pkg/clientset/versioned"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlcluster "sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/certs"
	"outrigger.dev/outrigger/inject"
	"outrigger.dev/outrigger/routing"
	"outrigger.dev/outrigger/routing/controller"
	"outrigger.dev/outrigger/routing/podindex"
	"outrigger.dev/outrigger/webhook"
)

func serveCommand() *cobra.Command {
	var configFile string
	var where placement
	command := &cobra.Command{
		Use:   "serve",
		Short: "Serve the webhook and keep the routes; what the Helm chart runs",
		Long: `Runs both jobs in one process: the webhook that injects sidecars, on every replica, and the controller that keeps the
routes, on the one replica that leads.

Its settings are in one file; an unknown field or a bad value stops the start. All have defaults. Besides the webhook it
serves /healthz, /readyz and /metrics. After SIGTERM readiness fails at once, and it serves on for shutdown.linger.`,
		Example: `  # In a pod
  outrigger serve --config /etc/outrigger/config.yaml

  # As a process of this machine, against the cluster of a kubeconfig, in which the chart is installed
  outrigger serve --config config.yaml --kubeconfig ~/.kube/config --namespace outrigger-system --address 127.0.0.1`,
		Args: noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			config, err := readConfig(configFile)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(command.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			context.AfterFunc(ctx, stop) // the second signal ends the process at once
			logger := newLog(config.Log, command.ErrOrStderr())
			ctrl.SetLogger(logger)
			klog.SetLogger(logger)
			process, err := newProcess(config, where, logger)
			if err != nil {
				return err
			}
			return process.run(ctx)
		},
	}
	flags := command.Flags()
	flags.StringVar(&configFile, "config", "", "configuration file (default: all settings have their defaults)")
	flags.StringVar(&where.kubeconfig, "kubeconfig", "", "kubeconfig file (default: KUBECONFIG, else the pod's account)")
	flags.StringVar(&where.namespace, "namespace", os.Getenv("POD_NAMESPACE"), "namespace of our own Secret, ConfigMap and Lease (default: POD_NAMESPACE)")
	flags.StringVar(&where.address, "address", "", "address to listen on, in place of the host of every address of the configuration (default: all)")
	return command
}

// placement is what depends on where the process runs.
type placement struct {
	kubeconfig, namespace, address string
}

// newProcess makes all parts and joins them; nothing runs yet but open ports.
func newProcess(config api.Config, where placement, logger logr.Logger) (*process, error) {
	if where.namespace == "" {
		return nil, errors.New("--namespace is empty and so is POD_NAMESPACE: the namespace of our Secret, ConfigMap and Lease must be given")
	}
	cluster, err := restConfig(where.kubeconfig, config.APIServer)
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(cluster)
	if err != nil {
		return nil, err
	}
	shared, err := newCluster(cluster, config, logger)
	if err != nil {
		return nil, fmt.Errorf("caches: %w", err)
	}
	events := &webhook.Events{Client: client, Instance: instance()}
	keeper, err := certificates(cluster, config, client, where, events, logger)
	if err != nil {
		return nil, err
	}
	tracing, err := newTracing(os.Getenv, where.namespace, logger.WithName("traces"))
	if err != nil {
		return nil, err
	}
	answers, err := injector(cluster, config, where.namespace, shared, events, tracing.tracer(), logger)
	if err != nil {
		return nil, err
	}
	// Every replica keeps its certificate and Istio's configuration; routes and the count of pods are the leader's alone.
	leader, err := leadersJobs(cluster, shared, answers.istio, config, where.namespace, logger)
	if err != nil {
		return nil, err
	}
	ready := &readiness{checks: []readyCheck{
		{"certificate", func() error { return keeper.Ready(nil) }},
		{"caches", func() error { return synced(shared) }},
		{"configuration", func() error { _, err := answers.istio.Current(); return err }},
	}}
	jobs := above(shared, keeper, answers.istio, answers.owners, leader)
	p := &process{log: logger, ready: ready, jobs: jobs.Start, linger: config.Shutdown.Linger, flush: tracing.flush()}
	webhookAddress := where.at(net.JoinHostPort("", strconv.Itoa(config.Webhook.Port)))
	if p.webhook, err = listen("webhook", webhookAddress, knownCallers(config.Webhook, answers.handler), tlsConfig(config.Webhook, keeper.GetCertificate)); err != nil {
		return nil, err
	}
	for _, plain := range []struct {
		name, address string
		handler       http.Handler
	}{
		{"health", config.Health.Address, healthHandler(ready)},
		{"metrics", config.Metrics.Address, metricsHandler(metrics.Registry, logger)},
	} {
		if plain.address == "0" {
			continue
		}
		e, err := listen(plain.name, where.at(plain.address), plain.handler, nil)
		if err != nil {
			return nil, err
		}
		p.others = append(p.others, e)
	}
	return p, nil
}

// injectorParts are the parts that answer about pods.
type injectorParts struct {
	istio   *webhook.IstioConfiguration // Istio's live configuration
	owners  *webhook.OwnerEvents        // reports to the owners of pods
	handler http.Handler
}

// injector makes the parts that answer about pods.
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
	// Asked for now, the cache of Namespaces is complete before a replica is ready.
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
	routes, err := routingAdvice(shared, handler.Namespaces, config)
	if err != nil {
		return injectorParts{}, err
	}
	maps.Copy(warnings, routes)
	for path, advice := range warnings {
		warnings[path] = gate.Limit(advice)
	}
	return injectorParts{istio, owners, webhook.Paths(handler.HTTP(), warnings)}, nil
}

// adviceAbout returns the paths of the validating webhook, about pods and their workloads; none if there is no such webhook.
func adviceAbout(config api.Config, istio *webhook.IstioConfiguration, shared ctrlcluster.Cluster) (map[string]http.Handler, error) {
	if config.ValidatorName() == "" {
		return map[string]http.Handler{}, nil
	}
	// Asked for now, so that a replica that is ready knows by which selectors pods are sent to it.
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

// podsOfCluster is who knows the pods of the cluster on the leader.
type podsOfCluster interface {
	PodKinds() ([]podindex.Kind, bool)
}

// leadersJobs has the leader keep the routes, and count which pods lack the sidecar that they should have. Pods are watched
// once for both; where there are no routes to keep, for the count alone.
func leadersJobs(cluster *rest.Config, shared ctrlcluster.Cluster, istio *webhook.IstioConfiguration, config api.Config, namespace string, logger logr.Logger) (*leadership, error) {
	leader := &leadership{name: config.LeaseName(), timing: config.LeaderElection, log: logger.WithName("leader"), retry: firstRetry}
	if config.LeaderElection.Enabled && leader.name != "" {
		var err error
		if leader.lock, err = leaseLock(cluster, config.LeaderElection, namespace, leader.name); err != nil {
			return nil, err
		}
	}
	var pods podsOfCluster
	switch {
	case config.Routing.Enabled:
		routes := controller.New(controller.Options{
			Settings: config.RoutingSettings(), RootNamespace: config.Istio.Namespace, Registerer: metrics.Registry,
			Mesh: func(context.Context) routing.Mesh {
				current, err := istio.Current()
				if err != nil || current == nil {
					return routing.Mesh{} // not known yet
				}
				return meshOf(current)
			},
		})
		if err := routes.Prepare(shared, logger); err != nil {
			return nil, err
		}
		leader.add(routes)
		pods = routes
	case config.Coverage.Interval > 0:
		watch, err := podindex.NewWatcher(shared.GetConfig())
		if err != nil {
			return nil, err
		}
		leader.add(watch)
		pods = watch
	}
	if config.Coverage.Interval > 0 {
		leader.add(coverage(shared, pods, istio, config, logger))
	}
	return leader, nil
}

// coverage counts which pods lack the sidecar that they should have.
func coverage(shared ctrlcluster.Cluster, of podsOfCluster, istio *webhook.IstioConfiguration, config api.Config, logger logr.Logger) *webhook.Coverage {
	pods := func() (iter.Seq[webhook.PodKind], bool) {
		kinds, known := of.PodKinds()
		return func(yield func(webhook.PodKind) bool) {
			for _, kind := range kinds {
				if !yield(webhook.PodKind{ID: kind.ID(), Pods: kind.Pods, Pod: kind.Pod}) {
					return
				}
			}
		}, known
	}
	return webhook.NewCoverage(webhook.CoverageOptions{
		Pods: pods, Namespaces: webhook.NamespacesFrom(shared.GetCache()), Config: istio,
		Entries:  webhook.EntriesFrom(shared.GetCache(), config.WebhookConfigurationName()),
		Interval: config.Coverage.Interval, Registerer: metrics.Registry, Log: logger.WithName("coverage"),
	})
}

// instance is the name under which this process reports: its pod's, else its host's.
func instance() string {
	if name := os.Getenv("POD_NAME"); name != "" {
		return name
	}
	name, err := os.Hostname()
	if err != nil {
		return api.Outrigger // an Event must name somebody
	}
	return name
}

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
		o.Scheme, o.Logger, o.MapperProvider = scheme, logger, newKindMapper
		o.Cache = cache.Options{
			DefaultTransform: cache.TransformStripManagedFields(),
			// Our own webhook object alone: our rights name it.
			ByObject: map[client.Object]cache.ByObject{
				&admissionregistrationv1.MutatingWebhookConfiguration{}: {Field: fields.OneTermEqualSelector(metav1.ObjectNameField, config.WebhookConfigurationName())},
			},
		}
	})
}

// leaseLock names the holder of the Lease by its pod, so that one sees who leads; the manager's own would name the host.
func leaseLock(cluster *rest.Config, election api.LeaderElectionConfig, namespace, name string) (resourcelock.Interface, error) {
	holder := os.Getenv("POD_NAME")
	if holder == "" {
		var err error
		if holder, err = os.Hostname(); err != nil {
			return nil, err
		}
	}
	cluster = rest.CopyConfig(cluster)
	cluster.Timeout = election.RenewDeadline / 2 // one request that hangs must not cost the lead
	client, err := kubernetes.NewForConfig(cluster)
	if err != nil {
		return nil, err
	}
	return resourcelock.NewWithLabels(resourcelock.LeasesResourceLock, namespace, name, client.CoreV1(), client.CoordinationV1(),
		resourcelock.ResourceLockConfig{Identity: holder + "_" + string(uuid.NewUUID())}, leaseLabels())
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
		Tell: func(ctx context.Context, n certs.Notice) error {
			kind := corev1.EventTypeNormal
			if n.Warning {
				kind = corev1.EventTypeWarning
			}
			return events.Tell(ctx, n.About, kind, string(n.Reason), "KeepCertificate", n.Note)
		},
		Log: logger.WithName("certs"),
	})
}

// at returns an address of the configuration with the host that the command line wants.
func (p placement) at(address string) string {
	if p.address == "" {
		return address
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return address // "0" switches the endpoint off
	}
	return net.JoinHostPort(p.address, port)
}

// synced returns nil when the caches of all kinds that were asked for at the start are complete.
func synced(shared ctrlcluster.Cluster) error {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if !shared.GetCache().WaitForCacheSync(ctx) {
		return errors.New("not complete yet")
	}
	return nil
}
