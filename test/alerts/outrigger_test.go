// SPDX-License-Identifier: Apache-2.0

package alerts

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	istiofake "istio.io/client-go/pkg/clientset/versioned/fake"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	metadatafake "k8s.io/client-go/metadata/fake"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
	"outrigger.dev/outrigger/webhook"
)

// real is the metrics of Outrigger's own code at work.
type real struct {
	registry *prometheus.Registry
	metrics  *webhook.Metrics
	also     string // what other parts of the process serve
	each     func() // done before each scrape
	slow     bool   // answers take longer than a second, which nobody waits for here
}

func newReal() *real {
	r := &real{registry: prometheus.NewRegistry()}
	r.metrics = webhook.NewMetrics(r.registry)
	return r
}

func (r *real) serves(t *testing.T, n int) []byte {
	if r.each != nil {
		r.each()
	}
	text := exposed(t, r.registry)
	if r.slow {
		text = bucket.ReplaceAllFunc(text, func(line []byte) []byte {
			le := bucket.FindSubmatch(line)[1]
			if bound, err := strconv.ParseFloat(string(le), 64); err == nil && bound >= 2.5 { // also +Inf
				return fmt.Appendf(nil, "outrigger_injection_duration_seconds_bucket{le=%q} %d", le, 3*n)
			}
			return line
		})
	}
	return append(text, r.also...)
}

var bucket = regexp.MustCompile(`(?m)^outrigger_injection_duration_seconds_bucket\{le="([^"]+)"\} 0$`)

const template = `
policy: enabled
templates:
  sidecar: |
    spec:
      containers: [{name: istio-proxy, image: "hub.example/proxyv2:1"}]
`

func parse(t *testing.T) *inject.Config {
	t.Helper()
	config, _, err := inject.Parse(inject.Source{Config: template, Values: "{}"})
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// source is a configuration that never changes, or an error.
type source struct {
	config *inject.Config
	err    error
}

func (s source) Current() (*inject.Config, error) { return s.config, s.err }

type anyNamespace struct{}

func (anyNamespace) Namespace(_ context.Context, name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"istio-injection": "enabled"}}}
}

func (anyNamespace) Selects(context.Context, *corev1.Namespace, map[string]string) (bool, error) {
	return true, nil
}

// reviews has the webhook answer requests about a pod before each scrape.
func (r *real) reviews(t *testing.T, from source, annotations string) *real {
	handler := (&webhook.Handler{Namespaces: anyNamespace{}, Config: from, Metrics: r.metrics, Log: logr.Discard()}).HTTP()
	pod := fmt.Sprintf(`{"metadata":{"namespace":"demo","generateName":"app-","annotations":{%s}},"spec":{"containers":[{"name":"app","image":"app:1"}]}}`, annotations)
	body, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request:  &admissionv1.AdmissionRequest{UID: "u", Namespace: "demo", Operation: admissionv1.Create, Object: runtime.RawExtension{Raw: []byte(pod)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.each = func() {
		for range 5 {
			request := httptest.NewRequest(http.MethodPost, "/inject", bytes.NewReader(body))
			request.Header.Set("Content-Type", "application/json")
			handler.ServeHTTP(httptest.NewRecorder(), request)
		}
	}
	return r
}

// follows has the process follow Istio's ConfigMaps of a cluster, with these templates.
func (r *real) follows(t *testing.T, config string) *real {
	t.Helper()
	scheme := metadatafake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	configMap := func(namespace, name string, data map[string]string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: data}
	}
	configuration := webhook.NewIstioConfiguration(webhook.IstioOptions{
		Client: fake.NewClientset(configMap("istio-system", "istio-sidecar-injector", map[string]string{"config": config, "values": "{}"}),
			configMap("istio-system", "istio", map[string]string{"mesh": ""}), configMap("outrigger-system", "outrigger-last-good", nil)),
		Metadata: metadatafake.NewSimpleMetadataClient(scheme), Istio: istiofake.NewSimpleClientset(),
		Namespace: "istio-system", OwnNamespace: "outrigger-system", LastGoodName: "outrigger-last-good", Metrics: r.metrics, Log: logr.Discard(),
	})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- configuration.Start(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	until(t, func() bool { _, err := configuration.Current(); return err == nil })
	return r
}

// covers has the process count pods: as many with the sidecar of the template, without one, and with another.
func (r *real) covers(t *testing.T, covered, missing, outdated int) *real {
	t.Helper()
	kind := func(id string, pods int, image string) api.PodKind {
		return api.PodKind{ID: id, Pods: pods, Pod: func() *corev1.Pod {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "demo"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}}}
			if image != "" {
				pod.Annotations = map[string]string{"sidecar.istio.io/status": `{"containers":["istio-proxy"],"revision":"default"}`}
				pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "istio-proxy", Image: image})
			}
			return pod
		}}
	}
	kinds := []api.PodKind{kind("covered", covered, "hub.example/proxyv2:1"), kind("missing", missing, ""), kind("outdated", outdated, "hub.example/proxyv2:0")}
	asked := make(chan bool, 2)
	coverage := webhook.NewCoverage(webhook.CoverageOptions{
		Pods:       func() ([]api.PodKind, bool) { asked <- true; return kinds, true },
		Namespaces: anyNamespace{}, Config: source{config: parse(t)}, Entries: anyNamespace{}, Interval: time.Millisecond, Registerer: r.registry, Log: logr.Discard(),
	})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- coverage.Start(ctx) }()
	<-asked
	<-asked // so the first count is done
	go func() {
		for range asked { // until the test ends
		}
	}()
	t.Cleanup(func() { // a Coverage that ends takes its counts back
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		close(asked)
	})
	return r
}

func until(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not in time")
		}
	}
}

var errNotKnown = errors.New("the nodes are not known yet")
