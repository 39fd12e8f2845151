// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"outrigger.dev/outrigger/internal/manifest"
)

// extra holds rules of a user's that come before those that are made.
const extra = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: springbootapp-extra, namespace: demo}
spec:
  http:
  - match: [{uri: {prefix: /hello/slow}}]
    timeout: 30s
    route: [{destination: {host: springbootapp.demo.svc.cluster.local, subset: v1}}]
`

// Istio's analyzers, all of them, have nothing to say about what we make.
func TestAnalyzersSayNothingAboutRoutes(t *testing.T) {
	const app, rolling, bookinfo = "springbootapp/app.yaml", "springbootapp/rolling.yaml", "bookinfo/app.yaml"
	istio, binary := Start(t), outrigger(t)
	for _, c := range []struct {
		behaviour string
		example   string
		service   string            // that carries the annotations
		annotate  map[string]string // keys without the domain
		kinds     map[string]int    // how many objects are to be made
		also      string            // a document of the user's own
	}{
		{"every service has its route", app, "", nil, map[string]int{"DestinationRule": 1, "VirtualService": 1}, ""},
		{"a lone rolling workload has one too", rolling, "", nil, map[string]int{"DestinationRule": 1, "VirtualService": 1}, ""},
		{"three versions of one service", bookinfo, "", nil, map[string]int{"DestinationRule": 4, "VirtualService": 4}, ""},
		{"exposed to everybody", app, "springbootapp", map[string]string{"expose": "true"},
			map[string]int{"DestinationRule": 1, "VirtualService": 2, "Gateway": 1}, ""},
		{"exposed on another port", app, "springbootapp", map[string]string{"expose": "true", "gateway-port": "8066"},
			map[string]int{"DestinationRule": 1, "VirtualService": 2, "Gateway": 1}, ""},
		{"exposed under a name", app, "springbootapp", map[string]string{"expose": "true", "hosts": "app.example.com"},
			map[string]int{"DestinationRule": 1, "VirtualService": 2, "Gateway": 1}, ""},
		{"exposed with HTTPS and a redirect", app, "springbootapp", map[string]string{"expose": "true", "hosts": "app.example.com", "tls-credential": "app-tls", "https-redirect": "true"},
			map[string]int{"DestinationRule": 1, "VirtualService": 2, "Gateway": 1}, ""},
		{"exposed below a path", app, "springbootapp", map[string]string{"expose": "true", "hosts": "app.example.com", "path": "/hello"},
			map[string]int{"DestinationRule": 1, "VirtualService": 2, "Gateway": 1}, ""},
		{"a lone rolling workload exposed", rolling, "orders", map[string]string{"expose": "true"},
			map[string]int{"DestinationRule": 1, "VirtualService": 2, "Gateway": 1}, ""},
		{"a share for another version", app, "springbootapp", map[string]string{"weights": "v1=90,v2=10", "expose": "true"},
			map[string]int{"DestinationRule": 1, "VirtualService": 2, "Gateway": 1}, ""},
		{"a header for another version", app, "springbootapp", map[string]string{"match": "v2=header:end-user:jason", "expose": "true", "hosts": "app.example.com"},
			map[string]int{"DestinationRule": 1, "VirtualService": 2, "Gateway": 1}, ""},
		{"every kind of match", app, "springbootapp", map[string]string{"match": "v2=header-prefix:x-c:can;v2=cookie:beta:1;v1=query:v:1;v2=source:v2;v1=source:v1", "expose": "true", "hosts": "app.example.com", "path": "/hello"},
			map[string]int{"DestinationRule": 1, "VirtualService": 2, "Gateway": 1}, ""},
		{"callers that stay with their version, and copies", bookinfo, "reviews", map[string]string{"weights": "v1=50,v2=50", "sticky": "cookie:version:1h", "mirror": "v3=10", "expose": "true", "hosts": "app.example.com"},
			map[string]int{"DestinationRule": 4, "VirtualService": 5, "Gateway": 1}, ""},
		{"another path and port", app, "springbootapp", map[string]string{"expose": "true", "hosts": "app.example.com", "path": "/hello", "path-rewrite": "/", "match": "v2=source:v2"},
			map[string]int{"DestinationRule": 1, "VirtualService": 2, "Gateway": 1}, ""},
		{"promoted", bookinfo, "reviews", map[string]string{"default-version": "v3"},
			map[string]int{"DestinationRule": 4, "VirtualService": 4}, ""},
		{"three shares", bookinfo, "reviews", map[string]string{"weights": "v1=50,v2=30,v3=20"},
			map[string]int{"DestinationRule": 4, "VirtualService": 4}, ""},
		{"the user's own rules first", app, "springbootapp", map[string]string{"expose": "true", "path": "/hello", "match": "v2=header:end-user:jason"},
			map[string]int{"DestinationRule": 1, "VirtualService": 2, "Gateway": 1}, extra},
		{"the user's own rules first, under a name", app, "springbootapp", map[string]string{"expose": "true", "hosts": "app.example.com", "path": "/hello"},
			map[string]int{"DestinationRule": 1, "VirtualService": 2, "Gateway": 1}, extra},
	} {
		t.Run(c.behaviour, func(t *testing.T) {
			application := annotated(t, filepath.Join("../../examples", c.example), c.service, c.annotate)
			if c.also != "" {
				application = append(append(application, "---\n"...), c.also...)
			}
			made := routes(t, binary, application)
			kinds := map[string]int{}
			for _, object := range made {
				kinds[object.(map[string]any)["kind"].(string)]++
			}
			if !maps.Equal(kinds, c.kinds) {
				t.Errorf("made %v, want %v", kinds, c.kinds)
			}
			cluster, err := Cluster("demo", application, made...)
			if err != nil {
				t.Fatal(err)
			}
			found, err := istio.AnalyzeYAML(cluster)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range found {
				t.Error(f)
			}
			if t.Failed() {
				t.Log(cluster)
			}
		})
	}
}

// outrigger builds the product's binary and returns its path.
func outrigger(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "outrigger")
	command := exec.Command("go", "build", "-trimpath", "-o", binary, "./cmd/outrigger")
	product, err := productFolder()
	if err != nil {
		t.Fatal(err)
	}
	command.Dir = product
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("building outrigger: %v\n%s", err, output)
	}
	return binary
}

func productFolder() (string, error) {
	folder, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "outrigger.dev/outrigger").Output()
	if err != nil {
		return "", fmt.Errorf("finding the product's folder: %w", err)
	}
	return strings.TrimSpace(string(folder)), nil
}

// annotated reads an example and annotates one of its Services.
func annotated(t *testing.T, file, service string, annotations map[string]string) []byte {
	t.Helper()
	application, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var documents []string
	for _, object := range objectsOf(t, application) {
		metadata := object["metadata"].(map[string]any)
		if object["kind"] == "Service" && metadata["name"] == service {
			all := map[string]any{}
			for key, value := range annotations {
				all["outrigger.dev/"+key] = value
			}
			metadata["annotations"] = all
		}
		document, err := yaml.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, string(document))
	}
	return []byte(strings.Join(documents, "---\n"))
}

// routes asks the command line for the objects that the controller would keep in the end.
func routes(t *testing.T, binary string, application []byte) []any {
	t.Helper()
	command := exec.Command(binary, "routes", "-n", "demo", "-f", "-")
	command.Stdin = bytes.NewReader(application)
	var notes bytes.Buffer
	command.Stderr = &notes
	output, err := command.Output()
	if err != nil {
		t.Fatalf("outrigger routes: %v\n%s", err, &notes)
	}
	if notes.Len() > 0 {
		t.Errorf("outrigger routes says:\n%s", &notes)
	}
	var made []any
	for _, object := range objectsOf(t, output) {
		made = append(made, object)
	}
	return made
}

// objectsOf decodes the objects of a manifest.
func objectsOf(t *testing.T, text []byte) []map[string]any {
	t.Helper()
	stream, err := manifest.Read(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	var objects []map[string]any
	for _, object := range stream.Objects() {
		raw, err := object.JSON()
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := json.Unmarshal(raw, &fields); err != nil {
			t.Fatal(err)
		}
		objects = append(objects, fields)
	}
	return objects
}
