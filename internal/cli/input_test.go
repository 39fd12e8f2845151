// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// commandLine runs a command line and returns its exit status and what it prints.
func commandLine(t testing.TB, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errors bytes.Buffer
	command := Root("outrigger", "unknown")
	command.SetArgs(args)
	command.SetIn(strings.NewReader("apiVersion: v1\nkind: Service\nmetadata: {name: web}\n"))
	command.SetOut(&out)
	command.SetErr(&errors)
	status = Execute(command, &errors)
	return status, out.String(), errors.String()
}

// A URL is read as a file; a server that fails is asked again, as kubectl does.
func TestInputFromURL(t *testing.T) {
	asked := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked[r.URL.Path]++
		switch {
		case r.URL.Path == "/gone.yaml":
			http.NotFound(w, r)
		case r.URL.Path == "/slow.yaml" && asked[r.URL.Path] == 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.URL.Path == "/broken.yaml":
			_, _ = w.Write([]byte("kind: ["))
		default:
			_, _ = w.Write([]byte("apiVersion: v1\nkind: Service\nmetadata: {name: far}\n"))
		}
	}))
	defer server.Close()
	for _, c := range []struct {
		path, want string
		status     int
	}{
		{"/app.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: far}\n", statusDone},
		{"/slow.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: far}\n", statusDone},
		{"/gone.yaml", "Error: read " + server.URL + "/gone.yaml: the server answers 404 Not Found\n", statusFailed},
		{"/broken.yaml", "Error: " + server.URL + "/broken.yaml: document 1 is not YAML: line 1: did not find expected node content\n", statusFailed},
	} {
		t.Run(c.path, func(t *testing.T) {
			status, stdout, stderr := commandLine(t, "uninject", "-f", server.URL+c.path)
			if status != c.status || stdout+stderr != c.want {
				t.Errorf("want %d and %q, got %d and %q%q", c.status, c.want, status, stdout, stderr)
			}
		})
	}
	if asked["/slow.yaml"] != 2 || asked["/gone.yaml"] != 1 {
		t.Errorf("asked %v", asked)
	}
}

// What a whole run allocates for one document must not depend on how many there are: 42 MB once took minutes. A step that
// handles all documents for each of them would multiply it by 16 here; BenchmarkInject has the times.
func TestInjectIsLinear(t *testing.T) {
	allocated := func(documents int) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		injectMany(t, documents)
		runtime.ReadMemStats(&after)
		return (after.TotalAlloc - before.TotalAlloc) / uint64(documents)
	}
	allocated(1) // what is made once for the process
	if few, many := allocated(100), allocated(1600); many > 2*few {
		t.Errorf("a document takes %d bytes among 100, and %d among 1600", few, many)
	}
}

// BenchmarkInject reports the time for one Deployment in files of different sizes, which must be about the same.
func BenchmarkInject(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				injectMany(b, n)
			}
			b.ReportMetric(float64(b.Elapsed())/1000/float64(b.N)/float64(n), "µs/document")
		})
	}
}

// injectMany injects a file of n Deployments that differ.
func injectMany(t testing.TB, n int) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var app strings.Builder
	for i := range n {
		fmt.Fprintf(&app, deploymentText, i)
	}
	status, stdout, stderr := commandLine(t, "inject", "-f", write("app.yaml", app.String()),
		"--injectConfigFile", write("inject.yaml", "policy: enabled\ndefaultTemplates: [sidecar]\ntemplates:\n  sidecar: |\n    spec:\n      containers:\n      - name: istio-proxy\n        image: proxy:1\n"),
		"--valuesFile", write("values.json", `{"global":{"proxy":{"image":"proxyv2"},"hub":"registry.example","tag":"1.31.1"}}`),
		"--meshConfigFile", write("mesh.yaml", "{}"))
	if found := strings.Count(stdout, "name: istio-proxy\n"); status != statusDone || found != n {
		t.Fatalf("status %d, %d of %d are injected: %s", status, found, n, stderr)
	}
}

const deploymentText = `---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web-%[1]d
spec:
  selector:
    matchLabels: {app: web-%[1]d}
  template:
    metadata:
      labels: {app: web-%[1]d, version: v1}
    spec:
      containers:
      - name: app
        image: app:%[1]d
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: 8080}}
`
