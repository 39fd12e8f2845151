// SPDX-License-Identifier: Apache-2.0

package canaries

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// mesh sends requests to Services as the routes in the cluster say, and serves what Istio's proxies count of them on both sides.
type mesh struct {
	*httptest.Server
	cluster client.Client
	mutex   sync.Mutex
	flows   map[client.ObjectKey]*flow
}

// flow are the requests to one Service.
type flow struct {
	perSecond float64
	owed      float64                  // requests that are due
	versions  map[string]*versionStats // by the version
	shares    map[string]int           // of the versions, by the route
	credit    map[string]int           // of the versions: the next request goes to the one with the most
}

// behavior is how a version answers requests.
type behavior struct {
	latency    time.Duration
	everyNth   int    // request fails; 0 for none
	code, grpc string // of those that fail, as Istio's labels have them
	flags      string
	isBlocked  bool // those that fail never reach a pod
}

// versionStats are what proxies count of the requests to a version.
type versionStats struct {
	behavior
	namespace, service, version string
	sent                        int
	isHidden                    bool // its proxies are not scraped
	registry                    *prometheus.Registry
	requests                    *prometheus.CounterVec
	durations                   *prometheus.HistogramVec
}

// labelNames are the labels of Istio's metrics of requests.
var labelNames = []string{
	"reporter", "source_workload", "source_canonical_service", "source_canonical_revision", "source_workload_namespace", "source_principal",
	"source_app", "source_version", "source_cluster", "destination_workload", "destination_workload_namespace", "destination_principal",
	"destination_app", "destination_version", "destination_service", "destination_service_name", "destination_service_namespace",
	"destination_cluster", "destination_canonical_service", "destination_canonical_revision", "request_protocol", "connection_security_policy",
	"response_code", "grpc_response_status", "response_flags",
}

// buckets are those of istio_request_duration_milliseconds.
var buckets = []float64{0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000}

func newVersionStats(key client.ObjectKey, version string, as behavior) *versionStats {
	v := &versionStats{
		behavior: as, namespace: key.Namespace, service: key.Name, version: version, registry: prometheus.NewRegistry(),
		requests:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "istio_requests_total", Help: "requests"}, labelNames),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "istio_request_duration_milliseconds", Help: "durations", Buckets: buckets}, labelNames),
	}
	v.registry.MustRegister(v.requests, v.durations)
	return v
}

// count counts one request, as the proxies of its sender and of its pod do.
func (v *versionStats) count() {
	v.sent++
	code, grpc, flags, isBlocked := "200", "", "-", false
	protocol := map[bool]string{true: "grpc", false: "http"}[v.grpc != ""]
	if protocol == "grpc" {
		grpc = "0"
	}
	if v.everyNth > 0 && v.sent%v.everyNth == 0 {
		code, grpc, flags, isBlocked = cmp.Or(v.code, code), cmp.Or(v.grpc, grpc), cmp.Or(v.flags, flags), v.isBlocked
	}
	for _, reporter := range []string{"source", "destination"} {
		if reporter == "destination" && isBlocked {
			continue
		}
		policy := map[string]string{"source": "unknown", "destination": "mutual_tls"}[reporter]
		host := v.service + "." + v.namespace + ".svc.cluster.local"
		labels := []string{
			reporter, "client", "client", "latest", v.namespace, "spiffe://cluster.local/ns/" + v.namespace + "/sa/client", "client", "latest", "Kubernetes",
			v.service + "-" + v.version, v.namespace, "spiffe://cluster.local/ns/" + v.namespace + "/sa/default", v.service, v.version, host, v.service, v.namespace,
			"Kubernetes", v.service, v.version, protocol, policy, code, grpc, flags,
		}
		v.requests.WithLabelValues(labels...).Inc()
		v.durations.WithLabelValues(labels...).Observe(float64(v.latency) / float64(time.Millisecond))
	}
}

func newMesh(cluster client.Client) *mesh {
	m := &mesh{cluster: cluster, flows: map[client.ObjectKey]*flow{}}
	m.Server = httptest.NewServer(promhttp.HandlerFor(m, promhttp.HandlerOpts{}))
	return m
}

// target is what a server scrapes.
func (m *mesh) target() string { return strings.TrimPrefix(m.URL, "http://") }

// Gather returns the series of all proxies that are scraped.
func (m *mesh) Gather() ([]*dto.MetricFamily, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	var all prometheus.Gatherers
	for _, f := range m.flows {
		for _, v := range f.versions {
			if !v.isHidden {
				all = append(all, v.registry)
			}
		}
	}
	return all.Gather()
}

// send begins to send requests to a Service.
func (m *mesh) send(to client.ObjectKey, perSecond float64, versions map[string]behavior) {
	f := &flow{perSecond: perSecond, versions: map[string]*versionStats{}, shares: map[string]int{}, credit: map[string]int{}}
	for version, as := range versions {
		f.versions[version] = newVersionStats(to, version, as)
	}
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.flows[to] = f
}

// change changes the requests to a Service, or how its versions answer.
func (m *mesh) change(to client.ObjectKey, how func(f *flow)) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	how(m.flows[to])
}

// run sends requests until the context ends.
func (m *mesh) run(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			m.follow(ctx)
			m.mutex.Lock()
			for _, f := range m.flows {
				f.sendFor(now.Sub(last))
			}
			m.mutex.Unlock()
			last = now
		}
	}
}

// follow reads the routes. Without an answer, they stay as they are, as with proxies.
func (m *mesh) follow(ctx context.Context) {
	var list networkingv1.VirtualServiceList
	if m.cluster.List(ctx, &list) != nil {
		return
	}
	m.mutex.Lock()
	defer m.mutex.Unlock()
	for _, vs := range list.Items {
		if f := m.flows[client.ObjectKeyFromObject(vs)]; f != nil {
			f.shares = sharesOf(vs)
		}
	}
}

// sharesOf returns the percentages of the versions by the last rule of a route.
func sharesOf(vs *networkingv1.VirtualService) map[string]int {
	out := map[string]int{}
	if len(vs.Spec.Http) == 0 {
		return out
	}
	to := vs.Spec.Http[len(vs.Spec.Http)-1].Route
	for _, destination := range to {
		if out[destination.Destination.Subset] = int(destination.Weight); len(to) == 1 {
			out[destination.Destination.Subset] = 100
		}
	}
	return out
}

// textOf returns "v1=50 v2=50".
func textOf(shares map[string]int) string {
	var out []string
	for _, version := range slices.Sorted(maps.Keys(shares)) {
		out = append(out, version+"="+strconv.Itoa(shares[version]))
	}
	return strings.Join(out, " ")
}

// sendFor sends the requests of a time, each to the version that is the furthest behind its share.
func (f *flow) sendFor(elapsed time.Duration) {
	for f.owed += f.perSecond * elapsed.Seconds(); f.owed >= 1 && len(f.shares) > 0; f.owed-- {
		next := ""
		for _, version := range slices.Sorted(maps.Keys(f.shares)) {
			if f.credit[version] += f.shares[version]; next == "" || f.credit[version] > f.credit[next] {
				next = version
			}
		}
		f.credit[next] -= 100
		if v := f.versions[next]; v != nil {
			v.count()
		}
	}
}

// String says what was sent, for messages.
func (f *flow) String() string {
	var out []string
	for _, version := range slices.Sorted(maps.Keys(f.versions)) {
		out = append(out, fmt.Sprintf("%s: %d requests", version, f.versions[version].sent))
	}
	return strings.Join(out, ", ")
}
