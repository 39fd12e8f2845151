// SPDX-License-Identifier: Apache-2.0

package inject

import (
	_ "embed"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	typev1beta1 "istio.io/api/type/v1beta1"
	networkingv1beta1 "istio.io/client-go/pkg/apis/networking/v1beta1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"outrigger.dev/outrigger/api"
)

// small is a configuration with a template that resembles Istio's.
//
//go:embed testdata/small.yaml
var small string

const smallValues = `{"global": {"hub": "registry.example/istio", "tag": "1.31.1", "proxy": {"image": "proxyv2"}}, "sidecarInjectorWebhook": {"rewriteAppHTTPProbe": true}}`

func parsed(t testing.TB, change func(*Source)) *Config {
	t.Helper()
	source := Source{Config: small, Values: smallValues}
	if change != nil {
		change(&source)
	}
	config, problems, err := Parse(source)
	if err != nil || len(problems) > 0 {
		t.Fatalf("Parse: %v %v", problems, err)
	}
	return config
}

// pod reads a pod from YAML over a small one.
func pod(t testing.TB, text string) *corev1.Pod {
	t.Helper()
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: "demo"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "registry.example/app:1"}}},
	}
	if err := yaml.UnmarshalStrict([]byte(text), p); err != nil {
		t.Fatal(err)
	}
	return p
}

func inject(t testing.TB, p *corev1.Pod, config *Config) (*corev1.Pod, Report) {
	t.Helper()
	before := p.DeepCopy()
	after, report, err := Pod(Request{Pod: p, Namespace: &corev1.Namespace{}}, config)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, p); diff != "" {
		t.Errorf("the pod of the request was changed:\n%s", diff)
	}
	if report.Result != Injected && after != p {
		t.Errorf("a pod that is %s is not the pod that was received", report.Result)
	}
	return after, report
}

func TestDecision(t *testing.T) {
	const in, out = "sidecar.istio.io/inject: 'true'", "sidecar.istio.io/inject: 'false'"
	disabled := func(s *Source) { s.Config = strings.Replace(s.Config, "policy: enabled", "policy: disabled", 1) }
	invalid := func(s *Source) { s.Config = strings.Replace(s.Config, "policy: enabled", "policy: sometimes", 1) }
	old := ofRelease("1.26.3")
	for _, test := range []struct {
		behaviour string
		config    func(*Source)
		pod       string
		want      Result
		reason    api.InjectReason
		warned    bool
	}{
		{"policy enabled", nil, "", Injected, api.InjectPolicyEnabled, false},
		{"policy disabled", disabled, "", Skipped, api.InjectPolicyDisabled, false},
		{"policy disabled, pod opts in", disabled, "metadata: {labels: {" + in + "}}", Injected, api.InjectOptedIn, false},
		{"policy disabled, selected", disabled, "metadata: {labels: {always: 'true'}}", Injected, api.InjectAlwaysSelector, false},
		{"an invalid policy beats an explicit yes", invalid, "metadata: {labels: {" + in + "}}", Skipped, api.InjectPolicyInvalid, false},
		{"never selected; an empty selector selects nothing", nil, "metadata: {labels: {never: 'true'}}", Skipped, api.InjectNeverSelector, false},
		{"explicit yes beats never", nil, "metadata: {labels: {never: 'true', " + in + "}}", Injected, api.InjectOptedIn, false},
		{"label opts out", nil, "metadata: {labels: {" + out + "}}", Skipped, api.InjectOptedOut, false},
		{"annotation opts out", nil, "metadata: {annotations: {" + out + "}}", Skipped, api.InjectOptedOut, false},
		{"label hides annotation, also when empty", nil, "metadata: {labels: {sidecar.istio.io/inject: ''}, annotations: {" + out + "}}", Injected, api.InjectPolicyEnabled, false},
		{"host network beats everything", nil, "{metadata: {labels: {" + in + "}}, spec: {hostNetwork: true}}", Skipped, api.InjectHostNetwork, false},
		{"ignored namespace", nil, "metadata: {namespace: kube-system, labels: {" + in + "}}", Skipped, api.InjectIgnoredNamespace, false},
		{"Windows", nil, "spec: {os: {name: windows}}", Skipped, api.InjectWindowsPod, false},
		{"an unreadable choice counts as absent and is told", nil, "metadata: {labels: {sidecar.istio.io/inject: 'no'}}", Injected, api.InjectPolicyEnabled, true},
		{"1.26 reads any spelling of yes", func(s *Source) { disabled(s); old(s) }, "metadata: {labels: {sidecar.istio.io/inject: 'On'}}", Injected, api.InjectOptedIn, false},
		{"1.26 takes any other text for no", old, "metadata: {labels: {sidecar.istio.io/inject: '1'}}", Skipped, api.InjectOptedOut, false},
	} {
		t.Run(test.behaviour, func(t *testing.T) {
			_, report := inject(t, pod(t, test.pod), parsed(t, test.config))
			if report.Result != test.want || report.Reason != test.reason || (len(report.Problems) > 0) != test.warned {
				t.Errorf("got %s %s %v, want %s %s, warned %v", report.Result, report.Reason, report.Problems, test.want, test.reason, test.warned)
			}
		})
	}
}

func TestInjectedPod(t *testing.T) {
	native := func(s *Source) { s.Settings.NativeSidecars = "enabled" }
	ordinary := func(s *Source) { s.Settings.NativeSidecars = "disabled" }
	for _, test := range []struct {
		behaviour string
		config    func(*Source)
		pod       string
		want      []string // what the pod's YAML must hold
		not       []string
	}{
		{behaviour: "native", config: native, want: []string{"initContainers:\n  - args:\n    - proxy\n", "restartPolicy: Always", `sidecar.istio.io/status: '{"initContainers":["istio-proxy"],"containers":null,"volumes":["istio-data"],"imagePullSecrets":null,"revision":"default"}'`, "made.example/by: test"}},
		{behaviour: "ordinary", config: ordinary, want: []string{"  containers:\n  - image: registry.example/app:1\n    name: app\n    resources: {}\n  - args:"}, not: []string{"initContainers:"}},
		{behaviour: "a later template reaches the native proxy where it lives", config: native, pod: "metadata: {annotations: {inject.istio.io/templates: both}}", want: []string{"- name: EXTRA"}},
		{behaviour: "the workload behind a ReplicaSet", config: ordinary,
			pod:  "metadata: {name: '', generateName: shop-6d4f-, labels: {pod-template-hash: 6d4f}, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: shop-6d4f, uid: u, controller: true}]}",
			want: []string{"value: Deployment/shop"}},
		{behaviour: "image types", config: ordinary, pod: "metadata: {annotations: {sidecar.istio.io/proxyImageType: debug}}", want: []string{"image: registry.example/istio/proxyv2:1.31.1-debug"}},
		{behaviour: "hold puts the proxy first", config: ordinary, pod: "metadata: {annotations: {proxy.istio.io/config: 'holdApplicationUntilProxyStarts: true'}}", want: []string{"containers:\n  - args:"}},
		{behaviour: "probes go to the agent", config: ordinary,
			pod:  "spec: {containers: [{name: app, image: a, ports: [{name: web, containerPort: 80}], readinessProbe: {httpGet: {path: /ready, port: web, scheme: HTTPS}, timeoutSeconds: 3}, livenessProbe: {exec: {command: [\"true\"]}}}]}",
			want: []string{"path: /app-health/app/readyz\n        port: 15020\n        scheme: HTTP\n", `value: '{"/app-health/app/readyz":{"httpGet":{"path":"/ready","port":80,"scheme":"HTTPS"},"timeoutSeconds":3}}'`, "exec:"}},
		{behaviour: "Prometheus scrapes the agent", config: ordinary, pod: "metadata: {annotations: {prometheus.io.port: '8080'}}",
			want: []string{`prometheus.io/port: "15020"`, "prometheus.io/path: /stats/prometheus", `value: '{"scrape":"","path":"","port":"8080"}'`}, not: []string{"prometheus.io.port"}},
		{behaviour: "the user's own proxy wins and is recorded", config: ordinary,
			pod:  "spec: {containers: [{name: app, image: a}, {name: istio-proxy, image: auto, resources: {limits: {cpu: 2}}}]}",
			want: []string{`proxy.istio.io/overrides: '{"containers":[{"name":"istio-proxy","resources":{"limits":{"cpu":"2"}}}]}'`, `cpu: "2"`, "image: registry.example/istio/proxyv2:1.31.1"}, not: []string{"image: auto"}},
		{behaviour: "network and cluster of the values", config: func(s *Source) {
			ordinary(s)
			s.Values = strings.Replace(s.Values, `"global": {`, `"global": {"network": "n1", "multiCluster": {"clusterName": "c1"}, `, 1)
		}, want: []string{"topology.istio.io/network: n1", "- name: ISTIO_META_CLUSTER_ID\n      value: c1\n    - name: ISTIO_META_NETWORK\n      value: n1"}},
	} {
		t.Run(test.behaviour, func(t *testing.T) {
			config := parsed(t, test.config)
			after, report := inject(t, pod(t, test.pod), config)
			if report.Result != Injected {
				t.Fatalf("%s: %s", report.Result, report.Message)
			}
			text, err := yaml.Marshal(after)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range test.want {
				if !strings.Contains(string(text), want) {
					t.Errorf("the pod lacks\n%s\nit is\n%s", want, text)
				}
			}
			for _, not := range test.not {
				if strings.Contains(string(text), not) {
					t.Errorf("the pod holds %q:\n%s", not, text)
				}
			}
			again, report := inject(t, after, config)
			if report.Reason != api.InjectAlready {
				t.Errorf("injected twice is not injected once (%s %s):\n%s", report.Result, report.Reason, cmp.Diff(after, again))
			}
		})
	}
}

func TestDenials(t *testing.T) {
	for _, test := range []struct {
		behaviour, pod string
		reason         api.InjectReason
		field, words   string
	}{
		{"annotation that is not valid", "metadata: {annotations: {sidecar.istio.io/proxyCPU: lots}}", api.InjectInvalidAnnotation, "metadata.annotations[sidecar.istio.io/proxyCPU]", "quantities must match"},
		{"negative request", "metadata: {annotations: {sidecar.istio.io/proxyCPU: '-100m'}}", api.InjectInvalidAnnotation, "metadata.annotations[sidecar.istio.io/proxyCPU]", "must not be negative"},
		{"negative limit", "metadata: {annotations: {sidecar.istio.io/proxyMemoryLimit: '-1Gi'}}", api.InjectInvalidAnnotation, "metadata.annotations[sidecar.istio.io/proxyMemoryLimit]", "must not be negative"},
		{"mode that is not one", "metadata: {annotations: {sidecar.istio.io/interceptionMode: none}}", api.InjectInvalidAnnotation, "metadata.annotations[sidecar.istio.io/interceptionMode]", "REDIRECT"},
		{"ProxyConfig that does not parse", "metadata: {annotations: {proxy.istio.io/config: 'concurrency: many'}}", api.InjectInvalidAnnotation, "metadata.annotations[proxy.istio.io/config]", "proxy config"},
		{"unknown template", "metadata: {annotations: {inject.istio.io/templates: 'sidecar,nope'}}", api.InjectUnknownTemplate, "metadata.annotations[inject.istio.io/templates]", "extra,named,sidecar,twice"},
		{"value that becomes an argument", "metadata: {annotations: {sidecar.istio.io/logLevel: \"info, --evil], command: [sh\"}}", api.InjectUnsafeValue, "metadata.annotations[sidecar.istio.io/logLevel]", "structure"},
		{"metadata value with a quote", `metadata: {annotations: {proxy.istio.io/config: 'proxyMetadata: {A: "x\"\n    - name: EVIL\n      value: \"y"}'}}`, api.InjectUnsafeValue, "", ""},
		{"reserved port", "metadata: {annotations: {prometheus.io/port: '15090'}}", api.InjectInvalidAnnotation, "metadata.annotations[prometheus.io/port]", "reserved"},
		{"a volume with two sources", "{metadata: {annotations: {inject.istio.io/templates: twice}}, spec: {volumes: [{name: data, hostPath: {path: /}}], containers: [{name: app, image: a}]}}", api.InjectInvalidResult, "spec.volumes[data].source", "two sources"},
	} {
		t.Run(test.behaviour, func(t *testing.T) {
			_, report := inject(t, pod(t, test.pod), parsed(t, func(s *Source) { s.Settings.NativeSidecars = "disabled" }))
			if report.Result != Denied || report.Reason != test.reason {
				t.Fatalf("got %s %s (%s)", report.Result, report.Reason, report.Message)
			}
			p := report.Problems[0]
			if test.field != "" && p.Field != test.field || !strings.Contains(p.String(), test.words) {
				t.Errorf("the denial names %q: %s", p.Field, p)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, test := range []struct {
		behaviour string
		change    func(*Source)
		words     string
	}{
		{"a template that does not parse, although unused", func(s *Source) { s.Config += "  broken: '{{ if }}'\n" }, `template "broken"`},
		{"a function that is gone", func(s *Source) { s.Config = strings.Replace(s.Config, "protoToJSON", "protoToJson", 1) }, "upgrade Istio"},
		{"a field that is gone", func(s *Source) { s.Config = strings.Replace(s.Config, ".ProxyImage", ".EstimatedConcurrency", 1) }, "upgrade Istio"},
		{"values of a wrong type", func(s *Source) { s.Values = `{"global": {"hub": 5}}` }, "values"},
		{"a mesh of a wrong type", func(s *Source) { s.Mesh = "enableTracing: often" }, "mesh"},
		{"no templates", func(s *Source) { s.Config = "policy: enabled" }, "templates"},
		{"text that is not YAML", func(s *Source) { s.Config = "policy: [" }, "YAML"},
		{"a default template that is not there", func(s *Source) {
			s.Config = strings.Replace(s.Config, "defaultTemplates: [sidecar]", "defaultTemplates: [gone]", 1)
		}, `"gone"`},
	} {
		t.Run(test.behaviour, func(t *testing.T) {
			source := Source{Config: small, Values: smallValues}
			test.change(&source)
			if _, _, err := Parse(source); err == nil || !strings.Contains(err.Error(), test.words) {
				t.Errorf("got %v, want an error with %q", err, test.words)
			}
		})
	}
}

func TestNativeDetection(t *testing.T) {
	for _, test := range []struct {
		behaviour string
		change    func(*Source)
		nodes     map[string]string
		pod       string
		want      bool
	}{
		{"no nodes", nil, nil, "", true},
		{"all kubelets know them", nil, map[string]string{"a": "v1.33.1", "b": "v1.37.2+k3s1"}, "", true},
		{"one does not", nil, map[string]string{"a": "v1.33.1", "b": "v1.32.9"}, "", false},
		{"the pod's own node decides", nil, map[string]string{"a": "v1.33.1", "b": "v1.32.9"}, "spec: {nodeName: a}", true},
		{"an unreadable version is old", nil, map[string]string{"a": "kwok"}, "", false},
		{"setting", func(s *Source) { s.Settings.NativeSidecars = "disabled" }, nil, "", false},
		{"values", func(s *Source) {
			s.Values = strings.Replace(s.Values, `{"global"`, `{"pilot": {"env": {"ENABLE_NATIVE_SIDECARS": false}}, "global"`, 1)
		}, nil, "", false},
		{"before 1.27 they are off", ofRelease("1.25.0"), map[string]string{"a": "v1.33.1"}, "", false},
	} {
		t.Run(test.behaviour, func(t *testing.T) {
			config := parsed(t, test.change).With(Facts{Nodes: test.nodes})
			after, _ := inject(t, pod(t, test.pod), config)
			if got := findContainer(after.Spec.InitContainers, proxyName) != nil; got != test.want {
				t.Errorf("native: %v, want %v", got, test.want)
			}
		})
	}
}

func TestProxyConfigLevels(t *testing.T) {
	resource := func(namespace, name string, age int, labels map[string]string, value string) *networkingv1beta1.ProxyConfig {
		r := &networkingv1beta1.ProxyConfig{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, CreationTimestamp: metav1.Unix(int64(age), 0)}}
		r.Spec.EnvironmentVariables = map[string]string{"LEVEL": value}
		if labels != nil {
			r.Spec.Selector = selectorOf(labels)
		}
		return r
	}
	all := []*networkingv1beta1.ProxyConfig{
		resource("istio-system", "root", 1, nil, "root"), resource("demo", "younger", 3, nil, "younger"), resource("demo", "older", 2, nil, "namespace"),
		resource("demo", "selecting", 4, map[string]string{"app": "shop"}, "selector"),
	}
	config := parsed(t, func(s *Source) { s.Mesh = "defaultConfig: {proxyMetadata: {LEVEL: mesh, KEPT: mesh}}" })
	for _, test := range []struct{ behaviour, pod, want string }{
		{"another namespace gets the root's", "metadata: {namespace: other}", "root"},
		{"the namespace's oldest", "", "namespace"},
		{"the annotation", "metadata: {annotations: {proxy.istio.io/config: 'proxyMetadata: {LEVEL: annotation}'}}", "annotation"},
		{"a selecting resource beats the annotation", "metadata: {labels: {app: shop}, annotations: {proxy.istio.io/config: 'proxyMetadata: {LEVEL: annotation}'}}", "selector"},
	} {
		t.Run(test.behaviour, func(t *testing.T) {
			got, err := config.With(Facts{ProxyConfigs: all}).proxyConfigOf(pod(t, test.pod))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(map[string]string{"LEVEL": test.want, "KEPT": "mesh"}, got.config.ProxyMetadata); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUnavailableDeniesOnlyWhoAsks(t *testing.T) {
	config := Unavailable(api.InjectProblem{Object: api.ObjectRef{Kind: "ConfigMap", Name: "istio"}, Reason: api.InjectNoIstioConfiguration, Message: "it is not there."})
	if _, report := inject(t, pod(t, ""), config); report.Result != Denied || report.Reason != api.InjectNoIstioConfiguration {
		t.Errorf("got %s %s", report.Result, report.Reason)
	}
	if _, report := inject(t, pod(t, "spec: {hostNetwork: true}"), config); report.Result != Skipped {
		t.Errorf("a pod on the host network got %s %s", report.Result, report.Reason)
	}
	if _, report := inject(t, pod(t, "metadata: {labels: {sidecar.istio.io/inject: 'false'}}"), config); report.Result != Skipped {
		t.Errorf("a pod that opts out got %s %s", report.Result, report.Reason)
	}
}

func BenchmarkPod(b *testing.B) {
	for _, count := range []int{1, 10} {
		b.Run(fmt.Sprintf("containers=%d", count), func(b *testing.B) {
			config, p := parsed(b, nil), pod(b, "")
			for i := 1; i < count; i++ {
				p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: fmt.Sprintf("app-%d", i), Image: "registry.example/app:1"})
			}
			request := Request{Pod: p, Namespace: &corev1.Namespace{}}
			b.ReportAllocs()
			for b.Loop() {
				if _, report, err := Pod(request, config); err != nil || report.Result != Injected {
					b.Fatal(report, err)
				}
			}
		})
	}
}

func selectorOf(labels map[string]string) *typev1beta1.WorkloadSelector {
	return &typev1beta1.WorkloadSelector{MatchLabels: labels}
}

func TestLastOfAOneofCounts(t *testing.T) {
	config := parsed(t, func(s *Source) {
		s.Mesh = `{defaultConfig: {tracing: {zipkin: {address: "z.example:9411"}, datadog: {address: "d.example:8126"}, lightstep: null}},
			extensionProviders: [{name: both, zipkin: {service: z, port: 1}, datadog: {service: d, port: 2}}]}`
	})
	after, _ := inject(t, pod(t, `{}`), config)
	written := map[string]string{}
	for _, env := range findProxy(after).Env {
		written[env.Name] = env.Value
	}
	if want := `{"tracing":{"datadog":{"address":"d.example:8126"}}}`; written["PROXY_CONFIG"] != want {
		t.Errorf("PROXY_CONFIG is %q, want %s", written["PROXY_CONFIG"], want)
	}
	if provider := config.mesh.ExtensionProviders[len(config.mesh.ExtensionProviders)-1]; provider.GetName() != "both" || provider.GetDatadog().GetPort() != 2 {
		t.Errorf("the provider is %v, want the datadog one", provider)
	}
}

// Like istiod, only a status that decodes is stripped from the pod that templates see.
func TestTemplatesSeeAnUnreadableStatus(t *testing.T) {
	config := parsed(t, nil)
	for text, stripped := range map[string]bool{`{`: false, `[]`: false, `{"containers": "app"}`: false, `{}`: true, `{"containers": ["istio-proxy"]}`: true} {
		received := pod(t, `{}`)
		received.Annotations = map[string]string{api.AnnotationStatus: text}
		j, err := config.newJob(Request{Pod: received})
		if err != nil {
			t.Fatal(err)
		}
		if _, seen := j.data.ObjectMeta.Annotations[api.AnnotationStatus]; seen == stripped {
			t.Errorf("status %s: templates see it: %t, want %t", text, seen, !stripped)
		}
	}
}
