// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"regexp"
	"strings"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrlcluster "sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/cli"
	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/internal/process"
	"outrigger.dev/outrigger/routing"
	"outrigger.dev/outrigger/routing/controller"
	"outrigger.dev/outrigger/routing/podindex"
	"outrigger.dev/outrigger/webhook"
)

// podsOfCluster returns the pods of the cluster on the leader.
type podsOfCluster interface {
	PodKinds() ([]api.PodKind, bool)
}

// leadersJobs returns the jobs of the leader: managing routes, and counting pods without the sidecar that they should have. Both
// share one watch of pods; without routes, the count has its own.
func leadersJobs(cluster *rest.Config, shared ctrlcluster.Cluster, istio *webhook.IstioConfiguration, config api.Config, namespace string, freeze *controller.Freeze, logger logr.Logger) (*process.Leadership, error) {
	leader := &process.Leadership{Name: config.LeaseName(), Timing: config.LeaderElection, Log: logger.WithName("leader")}
	if config.LeaderElection.Enabled && leader.Name != "" {
		var err error
		if leader.Lock, err = process.NewLeaseLock(cluster, config.LeaderElection, types.NamespacedName{Namespace: namespace, Name: leader.Name}, map[string]string{cli.LeaseVersionLabel: labelValue(version)}); err != nil {
			return nil, err
		}
	}
	var pods podsOfCluster
	switch {
	case config.Routing.Enabled:
		canaries, err := controller.NewCanaryMetrics(config.Routing)
		if err != nil {
			return nil, err
		}
		routes := controller.New(controller.Options{
			Settings: config.RoutingSettings(), RootNamespace: config.Istio.Namespace, Registerer: metrics.Registry,
			Canaries: canaries, Freeze: freeze, Instance: process.Instance(),
			Mesh: func(context.Context) routing.Mesh {
				current, err := istio.Current()
				if err != nil || current == nil {
					return routing.Mesh{} // not known yet
				}
				return diagnose.MeshOf(current)
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

// coverage returns the job that counts pods without the sidecar that they should have.
func coverage(shared ctrlcluster.Cluster, of podsOfCluster, istio *webhook.IstioConfiguration, config api.Config, logger logr.Logger) *webhook.Coverage {
	return webhook.NewCoverage(webhook.CoverageOptions{
		Pods: of.PodKinds, Namespaces: webhook.NamespacesFrom(shared.GetCache()), Config: istio,
		Entries:  webhook.EntriesFrom(shared.GetCache(), config.WebhookConfigurationName()),
		Interval: config.Coverage.Interval, Registerer: metrics.Registry, Log: logger.WithName("coverage"),
	})
}

var notInLabels = regexp.MustCompile(`[^A-Za-z0-9_.-]`)

// labelValue makes a version a valid value of a label.
func labelValue(version string) string {
	out := notInLabels.ReplaceAllString(version, "_")
	return strings.Trim(out[:min(len(out), 63)], "_.-")
}
