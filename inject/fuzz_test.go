// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	patching "github.com/evanphx/json-patch/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// fuzzTemplates are laid over the sidecar template of the small configuration, or in its place, by their names.
const fuzzTemplates = `
  json: |
    spec:
      volumes:
      {{- range $key, $value := fromJSON (annotation .ObjectMeta "volumes" "{}") }}
      - name: "{{ $key }}"
        {{ toYaml $value | indent 4 }}
      {{- end }}
  meta: |
    metadata:
      annotations: {of: "{{ .ObjectMeta.Namespace }}/{{ index .ObjectMeta.Labels "app" }}"}
      labels:
        first: {{ annotation .ObjectMeta "first" "none" | quote }}
    spec:
      securityContext: {fsGroup: {{ annotation .ObjectMeta "group" 1337 }}}
`

// FuzzInject sends pods with any texts in them through a handful of templates. What is injected must hold what was received, be
// injected once, and be of a shape that no value has a say in; and what is kept from earlier pods changes nothing.
func FuzzInject(f *testing.F) {
	var configs []*Config
	for _, templates := range []string{"sidecar", "sidecar, meta", "json, sidecar", "both, twice"} {
		for _, native := range []string{"enabled", "disabled"} {
			configs = append(configs, parsed(f, func(s *Source) {
				s.Config = fmt.Sprintf("%s%s", s.Config, fuzzTemplates)
				s.Config = string(bytes.Replace([]byte(s.Config), []byte("defaultTemplates: [sidecar]"), []byte("defaultTemplates: ["+templates+"]"), 1))
				s.Settings.NativeSidecars = native
			}))
		}
	}
	for n, seed := range [][5]string{
		{"proxy.istio.io/config", "proxyMetadata: {A: \"x\\\"\"}", "shop", "app", ""},
		{"proxy.istio.io/config", "proxyMetadata:\n  'A: b': c", "x\" #", "istio-proxy", `{"tomorrow":[1,{"x":2}]}`},
		{"first", "a\nb: c", "- x", "app", `{"env":[{"name":"A","value":"b","tomorrow":1}],"resources":{"limits":{"cpu":"1"}}}`},
		{"group", "1}, x: {y", "", "a b", `{"readinessProbe":{"httpGet":{"port":"web"},"tomorrow":true}}`},
		{"volumes", `{"a":{"emptyDir":{}}}`, "{{ x }}", "app", `{"volumeMounts":[{"name":"a","mountPath":"/data"}]}`},
		{"volumes", "{\"a\\\"\\n  - name: b\": {}}", "y", "app", `{"image":"auto"}`},
		{"proxy.istio.io/overrides", `{"containers":[{"name":"istio-proxy"}]}`, "true", "app", `null`},
		{"sidecar.istio.io/status", `{"containers":["istio-proxy"]}`, "1", "istio-proxy", `{"ports":[{"containerPort":9,"name":"web"}]}`},
		{"sidecar.istio.io/logLevel", "a\\", "null", "app", `{"lifecycle":{"preStop":{"httpGet":{"port":1}}}}`},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3], seed[4], uint8(n), "1/2")
	}
	shapes := &shapesInMap{}
	f.Fuzz(func(t *testing.T, key, value, label, container, more string, which uint8, users string) {
		raw := fuzzedPod(t, map[string]any{"name": container, "image": "registry.example/" + label}, more, map[string]any{key: value}, label)
		config := configs[int(which)%len(configs)]
		received := Received{JSON: raw, NamespaceName: "demo", Namespace: &corev1.Namespace{
			ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"openshift.io/sa.scc.uid-range": users}},
		}}
		alone, errAlone := Review(received, config)
		received.Shapes = shapes
		answer, err := Review(received, config)
		if fmt.Sprint(err) != fmt.Sprint(errAlone) || !bytes.Equal(answer.Patch, alone.Patch) || !cmp.Equal(answer.Report, alone.Report) {
			t.Fatalf("with shapes: %v %s %+v\nwithout: %v %s %+v", err, answer.Patch, answer.Report, errAlone, alone.Patch, alone.Report)
		}
		if err != nil || answer.Report.Result != Injected {
			if len(answer.Patch) > 0 {
				t.Errorf("a pod that is %s is changed: %s", answer.Report.Result, answer.Patch)
			}
			return
		}
		after := patchedBy(t, raw, answer.Patch)
		nothingUnknownIsLost(t, raw, after)
		nothingNewIsMade(t, raw, after)
		injectedOnce(t, received, after, config)
	})
}

// injectedOnce sees that injection leaves an injected pod as it is. Only a pod that arrived with the status of an injection may change
// once more: the status can name a container of the other list. Injection takes that container for the user's, as Istio's does, and
// writes a status that names it as the injector's.
func injectedOnce(t *testing.T, received Received, after []byte, config *Config) {
	t.Helper()
	again := func() Answer {
		received.JSON = after
		answer, err := Review(received, config)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	hadStatus := gjson.GetBytes(received.JSON, `metadata.annotations.sidecar\.istio\.io/status`).Exists()
	answer := again()
	if answer.Report.Result == Injected && hadStatus {
		after = patchedBy(t, after, answer.Patch)
		answer = again()
	}
	if answer.Report.Result == Injected {
		t.Errorf("the pod is not injected once: %+v\n%s", answer.Report, answer.Patch)
	}
}

// fuzzedPod returns the JSON of a pod with a container that has more fields of any kind.
func fuzzedPod(t *testing.T, container map[string]any, more string, annotations map[string]any, label string) []byte {
	t.Helper()
	fields := map[string]any{}
	if json.Unmarshal([]byte(more), &fields) == nil {
		for key, value := range fields {
			if key != "name" {
				container[key] = value
			}
		}
	}
	raw, err := json.Marshal(map[string]any{
		"metadata": map[string]any{
			"generateName": "x-", "annotations": annotations, "labels": map[string]any{"app": label}, "tomorrow": label,
			"ownerReferences": []any{map[string]any{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": label, "uid": "u", "controller": true}},
		},
		"spec": map[string]any{"containers": []any{container, map[string]any{"name": "app-2", "tomorrow": map[string]any{"of": label}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// patchedBy applies a patch as the API server does.
func patchedBy(t *testing.T, raw, patch []byte) []byte {
	t.Helper()
	decoded, err := patching.DecodePatch(patch)
	if err != nil {
		t.Fatal(err)
	}
	after, err := decoded.Apply(raw)
	if err != nil {
		t.Fatalf("%s does not apply to %s: %v", patch, raw, err)
	}
	return after
}

// nothingUnknownIsLost sees that every leaf which the Go types do not know is still there.
func nothingUnknownIsLost(t *testing.T, raw, after []byte) {
	t.Helper()
	typed, _, err := Received{JSON: raw}.pod(Settings{})
	if err != nil {
		t.Fatal(err)
	}
	known, err := json.Marshal(typed)
	if err != nil {
		t.Fatal(err)
	}
	had, knew, has := leaves(t, raw), leaves(t, known), leaves(t, after)
	for leaf, times := range had {
		if knew[leaf] == 0 && !isKnownKey(leaf) && has[leaf] < times {
			t.Errorf("%s was there %d times, is there %d times:\n%s\n%s", leaf, times, has[leaf], raw, after)
		}
	}
}

// isKnownKey says whether a leaf's key is one that the types of a pod know, so that its value may have been read.
func isKnownKey(leaf string) bool {
	var pair []any
	if json.Unmarshal([]byte(leaf), &pair) != nil {
		return false
	}
	key, _ := pair[0].(string)
	return podNames[strings.ToLower(key)] || strings.ContainsFunc(key, func(r rune) bool { return r > 'z' }) || key == ""
}

// podNames holds the names of all fields that a pod may have anywhere, in lower case: encoding/json ignores case.
var podNames = func() map[string]bool {
	names, seen := map[string]bool{}, map[reflect.Type]bool{}
	var collect func(reflect.Type)
	collect = func(t reflect.Type) {
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			collect(t.Elem())
		case reflect.Struct:
			if seen[t] {
				return
			}
			seen[t] = true
			for i := range t.NumField() {
				name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
				names[strings.ToLower(name)] = true
				collect(t.Field(i).Type)
			}
		}
	}
	collect(reflect.TypeFor[corev1.Pod]())
	return names
}()

// leaves counts the pairs of key and scalar of a JSON text.
func leaves(t *testing.T, text []byte) map[string]int {
	t.Helper()
	var tree any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&tree); err != nil {
		t.Fatal(err)
	}
	out := map[string]int{}
	var walk func(key string, tree any)
	walk = func(key string, tree any) {
		switch tree := tree.(type) {
		case map[string]any:
			for below, value := range tree {
				walk(below, value)
			}
		case []any:
			for _, value := range tree {
				walk(key, value)
			}
		default:
			pair, err := json.Marshal([]any{key, tree})
			if err != nil {
				t.Fatal(err)
			}
			out[string(pair)]++
		}
	}
	walk("", tree)
	return out
}

// nothingNewIsMade sees that injection added only containers and volumes that the templates name themselves, or that an
// annotation names as such.
func nothingNewIsMade(t *testing.T, raw, after []byte) {
	t.Helper()
	before, now := &corev1.Pod{}, &corev1.Pod{}
	if err := json.Unmarshal(raw, before); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(after, now); err != nil {
		t.Fatalf("%s: %v", after, err)
	}
	named := map[string]any{}
	_ = json.Unmarshal([]byte(before.Annotations["volumes"]), &named) // what does not parse names nothing
	may := append([]string{proxyName, "app", "istio-data", "data"}, slices.Collect(maps.Keys(named))...)
	var recorded overrides
	_ = json.Unmarshal([]byte(before.Annotations[annotationOverrides]), &recorded)
	for _, c := range slices.Concat(before.Spec.Containers, before.Spec.InitContainers, recorded.Containers, recorded.InitContainers) {
		may = append(may, c.Name)
	}
	for _, v := range before.Spec.Volumes {
		may = append(may, v.Name)
	}
	for _, c := range slices.Concat(now.Spec.Containers, now.Spec.InitContainers) {
		if !slices.Contains(may, c.Name) {
			t.Errorf("the container %q came of a value:\n%s\n%s", c.Name, raw, after)
		}
	}
	for _, v := range now.Spec.Volumes {
		if !slices.Contains(may, v.Name) {
			t.Errorf("the volume %q came of a value:\n%s\n%s", v.Name, raw, after)
		}
	}
}

// FuzzConfig gives any texts as Istio's configuration: they are refused or they serve, and no pod that they serve makes
// them panic.
func FuzzConfig(f *testing.F) {
	f.Add(small, smallValues, "", "1.31.1")
	f.Add(small+fuzzTemplates, "{}", "defaultConfig: {proxyMetadata: {A: b}}", "")
	f.Add("policy: enabled\ntemplates: {sidecar: '{{ .Values.a.b }}'}", "a: 1", "rootNamespace: x", "1.24")
	f.Add("templates: {sidecar: 'spec: {{ toYaml .Spec }}'}\ndefaultTemplates: [sidecar, sidecar]", "", "extensionProviders: [{name: a}]", "x")
	f.Add("templates: {sidecar: '{{ define \"a\" }}{{ template \"a\" . }}{{ end }}{{ template \"a\" . }}'}", "", "", "")
	f.Add("aliases: {a: [b]}\ntemplates: {b: '[]'}\ndefaultTemplates: [a]", "", "defaultConfig: []", "")
	f.Fuzz(func(t *testing.T, config, values, mesh, release string) {
		c, _, err := Parse(Source{Config: config, Values: values, Mesh: mesh, Release: release})
		if err != nil {
			return
		}
		for n := range 3 {
			raw := replica(t, n, "")
			answer, err := Review(Received{JSON: raw, NamespaceName: "demo"}, c)
			if err != nil {
				t.Fatalf("a configuration that was accepted: %v", err)
			}
			if answer.Report.Result == Injected {
				patchedBy(t, raw, answer.Patch)
			}
		}
	})
}

// shapesInMap keeps every shape.
type shapesInMap struct{ shapes sync.Map }

func (s *shapesInMap) Shape(key []byte) *Shape {
	if found, has := s.shapes.Load(string(key)); has {
		return found.(*Shape)
	}
	return nil
}

func (s *shapesInMap) KeepShape(key []byte, shape *Shape, _ int) { s.shapes.Store(string(key), shape) }
