// SPDX-License-Identifier: Apache-2.0

package api

import (
	"maps"
	"slices"
	"time"
)

// DefaultConfig returns the configuration of an empty file.
func DefaultConfig() Config {
	return Config{
		APIVersion: ConfigAPIVersion,
		Kind:       ConfigKind,
		Istio:      IstioConfig{Namespace: "istio-system"},
		Webhook:    WebhookConfig{Port: 10250, MinTLSVersion: "1.3", MaxContainers: DefaultMaxContainers, MaxVolumes: DefaultMaxVolumes, Warnings: true},
		Certificates: CertificatesConfig{
			Source: CertificateSelfManaged, SecretName: "outrigger-ca", CADuration: 87600 * time.Hour, LeafDuration: 24 * time.Hour, Overlap: time.Minute,
		},
		Routing: RoutingConfig{
			Enabled:           true,
			Settle:            2 * time.Second,
			PropagationDelay:  2 * time.Second,
			SubsetRetention:   time.Minute,
			SplitAge:          5 * time.Minute,
			DefaultGoneWindow: 5 * time.Minute,
			DefaultGoneAfter:  30 * time.Second,
			Expose:            ExposeEnabled,
			AllowWildcardHost: true,
			ClusterDomain:     "cluster.local",
			MaxVersions:       50,
			MaxMatchItems:     100,
			MaxHosts:          50,
			MaxAnnotationSize: 16 << 10,
			MaxObjectSize:     256 << 10,
			MultiCluster:      MultiClusterAuto,
			Canary: CanaryConfig{
				Steps: "5,20,50,100", Interval: 5 * time.Minute, MinRequests: 20, Deadline: time.Hour, EvaluationInterval: 30 * time.Second,
			},
			Metrics: MetricsServerConfig{Timeout: 5 * time.Second, ScrapeInterval: 15 * time.Second, MaxConcurrentQueries: 10},
		},
		Coverage: CoverageConfig{Interval: time.Minute},
		Shutdown: ShutdownConfig{Linger: 10 * time.Second},
		Health:   HealthConfig{Address: ":8081"},
		Metrics:  MetricsConfig{Address: ":8080"},
		Log:      LogConfig{Level: "info", Format: "json"},
		LeaderElection: LeaderElectionConfig{
			Enabled:       true,
			LeaseName:     "outrigger-routing",
			LeaseDuration: 15 * time.Second,
			RenewDeadline: 10 * time.Second,
			RetryPeriod:   2 * time.Second,
		},
		APIServer: RequestConfig{QPS: 500, Burst: 1000},
	}
}

// canary returns the settings of a canary without annotations. LoadConfig has checked them.
func (c RoutingConfig) canary() (Canary, error) {
	out := Canary{MinRequests: c.Canary.MinRequests, Deadline: c.Canary.Deadline, Interval: c.Canary.Interval}
	var err error
	if out.Steps, err = ParseCanarySteps(c.Canary.Steps, c.Canary.Interval); err != nil || c.Canary.Checks == "" {
		return out, err
	}
	out.Checks, err = ParseCanaryChecks(c.Canary.Checks, c.Metrics.queryNames())
	return out, err
}

// queryNames are the metrics that checks can name, besides the default ones.
func (c MetricsServerConfig) queryNames() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(c.Queries)), func(name string) bool { return name == "requests" || name == "percentile" })
}

// RoutingSettings returns the settings of the routing job.
func (c Config) RoutingSettings() RoutingSettings {
	canary, _ := c.Routing.canary()
	return RoutingSettings{
		Settle:            c.Routing.Settle,
		PropagationDelay:  c.Routing.PropagationDelay,
		SubsetRetention:   c.Routing.SubsetRetention,
		SplitAge:          c.Routing.SplitAge,
		DefaultGoneWindow: c.Routing.DefaultGoneWindow,
		DefaultGoneAfter:  c.Routing.DefaultGoneAfter,
		Expose:            c.Routing.Expose,
		AllowWildcardHost: c.Routing.AllowWildcardHost,
		GatewaySelectors:  c.Routing.GatewaySelectors,
		Gateways:          c.Routing.Gateways,
		GatewayPorts:      c.Routing.GatewayPorts,
		ClusterDomain:     c.Routing.ClusterDomain,
		MaxVersions:       c.Routing.MaxVersions,
		MaxObjectBytes:    c.Routing.MaxObjectSize,
		Limits:            RouteLimits{AnnotationBytes: c.Routing.MaxAnnotationSize, MatchItems: c.Routing.MaxMatchItems, Hosts: c.Routing.MaxHosts, CanaryQueries: c.Routing.Metrics.queryNames(), Canary: &canary},
		MultiCluster:      c.Routing.MultiCluster,
		Freeze:            c.Routing.Freeze,
		Canary: CanarySettings{
			Interval: c.Routing.Canary.EvaluationInterval, HasMetrics: c.Routing.Metrics.PrometheusURL != "", AutoOnNamespaces: c.Routing.Canary.AutoOnNamespaces,
		},
	}
}

// WebhookConfigurationName returns the name of Outrigger's MutatingWebhookConfiguration. By default, it does not depend on the
// name of the release, so that it sorts after Istio's.
func (c Config) WebhookConfigurationName() string {
	if c.Webhook.Name != "" {
		return c.Webhook.Name
	}
	return WithRevision(Outrigger+"-sidecar-injector", c.Istio.Revision)
}

// ValidatorName returns the name of Outrigger's ValidatingWebhookConfiguration, or "" if there is none.
func (c Config) ValidatorName() string {
	if !c.Webhook.Warnings {
		return ""
	}
	return WithRevision(Outrigger+"-validator", c.Istio.Revision)
}

// ExposurePolicyName returns the name of the chart's ValidatingAdmissionPolicy, and of its binding, that require permission
// to expose a Service.
func (c Config) ExposurePolicyName() string {
	return WithRevision(Outrigger+"-exposure", c.Istio.Revision)
}

// LeaseName returns the name of the Lease for leader election, or "" if the leader has no jobs. A release that only counts pods
// never holds the Lease of routing, which may belong to another release.
func (c Config) LeaseName() string {
	switch {
	case c.Routing.Enabled:
		return c.LeaderElection.LeaseName
	case c.Coverage.Interval > 0:
		return WithRevision(Outrigger+"-coverage", c.Istio.Revision)
	}
	return ""
}

// LastGoodName returns the name of the ConfigMap that keeps Istio's last good configuration.
func (c Config) LastGoodName() string { return WithRevision(Outrigger+"-last-good", c.Istio.Revision) }

// Outrigger is the name that fixed object names begin with.
const Outrigger = "outrigger"

// WithRevision returns the name of an object with a revision, such as istio-1-31, as Istio's charts form it. The empty revision
// and "default" add no suffix.
func WithRevision(name, revision string) string {
	if revision == "" || revision == "default" {
		return name
	}
	return name + "-" + revision
}
