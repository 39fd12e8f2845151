// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"outrigger.dev/outrigger/hack/controlplane"
	"sigs.k8s.io/yaml"
)

// kinds returns "Kind/Name" of the manifests.
func kinds(manifests []Manifest) []string {
	var out []string
	for _, m := range manifests {
		out = append(out, m.Kind+"/"+m.Name)
	}
	return out
}

// decode reads the manifest of that kind and name into an object.
func decode[T any](t *testing.T, manifests []Manifest, kind, name string) T {
	t.Helper()
	var out T
	i := slices.IndexFunc(manifests, func(m Manifest) bool { return m.Kind == kind && m.Name == name })
	if i < 0 {
		t.Fatalf("no %s/%s among %v", kind, name, kinds(manifests))
	}
	if err := yaml.UnmarshalStrict(manifests[i].YAML, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestConfigMapsAreThoseOfARelease(t *testing.T) {
	for name, test := range map[string]struct {
		values Values
		suffix string
		rev    string
	}{
		"default":         {rev: "default"},
		"with a revision": {values: Values{"revision": "1-31"}, suffix: "-1-31", rev: "1-31"},
	} {
		t.Run(name, func(t *testing.T) {
			maps, err := ConfigMaps(test.values)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"istio" + test.suffix, "istio-sidecar-injector" + test.suffix} {
				got := decode[corev1.ConfigMap](t, maps, "ConfigMap", name)
				want := map[string]string{
					"app.kubernetes.io/instance":                "istiod",
					"app.kubernetes.io/managed-by":              "Helm",
					"app.kubernetes.io/name":                    "istiod",
					"app.kubernetes.io/part-of":                 "istio",
					"app.kubernetes.io/version":                 "1.31.1",
					"helm.sh/chart":                             "istiod-1.31.1",
					"install.operator.istio.io/owning-resource": "unknown",
					"istio.io/rev":                              test.rev,
					"operator.istio.io/component":               "Pilot",
					"release":                                   "istiod",
				}
				if diff := cmp.Diff(want, got.Labels); diff != "" {
					t.Errorf("labels of %s (-want +got):\n%s", name, diff)
				}
				if got.Namespace != "istio-system" {
					t.Errorf("%s is in namespace %q", name, got.Namespace)
				}
			}
		})
	}
}

func TestInjectionFilesParse(t *testing.T) {
	files, err := InjectionFiles(nil)
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		DefaultTemplates []string          `json:"defaultTemplates"`
		Policy           string            `json:"policy"`
		Templates        map[string]string `json:"templates"`
	}
	if err := yaml.Unmarshal(files.Config, &config); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(config.DefaultTemplates, []string{"sidecar"}) || config.Policy != "enabled" {
		t.Errorf("default templates %v, policy %q", config.DefaultTemplates, config.Policy)
	}
	for name, part := range map[string]string{"sidecar": "istio-proxy", "gateway": "istio-proxy", "grpc-agent": "grpc"} {
		if !strings.Contains(config.Templates[name], part) {
			t.Errorf("template %s does not mention %q:\n%.200s", name, part, config.Templates[name])
		}
	}
	var values struct {
		Global struct{ Hub, Tag string }
	}
	if err := json.Unmarshal(files.Values, &values); err != nil {
		t.Fatal(err)
	}
	if values.Global.Hub != "docker.io/istio" || values.Global.Tag != "1.31.1" {
		t.Errorf("hub %q, tag %q", values.Global.Hub, values.Global.Tag)
	}
	var mesh struct{ RootNamespace, TrustDomain string }
	if err := yaml.Unmarshal(files.Mesh, &mesh); err != nil {
		t.Fatal(err)
	}
	if mesh.RootNamespace != "istio-system" || mesh.TrustDomain != "cluster.local" {
		t.Errorf("mesh: %+v", mesh)
	}
}

func TestValuesAndProfilesReachTheConfigMaps(t *testing.T) {
	files, err := InjectionFiles(Values{
		"profile":    "demo",
		"global":     Values{"proxy": Values{"logLevel": "debug"}},
		"meshConfig": Values{"accessLogEncoding": "JSON"},
		"pilot":      Values{},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, part := range map[string]string{
		`"logLevel": "debug"`:                             string(files.Values), // a user's value
		`"cpu": "10m"`:                                    string(files.Values), // of the demo profile
		"accessLogEncoding: JSON":                         string(files.Mesh),   // a user's value
		"accessLogFile: /dev/stdout":                      string(files.Mesh),   // of the demo profile
		`"hub": "docker.io/istio"`:                        string(files.Values), // still a release
		`"autoInject": "enabled"`:                         string(files.Values), // of the chart
		"discoveryAddress: istiod.istio-system.svc:15012": string(files.Mesh),
	} {
		if !strings.Contains(part, name) {
			t.Errorf("no %s in\n%s", name, part)
		}
	}
}

func TestIstiodWithoutItsWebhook(t *testing.T) {
	const webhook = "MutatingWebhookConfiguration/istio-sidecar-injector"
	for name, test := range map[string]struct {
		values Values
		want   bool
	}{
		"by default":             {nil, true},
		"operatorManageWebhooks": {Values{"global": Values{"operatorManageWebhooks": true}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			all, err := Istiod(test.values)
			if err != nil {
				t.Fatal(err)
			}
			if got := slices.Contains(kinds(all), webhook); got != test.want {
				t.Errorf("%s rendered: %t, want %t", webhook, got, test.want)
			}
			if !slices.Contains(kinds(all), "ConfigMap/istio-sidecar-injector") {
				t.Errorf("no ConfigMap istio-sidecar-injector in %v", kinds(all))
			}
		})
	}
}

func TestCRDs(t *testing.T) {
	text, err := CRDs()
	if err != nil {
		t.Fatal(err)
	}
	crds, err := split(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"destinationrules.networking.istio.io", "virtualservices.networking.istio.io", "gateways.networking.istio.io", "proxyconfigs.networking.istio.io"} {
		if !slices.Contains(kinds(crds), "CustomResourceDefinition/"+name) {
			t.Errorf("no %s in %v", name, kinds(crds))
		}
	}
}

func TestGateway(t *testing.T) {
	all, err := Gateway(GatewayValues())
	if err != nil {
		t.Fatal(err)
	}
	deployment := decode[appsv1.Deployment](t, all, "Deployment", "istio-ingressgateway")
	pod := deployment.Spec.Template
	if got := pod.Annotations["inject.istio.io/templates"]; got != "gateway" {
		t.Errorf("inject.istio.io/templates: %q", got)
	}
	if pod.Labels["istio"] != "ingressgateway" || pod.Spec.Containers[0].Image != "auto" {
		t.Errorf("labels %v, image %q", pod.Labels, pod.Spec.Containers[0].Image)
	}
	service := decode[corev1.Service](t, all, "Service", "istio-ingressgateway")
	ports := map[int32]int32{}
	for _, port := range service.Spec.Ports {
		ports[port.Port] = port.NodePort
	}
	if diff := cmp.Diff(map[int32]int32{15021: 0, 80: 31380, 443: 0}, ports); diff != "" || service.Spec.Type != corev1.ServiceTypeNodePort {
		t.Errorf("Service of type %s, node ports by port (-want +got):\n%s", service.Spec.Type, diff)
	}
}

func TestRenderingIsDeterministic(t *testing.T) {
	first, err := Istiod(nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		again, err := Istiod(nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(Join(first)), string(Join(again))); diff != "" {
			t.Fatalf("rendered twice:\n%s", diff)
		}
	}
}

func TestWriteChart(t *testing.T) {
	dir := t.TempDir()
	folder, err := WriteChart(dir, "gateway")
	if err != nil {
		t.Fatal(err)
	}
	if folder != filepath.Join(dir, "gateway") {
		t.Errorf("folder %s", folder)
	}
	chart, err := os.ReadFile(filepath.Join(folder, "Chart.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(chart), "\nappVersion: 1.31.1\n") {
		t.Errorf("Chart.yaml:\n%s", chart)
	}
	if _, err := os.Stat(filepath.Join(folder, "templates", "_helpers.tpl")); err != nil {
		t.Error(err)
	}
	if _, err := WriteChart(dir, "gateways"); err == nil || !strings.Contains(err.Error(), `no chart "gateways"`) {
		t.Errorf("an unknown chart: %v", err)
	}
}

func TestInstallOnAControlPlane(t *testing.T) {
	cluster, err := controlplane.Start(t.Context(), controlplane.Options{Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Stop(); err != nil {
			t.Error(err)
		}
	})
	for range 2 { // the second changes nothing
		if err := Install(t.Context(), cluster, nil); err != nil {
			t.Fatal(err)
		}
	}
	run := func(tool func(context.Context, io.Reader, ...string) (string, error), args ...string) string {
		t.Helper()
		out, err := tool(t.Context(), nil, args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if got := run(cluster.Kubectl, "get", "destinationrules,virtualservices,gateways.networking.istio.io", "-A", "-o", "name"); got != "" {
		t.Errorf("Istio's objects on a new cluster: %s", got)
	}
	files, err := InjectionFiles(nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := run(cluster.Kubectl, "get", "configmap", "istio-sidecar-injector", "-n", Namespace, "-o", "jsonpath={.data.config}"); got != string(files.Config) {
		t.Errorf("the cluster's configuration is not the rendered one:\n%s", cmp.Diff(string(files.Config), got))
	}

	folder, err := WriteChart(t.TempDir(), "gateway")
	if err != nil {
		t.Fatal(err)
	}
	values, err := yaml.Marshal(GatewayValues())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, values, 0o644); err != nil {
		t.Fatal(err)
	}
	run(cluster.Helm, "install", GatewayRelease, folder, "-n", Namespace, "-f", file, "--wait", "--timeout=60s")
	if got := run(cluster.Kubectl, "get", "service", GatewayRelease, "-n", Namespace, "-o", `jsonpath={.spec.ports[?(@.port==80)].nodePort}`); got != "31380" {
		t.Errorf("node port %q", got)
	}
}
