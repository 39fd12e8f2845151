// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// The attributes of a span, besides those that OpenTelemetry names.
const (
	attributeNamespace = attribute.Key("k8s.namespace.name")
	attributePod       = attribute.Key("k8s.pod.name")
	attributeResult    = attribute.Key("outrigger.result")
	attributeReason    = attribute.Key("outrigger.reason")
	attributeTemplates = attribute.Key("outrigger.templates")
	attributeDryRun    = attribute.Key("outrigger.dry_run")
	attributeRequest   = attribute.Key("outrigger.request.uid")
)

// traced starts the span of a request, in the API server's trace if it sends one.
func (h *Handler) traced(c *call, r *http.Request) *http.Request {
	if h.Tracer == nil {
		return r
	}
	ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, c.span = h.Tracer.Start(ctx, "admit pod", trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(c.startedAt))
	return r.WithContext(ctx)
}

// endSpan records the outcome of the request in the span, as the log does: of the pod, only its name.
func (c *call) endSpan() {
	if c.span == nil {
		return
	}
	c.span.SetAttributes(
		attributeResult.String(string(c.report.Result)), attributeReason.String(string(c.report.Reason)),
		attributeNamespace.String(c.namespace), attributePod.String(c.pod), attributeRequest.String(string(c.uid)),
	)
	if len(c.report.Templates) > 0 {
		c.span.SetAttributes(attributeTemplates.StringSlice(c.report.Templates))
	}
	if c.dryRun {
		c.span.SetAttributes(attributeDryRun.Bool(true))
	}
	if c.err != nil {
		c.span.SetStatus(codes.Error, c.err.Error())
	}
	c.span.End()
}
