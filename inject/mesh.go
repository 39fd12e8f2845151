// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang/protobuf/jsonpb" //nolint:staticcheck // deprecated, and the reader that Istio uses
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	meshconfig "istio.io/api/mesh/v1alpha1"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	networkingv1beta1 "istio.io/client-go/pkg/apis/networking/v1beta1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

// annotationProxyConfig holds a ProxyConfig for one pod, as YAML.
const annotationProxyConfig = "proxy.istio.io/config"

// defaultProxyConfig returns istiod's built-in ProxyConfig, over which all others are merged.
func defaultProxyConfig() *meshconfig.ProxyConfig {
	return &meshconfig.ProxyConfig{
		ConfigPath:               "./etc/istio/proxy",
		BinaryPath:               "/usr/local/bin/envoy",
		ClusterName:              &meshconfig.ProxyConfig_ServiceCluster{ServiceCluster: "istio-proxy"},
		DrainDuration:            durationpb.New(45 * time.Second),
		TerminationDrainDuration: durationpb.New(5 * time.Second),
		DiscoveryAddress:         "istiod.istio-system.svc:15012",
		ControlPlaneAuthPolicy:   meshconfig.AuthenticationPolicy_MUTUAL_TLS,
		ProxyAdminPort:           15000,
		StatNameLength:           189,
		StatusPort:               15020,
	}
}

// defaultMesh returns istiod's built-in mesh configuration, over which the ConfigMap is merged.
func defaultMesh() *meshconfig.MeshConfig {
	return &meshconfig.MeshConfig{
		DefaultConfig:                  defaultProxyConfig(),
		TrustDomain:                    "cluster.local",
		RootNamespace:                  "istio-system",
		ProxyListenPort:                15001,
		ProxyInboundListenPort:         15006,
		EnableTracing:                  true,
		EnableAutoMtls:                 wrapperspb.Bool(true),
		EnablePrometheusMerge:          wrapperspb.Bool(true),
		IngressService:                 "istio-ingressgateway",
		IngressControllerMode:          meshconfig.MeshConfig_STRICT,
		IngressClass:                   "istio",
		ConnectTimeout:                 durationpb.New(10 * time.Second),
		ProtocolDetectionTimeout:       durationpb.New(0),
		DnsRefreshRate:                 durationpb.New(time.Minute),
		InboundTrafficPolicy:           &meshconfig.MeshConfig_InboundTrafficPolicy{Mode: meshconfig.MeshConfig_InboundTrafficPolicy_PASSTHROUGH},
		OutboundTrafficPolicy:          &meshconfig.MeshConfig_OutboundTrafficPolicy{Mode: meshconfig.MeshConfig_OutboundTrafficPolicy_ALLOW_ANY},
		LocalityLbSetting:              &networkingv1alpha3.LocalityLoadBalancerSetting{Enabled: wrapperspb.Bool(true)},
		DefaultServiceExportTo:         []string{"*"},
		DefaultVirtualServiceExportTo:  []string{"*"},
		DefaultDestinationRuleExportTo: []string{"*"},
		DefaultProviders:               &meshconfig.MeshConfig_DefaultProviders{},
		ExtensionProviders: []*meshconfig.MeshConfig_ExtensionProvider{
			{Name: "prometheus", Provider: &meshconfig.MeshConfig_ExtensionProvider_Prometheus{Prometheus: &meshconfig.MeshConfig_ExtensionProvider_PrometheusMetricsProvider{}}},
			{Name: "stackdriver", Provider: &meshconfig.MeshConfig_ExtensionProvider_Stackdriver{Stackdriver: &meshconfig.MeshConfig_ExtensionProvider_StackdriverProvider{}}},
			{Name: "envoy", Provider: &meshconfig.MeshConfig_ExtensionProvider_EnvoyFileAccessLog{EnvoyFileAccessLog: &meshconfig.MeshConfig_ExtensionProvider_EnvoyFileAccessLogProvider{Path: "/dev/stdout"}}},
		},
	}
}

// parseMesh merges the text of the ConfigMap over the defaults: fields replace, except for defaultConfig and
// defaultProviders, which are merged, extensionProviders, merged by name, and trustDomainAliases, united.
func parseMesh(text string, running release) (*meshconfig.MeshConfig, error) {
	mesh := defaultMesh()
	written, tree, err := decode(text, &meshconfig.MeshConfig{}, running)
	if err != nil {
		return nil, err
	}
	base := proto.Clone(mesh).(*meshconfig.MeshConfig)
	overwrite(mesh, written, tree)
	mesh.DefaultConfig = base.DefaultConfig
	if sub, is := tree["defaultConfig"].(map[string]any); is {
		mergeProxyConfig(mesh.DefaultConfig, written.DefaultConfig, sub)
	}
	mesh.DefaultProviders = base.DefaultProviders
	if sub, is := tree["defaultProviders"].(map[string]any); is {
		overwrite(mesh.DefaultProviders, written.DefaultProviders, sub)
	}
	mesh.ExtensionProviders = base.ExtensionProviders
	for _, provider := range written.GetExtensionProviders() {
		same := slices.IndexFunc(mesh.ExtensionProviders, func(p *meshconfig.MeshConfig_ExtensionProvider) bool { return p.Name == provider.Name })
		if same < 0 {
			mesh.ExtensionProviders = append(mesh.ExtensionProviders, provider)
		} else {
			mesh.ExtensionProviders[same].Provider = provider.Provider
		}
	}
	slices.Sort(mesh.TrustDomainAliases)
	mesh.TrustDomainAliases = slices.Compact(mesh.TrustDomainAliases)
	if faults := proxyConfigFaults(mesh.DefaultConfig); len(faults) > 0 {
		return nil, fmt.Errorf("defaultConfig: %s", strings.Join(faults, "; "))
	}
	return mesh, nil
}

var lax = jsonpb.Unmarshaler{AllowUnknownFields: true}

// decode decodes YAML into a message, and into a tree that shows which fields are set. Like Istio, it ignores unknown fields, including
// those of a later release.
//
// Istio reads its configuration with jsonpb, which accepts what protojson rejects: durations such as 1m or 10ms, and several fields of
// a oneof, of which the last in declaration order counts.
func decode[M proto.Message](text string, into M, running release) (M, map[string]any, error) {
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		return into, nil, err
	}
	tree := map[string]any{}
	if trimmed := bytes.TrimSpace(raw); len(trimmed) == 0 || string(trimmed) == "null" {
		return into, tree, nil
	}
	if err := json.Unmarshal(raw, &tree); err != nil {
		return into, nil, fmt.Errorf("it must be a map of fields: %w", err)
	}
	if running.deleteUnknown(into.ProtoReflect().Descriptor(), tree) {
		if raw, err = json.Marshal(tree); err != nil {
			return into, nil, err
		}
	}
	if err := lax.Unmarshal(bytes.NewReader(raw), protoadapt.MessageV1Of(into)); err != nil {
		return into, nil, err
	}
	return into, tree, nil
}

// overwrite copies every field that is set in the tree to base, including zero values. It ignores null fields.
func overwrite[M proto.Message](base, written M, tree map[string]any) {
	to, from := base.ProtoReflect(), written.ProtoReflect()
	fields := from.Descriptor().Fields()
	for key, value := range tree {
		field := fields.ByJSONName(key)
		if field == nil {
			field = fields.ByTextName(key)
		}
		if field == nil || value == nil {
			continue
		}
		if from.Has(field) {
			to.Set(field, from.Get(field))
		} else {
			to.Clear(field)
		}
	}
}

// mergeProxyConfig merges one level over a ProxyConfig in place: fields replace, nested messages as a whole, but
// proxyMetadata is merged by key and proxyHeaders by its fields.
func mergeProxyConfig(base, written *meshconfig.ProxyConfig, tree map[string]any) {
	if written == nil {
		return
	}
	metadata, headers := base.ProxyMetadata, base.ProxyHeaders
	overwrite(base, written, tree)
	if len(metadata) > 0 || len(base.ProxyMetadata) > 0 {
		base.ProxyMetadata = mergeMaps(metadata, base.ProxyMetadata)
	}
	base.ProxyHeaders = mergedHeaders(headers, base.ProxyHeaders)
}

func mergedHeaders(below, above *meshconfig.ProxyConfig_ProxyHeaders) *meshconfig.ProxyConfig_ProxyHeaders {
	switch {
	case above == nil:
		return below
	case below == nil, below == above:
		return above
	}
	out := proto.Clone(below).(*meshconfig.ProxyConfig_ProxyHeaders)
	overwrite(out, above, populated(above))
	return out
}

// populated returns which fields of a message are populated, as a tree for overwrite.
func populated(message proto.Message) map[string]any {
	tree := map[string]any{}
	message.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		tree[field.JSONName()] = true
		return true
	})
	return tree
}

// effective is a pod's ProxyConfig and what is derived from it. It is immutable, and pods share it.
type effective struct {
	config  *meshconfig.ProxyConfig
	unusual map[string]string // strings with unusual characters, by their field (see unsafe.go)
	// hold makes the application wait for the proxy. Like Istio, it considers the mesh's default and the pod's annotation, but no
	// ProxyConfig resource.
	hold bool
}

// proxyConfigOf returns the effective ProxyConfig of a pod, from the lowest level to the highest: the mesh's default, the
// root namespace's resource, the namespace's resource, the pod's annotation, a resource that selects the pod. Of several
// resources at one level only the oldest counts. The annotation has been validated before.
func (c *Config) proxyConfigOf(pod *corev1.Pod) (*effective, error) {
	root := c.mesh.RootNamespace
	resources := []*networkingv1beta1.ProxyConfig{
		c.rootResource(),
		c.resource(func(r *networkingv1beta1.ProxyConfig) bool {
			return r.Namespace == pod.Namespace && pod.Namespace != root && !selects(r)
		}),
		c.resource(func(r *networkingv1beta1.ProxyConfig) bool {
			return r.Namespace == pod.Namespace && selects(r) && labels.SelectorFromSet(r.Spec.Selector.MatchLabels).Matches(labels.Set(pod.Labels))
		}),
	}
	text, written := pod.Annotations[annotationProxyConfig]
	if c.common != nil && !written && resources[1] == nil && resources[2] == nil {
		return c.common.effective, nil
	}
	return c.mergeLevels(text, written, resources)
}

func (c *Config) mergeLevels(annotation string, written bool, resources []*networkingv1beta1.ProxyConfig) (*effective, error) {
	config := proto.Clone(c.mesh.DefaultConfig).(*meshconfig.ProxyConfig)
	hold := config.GetHoldApplicationUntilProxyStarts().GetValue()
	mergeResource(config, resources[0])
	mergeResource(config, resources[1])
	if written {
		level, tree, err := decode(annotation, &meshconfig.ProxyConfig{}, c.release)
		if err != nil {
			return nil, err
		}
		mergeProxyConfig(config, level, populated(level)) // a scalar at its zero value counts as absent at this level
		withoutResources := proto.Clone(c.mesh.DefaultConfig).(*meshconfig.ProxyConfig)
		mergeProxyConfig(withoutResources, level, tree)
		hold = withoutResources.GetHoldApplicationUntilProxyStarts().GetValue()
	}
	mergeResource(config, resources[2])
	unusual := map[string]string{}
	rewriteStrings(config.ProtoReflect(), "ProxyConfig", func(field, text string) string {
		if !isHarmless(text) {
			unusual[field] = text
		}
		return text
	})
	return &effective{config: config, unusual: unusual, hold: hold}, nil
}

// rootResource returns the ProxyConfig resource of the whole mesh; nil if there is none.
func (c *Config) rootResource() *networkingv1beta1.ProxyConfig {
	root := c.mesh.RootNamespace
	return c.resource(func(r *networkingv1beta1.ProxyConfig) bool { return r.Namespace == root && !selects(r) })
}

func selects(r *networkingv1beta1.ProxyConfig) bool {
	return len(r.Spec.GetSelector().GetMatchLabels()) > 0
}

// resource returns the oldest of the resources that apply; nil if there is none.
func (c *Config) resource(applies func(*networkingv1beta1.ProxyConfig) bool) *networkingv1beta1.ProxyConfig {
	var oldest *networkingv1beta1.ProxyConfig
	for _, resource := range c.facts.ProxyConfigs {
		if applies(resource) && (oldest == nil || resource.CreationTimestamp.Before(&oldest.CreationTimestamp)) {
			oldest = resource
		}
	}
	return oldest
}

func mergeResource(config *meshconfig.ProxyConfig, resource *networkingv1beta1.ProxyConfig) {
	if resource == nil {
		return
	}
	level := &meshconfig.ProxyConfig{Concurrency: resource.Spec.Concurrency, ProxyMetadata: resource.Spec.EnvironmentVariables, Image: resource.Spec.Image}
	mergeProxyConfig(config, level, populated(level))
}
