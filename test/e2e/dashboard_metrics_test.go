// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/test/dashboard"
)

// localAddress returns an address of this machine that the API server accepts as that of a pod, or "" if there is none: it proxies nothing to
// the loopback interface.
func localAddress(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range addresses {
		if prefix, err := netip.ParsePrefix(address.String()); err == nil && prefix.Addr().Is4() && prefix.Addr().IsGlobalUnicast() {
			return prefix.Addr().String()
		}
	}
	return ""
}

// configReading returns a file with the installation's configuration and another metrics server.
func configReading(t *testing.T, url string) string {
	t.Helper()
	installed := &corev1.ConfigMap{}
	if err := kube.Get(t.Context(), client.ObjectKey{Namespace: outriggerNamespace, Name: outriggerName + "-config"}, installed); err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(installed.Data["config.yaml"], canaryMetrics.URL, url)
	if !strings.Contains(text, url) {
		t.Fatalf("the configuration has another metrics server:\n%s", text)
	}
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// prometheusIn serves metrics at the Service prometheus of a namespace, with a pod whose address is that of this machine. It returns the
// headers that the server gets.
func prometheusIn(t *testing.T, ns, address string) (headers func() []http.Header) {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var got []http.Header
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		got = append(got, r.Header.Clone())
		mu.Unlock()
		canaryMetrics.Config.Handler.ServeHTTP(w, r)
	}))
	_ = server.Listener.Close() // it listens on the loopback interface
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	port := int32(listener.Addr().(*net.TCPAddr).Port)

	meta := metav1.ObjectMeta{Namespace: ns, Name: "prometheus"}
	pod := &corev1.Pod{ObjectMeta: meta, Spec: corev1.PodSpec{
		SchedulingGates: []corev1.PodSchedulingGate{{Name: "example.com/never"}}, // so that nothing else sets its status
		Containers:      []corev1.Container{{Name: "prometheus", Image: "registry.example/prometheus:1"}},
	}}
	if err := kube.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	pod.Status.PodIP, pod.Status.PodIPs = address, []corev1.PodIP{{IP: address}}
	if err := kube.Status().Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	if err := kube.Create(t.Context(), &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 9090}}}}); err != nil {
		t.Fatal(err)
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: ns, Name: "prometheus-1", Labels: map[string]string{discoveryv1.LabelServiceName: "prometheus"}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: ptr.To(""), Port: &port}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true)}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: ns, Name: "prometheus"}}},
	}
	if err := kube.Create(t.Context(), slice); err != nil {
		t.Fatal(err)
	}
	return func() []http.Header {
		mu.Lock()
		defer mu.Unlock()
		return append([]http.Header(nil), got...)
	}
}

// The metrics of a Service of the cluster are read with the user's own permission, which the page names if it is missing, and nothing else is.
func TestDashboardReadsMetricsThroughTheAPIServer(t *testing.T) {
	dashboard.Need(t)
	t.Parallel()
	address := localAddress(t)
	if address == "" {
		t.Skip("this machine has no IPv4 address but that of the loopback interface, to which the API server proxies nothing")
	}
	needIstio(t)
	monitoring := namespace(t)
	headers := prometheusIn(t, monitoring, address)
	ns := twoVersions(t)
	canaryMetrics.set(ns, "v1", "0.001")
	config := configReading(t, "http://prometheus."+monitoring+":9090")
	viewer := accountWith(t, ns, "viewer", rbacv1.RoleRef{Kind: "ClusterRole", Name: "view"}, "list", "services")
	tab := dashboard.Start(t, outrigger.Binary, kubeconfig(t, viewer.impersonateIn), "-n", ns, "--config", config).Open()
	tab.Go(tab.URL("/services/" + ns + "/app"))
	tab.WantText("#versions", "v1 default 100%")
	tab.WantText("#metrics", "Metrics are unavailable: no permission to get services/proxy http:prometheus:9090 in namespace "+monitoring)
	looked(t, tab, "service-without-metrics")

	kubectl(t, "create", "role", "metrics", "-n", monitoring, "--verb=get", "--resource=services/proxy", "--resource-name=http:prometheus:9090")
	kubectl(t, "create", "rolebinding", "metrics", "-n", monitoring, "--role=metrics", "--user="+viewer.user)
	tab.WantText("#metrics", "In the minute before", "read from Service "+monitoring+"/prometheus", "v1 66.7/s 0.1% 12ms 180ms", "v2 16.7/s – unknown 14ms 195ms", "v2, error rate: v2 had no requests")
	for _, header := range headers() {
		if len(header["Authorization"]) > 0 || strings.Contains(strings.Join(header.Values("Impersonate-User"), ""), "viewer") {
			t.Errorf("the metrics server gets credentials: %v", header)
		}
	}
	if len(headers()) == 0 {
		t.Error("the metrics server was not queried")
	}
}
