// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	meshconfig "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// functions returns what templates may call: sprig's functions, overridden by those of Istio's injector, whose edge cases they
// reproduce.
func (c *Config) functions() template.FuncMap {
	functions := sprig.TxtFuncMap()
	for _, name := range []string{"expandenv", "getHostByName"} {
		functions[name] = func(...any) (string, error) {
			return "", errors.New(name + " is not available: a template reads nothing but its data")
		}
	}
	maps.Copy(functions, template.FuncMap{
		"formatDuration":         formatDuration,
		"isset":                  func(m map[string]string, key string) bool { _, found := m[key]; return found },
		"excludeInboundPort":     excludeInboundPort,
		"includeInboundPorts":    func(containers []corev1.Container) string { return portsOf(containers, "") },
		"applicationPorts":       func(containers []corev1.Container) string { return portsOf(containers, proxyName) },
		"kubevirtInterfaces":     func(text string) string { return text },
		"excludeInterfaces":      func(text string) string { return text },
		"annotation":             annotationOr,
		"valueOrDefault":         valueOrDefault,
		"toJSON":                 toJSON,
		"fromJSON":               fromJSON,
		"structToJSON":           structToJSON,
		"protoToJSON":            protoToJSON,
		"toYaml":                 toYAML,
		"indent":                 indentFollowing,
		"directory":              func(path string) string { return path[:strings.LastIndex(path, "/")+1] },
		"contains":               func(needle, text string) bool { return strings.Contains(text, needle) },
		"toLower":                strings.ToLower,
		"appendMultusNetwork":    appendMultusNetwork,
		"env":                    c.env,
		"omit":                   omitKeys,
		"strdict":                stringDict,
		"mergeMaps":              mergeMaps,
		"toJsonMap":              func(m ...map[string]string) string { return toJSON(mergeMaps(m...)) },
		"omitNil":                omitNil,
		"otelResourceAttributes": otelResourceAttributes,
	})
	maps.DeleteFunc(functions, func(name string, _ any) bool { return c.release.isBefore(functionsSince[name]) })
	return functions
}

// env returns a variable of istiod's environment as the values set it. It never reads the environment of this process.
func (c *Config) env(key, fallback string) string {
	if key == "ENABLE_NATIVE_SIDECARS" {
		return strconv.FormatBool(c.nativeSetting() == nativeOn)
	}
	if value, found := c.values.env(key); found {
		return value
	}
	return fallback
}

func formatDuration(d *durationpb.Duration) string { return d.AsDuration().String() }

// excludeInboundPort adds a port to a comma-separated list that does not contain it. Like Istio's injector, it removes white space
// only when it adds a port, and treats a port with white space around it as a different one.
func excludeInboundPort(port any, list string) string {
	text := strings.TrimSpace(fmt.Sprint(port))
	if text == "" || text == "0" {
		return list
	}
	var items []string
	for _, item := range strings.Split(list, ",") {
		if item == text {
			return list
		}
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return strings.Join(append(items, text), ",")
}

// portsOf lists the container ports, except those for UDP and SCTP and those of the container named in without.
func portsOf(containers []corev1.Container, without string) string {
	var ports []string
	for _, container := range containers {
		if without != "" && container.Name == without {
			continue
		}
		for _, port := range container.Ports {
			if port.Protocol != corev1.ProtocolUDP && port.Protocol != corev1.ProtocolSCTP {
				ports = append(ports, strconv.Itoa(int(port.ContainerPort)))
			}
		}
	}
	return strings.Join(ports, ",")
}

// annotationOr takes the ObjectMeta as a reflect.Value, which avoids a copy on each call.
func annotationOr(meta reflect.Value, name string, fallback any) (string, error) {
	if !meta.IsValid() || !meta.CanInterface() {
		return "", errors.New("annotation: there is no ObjectMeta")
	}
	var annotations map[string]string
	switch object := addressed(meta).(type) {
	case *metav1.ObjectMeta:
		annotations = object.Annotations
	case metav1.ObjectMeta:
		annotations = object.Annotations
	default:
		return "", fmt.Errorf("annotation: wrong type for value; expected v1.ObjectMeta; got %s", meta.Type())
	}
	if value, found := annotations[name]; found {
		return value, nil
	}
	return fmt.Sprint(fallback), nil
}

// addressed returns a pointer to the value if it is addressable, otherwise the value.
func addressed(value reflect.Value) any {
	if value.CanAddr() {
		return value.Addr().Interface()
	}
	return value.Interface()
}

func valueOrDefault(value, fallback any) any {
	if value == nil || value == "" {
		return fallback
	}
	return value
}

func toJSON(m map[string]string) string {
	if m == nil {
		return "{}"
	}
	return structToJSON(m)
}

func structToJSON(value any) string {
	if value == nil {
		return "{}"
	}
	text, err := json.Marshal(value)
	if err != nil {
		return "{}"
	}
	return string(text)
}

// fromJSON returns the parsed value, or the string "{}" for invalid JSON.
func fromJSON(text string) any {
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		return "{}"
	}
	return value
}

// protoToJSON encodes a message in compact form, with its fields in declaration order and with HTML escapes. It omits fields of a
// ProxyConfig that equal the built-in default.
func protoToJSON(message proto.Message) string {
	if message == nil {
		return "{}"
	}
	if config, is := message.(*meshconfig.ProxyConfig); is && config != nil {
		message = withoutDefaults(config)
	}
	raw, err := protojson.Marshal(message)
	if err != nil {
		return "{}"
	}
	var compact, escaped bytes.Buffer
	if err := json.Compact(&compact, raw); err != nil {
		return "{}"
	}
	json.HTMLEscape(&escaped, compact.Bytes())
	return escaped.String()
}

func withoutDefaults(config *meshconfig.ProxyConfig) *meshconfig.ProxyConfig {
	out, base := proto.Clone(config).(*meshconfig.ProxyConfig), defaultProxyConfig()
	to, from := out.ProtoReflect(), base.ProtoReflect()
	for _, name := range []string{
		"config_path", "binary_path", "control_plane_auth_policy", "service_cluster", "drain_duration", "termination_drain_duration",
		"discovery_address", "proxy_admin_port", "stat_name_length", "status_port",
	} {
		field := to.Descriptor().Fields().ByTextName(name)
		if to.Has(field) && to.Get(field).Equal(from.Get(field)) {
			to.Clear(field)
		}
	}
	return out
}

func toYAML(value any) string {
	text, err := yaml.Marshal(value)
	if err != nil {
		return ""
	}
	return string(text)
}

// indentFollowing indents every line except the first.
func indentFollowing(spaces int, text string) string {
	lines := strings.Split(text, "\n")
	for i := 1; i < len(lines); i++ {
		lines[i] = strings.Repeat(" ", spaces) + lines[i]
	}
	return strings.Join(lines, "\n")
}

// appendMultusNetwork adds a network, "name" or "namespace/name", to the value of Multus' annotation, which is a comma-separated list
// or a JSON list. Invalid JSON is returned unchanged.
func appendMultusNetwork(existing, network string) string {
	if existing == "" {
		return network
	}
	end := strings.LastIndex(existing, "]")
	if end < 0 {
		for _, item := range strings.Split(existing, ",") {
			if strings.TrimSpace(item) == network {
				return existing
			}
		}
		return existing + ", " + network
	}
	var networks []map[string]any
	if err := json.Unmarshal([]byte(existing), &networks); err != nil {
		return existing
	}
	namespace, name, qualified := strings.Cut(network, "/")
	if !qualified {
		namespace, name = "", network
	}
	for _, n := range networks {
		has, _ := n["namespace"].(string)
		if n["name"] == name && has == namespace {
			return existing
		}
	}
	entry := fmt.Sprintf(`{"name": "%s"}`, name)
	if namespace != "" {
		entry = fmt.Sprintf(`{"name": "%s", "namespace": "%s"}`, name, namespace)
	}
	return existing[:end] + ", " + entry + existing[end:]
}

func omitKeys(m map[string]string, keys ...string) map[string]string {
	out := map[string]string{}
	for key, value := range m {
		if !slices.Contains(keys, key) {
			out[key] = value
		}
	}
	return out
}

// stringDict returns a map of alternating keys and values. A last key without a value gets an empty string.
func stringDict(list ...string) map[string]string {
	out := map[string]string{}
	for i := 0; i < len(list); i += 2 {
		out[list[i]] = ""
		if i+1 < len(list) {
			out[list[i]] = list[i+1]
		}
	}
	return out
}

func mergeMaps(list ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, m := range list {
		maps.Copy(out, m)
	}
	return out
}

// omitNil removes nils from maps and lists, and maps and lists that this empties. A value without nils is returned unchanged.
func omitNil(value any) any {
	out, _ := withoutNil(value)
	return out
}

// withoutNil returns the value without nils, and whether it removed any.
func withoutNil(value any) (kept any, dropped bool) {
	keep := func(item any) (any, bool) {
		item, changed := withoutNil(item)
		dropped = dropped || changed || item == nil
		return item, item != nil
	}
	size := 0
	switch value := value.(type) {
	case map[string]any:
		out := make(map[string]any, len(value))
		for key, item := range value {
			if item, is := keep(item); is {
				out[key] = item
			}
		}
		kept, size = out, len(out)
	case []any:
		out := make([]any, 0, len(value))
		for _, item := range value {
			if item, is := keep(item); is {
				out = append(out, item)
			}
		}
		kept, size = out, len(out)
	}
	switch {
	case !dropped:
		return value, false
	case size == 0:
		return nil, true
	}
	return kept, true
}

// otelResourceAttributes lists the application's OpenTelemetry resource attributes. It returns "" unless an extension provider of the
// mesh uses them.
func otelResourceAttributes(mesh *meshconfig.MeshConfig, annotations, labels map[string]string, namespace string, containers []corev1.Container) string {
	if !slices.ContainsFunc(mesh.GetExtensionProviders(), func(p *meshconfig.MeshConfig_ExtensionProvider) bool {
		return p.GetOpentelemetry().GetServiceAttributeEnrichment() == meshconfig.MeshConfig_ExtensionProvider_OTEL_SEMANTIC_CONVENTIONS
	}) {
		return ""
	}
	var attributes []string
	add := func(name string, candidates ...string) {
		for _, candidate := range append([]string{annotations["resource.opentelemetry.io/"+name]}, candidates...) {
			if candidate != "" {
				attributes = append(attributes, name+"="+candidate)
				return
			}
		}
	}
	image, instance := "", ""
	if len(containers) == 1 {
		image = imageVersion(containers[0].Image)
	}
	if len(containers) > 0 {
		instance = namespace + ".$(POD_NAME)." + containers[0].Name
	}
	add("service.namespace", namespace)
	add("service.version", labels["app.kubernetes.io/version"], image)
	add("service.instance.id", instance)
	return strings.Join(attributes, ",")
}

// imageVersion returns the tag of an image, its digest, or "tag@digest"; "" if it has neither.
func imageVersion(image string) string {
	name, digest, hasDigest := strings.Cut(image, "@")
	tag := ""
	if at := strings.LastIndex(name, ":"); at > strings.LastIndex(name, "/") {
		tag = name[at+1:]
	}
	switch {
	case hasDigest && digest != "" && tag != "":
		return tag + "@" + digest
	case hasDigest && digest != "":
		return digest
	}
	return tag
}
