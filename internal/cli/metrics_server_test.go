// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/dashboard"
	"outrigger.dev/outrigger/routing"
)

func TestServicesThatAURLNames(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"http://prometheus.monitoring:9090":                           "monitoring http:prometheus:9090",
		"http://Prometheus.Monitoring":                                "monitoring http:prometheus:80",
		"https://prometheus.monitoring":                               "monitoring https:prometheus:443",
		"http://prometheus:9090/prefix":                               "outrigger-system http:prometheus:9090",
		"http://prometheus.monitoring.svc:9090":                       "monitoring http:prometheus:9090 certainly",
		"http://prometheus.monitoring.svc.cluster.local":              "monitoring http:prometheus:80 certainly",
		"http://prometheus.monitoring.svc.cluster.local.:1/":          "monitoring http:prometheus:1 certainly",
		"http://prometheus.monitoring.svc.other.local":                "",
		"http://prometheus.monitoring.":                               "",
		"http://prometheus.monitoring.svc.":                           "",
		"http://prometheus.example.com":                               "",
		"http://a.prometheus.monitoring.svc.cluster.local":            "",
		"http://192.0.2.1:9090":                                       "",
		"http://[fd00::1]:9090":                                       "",
		"http://localhost:9090":                                       "",
		"http://prome_theus.monitoring":                               "",
		"http://.monitoring":                                          "",
		"http://" + strings.Repeat("a", 64) + ".monitoring":           "",
		"http://prometheus." + strings.Repeat("a", 64) + ".svc:9090/": "",
	} {
		parsed, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if service, is := metricsServiceOf(parsed, "cluster.local", "outrigger-system"); is {
			if got = service.namespace + " " + service.resource(); service.isCertain {
				got += " certainly"
			}
		}
		if got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
}

// prometheus is a metrics server, or an API server that proxies to one, and what it was sent.
type prometheus struct {
	*httptest.Server
	mu   sync.Mutex
	sent []*http.Request
	// refuses returns true if it has answered a request itself.
	refuses func(w http.ResponseWriter, r *http.Request) bool
	// answer returns the value of a query; empty for no series.
	answer func(promQL string) string
}

func newPrometheus(t *testing.T) *prometheus {
	t.Helper()
	p := newUnstartedPrometheus(t)
	p.Start()
	return p
}

// newAPIServer returns an API server that uses TLS: without TLS, the client sends no token.
func newAPIServer(t *testing.T) *prometheus {
	t.Helper()
	p := newUnstartedPrometheus(t)
	p.StartTLS()
	return p
}

func newUnstartedPrometheus(t *testing.T) *prometheus {
	t.Helper()
	p := &prometheus{answer: valueOf}
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		promQL := r.FormValue("query")
		p.mu.Lock()
		p.sent = append(p.sent, r)
		p.mu.Unlock()
		if p.refuses != nil && p.refuses(w, r) {
			return
		}
		result := ""
		if value := p.answer(promQL); value != "" {
			result = fmt.Sprintf(`{"metric":{},"value":[1700000000,%q]}`, value)
		}
		_, _ = fmt.Fprintf(w, `{"status":"success","data":{"resultType":"vector","result":[%s]}}`, result)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *prometheus) requests() []*http.Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*http.Request(nil), p.sent...)
}

// valueOf returns the metrics of the tests: v1 has 750 requests in a minute, v2 has none, and all others have no series.
func valueOf(promQL string) string {
	isOf := func(version string) bool { return strings.Contains(promQL, `destination_version="`+version+`"`) }
	isCount := strings.HasPrefix(promQL, "sum((max_over_time(istio_requests_total")
	switch {
	case isOf("v2") && isCount:
		return "0"
	case isOf("v2"):
		return "NaN"
	case !isOf("v1"):
		return ""
	case isCount:
		return "750"
	case strings.HasPrefix(promQL, "histogram_quantile(0.5,"):
		return "0.02"
	case strings.HasPrefix(promQL, "histogram_quantile(0.99,"):
		return "0.2"
	case strings.HasPrefix(promQL, "max("):
		return "0.01"
	}
	return "unexpected"
}

// withKubeconfig returns flags of a user with a token.
func withKubeconfig(t *testing.T, server string) *clusterFlags {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: one
contexts: [{name: one, context: {cluster: one, user: me}}]
clusters: [{name: one, cluster: {server: %q, insecure-skip-tls-verify: true}}]
users: [{name: me, user: {token: mine}}]
`, server), 0o600); err != nil {
		t.Fatal(err)
	}
	out := &clusterFlags{system: defaultSystemNamespace}
	out.kube.flags().KubeConfig = ptr.To(file)
	return out
}

func metricsConfig(address string) api.RoutingConfig {
	config := api.DefaultConfig().Routing
	config.Metrics.PrometheusURL = address
	return config
}

// measure reads the metrics of v1.
func measure(t *testing.T, from *clusterFlags, config api.RoutingConfig) *dashboard.Metrics {
	t.Helper()
	source, err := from.metricsSource(config)
	if err != nil {
		t.Fatal(err)
	}
	return source.read(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "app"}}, []routing.CanaryVersion{{Version: "v1", Subset: "v1"}})
}

// wantMeasured fails the test unless got has all numbers of v1.
func wantMeasured(t *testing.T, name string, got *dashboard.Metrics) {
	t.Helper()
	want := dashboard.VersionMetrics{Version: "v1", Requests: dashboard.Measured{Value: 750}, ErrorRate: dashboard.Measured{Value: 0.01}, P50: dashboard.Measured{Value: 0.02}, P99: dashboard.Measured{Value: 0.2}}
	if got.Unavailable != "" || len(got.Versions) != 1 || got.Versions[0] != want {
		t.Errorf("%s: %+v", name, got)
	}
}

// A Service of the cluster is queried through the API server, with GET and the user's credentials, whatever the URL contains.
func TestMetricsThroughTheAPIServer(t *testing.T) {
	t.Parallel()
	for address, path := range map[string]string{
		"http://prometheus.monitoring:9090":                                    "/k8s/api/v1/namespaces/monitoring/services/http:prometheus:9090/proxy/api/v1/query",
		"http://prometheus.monitoring.svc/a/b/":                                "/k8s/api/v1/namespaces/monitoring/services/http:prometheus:80/proxy/a/b/api/v1/query",
		"https://admin:secret@prometheus.monitoring.svc.cluster.local":         "/k8s/api/v1/namespaces/monitoring/services/https:prometheus:443/proxy/api/v1/query",
		"http://prometheus.monitoring:9090/../../../../../secrets/%2e%2e/%2e/": "/k8s/api/v1/namespaces/monitoring/services/http:prometheus:9090/proxy/api/v1/query",
	} {
		server := newAPIServer(t)
		config := metricsConfig(address)
		config.Metrics.Credentials = tokenIn(t)
		got := measure(t, withKubeconfig(t, server.URL+"/k8s"), config)
		wantMeasured(t, address, got)
		if got.Server != "Service monitoring/prometheus" {
			t.Errorf("%s: server %q", address, got.Server)
		}
		sent := server.requests()
		if len(sent) != 4 {
			t.Errorf("%s: %d requests", address, len(sent))
		}
		for _, r := range sent {
			if r.Method != http.MethodGet || r.Header.Get("Authorization") != "Bearer mine" {
				t.Errorf("%s: %s, Authorization %q", address, r.Method, r.Header.Get("Authorization"))
			}
			if r.URL.Path != path {
				t.Errorf("%s: path %s, want %s", address, r.URL.Path, path)
			}
		}
	}
}

// No path reaches anything but the Service.
func TestProxiedPaths(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"https://api.example", "https://api.example/", "https://api.example/k8s", "https://api.example/k8s/"} {
		cluster, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		through := &throughProxy{cluster: cluster, service: metricsService{scheme: "http", namespace: "monitoring", name: "prometheus", port: "9090"}}
		for _, path := range []string{"/../../../../secrets", "../secrets", "/./../secrets", "//secrets", "/x/../../secrets"} {
			got := through.proxiedRequest((&http.Request{URL: &url.URL{Path: path}}).WithContext(t.Context()), "query=up").URL.String()
			if want := strings.TrimSuffix(address, "/") + "/api/v1/namespaces/monitoring/services/http:prometheus:9090/proxy/secrets?query=up"; got != want {
				t.Errorf("%s: %s, want %s", path, got, want)
			}
		}
	}
}

// tokenIn returns a folder with a token, as it is mounted into the controller's pod.
func tokenIn(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "token"), []byte("of the controller"), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

// Another host is queried directly and gets no credentials, neither those of the kubeconfig nor those of the controller.
func TestMetricsOfAnotherHost(t *testing.T) {
	t.Parallel()
	cluster, server := newAPIServer(t), newPrometheus(t)
	config := metricsConfig(strings.Replace(server.URL, "http://", "http://admin:secret@", 1))
	config.Metrics.Credentials = tokenIn(t)
	got := measure(t, withKubeconfig(t, cluster.URL), config)
	wantMeasured(t, "direct", got)
	if got.Server != server.URL {
		t.Errorf("server %q, want %q", got.Server, server.URL)
	}
	for _, r := range server.requests() {
		if len(r.Header["Authorization"]) > 0 {
			t.Errorf("Authorization %q", r.Header["Authorization"])
		}
	}
	if sent := cluster.requests(); len(sent) > 0 {
		t.Errorf("%d requests to the API server", len(sent))
	}
}

// status is an error of an API server.
func status(code int, reason metav1.StatusReason, message string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(code)
		_, _ = fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":%q,"reason":%q,"code":%d}`, message, reason, code)
		return true
	}
}

// If metrics are unavailable, the page gets the reason as one sentence, after one query.
func TestWhyMetricsAreUnavailable(t *testing.T) {
	t.Parallel()
	closed := newPrometheus(t)
	closed.Close()
	other := newPrometheus(t)
	for name, c := range map[string]struct {
		address string // empty for the server itself
		refuses func(http.ResponseWriter, *http.Request) bool
		want    string
	}{
		"no permission": {
			"http://prometheus.monitoring:9090", status(403, metav1.StatusReasonForbidden, `services "http:prometheus:9090" is forbidden`),
			"no permission to get services/proxy http:prometheus:9090 in namespace monitoring; a Role with the resource services/proxy, this resourceName, and the verb get grants it",
		},
		"credentials that have expired": {"http://prometheus.monitoring", status(401, metav1.StatusReasonUnauthorized, "Unauthorized"), "the API server rejects your credentials: Unauthorized"},
		"no Service":                    {"http://prometheus.monitoring.svc", status(404, metav1.StatusReasonNotFound, `services "prometheus" not found`), "namespace monitoring has no Service prometheus, which routing.metrics.prometheusURL names"},
		"no pods": {
			"http://prometheus.monitoring", status(503, metav1.StatusReasonServiceUnavailable, `no endpoints available for service "http:prometheus:80"`),
			`the API server cannot reach Service monitoring/prometheus: no endpoints available for service "http:prometheus:80"`,
		},
		"a login, behind the proxy": {"http://prometheus.monitoring", func(w http.ResponseWriter, _ *http.Request) bool {
			http.Error(w, "no", http.StatusUnauthorized)
			return true
		}, "the metrics server requires credentials (status 401), and the dashboard has none"},
		"a login": {"", func(w http.ResponseWriter, _ *http.Request) bool {
			http.Error(w, "no", http.StatusForbidden)
			return true
		}, "the metrics server requires credentials (status 403), and the dashboard has none"},
		"another API": {"http://prometheus.monitoring", func(w http.ResponseWriter, _ *http.Request) bool { http.NotFound(w, nil); return true }, "the metrics server cannot answer: client_error: client error: 404"},
		"a redirect, behind the proxy": {"http://prometheus.monitoring", func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Location", other.URL)
			w.WriteHeader(http.StatusTemporaryRedirect)
			return true
		}, "redirects are not followed"},
		"a redirect": {"", func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Location", other.URL)
			w.WriteHeader(http.StatusTemporaryRedirect)
			return true
		}, "redirects are not followed"},
		"nothing there": {closed.URL, nil, "connection refused"},
	} {
		server := newPrometheus(t)
		server.refuses = c.refuses
		if c.address == "" {
			c.address = server.URL
		}
		got := measure(t, withKubeconfig(t, server.URL), metricsConfig(c.address))
		if !strings.Contains(got.Unavailable, c.want) || len(got.Versions) > 0 || strings.HasSuffix(got.Unavailable, ".") {
			t.Errorf("%s: %+v", name, got)
		}
		if sent := len(server.requests()); c.refuses != nil && sent != 1 {
			t.Errorf("%s: %d requests", name, sent)
		}
	}
	if sent := other.requests(); len(sent) > 0 {
		t.Errorf("%d requests were redirected", len(sent))
	}
	got := measure(t, withKubeconfig(t, closed.URL), metricsConfig("http://prometheus.monitoring"))
	if want := "the cluster is unreachable at " + closed.URL; !strings.HasPrefix(got.Unavailable, want) {
		t.Errorf("without an API server: %q", got.Unavailable)
	}
}

// Whatever fails, no message contains the user name or the password of the URL.
func TestMetricsCredentialsAreNotShown(t *testing.T) {
	t.Parallel()
	closed := newPrometheus(t)
	closed.Close()
	host := closed.Listener.Addr().String()
	for _, user := range []string{"s3cr3t", "s3cr3t:", "bob:s3cr3t", ":s3cr3t", "s3cr3t%40x:s3cr3t"} {
		for _, at := range []string{host, "nohost.invalid:1", "prometheus.monitoring:9090", "127.0.0.1:99999", "[::1%25none]:9", "host:port", "[::1"} {
			address, from := "http://"+user+"@"+at, withKubeconfig(t, closed.URL)
			source, err := from.metricsSource(metricsConfig(address))
			text := fmt.Sprint(err)
			if err == nil {
				text = measure(t, from, metricsConfig(address)).Unavailable
				if strings.Contains(source.name, "s3cr3t") {
					t.Errorf("%s: server %s", address, source.name)
				}
			}
			if text == "" || strings.Contains(text, "s3cr3t") {
				t.Errorf("%s: %s", address, text)
			}
		}
	}
}

// If the cluster has no Service with a name of two parts, the name is that of another host, which gets no credentials.
func TestMetricsOfAHostThatLooksLikeAService(t *testing.T) {
	t.Parallel()
	cluster, server := newPrometheus(t), newPrometheus(t)
	cluster.refuses = status(404, metav1.StatusReasonNotFound, `services "prometheus" not found`)
	address, err := url.Parse("http://admin:secret@prometheus.example")
	if err != nil {
		t.Fatal(err)
	}
	service, is := metricsServiceOf(address, "cluster.local", defaultSystemNamespace)
	if !is {
		t.Fatal("it does not look like a Service")
	}
	base, err := url.Parse(cluster.URL)
	if err != nil {
		t.Fatal(err)
	}
	resolved := roundTripper(func(r *http.Request) (*http.Response, error) { // as DNS would
		if r.URL.Host != "prometheus.example" || r.URL.User != nil {
			t.Errorf("a request to %s", r.URL)
		}
		r = r.Clone(r.Context())
		r.URL.Host = server.Listener.Addr().String()
		return http.DefaultTransport.RoundTrip(r)
	})
	through := &throughProxy{base, service, http.DefaultTransport, &withoutCredentials{resolved}}
	response, err := (&http.Client{Transport: through}).PostForm("http://admin:secret@prometheus.example/api/v1/query", url.Values{"query": {"up"}})
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	sent := server.requests()
	if len(cluster.requests()) != 1 || len(sent) != 1 || sent[0].Method != http.MethodPost || sent[0].FormValue("query") != "up" || len(sent[0].Header["Authorization"]) > 0 {
		t.Errorf("%d requests to the API server; to the host: %+v", len(cluster.requests()), sent)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
