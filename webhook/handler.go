// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel/trace"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
)

// NamespaceReader returns what is known about a namespace.
type NamespaceReader interface {
	// Namespace returns the namespace with this name, or one with only the name if it is not known yet.
	Namespace(ctx context.Context, name string) *corev1.Namespace
}

// ConfigSource returns the configuration for decisions.
type ConfigSource interface {
	// Current returns the configuration; an error if it is not known yet.
	Current() (*inject.Config, error)
}

// Handler answers admission requests for pods. Serve it through HTTP.
type Handler struct {
	Namespaces NamespaceReader
	Config     ConfigSource
	Metrics    *Metrics     // nil counts nothing
	Owners     *OwnerEvents // nil writes no Events
	Tracer     trace.Tracer // nil traces nothing
	Gate       *Gate        // nil bounds nothing
	Log        logr.Logger

	decide  func(inject.Received, *inject.Config) (inject.Answer, error) // set by tests; nil for inject.Review with answers
	answers answers
}

// HTTP returns the handler of the paths /inject and everything below /inject/. An error or a panic is answered by HTTP
// 500 and no review, so that the failurePolicy of the webhook object decides about the pod.
func (h *Handler) HTTP() http.Handler {
	return guard(h, (&admission.Webhook{Handler: h, LogConstructor: plainLogger}).WithRecoverPanic(false))
}

// plainLogger avoids a logger for each request: record logs what there is to log.
func plainLogger(base logr.Logger, _ *admission.Request) logr.Logger { return base }

// Handle answers one request. An error reaches the guard through the call in the context.
func (h *Handler) Handle(ctx context.Context, request admission.Request) admission.Response {
	call := callOf(ctx)
	call.note(request)
	if err := isOfPods(request); err != nil {
		return call.fail(err)
	}
	if reason := skipsExisting(request); reason != "" {
		return call.skip(reason, "the request is "+describe(request)+" of a pod that exists")
	}
	if err := hasPod(request); err != nil {
		return call.fail(err)
	}
	config, err := h.Config.Current()
	if err != nil {
		return call.fail(err)
	}
	answer, err := h.review(inject.Received{
		JSON: request.Object.Raw, NamespaceName: request.Namespace, Namespace: h.Namespaces.Namespace(ctx, request.Namespace), Path: call.path,
		Abandoned: func() bool { return ctx.Err() != nil },
	}, config)
	if err != nil {
		return call.fail(fmt.Errorf("deciding about the pod: %w", err))
	}
	call.report = answer.Report
	response, err := responseOf(answer)
	if err != nil {
		return call.fail(err)
	}
	return response
}

func (h *Handler) review(received inject.Received, config *inject.Config) (inject.Answer, error) {
	if h.decide != nil {
		return h.decide(received, config)
	}
	return h.answers.review(received, config)
}

// skip allows a request that is not the creation of a pod, without reading its object.
func (c *call) skip(reason api.InjectReason, message string) admission.Response {
	c.report = inject.Report{Result: inject.Skipped, Reason: reason, Message: message}
	response := admission.Allowed("")
	response.AuditAnnotations = auditOf(c.report)
	return response
}

// skipsExisting returns the reason to skip a request about a pod that exists; empty for the creation of a pod. Only a new
// pod can get a sidecar, and no change or deletion of another one may ever fail because of Outrigger.
func skipsExisting(request admission.Request) api.InjectReason {
	switch {
	case request.SubResource == "ephemeralcontainers":
		return api.InjectEphemeral
	case request.SubResource != "", request.Operation != admissionv1.Create && request.Operation != "":
		return api.InjectPodExists
	}
	return ""
}

// describe names the operation of a request and the subresource, as "UPDATE of status".
func describe(request admission.Request) string {
	if request.SubResource == "" {
		return string(request.Operation)
	}
	return string(request.Operation) + " of " + request.SubResource
}

// isOfPods returns an error for a request about another kind.
func isOfPods(request admission.Request) error {
	if request.Kind.Kind != "" && (request.Kind.Kind != "Pod" || request.Kind.Group != "") {
		return fmt.Errorf("the request is about a %s; the webhook object must send pods only", request.Kind.Kind)
	}
	return nil
}

// hasPod returns an error for a creation that comes without the pod. JSON null counts as missing.
func hasPod(request admission.Request) error {
	if text := bytes.TrimSpace(request.Object.Raw); len(text) == 0 || bytes.Equal(text, []byte("null")) {
		return errors.New("the request has no pod")
	}
	return nil
}

// responseOf turns an answer into a response.
func responseOf(answer inject.Answer) (admission.Response, error) {
	var response admission.Response
	report := answer.Report
	switch report.Result {
	case inject.Denied:
		response = admission.Denied(sentence(report))
	case inject.Skipped:
		response = admission.Allowed("").WithWarnings(warnings(answer.Pod, report)...)
	case inject.Injected:
		response = admission.Allowed("").WithWarnings(warnings(answer.Pod, report)...)
		response.Patch, response.PatchType = answer.Patch, new(admissionv1.PatchTypeJSONPatch)
	default:
		return admission.Response{}, fmt.Errorf("the decision about the pod has the unknown result %q", report.Result)
	}
	response.AuditAnnotations = auditOf(report)
	return response, nil
}

// auditOf returns the audit annotations of a decision. In the API server's audit log, the name of the webhook precedes each key.
func auditOf(report inject.Report) map[string]string {
	return map[string]string{"result": string(report.Result), "reason": string(report.Reason)}
}

// sentence returns the text of a denial: the reason, then every problem, or the report's message if there is none.
func sentence(report inject.Report) string {
	lines := make([]string, 0, len(report.Problems))
	for _, problem := range report.Problems {
		lines = append(lines, problem.String())
	}
	if len(lines) == 0 {
		lines = append(lines, report.Message)
	}
	return string(report.Reason) + ": " + strings.Join(lines, "; ")
}

// warningLength bounds one warning. Where all of them together are over 4 KiB the API server cuts each to 256 itself; what
// is at the end is what to do, so it is not cut before.
const warningLength = 1000

// warnings returns the warnings for kubectl. A pod with a controller has none: the controller creates the pod, and users do
// not see its warnings.
func warnings(pod *corev1.Pod, report inject.Report) []string {
	problems, skip := report.Problems, isUnexpectedSkip(report)
	if len(problems) == 0 && !skip || metav1.GetControllerOfNoCopy(pod) != nil {
		return nil
	}
	if skip {
		problems = append(problems[:len(problems):len(problems)], skipped(pod, report))
	}
	var out []string
	for _, problem := range problems {
		out = append(out, api.Shorten(string(problem.Reason)+": "+problem.String(), warningLength))
	}
	return out
}

// NamespacesFrom returns a NamespaceReader that reads from a cache.
func NamespacesFrom(reader client.Reader) NamespaceReader { return cachedNamespaces{reader} }

type cachedNamespaces struct{ reader client.Reader }

func (c cachedNamespaces) Namespace(ctx context.Context, name string) *corev1.Namespace {
	namespace := &corev1.Namespace{}
	if err := c.reader.Get(ctx, client.ObjectKey{Name: name}, namespace); err != nil {
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	}
	return namespace
}

// record counts and logs the outcome of a request.
func (h *Handler) record(c *call) {
	took := time.Since(c.startedAt)
	if h.Metrics != nil && !c.dryRun {
		h.Metrics.count(c.report, took)
	}
	if !c.dryRun {
		h.Owners.enqueue(c.namespace, c.received, c.report)
	}
	c.endSpan()
	values := []any{"result", c.report.Result, "reason", c.report.Reason, "namespace", c.namespace, "pod", c.pod, "uid", c.uid, "duration", took.String()}
	if c.dryRun {
		values = append(values, "dryRun", true)
	}
	if c.span != nil && c.span.SpanContext().IsSampled() {
		values = append(values, "trace", c.span.SpanContext().TraceID().String())
	}
	if c.err != nil {
		h.Log.Error(c.err, "no decision about a pod", append(values, logValues(c.err)...)...)
		return
	}
	if len(c.report.Templates) > 0 {
		values = append(values, "templates", c.report.Templates)
	}
	if c.report.Message != "" {
		values = append(values, "message", c.report.Message)
	}
	h.Log.Info("decided about a pod", values...)
}
