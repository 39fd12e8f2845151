// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"

	"google.golang.org/protobuf/reflect/protoreflect"
	meshconfig "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
)

// An older release of Istio ignores configuration fields that it does not know, and fails to render templates that read them. The API
// types here are those of the newest release, so this file hides what the running release lacks.

// fieldsSince maps fields of the mesh configuration to the release that added them, from 1.25 on. It is the difference between the
// published versions of Istio's API.
var fieldsSince = map[protoreflect.FullName]release{
	fieldOf(&meshconfig.ProxyConfig_ProxyHeaders{}, "preserve_http1_header_case"):                                    25,
	fieldOf(&meshconfig.Tracing{}, "enable_istio_tags"):                                                              25,
	fieldOf(&meshconfig.MeshConfig_ExtensionProvider_EnvoyExternalAuthorizationGrpcProvider{}, "clear_route_cache"):  25,
	fieldOf(&meshconfig.MeshConfig_ExtensionProvider_EnvoyExternalAuthorizationHttpProvider{}, "clear_route_cache"):  25,
	fieldOf(&meshconfig.MeshConfig_ExtensionProvider_EnvoyFileAccessLogProvider{}, "omit_empty_values"):              26,
	fieldOf(&meshconfig.MeshConfig_ExtensionProvider_HttpHeader{}, "env_name"):                                       26,
	fieldOf(&meshconfig.MeshConfig{}, "service_scope_configs"):                                                       27,
	fieldOf(&meshconfig.MeshConfig_ExtensionProvider{}, "sds"):                                                       27,
	fieldOf(&meshconfig.MeshConfig_ExtensionProvider_ZipkinTracingProvider{}, "trace_context_option"):                28,
	fieldOf(&meshconfig.ProxyConfig_ProxyHeaders{}, "x_forwarded_host"):                                              28,
	fieldOf(&meshconfig.ProxyConfig_ProxyHeaders{}, "x_forwarded_port"):                                              28,
	fieldOf(&meshconfig.MeshConfig{}, "hbone_idle_timeout"):                                                          29,
	fieldOf(&meshconfig.MeshConfig_ExtensionProvider_ZipkinTracingProvider{}, "headers"):                             29,
	fieldOf(&meshconfig.MeshConfig_ExtensionProvider_ZipkinTracingProvider{}, "timeout"):                             29,
	fieldOf(&meshconfig.ProxyConfig{}, "file_flush_interval"):                                                        29,
	fieldOf(&meshconfig.ProxyConfig{}, "file_flush_min_size_kb"):                                                     29,
	fieldOf(&meshconfig.ProxyConfig{}, "stats_compression"):                                                          29,
	fieldOf(&networking.ConnectionPoolSettings_HTTPSettings{}, "http2_keep_alive"):                                   31,
	fieldOf(&meshconfig.MeshConfig{}, "default_traffic_policy"):                                                      31,
	fieldOf(&meshconfig.MeshConfig{}, "service_entry_visibility"):                                                    31,
	fieldOf(&meshconfig.MeshConfig{}, "zone_aware_lb_setting"):                                                       31,
	fieldOf(&meshconfig.MeshConfig_ExtensionProvider_OpenTelemetryTracingProvider{}, "service_attribute_enrichment"): 30,
	fieldOf(&meshconfig.MeshConfig_OutboundTrafficPolicy{}, "tls"):                                                   30,
	fieldOf(&meshconfig.ProxyConfig{}, "connection_settings"):                                                        31,
}

// fieldOf returns the full name of a field. It panics if the API types lack the field: the table is wrong.
func fieldOf(message protoreflect.ProtoMessage, name protoreflect.Name) protoreflect.FullName {
	field := message.ProtoReflect().Descriptor().Fields().ByName(name)
	if field == nil {
		panic(fmt.Sprintf("%s has no field %s", message.ProtoReflect().Descriptor().FullName(), name))
	}
	return field.FullName()
}

// dataSince maps fields of the template data, and functionsSince maps template functions, to the release that added them.
var (
	dataSince      = map[string]release{"NativeSidecars": 27, "ProxyInitImage": 31}
	functionsSince = map[string]release{"omitNil": 28, "otelResourceAttributes": 30}
)

// isBefore reports whether the release is known and older than another one.
func (r release) isBefore(other release) bool { return r != 0 && r < other }

// deleteUnknown deletes the fields that this release of Istio does not know from the tree of a message, whatever their values are.
func (r release) deleteUnknown(message protoreflect.MessageDescriptor, tree map[string]any) (deleted bool) {
	for i := range message.Fields().Len() {
		field := message.Fields().Get(i)
		for _, key := range []string{field.JSONName(), field.TextName()} {
			value, has := tree[key]
			if !has {
				continue
			}
			if r.isBefore(fieldsSince[field.FullName()]) {
				delete(tree, key)
				deleted = true
				continue
			}
			below, values := field.Message(), []any{value}
			if list, is := value.([]any); is {
				values = list
			}
			if object, is := value.(map[string]any); is && field.IsMap() {
				below, values = field.MapValue().Message(), slices.Collect(maps.Values(object))
			}
			if below == nil || below.ParentFile().Package() == "google.protobuf" {
				continue // these have their own JSON encoding
			}
			for _, value := range values {
				if tree, is := value.(map[string]any); is {
					deleted = r.deleteUnknown(below, tree) || deleted
				}
			}
		}
	}
	return deleted
}

// goNamesSince maps the Go names of fields and getters that templates can read to the release that added them, if it is newer than the
// oldest supported one. It omits a name that an older field of another message also has.
var goNamesSince = func() map[string]release {
	out, old := map[string]release{}, map[string]bool{}
	seen := map[protoreflect.FullName]bool{}
	var note func(protoreflect.MessageDescriptor)
	note = func(message protoreflect.MessageDescriptor) {
		if seen[message.FullName()] {
			return
		}
		seen[message.FullName()] = true
		for i := range message.Fields().Len() {
			field := message.Fields().Get(i)
			if since := fieldsSince[field.FullName()]; since != 0 {
				out[goName(field)], out["Get"+goName(field)] = since, since
				continue // its nested fields are as new
			}
			old[goName(field)] = true
			if below := field.Message(); below != nil {
				note(below)
			}
		}
	}
	note((&meshconfig.MeshConfig{}).ProtoReflect().Descriptor())
	maps.DeleteFunc(out, func(name string, _ release) bool { return old[strings.TrimPrefix(name, "Get")] })
	maps.Copy(out, dataSince)
	return out
}()

// goName returns the name of a field in the Go type of its message.
func goName(field protoreflect.FieldDescriptor) string {
	var name strings.Builder
	for word := range strings.SplitSeq(field.TextName(), "_") {
		name.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return name.String()
}

// withhold makes a template fail where it reads a field that this release of Istio does not have, as it fails in Istio. It renames the
// field to a name that no type has and that explains the error.
func (r release) withhold(t *template.Template) {
	if r == 0 {
		return
	}
	rename := func(names []string) {
		if slices.Contains(names, "Values") {
			return // a map of the user, where an absent key is not an error
		}
		for i, name := range names {
			if since := goNamesSince[name]; r.isBefore(since) {
				names[i] = fmt.Sprintf("%s of Istio 1.%d", name, since)
			}
		}
	}
	for _, part := range t.Templates() {
		if part.Tree == nil {
			continue
		}
		walk(part.Root, func(node parse.Node) {
			switch node := node.(type) {
			case *parse.FieldNode:
				rename(node.Ident)
			case *parse.ChainNode:
				rename(node.Field)
			case *parse.VariableNode:
				rename(node.Ident[1:])
			}
		})
	}
}
