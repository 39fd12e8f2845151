// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	ctrlcluster "sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/cli"
	"outrigger.dev/outrigger/internal/process"
	"outrigger.dev/outrigger/routing"
	"outrigger.dev/outrigger/routing/controller"
	"outrigger.dev/outrigger/routing/podindex"
	"outrigger.dev/outrigger/webhook"
)

// podsOfCluster is who knows the pods of the cluster on the leader.
type podsOfCluster interface {
	PodKinds() ([]api.PodKind, bool)
}

// leadersJobs has the leader keep the routes, and count which pods lack the sidecar that they should have. Pods are watched
// once for both; where there are no routes to keep, for the count alone.
func leadersJobs(cluster *rest.Config, shared ctrlcluster.Cluster, istio *webhook.IstioConfiguration, config api.Config, namespace string, logger logr.Logger) (*process.Leadership, error) {
	leader := &process.Leadership{Name: config.LeaseName(), Timing: config.LeaderElection, Log: logger.WithName("leader")}
	if config.LeaderElection.Enabled && leader.Name != "" {
		var err error
		if leader.Lock, err = leaseLock(cluster, config.LeaderElection, namespace, leader.Name); err != nil {
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
				return cli.MeshOf(current)
			},
		})
		if err := routes.Prepare(shared, logger); err != nil {
			return nil, err
		}
		leader.Add(routes)
		pods = routes
	case config.Coverage.Interval > 0:
		watch, err := podindex.NewWatcher(shared.GetConfig())
		if err != nil {
			return nil, err
		}
		leader.Add(watch)
		pods = watch
	}
	if config.Coverage.Interval > 0 {
		leader.Add(coverage(shared, pods, istio, config, logger))
	}
	return leader, nil
}

// coverage counts which pods lack the sidecar that they should have.
func coverage(shared ctrlcluster.Cluster, of podsOfCluster, istio *webhook.IstioConfiguration, config api.Config, logger logr.Logger) *webhook.Coverage {
	return webhook.NewCoverage(webhook.CoverageOptions{
		Pods: of.PodKinds, Namespaces: webhook.NamespacesFrom(shared.GetCache()), Config: istio,
		Entries:  webhook.EntriesFrom(shared.GetCache(), config.WebhookConfigurationName()),
		Interval: config.Coverage.Interval, Registerer: metrics.Registry, Log: logger.WithName("coverage"),
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
		resourcelock.ResourceLockConfig{Identity: holder + "_" + string(uuid.NewUUID())}, cli.LeaseLabels())
}
