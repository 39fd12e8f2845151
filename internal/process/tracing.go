// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"fmt"
	"strings"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"outrigger.dev/outrigger/api"
)

// Tracing sends spans of admissions to a collector. A nil Tracing sends none.
type Tracing struct{ provider *sdktrace.TracerProvider }

// Identity names this process in its traces.
type Identity struct {
	Version, Namespace, Pod string
}

// NewTracing reads the OTEL_* variables of OpenTelemetry from the environment. It returns nil, which sends nothing, if they name
// no endpoint. The SDK itself reads endpoints, headers, certificates, the sampler, and batch sizes.
func NewTracing(env func(string) string, self Identity, logger logr.Logger) (*Tracing, error) {
	first := func(names ...string) string {
		for _, name := range names {
			if value := env(name); value != "" {
				return value
			}
		}
		return ""
	}
	if first("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT") == "" || strings.EqualFold(env("OTEL_SDK_DISABLED"), "true") {
		return nil, nil
	}
	switch exporter := env("OTEL_TRACES_EXPORTER"); exporter {
	case "", "otlp":
	case "none":
		return nil, nil
	default:
		return nil, fmt.Errorf("OTEL_TRACES_EXPORTER=%s: expected otlp or none", exporter)
	}
	ctx := context.Background()
	var exporter *otlptrace.Exporter
	var err error
	switch protocol := first("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"); protocol {
	case "", "http/protobuf":
		exporter, err = otlptracehttp.New(ctx)
	case "grpc":
		exporter, err = otlptracegrpc.New(ctx)
	default:
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL=%s: expected http/protobuf or grpc", protocol)
	}
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	// OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence.
	about, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.name", api.Outrigger), attribute.String("service.version", self.Version),
		attribute.String("k8s.namespace.name", self.Namespace), attribute.String("k8s.pod.name", self.Pod),
	), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { logger.Error(err, "spans could not be sent") }))
	return &Tracing{sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))}, nil
}

// Tracer returns the tracer of admissions, or nil if nothing is traced.
func (t *Tracing) Tracer() trace.Tracer {
	if t == nil {
		return nil
	}
	return t.provider.Tracer(api.Domain + "/outrigger")
}

// Flush returns the function that sends pending spans at the end of the process, or nil if nothing is traced.
func (t *Tracing) Flush() func(context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown
}
