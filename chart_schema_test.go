// SPDX-License-Identifier: Apache-2.0

package outrigger

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"outrigger.dev/outrigger/api"
)

const (
	valuesFile = "charts/outrigger/values.yaml"
	schemaFile = "charts/outrigger/values.schema.json"
)

// The schema of the chart's values is made from the values themselves and from what package api says of the
// configuration file, so that a misspelled value is refused by Helm, and none that exists is.
func TestChartSchemaIsCurrent(t *testing.T) {
	want := valuesSchema(t)
	if *update {
		if err := os.WriteFile(schemaFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs from the values; \"make docs\" generates it:\n%s", schemaFile, diff)
	}
}

const exposureKeysFile = "charts/outrigger/files/exposure-keys.yaml"

// The policy on exposure guards the annotations that package api reads as exposure.
func TestChartExposureKeysAreCurrent(t *testing.T) {
	var want strings.Builder
	want.WriteString("# The annotations that expose a Service, expose itself first. Generated from api.ExposureKeys by make docs.\n")
	for _, key := range api.ExposureKeys() {
		want.WriteString("- " + key + "\n")
	}
	if *update {
		if err := os.WriteFile(exposureKeysFile, []byte(want.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(exposureKeysFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.String(), string(got)); diff != "" {
		t.Errorf("%s does not list the keys of package api (make docs writes it):\n%s", exposureKeysFile, diff)
	}
}

// ofConfiguration are the values that take every field of a section of the configuration file.
var ofConfiguration = []string{"istio", "certificates", "routing", "routing.metrics", "coverage", "shutdown", "log", "leaderElection", "apiServer"}

// freeForm are the values that take any fields: they go into an object of Kubernetes as they are.
var freeForm = []string{
	"affinity", "nodeSelector", "podAnnotations", "podLabels", "podSecurityContext", "resources", "securityContext",
	"commonAnnotations", "commonLabels", "deploymentAnnotations", "service.annotations", "strategy",
	"webhook.mutatingWebhookConfigurationAnnotations", "webhook.validatingWebhookConfigurationAnnotations",
	"grafanaDashboard.annotations", "grafanaDashboard.labels", "prometheusRule.annotations", "prometheusRule.labels", "prometheusRule.ruleLabels",
	"certManager.issuerRef", "serviceAccount.annotations", "serviceMonitor.annotations", "serviceMonitor.labels", "webhook.namespaceSelector", "webhook.objectSelector",
}

// chosenByTheChart are fields of those sections that follow from other values, and are none themselves.
var chosenByTheChart = []string{"certificates.source", "certificates.certificateName", "certificates.caBundle", "routing.metrics.credentials"}

// choices are the values of which only some are right, beside those that package api knows.
var choices = map[string][]any{
	"image.pullPolicy":           {"Always", "IfNotPresent", "Never"},
	"guardRails.action":          {"Deny", "Warn", "Audit"},
	"webhook.failurePolicy":      {"Fail", "Ignore"},
	"webhook.reinvocationPolicy": {"Never", "IfNeeded"},
	"webhook.minTLSVersion":      {"1.2", "1.3"},
	"dnsPolicy":                  {"", "ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"},
	"tracing.protocol":           {"http/protobuf", "grpc"},
	"tracing.sampler":            {"always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"},
}

// namesOrObjects are the types of a pull secret: charts take both.
var namesOrObjects = []any{"string", "object"}

// listsOf are the types of what lists hold.
var listsOf = map[string]any{
	"affinity": "object", "extraEnv": "object", "imagePullSecrets": namesOrObjects, "global.imagePullSecrets": namesOrObjects,
	"extraVolumes": "object", "extraVolumeMounts": "object", "extraContainers": "object", "tolerations": "object", "topologySpreadConstraints": "object", "webhook.matchConditions": "object",
	"extraObjects": "object", "networkPolicy.metricsFrom": "object",
	"serviceMonitor.relabelings": "object", "serviceMonitor.metricRelabelings": "object",
}

// alsoAllowed are types that a value may have beside that of its default.
var alsoAllowed = map[string][]any{
	"routing.enabled": {"boolean", "null"}, "image.tag": {"string", "number"}, "podDisruptionBudget.maxUnavailable": {"integer", "string"}, "podDisruptionBudget.minAvailable": {"integer", "string"},
	"prometheusRule.thresholds.coverage": {"number", "string"}, "prometheusRule.thresholds.latency": {"number", "string"}, // --set makes no fractions
}

// required are the values that the templates need below a path. A user removes one of them only with null.
var required = map[string][]string{
	"": {"certificates", "guardRails", "image", "istio", "leaderElection", "networkPolicy", "podDisruptionBudget", "postInstallCheck",
		"preDelete", "rbac", "resourceQuota", "routing", "serviceAccount", "tests", "webhook"},
	"guardRails":       {"action"},
	"postInstallCheck": {"timeout"},
	"preDelete":        {"timeout"},
}

// patterns are what texts must match, empty ones included: a wrong image or namespace is refused by Helm, not by the kubelet.
var patterns = map[string]string{
	"image.digest":         `^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})?$`,
	"image.tag":            `^([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$`,
	"image.registry":       registryPattern,
	"global.imageRegistry": registryPattern,
	"image.repository":     `^[A-Za-z0-9.-]+(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$`,
	"namespaceOverride":    `^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$`,
	"routing.gatewayPorts": `^[0-9]+(-[0-9]+)?$`, // of each item
}

const registryPattern = `^(([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*/?)?$`

// What Rancher asks its users are values that there are, with the defaults that they have.
func TestChartQuestionsAreAboutValues(t *testing.T) {
	var asked struct {
		Questions []struct {
			Variable string `json:"variable"`
			Default  any    `json:"default"`
			Options  []any  `json:"options"`
		} `json:"questions"`
	}
	text, err := os.ReadFile("charts/outrigger/questions.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &asked); err != nil || len(asked.Questions) == 0 {
		t.Fatalf("%d questions: %v", len(asked.Questions), err)
	}
	values := chartValues(t)
	for _, question := range asked.Questions {
		var value any = values
		for _, key := range strings.Split(question.Variable, ".") {
			fields, _ := value.(map[string]any)
			var is bool
			if value, is = fields[key]; !is {
				t.Errorf("questions.yaml asks for %s, and there is no such value", question.Variable)
			}
		}
		if !reflect.DeepEqual(value, question.Default) {
			t.Errorf("questions.yaml says that %s is %v by default; it is %v", question.Variable, question.Default, value)
		}
		if right := choices[question.Variable]; right != nil && !reflect.DeepEqual(right, question.Options) {
			t.Errorf("questions.yaml offers %v for %s; right are %v", question.Options, question.Variable, right)
		}
	}
}

// expected are the names that users of other charts look for, by what they are called there.
var expected = strings.Fields(`replicaCount image.repository image.tag image.digest image.pullPolicy imagePullSecrets nameOverride
	fullnameOverride resources nodeSelector tolerations affinity topologySpreadConstraints priorityClassName
	podDisruptionBudget.enabled podDisruptionBudget.maxUnavailable podAnnotations podLabels podSecurityContext securityContext
	serviceAccount.create serviceAccount.name serviceAccount.annotations rbac.create webhook.failurePolicy webhook.timeoutSeconds
	webhook.namespaceSelector webhook.objectSelector webhook.matchConditions webhook.reinvocationPolicy webhook.port webhook.url
	networkPolicy.enabled extraArgs extraEnv extraObjects enabled global.imageRegistry global.imagePullSecrets image.registry commonLabels
	commonAnnotations deploymentAnnotations strategy revisionHistoryLimit startupProbe.failureThreshold readinessProbe.periodSeconds
	livenessProbe.timeoutSeconds extraVolumes extraVolumeMounts extraContainers runtimeClassName namespaceOverride service.annotations
	podDisruptionBudget.minAvailable hostNetwork dnsPolicy containerPorts.metrics webhook.mutatingWebhookConfigurationAnnotations`)

func TestChartHasTheNamesPeopleExpect(t *testing.T) {
	values := chartValues(t)
	for _, path := range expected {
		var value any = values
		for _, key := range strings.Split(path, ".") {
			fields, _ := value.(map[string]any)
			var is bool
			if value, is = fields[key]; !is {
				t.Errorf("there is no value %s", path)
				break
			}
		}
	}
}

// Rancher compares its own annotation with the cluster. Helm's kubeVersion would also refuse to render without a cluster where
// Helm was not built as a release, so a template compares instead (TestKubernetesIsNewEnough in hack/chart).
func TestChartNamesOneKubernetes(t *testing.T) {
	var chart struct {
		KubeVersion string            `json:"kubeVersion"`
		Annotations map[string]string `json:"annotations"`
	}
	text, err := os.ReadFile("charts/outrigger/Chart.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &chart); err != nil {
		t.Fatal(err)
	}
	if chart.KubeVersion != "" || chart.Annotations["catalog.cattle.io/kube-version"] != ">=1.30.0-0" {
		t.Errorf("kubeVersion is %q, Rancher's annotation %q; want none and >=1.30.0-0", chart.KubeVersion, chart.Annotations["catalog.cattle.io/kube-version"])
	}
}

func chartValues(t *testing.T) map[string]any {
	t.Helper()
	text, err := os.ReadFile(valuesFile)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{}
	if err := yaml.UnmarshalStrict(text, &values); err != nil {
		t.Fatal(err)
	}
	return values
}

func valuesSchema(t *testing.T) []byte {
	t.Helper()
	values := chartValues(t)
	schema := objectSchema("", values)
	schema["$schema"], schema["title"] = "http://json-schema.org/draft-07/schema#", "Values of the chart outrigger"
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(schema); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// objectSchema is the schema of values that lie under a path.
func objectSchema(path string, values map[string]any) map[string]any {
	properties := map[string]any{}
	for key, value := range values {
		properties[key] = valueSchema(strings.TrimPrefix(path+"."+key, "."), value)
	}
	if slices.Contains(ofConfiguration, path) {
		maps.Copy(properties, configurationSchema(path))
	}
	// Helm passes global to every chart that is part of another one, with what the others read.
	schema := map[string]any{"type": "object", "properties": properties, "additionalProperties": path == "global"}
	if required[path] != nil {
		schema["required"] = required[path]
	}
	return schema
}

func valueSchema(path string, value any) map[string]any {
	schema := typeSchema(path, value)
	if pattern := patterns[path]; pattern != "" {
		schema["pattern"] = pattern
	}
	return schema
}

func typeSchema(path string, value any) map[string]any {
	if types, is := alsoAllowed[path]; is {
		return map[string]any{"type": types}
	}
	if slices.Contains(freeForm, path) {
		return map[string]any{"type": "object"}
	}
	if right, is := choices[path]; is {
		return map[string]any{"type": "string", "enum": right}
	}
	switch value := value.(type) {
	case map[string]any:
		return objectSchema(path, value)
	case []any:
		var item any = "string"
		if listsOf[path] != nil {
			item = listsOf[path]
		}
		return map[string]any{"type": "array", "items": map[string]any{"type": item}}
	case bool:
		return map[string]any{"type": "boolean"}
	case int64, float64:
		return map[string]any{"type": "integer", "minimum": 0}
	}
	return map[string]any{"type": "string"}
}

// configurationSchema is that of the fields of one section of the configuration file.
func configurationSchema(section string) map[string]any {
	properties := map[string]any{}
	for _, field := range api.DefaultConfig().Fields() {
		name, is := strings.CutPrefix(field.Path, section+".")
		isElsewhere := slices.ContainsFunc(ofConfiguration, func(other string) bool {
			return strings.HasPrefix(other, section+".") && strings.HasPrefix(field.Path, other+".")
		})
		if !is || isElsewhere || slices.Contains(chosenByTheChart, field.Path) {
			continue
		}
		schema := map[string]any{"description": field.Doc}
		switch field.Type {
		case "true or false":
			schema["type"] = "boolean"
		case "whole number":
			schema["type"] = "integer"
		case "map of text":
			schema["type"], schema["additionalProperties"] = "object", map[string]any{"type": "string"}
		case "list of text":
			item := map[string]any{"type": "string"}
			if pattern := patterns[field.Path]; pattern != "" {
				item["pattern"] = pattern
			}
			schema["type"], schema["items"] = "array", item
		default:
			schema["type"] = "string"
		}
		if len(field.Values) > 0 {
			schema["enum"] = field.Values
		}
		if types, also := alsoAllowed[field.Path]; also {
			schema["type"] = types
		}
		section := properties
		for group, below, isNested := strings.Cut(name, "."); isNested; group, below, isNested = strings.Cut(name, ".") {
			if section[group] == nil {
				section[group] = map[string]any{"type": "object", "additionalProperties": false, "properties": map[string]any{}}
			}
			section, name = section[group].(map[string]any)["properties"].(map[string]any), below
		}
		section[name] = schema
	}
	return properties
}

const readmeFile = "charts/outrigger/README.md"

// The chart's README lists every value with what stands above it in values.yaml.
func TestChartReadmeIsCurrent(t *testing.T) {
	want := chartReadme(t)
	if *update {
		if err := os.WriteFile(readmeFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(readmeFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("%s differs from the values; \"make docs\" generates it:\n%s", readmeFile, diff)
	}
}

func chartReadme(t *testing.T) string {
	t.Helper()
	about, err := os.ReadFile("charts/outrigger/app-readme.md")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.Write(about)
	b.WriteString("\n    helm install outrigger charts/outrigger -n outrigger-system --create-namespace --wait\n\n" +
		"`values-ha.yaml` is for clusters in which an unavailable injector is an outage. Helm rejects a misspelled value\n" +
		"(`values.schema.json`). See how to [operate](../../docs/howto/operate.md), [upgrade](../../docs/howto/upgrade.md), and [uninstall](../../docs/howto/uninstall.md) Outrigger.\n\n" +
		"## Values\n\n`make docs` generates this table from `values.yaml`. The sections istio, certificates, routing, shutdown, log, leaderElection, and apiServer accept\n" +
		"every field of the [configuration file](../../docs/reference/settings.md).\n\n| value | default | |\n|---|---|---|\n")
	comments := commentsOf(t)
	rows(&b, "", chartValues(t), comments)
	return b.String()
}

// rows writes a row for every value that is no mapping, and for those mappings that take any field.
func rows(b *strings.Builder, path string, values map[string]any, comments map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(values)) {
		below := strings.TrimPrefix(path+"."+key, ".")
		if fields, is := values[key].(map[string]any); is && len(fields) > 0 && !slices.Contains(freeForm, below) {
			rows(b, below, fields, comments)
			continue
		}
		text := []byte("…") // longer than a row can hold
		if list, is := values[key].([]any); !is || below != "webhook.matchConditions" || len(list) == 0 {
			text, _ = json.Marshal(values[key]) // what was read from YAML can be written
		}
		row(b, "`"+below+"`", code(string(text)), comments[below])
	}
}

// commentsOf returns the comments above the values of values.yaml by their paths.
func commentsOf(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(valuesFile)
	if err != nil {
		t.Fatal(err)
	}
	comments := map[string]string{}
	var above, path []string
	for line := range strings.Lines(string(text)) {
		trimmed := strings.TrimSpace(line)
		if comment, is := strings.CutPrefix(trimmed, "# "); is {
			above = append(above, comment)
			continue
		}
		key, _, isKey := strings.Cut(trimmed, ":")
		depth := (len(line) - len(strings.TrimLeft(line, " "))) / 2
		if isKey && depth <= len(path) && !strings.HasPrefix(trimmed, "- ") {
			path = append(path[:depth], key)
			comments[strings.Join(path, ".")] = strings.Join(above, " ")
		}
		above = nil
	}
	return comments
}
