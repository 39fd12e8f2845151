// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"
)

// The type of the configuration file.
const (
	ConfigAPIVersion = "config." + Domain + "/v1alpha1"
	ConfigKind       = "Configuration"
)

// Config is the configuration file of `outrigger serve`. Every field has a default: see DefaultConfig. The tags of a
// field are its documentation (doc), its closed set of values (oneOf), its bounds (min, max) and its form (form); the
// check and the reference are made from them.
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

// IstioConfig says where Istio's configuration is, and what of it is overridden.
type IstioConfig struct {
	Namespace        string `json:"namespace" form:"label" doc:"Namespace of the ConfigMaps istio-sidecar-injector and istio, and the root namespace of the mesh."`
	Revision         string `json:"revision" form:"labelOrEmpty" doc:"Istio revision to inject for; empty for the default one. It is the suffix of the two ConfigMaps and of the webhook object."`
	Version          string `json:"version" form:"releaseOrEmpty" doc:"Istio's release, for example 1.31.1, if the ConfigMaps do not contain it; empty to detect it."`
	NativeSidecars   string `json:"nativeSidecars" oneOf:",auto,enabled,disabled" doc:"Whether the proxy becomes a native sidecar (a restartable init container); empty for Istio's own setting."`
	Platform         string `json:"platform" oneOf:",openshift" doc:"Platform of the cluster; empty for Istio's own setting."`
	CompliancePolicy string `json:"compliancePolicy" form:"wordOrEmpty" doc:"Compliance policy of the proxies, for example fips-140-3; empty for Istio's own setting."`
}

// WebhookConfig is about the HTTPS server that the API server calls.
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

// CertificatesConfig is about the certificate of the webhook.
type CertificatesConfig struct {
	Source          CertificateSource `json:"source" oneOf:"selfManaged,secret,certManager" doc:"Where the certificate comes from: Outrigger's own CA, a Secret that you manage, or a Secret that cert-manager writes and whose CA it publishes. The chart sets it."`
	SecretName      string            `json:"secretName" form:"subdomain" doc:"Secret with the CA, in the release's namespace. It must exist; the chart creates it empty. With another source, the Secret with tls.crt and tls.key."`
	CertificateName string            `json:"certificateName" form:"subdomainOrEmpty" doc:"cert-manager's Certificate for the Secret, in the release's namespace, with source certManager."`
	CABundle        string            `json:"caBundle" form:"certificatesOrEmpty" doc:"PEM bundle of the CAs that verify the certificate, with source secret. Empty for ca.crt of the Secret."`
	Hosts           []string          `json:"hosts" form:"hosts" doc:"DNS names and IP addresses in the serving certificate; empty for the name of the webhook's Service."`
	CADuration      time.Duration     `json:"caDuration" min:"1h" max:"876000h" doc:"Lifetime of Outrigger's own CA. It is replaced, with overlap, after two thirds of it."`
	LeafDuration    time.Duration     `json:"leafDuration" min:"1m" max:"8760h" doc:"Lifetime of a serving certificate that Outrigger signs. It is replaced after two thirds of it."`
	Overlap         time.Duration     `json:"overlap" min:"1s" max:"1h" doc:"How long a new CA is published beside the old one before a certificate that it signed is served."`
}

// RoutingConfig is the switch of the routing job and its settings, see RoutingSettings.
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
}

// CoverageConfig is about the count of pods that lack the sidecar that they should have.
type CoverageConfig struct {
	Interval time.Duration `json:"interval" min:"0s" max:"24h" doc:"How long the leader pauses between two counts of the pods with a missing or outdated sidecar; 0s disables counting. Without routing, one replica watches pods only for this."`
}

// ShutdownConfig is about the end.
type ShutdownConfig struct {
	Linger time.Duration `json:"linger" min:"0s" max:"5m" doc:"How long to keep serving after SIGTERM, while readiness fails."`
}

// HealthConfig is about /healthz and /readyz.
type HealthConfig struct {
	Address string `json:"address" form:"address" doc:"Address of /healthz and /readyz; 0 disables them."`
}

// MetricsConfig is about /metrics.
type MetricsConfig struct {
	Address string `json:"address" form:"address" doc:"Address of /metrics, plain HTTP; 0 disables it."`
}

// LogConfig is about the log on standard error.
type LogConfig struct {
	Level  string `json:"level" oneOf:"error,info,debug" doc:"Log level."`
	Format string `json:"format" oneOf:"json,text" doc:"Log format."`
}

// LeaderElectionConfig is about which replica keeps the routes and counts pods. The webhook does not depend on it.
type LeaderElectionConfig struct {
	Enabled       bool          `json:"enabled" doc:"Whether replicas elect a leader; false only for a single replica."`
	LeaseName     string        `json:"leaseName" form:"subdomain" doc:"Lease of the leader, in the release's namespace. Without routing, and with counting of pods, it is outrigger-coverage with the revision as suffix."`
	LeaseDuration time.Duration `json:"leaseDuration" min:"1s" max:"10m" doc:"How long other replicas wait before they replace a leader that stopped renewing."`
	RenewDeadline time.Duration `json:"renewDeadline" min:"1s" max:"10m" doc:"How long a leader tries to renew before it gives up; less than leaseDuration."`
	RetryPeriod   time.Duration `json:"retryPeriod" min:"100ms" max:"5m" doc:"Interval between two attempts; less than renewDeadline."`
}

// RequestConfig bounds what the process asks of the API server.
type RequestConfig struct {
	QPS   int `json:"qps" min:"10" max:"10000" doc:"Maximum requests per second from each client of the process to the API server."`
	Burst int `json:"burst" min:"10" max:"20000" doc:"Maximum requests that each client sends at once before qps applies."`
}

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

// LoadConfig reads the configuration file, YAML or JSON, over the defaults. An unknown field, one written twice, or a
// bad value is an error that names the field, the value and what would be right. All faults are told together, in the
// order of the fields' names.
func LoadConfig(text []byte) (Config, error) {
	config := DefaultConfig()
	tree, err := configTree(text)
	if err != nil {
		return Config{}, fmt.Errorf("configuration file: %w", err)
	}
	var faults []string
	setFields(reflect.ValueOf(&config).Elem(), tree, "", &faults)
	if len(faults) == 0 {
		faults = config.contradictions()
	}
	if len(faults) > 0 {
		return Config{}, fmt.Errorf("configuration file: %s", strings.Join(faults, "; "))
	}
	if routing, ok := tree["routing"].(map[string]any); !ok || routing["enabled"] == nil {
		config.Routing.Enabled = config.Istio.Revision == ""
	}
	return config, nil
}

// RoutingSettings returns the settings of the routing job.
func (c Config) RoutingSettings() RoutingSettings {
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
		Limits:            RouteLimits{AnnotationBytes: c.Routing.MaxAnnotationSize, MatchItems: c.Routing.MaxMatchItems, Hosts: c.Routing.MaxHosts},
		MultiCluster:      c.Routing.MultiCluster,
	}
}

// WebhookConfigurationName returns the name of our MutatingWebhookConfiguration. By default it does not depend on the
// release's name, so that it sorts after Istio's own.
func (c Config) WebhookConfigurationName() string {
	if c.Webhook.Name != "" {
		return c.Webhook.Name
	}
	return WithRevision(Outrigger+"-sidecar-injector", c.Istio.Revision)
}

// ValidatorName returns the name of our ValidatingWebhookConfiguration; empty if there is none.
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

// LeaseName returns the name of the Lease by which a leader is elected; empty if there is nothing to lead. Who only counts
// pods never holds the Lease of routing, whose release may be another one.
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

// WithRevision returns the name of an object of one revision, "istio-1-31", as Istio's charts write it: neither the empty
// revision nor "default" is written.
func WithRevision(name, revision string) string {
	if revision == "" || revision == "default" {
		return name
	}
	return name + "-" + revision
}

// FieldDoc is the documentation of one field of the configuration file.
type FieldDoc struct {
	Path    string   // "istio.namespace"
	Type    string   // "text", "whole number", "true or false", "duration", "list of text"
	Default string   // as one would write it; `""` for empty text
	Values  []string // the closed set, if it is one
	Doc     string   // one or two sentences
}

// Fields returns the documentation of every field of the configuration file, in the order of the type.
func (c Config) Fields() []FieldDoc { return fieldDocs(reflect.ValueOf(c), "") }

func fieldDocs(value reflect.Value, prefix string) []FieldDoc {
	var out []FieldDoc
	for i := range value.NumField() {
		field, current := value.Type().Field(i), value.Field(i)
		path := prefix + field.Tag.Get("json")
		if current.Kind() == reflect.Struct {
			out = append(out, fieldDocs(current, path+".")...)
			continue
		}
		out = append(out, FieldDoc{Path: path, Type: typeName(current), Default: written(current), Values: closedSet(field), Doc: field.Tag.Get("doc")})
	}
	return out
}

func closedSet(field reflect.StructField) []string {
	values, has := field.Tag.Lookup("oneOf")
	if !has {
		return nil
	}
	return strings.Split(values, ",")
}

func typeName(value reflect.Value) string {
	switch {
	case value.Type() == durationType:
		return "duration"
	case value.Kind() == reflect.Bool:
		return "true or false"
	case value.Kind() == reflect.Int:
		return "whole number"
	case value.Kind() == reflect.Slice:
		return "list of text"
	}
	return "text"
}

// written returns a value as a user would write it.
func written(value reflect.Value) string {
	switch {
	case value.Type() == durationType:
		return shortDuration(time.Duration(value.Int()))
	case value.Kind() == reflect.Slice && value.Len() == 0:
		return "[]"
	case value.Kind() == reflect.String && (value.Len() == 0 || !plainText.MatchString(value.String())):
		return strconv.Quote(value.String())
	}
	return fmt.Sprint(value.Interface())
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	plainText    = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9./-]*$`)
)

// shortDuration prints 24h0m0s as 24h and 5m0s as 5m.
func shortDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// configTree parses the file into maps. An empty file is an empty map.
func configTree(text []byte) (map[string]any, error) {
	if hasSecondDocument(text) {
		return nil, fmt.Errorf("it must be one YAML document; there is a second one behind the line ---")
	}
	document, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, fmt.Errorf("not YAML: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	var tree any
	if err := decoder.Decode(&tree); err != nil {
		return nil, fmt.Errorf("not YAML: %w", err)
	}
	switch tree := tree.(type) {
	case nil:
		return map[string]any{}, nil
	case map[string]any:
		return tree, nil
	}
	return nil, fmt.Errorf("it must be a map of fields, beginning with apiVersion: %s", ConfigAPIVersion)
}

// hasSecondDocument tells whether a line "---" stands behind something that is not a comment. The parser would take
// the first document and drop the rest without a word.
func hasSecondDocument(text []byte) bool {
	content := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, " \t\r\n")
		if line == "---" && content {
			return true
		}
		content = content || line != "" && line != "---" && !strings.HasPrefix(line, "#")
	}
	return false
}

// setFields writes the tree over the struct and appends a sentence for every fault. A field without a value keeps its
// default.
func setFields(target reflect.Value, tree map[string]any, prefix string, faults *[]string) {
	fields := map[string]int{}
	var names []string
	for i := range target.NumField() {
		name := target.Type().Field(i).Tag.Get("json")
		fields[name], names = i, append(names, name)
	}
	for _, key := range sortedNames(tree) {
		index, known := fields[key]
		if !known {
			*faults = append(*faults, unknownField(prefix, key, names))
			continue
		}
		if tree[key] == nil {
			continue
		}
		field, value := target.Type().Field(index), target.Field(index)
		if value.Kind() == reflect.Struct {
			below, ok := tree[key].(map[string]any)
			if !ok {
				*faults = append(*faults, fmt.Sprintf("%s%s = %s: must be a map of fields", prefix, key, asJSON(tree[key])))
				continue
			}
			setFields(value, below, prefix+key+".", faults)
			continue
		}
		if right := setField(field, value, tree[key]); right != "" {
			*faults = append(*faults, fmt.Sprintf("%s%s = %s: must be %s", prefix, key, asJSON(tree[key]), right))
		}
	}
}

func sortedNames(tree map[string]any) []string {
	names := make([]string, 0, len(tree))
	for name := range tree {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func unknownField(prefix, key string, names []string) string {
	for _, name := range names {
		if strings.EqualFold(name, key) {
			return fmt.Sprintf("unknown field %s%s; it is written %s%s", prefix, key, prefix, name)
		}
	}
	slices.Sort(names)
	where := "the file"
	if prefix != "" {
		where = strings.TrimSuffix(prefix, ".")
	}
	return fmt.Sprintf("unknown field %s%s; the fields of %s are %s", prefix, key, where, strings.Join(names, ", "))
}

func asJSON(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return Shorten(string(text), 120)
}

// setField writes one value. It returns what would be right, or "" if the value is.
func setField(field reflect.StructField, target reflect.Value, given any) string {
	switch {
	case target.Type() == durationType:
		return setDuration(field, target, given)
	case target.Kind() == reflect.Bool:
		value, ok := given.(bool)
		if !ok {
			return "true or false"
		}
		target.SetBool(value)
		return ""
	case target.Kind() == reflect.Int:
		return setNumber(field, target, given)
	case target.Kind() == reflect.Slice:
		return setList(field, target, given)
	}
	return setText(field, target, given)
}

func setDuration(field reflect.StructField, target reflect.Value, given any) string {
	least, _ := time.ParseDuration(field.Tag.Get("min"))
	most, _ := time.ParseDuration(field.Tag.Get("max"))
	right := fmt.Sprintf("a duration from %s to %s, for example 90s or 24h", shortDuration(least), shortDuration(most))
	text, ok := given.(string)
	if !ok {
		return right
	}
	value, err := time.ParseDuration(text)
	if err != nil || value < least || value > most {
		return right
	}
	target.SetInt(int64(value))
	return ""
}

func setNumber(field reflect.StructField, target reflect.Value, given any) string {
	least, _ := strconv.Atoi(field.Tag.Get("min"))
	most, _ := strconv.Atoi(field.Tag.Get("max"))
	right := fmt.Sprintf("a whole number from %d to %d", least, most)
	number, ok := given.(json.Number)
	if !ok {
		return right
	}
	value, err := strconv.Atoi(number.String())
	if err != nil || value < least || value > most {
		return right
	}
	target.SetInt(int64(value))
	return ""
}

func setList(field reflect.StructField, target reflect.Value, given any) string {
	items, ok := given.([]any)
	if !ok {
		return "a list"
	}
	var list []string
	for _, item := range items {
		text, ok := item.(string)
		if right := formFault(field.Tag.Get("form"), text); !ok || right != "" {
			return "a list of " + forms[field.Tag.Get("form")].right
		}
		list = append(list, text)
	}
	target.Set(reflect.ValueOf(list))
	return ""
}

func setText(field reflect.StructField, target reflect.Value, given any) string {
	values := closedSet(field)
	text, ok := given.(string)
	if values != nil && (!ok || !slices.Contains(values, text)) {
		return "one of " + quoted(values)
	}
	if !ok {
		return "text; write it in quotes"
	}
	if right := formFault(field.Tag.Get("form"), text); right != "" {
		return right
	}
	target.SetString(text)
	return ""
}

func quoted(values []string) string {
	if len(values) == 1 {
		return strconv.Quote(values[0])
	}
	out := make([]string, len(values))
	for i, value := range values {
		out[i] = strconv.Quote(value)
	}
	return strings.Join(out, ", ")
}

// form is a shape of text: a check, and what would be right.
type form struct {
	ok    func(string) bool
	right string
}

var (
	releasePattern = regexp.MustCompile(`^[0-9]+\.[0-9]+(\.[0-9]+)?(-[A-Za-z0-9.-]+)?$`)
	wordPattern    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
)

var forms = map[string]form{
	"label":            {isLabel, "a name of small letters, digits and dashes, at most 63"},
	"labelOrEmpty":     {orEmpty(isLabel), "a name of small letters, digits and dashes, at most 63, or empty"},
	"subdomain":        {isSubdomain, "a name of small letters, digits, dashes and dots"},
	"releaseOrEmpty":   {orEmpty(releasePattern.MatchString), "a release such as 1.31 or 1.31.1, in quotes, or empty"},
	"selector":         {isSelector, "labels such as istio=ingressgateway, in quotes"},
	"gateway":          {isGatewayPattern, "Gateways such as istio-system/shared or istio-system/*, in quotes"},
	"ports":            {isPortRange, "ports such as 80 or 8000-8100, in quotes"},
	"wordOrEmpty":      {orEmpty(wordPattern.MatchString), "a word of letters, digits, dots, dashes and underscores, or empty"},
	"subdomainOrEmpty": {orEmpty(isSubdomain), "a name of small letters, digits, dashes and dots, or empty"},
	"hosts":            {isHost, "DNS names or IP addresses"},
	"address":          {isAddress, `host:port, :port, or "0"`},
	"name":             {func(text string) bool { return text != "" }, "names"},

	"certificatesOrEmpty": {orEmpty(areCertificates), "certificates in PEM, or empty"},
}

func formFault(name, text string) string {
	if name == "" || forms[name].ok(text) {
		return ""
	}
	return forms[name].right
}

func isLabel(text string) bool     { return len(validation.IsDNS1123Label(text)) == 0 }
func isSubdomain(text string) bool { return len(validation.IsDNS1123Subdomain(text)) == 0 }
func isHost(text string) bool      { return net.ParseIP(text) != nil || isSubdomain(text) }

func orEmpty(check func(string) bool) func(string) bool {
	return func(text string) bool { return text == "" || check(text) }
}

func isAddress(text string) bool {
	if text == "0" {
		return true
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil || host != "" && !isHost(host) {
		return false
	}
	number, err := strconv.Atoi(port)
	return err == nil && number >= 1 && number <= 65535
}

// areCertificates reports whether the text is one certificate in PEM, or several.
func areCertificates(text string) bool {
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return false
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return false
		}
		if strings.TrimSpace(string(rest)) == "" {
			return true
		}
	}
}

// contradictions returns a sentence for every pair of fields that cannot stand together.
func (c Config) contradictions() []string {
	var out []string
	if e := c.LeaderElection; e.RenewDeadline >= e.LeaseDuration {
		out = append(out, fmt.Sprintf("leaderElection.renewDeadline = %s: must be less than leaseDuration, %s", shortDuration(e.RenewDeadline), shortDuration(e.LeaseDuration)))
	}
	if e := c.LeaderElection; e.RetryPeriod*6/5 >= e.RenewDeadline {
		out = append(out, fmt.Sprintf("leaderElection.retryPeriod = %s: 1.2 times it must be less than renewDeadline, %s", shortDuration(e.RetryPeriod), shortDuration(e.RenewDeadline)))
	}
	if w := c.Webhook; len(w.ClientNames) > 0 && w.ClientCA == "" {
		out = append(out, "webhook.clientNames: mean nothing without webhook.clientCA, the authority that vouches for them")
	}
	if k := c.Certificates; k.LeafDuration*3 > k.CADuration {
		out = append(out, fmt.Sprintf("certificates.leafDuration = %s: must be at most a third of caDuration, %s", shortDuration(k.LeafDuration), shortDuration(k.CADuration)))
	}
	if k := c.Certificates; (k.Source == CertificateCertManager) != (k.CertificateName != "") {
		out = append(out, fmt.Sprintf("certificates.certificateName = %q: must be the name of a Certificate with source certManager, and empty with another; source is %q", k.CertificateName, k.Source))
	}
	if k := c.Certificates; k.CABundle != "" && k.Source != CertificateFromSecret {
		out = append(out, fmt.Sprintf("certificates.caBundle: must be empty unless source is secret; source is %q", k.Source))
	}
	return out
}
