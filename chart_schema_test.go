package outrigger

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
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
		t.Errorf("%s is not what the values say (make docs writes it anew):\n%s", schemaFile, diff)
	}
}

// ofConfiguration are the values that take every field of a section of the configuration file.
var ofConfiguration = []string{"istio", "certificates", "routing", "shutdown", "log", "leaderElection"}

// freeForm are the values that take any fields: they go into an object of Kubernetes as they are.
var freeForm = []string{
	"affinity", "nodeSelector", "podAnnotations", "podLabels", "podSecurityContext", "resources", "securityContext",
	"serviceAccount.annotations", "webhook.namespaceSelector", "webhook.objectSelector", "global",
}

// choices are the values of which only some are right, beside those that package api knows.
var choices = map[string][]any{
	"image.pullPolicy":           {"Always", "IfNotPresent", "Never"},
	"webhook.failurePolicy":      {"Fail", "Ignore"},
	"webhook.reinvocationPolicy": {"Never", "IfNeeded"},
	"webhook.minTLSVersion":      {"1.2", "1.3"},
}

// listsOf are the types of what lists hold.
var listsOf = map[string]string{
	"affinity": "object", "extraEnv": "object", "imagePullSecrets": "object", "tolerations": "object", "topologySpreadConstraints": "object", "webhook.matchConditions": "object",
}

// alsoAllowed are types that a value may have beside that of its default.
var alsoAllowed = map[string][]any{
	"routing.enabled": {"boolean", "null"}, "image.tag": {"string", "number"}, "podDisruptionBudget.maxUnavailable": {"integer", "string"},
}

func valuesSchema(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile(valuesFile)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{}
	if err := yaml.UnmarshalStrict(text, &values); err != nil {
		t.Fatal(err)
	}
	values["global"] = map[string]any{} // Helm gives it to every chart that is part of another one
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
	return map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
}

func valueSchema(path string, value any) map[string]any {
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
		item := "string"
		if listsOf[path] != "" {
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
		if !is {
			continue
		}
		schema := map[string]any{"description": field.Doc}
		switch field.Type {
		case "true or false":
			schema["type"] = "boolean"
		case "whole number":
			schema["type"] = "integer"
		case "list of text":
			schema["type"], schema["items"] = "array", map[string]any{"type": "string"}
		default:
			schema["type"] = "string"
		}
		if len(field.Values) > 0 {
			schema["enum"] = field.Values
		}
		if types, also := alsoAllowed[field.Path]; also {
			schema["type"] = types
		}
		properties[name] = schema
	}
	return properties
}
