// SPDX-License-Identifier: Apache-2.0

package api

import (
	"time"
)

// The type of the configuration file.
const (
	ConfigAPIVersion = "config." + Domain + "/v1alpha1"
	ConfigKind       = "Configuration"
)

// Config is the configuration file of `outrigger serve`. All fields have defaults: see DefaultConfig. The tags of a field contain
// its documentation (doc), its values (oneOf), its limits (min, max), and its form (form). Validation and reference are generated
// from them.
type Config struct {
	APIVersion     string               `json:"apiVersion" oneOf:"config.outrigger.dev/v1alpha1" doc:"Version of this file's format."`
	Kind           string               `json:"kind" oneOf:"Configuration" doc:"Kind of this file."`
	Istio          IstioConfig          `json:"istio"`
	Webhook        WebhookConfig        `json:"webhook"`
	Certificates   CertificatesConfig   `json:"certificates"`
	Routing        RoutingConfig        `json:"routing"`
	Coverage       CoverageConfig       `json:"coverage"`
	Shutdown       ShutdownConfig       `json:"shutdown"`
	Health         HealthConfig         `json:"health"`
	Metrics        MetricsConfig        `json:"metrics"`
	Log            LogConfig            `json:"log"`
	LeaderElection LeaderElectionConfig `json:"leaderElection"`
	APIServer      RequestConfig        `json:"apiServer"`
}

// IstioConfig is where Istio's configuration is, and which of its values are overridden.
type IstioConfig struct {
	Namespace        string `json:"namespace" form:"label" doc:"Namespace of the ConfigMaps istio-sidecar-injector and istio, and the root namespace of the mesh."`
	Revision         string `json:"revision" form:"labelOrEmpty" doc:"Istio revision to inject for; empty for the default one. It is the suffix of the two ConfigMaps and of the webhook object."`
	Version          string `json:"version" form:"releaseOrEmpty" doc:"Istio's release, for example 1.31.1, if the ConfigMaps do not contain it; empty to detect it."`
	NativeSidecars   string `json:"nativeSidecars" oneOf:",auto,enabled,disabled" doc:"Whether the proxy becomes a native sidecar (a restartable init container); empty for Istio's own setting."`
	Platform         string `json:"platform" oneOf:",openshift" doc:"Platform of the cluster; empty for Istio's own setting."`
	CompliancePolicy string `json:"compliancePolicy" form:"wordOrEmpty" doc:"Compliance policy of the proxies, for example fips-140-3; empty for Istio's own setting."`
}

// WebhookConfig configures the HTTPS server that the API server calls.
type WebhookConfig struct {
	Name          string   `json:"name" form:"subdomainOrEmpty" doc:"Name of the MutatingWebhookConfiguration; empty for outrigger-sidecar-injector with the revision as suffix."`
	Port          int      `json:"port" min:"1" max:"65535" doc:"Port of the HTTPS server. Private GKE clusters reach 10250 without a firewall rule."`
	MinTLSVersion string   `json:"minTLSVersion" oneOf:"1.2,1.3" doc:"Minimum TLS version, in quotes."`
	ClientCA      string   `json:"clientCA" form:"certificatesOrEmpty" doc:"PEM bundle of the CAs that client certificates must chain to. Empty disables client authentication."`
	ClientNames   []string `json:"clientNames" form:"name" doc:"Accepted common names or DNS names of client certificates. Empty accepts any name."`
	MaxContainers int      `json:"maxContainers" min:"1" max:"1000000" doc:"Maximum number of containers, init containers, and ephemeral containers of a pod together. A pod with more is denied with TooLarge."`
	MaxVolumes    int      `json:"maxVolumes" min:"1" max:"1000000" doc:"Maximum number of volumes of a pod. A pod with more is denied with TooLarge."`
	Warnings      bool     `json:"warnings" doc:"Whether the ValidatingWebhookConfiguration outrigger-validator exists, which warns about workloads."`
}

// CertificateSource is where the webhook's certificate comes from.
type CertificateSource string

// The sources of the webhook's certificate.
const (
	CertificateSelfManaged CertificateSource = "selfManaged"
	CertificateFromSecret  CertificateSource = "secret"
	CertificateCertManager CertificateSource = "certManager"
)

// CertificatesConfig configures the certificate of the webhook.
type CertificatesConfig struct {
	Source          CertificateSource `json:"source" oneOf:"selfManaged,secret,certManager" doc:"Where the certificate comes from: Outrigger's own CA, a Secret that you manage, or a Secret that cert-manager writes and whose CA it publishes. The chart sets it."`
	SecretName      string            `json:"secretName" form:"subdomain" doc:"Secret with the CA, in the release's namespace. It must exist; the chart creates it empty. With another source, the Secret with tls.crt and tls.key."`
	CertificateName string            `json:"certificateName" form:"subdomainOrEmpty" doc:"cert-manager's Certificate for the Secret, in the release's namespace, with source certManager."`
	CABundle        string            `json:"caBundle" form:"certificatesOrEmpty" doc:"PEM bundle of the CAs that verify the certificate, with source secret. Empty for ca.crt of the Secret."`
	Hosts           []string          `json:"hosts" form:"hosts" doc:"DNS names and IP addresses in the serving certificate; empty for the name of the webhook's Service."`
	CADuration      time.Duration     `json:"caDuration" min:"1h" max:"876000h" doc:"Lifetime of Outrigger's own CA. It is replaced, with overlap, after two thirds of it."`
	LeafDuration    time.Duration     `json:"leafDuration" min:"1m" max:"8760h" doc:"Lifetime of a serving certificate that Outrigger signs. It is replaced after two thirds of it."`
	Overlap         time.Duration     `json:"overlap" min:"1s" max:"1h" doc:"How long a new CA is published together with the old one before a certificate that it signed is served."`
}

// RoutingConfig enables and configures routing; see RoutingSettings.
type RoutingConfig struct {
	Enabled           bool                `json:"enabled" doc:"Whether this installation manages routes. Only one in a cluster may. If istio.revision is set, the default is false."`
	Settle            time.Duration       `json:"settle" min:"0s" max:"10m" doc:"How long to wait after a Service is first seen before the first route is written, if pods already serve. While none serves, the recorded default can still change for as long."`
	PropagationDelay  time.Duration       `json:"propagationDelay" min:"0s" max:"10m" doc:"How long a new subset, or a pod that became ready, must be known to the proxies before a route names it."`
	SubsetRetention   time.Duration       `json:"subsetRetention" min:"0s" max:"24h" doc:"How long a subset stays after its last pod is gone."`
	SplitAge          time.Duration       `json:"splitAge" min:"0s" max:"24h" doc:"Workloads older than this count as already serving when Outrigger finds two versions without a route."`
	DefaultGoneWindow time.Duration       `json:"defaultGoneWindow" min:"0s" max:"24h" doc:"How long after its deletion a default version becomes the default again when its workload comes back."`
	DefaultGoneAfter  time.Duration       `json:"defaultGoneAfter" min:"0s" max:"24h" doc:"How long a default version may have no ready pod before it is reported."`
	Expose            ExposeSetting       `json:"expose" oneOf:"enabled,namespaces,disabled" doc:"Which Services can be exposed: all, only those in Namespaces that list allowed hosts, or none."`
	AllowWildcardHost bool                `json:"allowWildcardHost" doc:"Whether a Service can be exposed for every host. With false, every other wildcard must be in the Namespace's allowed-hosts."`
	GatewaySelectors  []string            `json:"gatewaySelectors" form:"selector" doc:"Gateway pods that exposed Services may use: each item is a set of labels, key=value,key=value. Empty for any."`
	Gateways          []string            `json:"gateways" form:"gateway" doc:"Gateways that the annotation gateway may name: namespace/name or namespace/*. Empty for any."`
	GatewayPorts      []string            `json:"gatewayPorts" form:"ports" doc:"Gateway ports that exposed Services may use, such as 80 or 8000-8100. Empty for the ports of the gateway's Service."`
	ClusterDomain     string              `json:"clusterDomain" form:"subdomain" doc:"DNS domain of the cluster."`
	MaxVersions       int                 `json:"maxVersions" min:"1" max:"1000" doc:"Maximum number of subsets of one Service. Existing subsets come first, then those that a route needs."`
	MaxMatchItems     int                 `json:"maxMatchItems" min:"1" max:"10000" doc:"Maximum number of items in the annotation match of one Service."`
	MaxHosts          int                 `json:"maxHosts" min:"1" max:"1000" doc:"Maximum number of hosts that one Service can be exposed for."`
	MaxAnnotationSize int                 `json:"maxAnnotationBytes" min:"256" max:"262144" doc:"Maximum size of one routing annotation, in bytes."`
	MaxObjectSize     int                 `json:"maxObjectBytes" min:"16384" max:"1048576" doc:"Maximum size of a generated object, in bytes. Larger objects are not written, and existing ones stay."`
	MultiCluster      MultiClusterSetting `json:"multiCluster" oneOf:"auto,enabled,disabled" doc:"Whether Services may have endpoints in other clusters, which Outrigger does not see. If so, no default route is written until you choose. auto detects the label topology.istio.io/network on Istio's namespace and east-west gateways."`
	Freeze            bool                `json:"freeze" doc:"Whether every canary keeps its step, and routes change only where a subset would be missing. The process follows a change of this field without a restart."`
	Canary            CanaryConfig        `json:"canary"`
	Metrics           MetricsServerConfig `json:"metrics"`
}

// CanaryConfig configures canaries: defaults of their annotations, and how they are evaluated.
type CanaryConfig struct {
	Steps              string        `json:"steps" form:"canarySteps" doc:"Default of the annotation canary-steps."`
	Interval           time.Duration `json:"interval" min:"10s" max:"720h" doc:"Default of the annotation canary-interval."`
	Checks             string        `json:"checks" doc:"Default of the annotation canary-checks; empty for error-rate<1% if routing.metrics.prometheusURL is set, and for readiness alone otherwise."`
	MinRequests        int           `json:"minRequests" min:"0" max:"1000000000" doc:"Default of the annotation canary-min-requests."`
	Deadline           time.Duration `json:"deadline" min:"10s" max:"720h" doc:"Default of the annotation canary-deadline."`
	AutoOnNamespaces   bool          `json:"autoOnNamespaces" doc:"Whether the annotation canary=auto of a Namespace applies to its Services."`
	EvaluationInterval time.Duration `json:"evaluationInterval" min:"1s" max:"10m" doc:"How often the checks of a canary are evaluated."`
}

// MetricsServerConfig configures the server that the checks of canaries ask.
type MetricsServerConfig struct {
	PrometheusURL        string            `json:"prometheusURL" form:"httpURLOrEmpty" doc:"URL of Prometheus, or of another server with its HTTP API. Empty: canaries are checked for readiness alone."`
	Credentials          string            `json:"credentials" doc:"Folder with the files token (a bearer token) and ca.crt (the CAs that verify the server's certificate, in PEM), of which each may be missing. Empty for neither. The chart mounts the Secret routing.metrics.secretName."`
	Timeout              time.Duration     `json:"timeout" min:"100ms" max:"1m" doc:"How long a query may take."`
	ScrapeInterval       time.Duration     `json:"scrapeInterval" min:"1s" max:"10m" doc:"How often the server scrapes the proxies. Queries cover at least two intervals."`
	MaxConcurrentQueries int               `json:"maxConcurrentQueries" min:"1" max:"1000" doc:"Maximum number of queries at the same time."`
	Queries              map[string]string `json:"queries" doc:"PromQL by the name that checks use, as Go templates with .Namespace, .Service, .Host, .Version, .Subset, .Window, and .Port. The names requests, error-rate, and percentile replace the default queries."`
}

// CoverageConfig configures the count of pods without the sidecar that they should have.
type CoverageConfig struct {
	Interval time.Duration `json:"interval" min:"0s" max:"24h" doc:"How long the leader pauses between two counts of the pods with a missing or outdated sidecar; 0s disables counting. Without routing, one replica watches pods only for this."`
}

// ShutdownConfig configures how the process stops.
type ShutdownConfig struct {
	Linger time.Duration `json:"linger" min:"0s" max:"5m" doc:"How long to keep serving after SIGTERM, while readiness fails."`
}

// HealthConfig configures /healthz and /readyz.
type HealthConfig struct {
	Address string `json:"address" form:"address" doc:"Address of /healthz and /readyz; 0 disables them."`
}

// MetricsConfig configures /metrics.
type MetricsConfig struct {
	Address string `json:"address" form:"address" doc:"Address of /metrics, plain HTTP; 0 disables it."`
}

// LogConfig configures the log on standard error.
type LogConfig struct {
	Level  string `json:"level" oneOf:"error,info,debug" doc:"Log level."`
	Format string `json:"format" oneOf:"json,text" doc:"Log format."`
}

// LeaderElectionConfig configures which replica maintains the routes and counts pods. The webhook does not depend on it.
type LeaderElectionConfig struct {
	Enabled       bool          `json:"enabled" doc:"Whether replicas elect a leader; false only for a single replica."`
	LeaseName     string        `json:"leaseName" form:"subdomain" doc:"Lease of the leader, in the release's namespace. Without routing, and with counting of pods, it is outrigger-coverage with the revision as suffix."`
	LeaseDuration time.Duration `json:"leaseDuration" min:"1s" max:"10m" doc:"How long other replicas wait before they replace a leader that stopped renewing."`
	RenewDeadline time.Duration `json:"renewDeadline" min:"1s" max:"10m" doc:"How long a leader tries to renew before it gives up; less than leaseDuration."`
	RetryPeriod   time.Duration `json:"retryPeriod" min:"100ms" max:"5m" doc:"Interval between two attempts; less than renewDeadline."`
}

// RequestConfig limits the requests of the process to the API server.
type RequestConfig struct {
	QPS   int `json:"qps" min:"10" max:"10000" doc:"Maximum requests per second from each client of the process to the API server."`
	Burst int `json:"burst" min:"10" max:"20000" doc:"Maximum requests that each client sends at once before qps applies."`
}
