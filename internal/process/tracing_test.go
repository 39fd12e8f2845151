// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/inject"
	"outrigger.dev/outrigger/webhook"
)

// receiver is a collector that keeps what it gets over OTLP/HTTP.
type receiver struct {
	*httptest.Server
	got []*tracev1.ResourceSpans
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		message := &collector.ExportTraceServiceRequest{}
		if err == nil {
			err = proto.Unmarshal(body, message)
		}
		if err != nil || request.URL.Path != "/v1/traces" {
			http.Error(w, "not that", http.StatusBadRequest)
			return
		}
		r.got = append(r.got, message.ResourceSpans...)
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(r.Close)
	return r
}

// sidecarTemplate injects one container.
const sidecarTemplate = `
policy: enabled
templates:
  sidecar: |
    spec:
      containers: [{name: istio-proxy, image: "hub/proxyv2:1"}]
`

type plainNamespaces struct{}

func (plainNamespaces) Namespace(_ context.Context, name string) *corev1.Namespace {
	out := &corev1.Namespace{}
	out.Name = name
	return out
}

type oneConfig struct {
	config *inject.Config
	err    error
}

func (o oneConfig) Current() (*inject.Config, error) { return o.config, o.err }

func TestAdmissionsAreTraced(t *testing.T) {
	r := newReceiver(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", r.URL) // the SDK reads it itself
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
	traces, err := NewTracing(env(map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": r.URL}), Identity{Version: "1.2.3", Namespace: "outrigger-system", Pod: "outrigger-0"}, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	config, _, err := inject.Parse(inject.Source{Config: sidecarTemplate, Values: "{}"})
	if err != nil {
		t.Fatal(err)
	}
	review := func(from oneConfig, object, header string) {
		handler := (&webhook.Handler{Namespaces: plainNamespaces{}, Config: from, Tracer: traces.Tracer(), Log: logr.Discard()}).HTTP()
		request := httptest.NewRequest(http.MethodPost, "/inject", strings.NewReader(
			`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u-1","namespace":"demo","name":"web","operation":"CREATE","object":`+object+`}}`))
		request.Header.Set("Content-Type", "application/json")
		if header != "" {
			request.Header.Set("traceparent", header)
		}
		handler.ServeHTTP(httptest.NewRecorder(), request)
	}
	const pod = `{"metadata":{"name":"web"},"spec":{"containers":[{"name":"app","env":[{"name":"PASSWORD","value":"secret-1"}]}]}}`
	review(oneConfig{config: config}, pod, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	review(oneConfig{config: config}, strings.Replace(pod, `"name":"web"`, `"name":"web","annotations":{"inject.istio.io/templates":"nosuch"}`, 1), "")
	review(oneConfig{err: errors.New("the nodes are not known yet")}, pod, "")
	if err := traces.Flush()(t.Context()); err != nil {
		t.Fatal(err)
	}

	var got []string
	for _, resource := range r.got {
		if about := resource.Resource.String(); !strings.Contains(about, `"outrigger"`) || !strings.Contains(about, "deployment.environment") || !strings.Contains(about, `"outrigger-system"`) {
			t.Errorf("the resource is %s", about)
		}
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				if text := span.String(); strings.Contains(text, "secret-1") {
					t.Errorf("a span shows the pod: %s", text)
				}
				if span.EndTimeUnixNano <= span.StartTimeUnixNano || span.Kind != tracev1.Span_SPAN_KIND_SERVER {
					t.Errorf("a span of kind %v, from %d to %d", span.Kind, span.StartTimeUnixNano, span.EndTimeUnixNano)
				}
				line := span.Name
				for _, a := range span.Attributes {
					if v := a.Value.GetStringValue(); v != "" {
						line += " " + a.Key + "=" + v
					}
				}
				if span.Status.GetCode() == tracev1.Status_STATUS_CODE_ERROR {
					line += ": " + span.Status.Message
				}
				if span.ParentSpanId != nil {
					line += " in the trace of the API server"
				}
				got = append(got, line)
			}
		}
	}
	const of = " k8s.namespace.name=demo k8s.pod.name=web outrigger.request.uid=u-1"
	want := []string{
		"admit pod outrigger.result=injected outrigger.reason=PolicyEnabled" + of + " in the trace of the API server",
		"admit pod outrigger.result=denied outrigger.reason=UnknownTemplate" + of,
		"admit pod outrigger.result=failed outrigger.reason=Error" + of + ": the nodes are not known yet",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func env(values map[string]string) func(string) string {
	return func(name string) string { return values[name] }
}

func TestTracingIsOffUnlessAskedFor(t *testing.T) {
	const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"
	for _, c := range []struct {
		env  map[string]string
		on   bool
		want string
	}{
		{env: nil},
		{env: map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}},
		{env: map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"}},
		{env: map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "zipkin"}, want: "OTEL_TRACES_EXPORTER=zipkin: expected otlp or none"},
		{env: map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, want: "OTEL_EXPORTER_OTLP_PROTOCOL=http/json: expected http/protobuf or grpc"},
		{env: map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, on: true},
	} {
		traces, err := NewTracing(env(c.env), Identity{Version: "1.2.3", Namespace: "outrigger-system", Pod: "outrigger-0"}, logr.Discard())
		if got := errorText(err); got != c.want || (traces != nil) != c.on {
			t.Errorf("%v: %v, %q", c.env, traces, got)
		}
		if traces.Tracer() == nil == c.on || traces.Flush() == nil == c.on {
			t.Errorf("%v: off and on at once", c.env)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
