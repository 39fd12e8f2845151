package webhook

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
)

// NamespaceReader gives what is known of a namespace.
type NamespaceReader interface {
	// Namespace returns the namespace of that name, or one with only the name where nothing is known of it yet.
	Namespace(ctx context.Context, name string) *corev1.Namespace
}

// ConfigSource gives the configuration to decide by.
type ConfigSource interface {
	// Current returns the configuration; an error if it cannot be told yet what it is.
	Current() (*inject.Config, error)
}

// Handler answers admission requests for pods. Serve it through HTTP.
type Handler struct {
	Namespaces NamespaceReader
	Config     ConfigSource
	Metrics    *Metrics // nil counts nothing
	Log        logr.Logger

	decide func(inject.Received, *inject.Config) (inject.Answer, error) // inject.Review unless a test says otherwise
}

// HTTP returns the handler of the paths /inject and everything below /inject/. An error or a panic is answered by HTTP
// 500 and no review, so that the failurePolicy of the webhook object decides about the pod.
func (h *Handler) HTTP() http.Handler {
	return guard(h, (&admission.Webhook{Handler: h}).WithRecoverPanic(false))
}

// Handle answers one request. An error reaches the guard through the call in the context.
func (h *Handler) Handle(ctx context.Context, request admission.Request) admission.Response {
	call := callOf(ctx)
	call.note(request)
	if err := holdsPod(request); err != nil {
		return call.fail(err)
	}
	config, err := h.Config.Current()
	if err != nil {
		return call.fail(err)
	}
	answer, err := h.review(inject.Received{
		JSON: request.Object.Raw, NamespaceName: request.Namespace, Namespace: h.Namespaces.Namespace(ctx, request.Namespace), Path: call.path,
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
	return inject.Review(received, config)
}

// holdsPod says what is wrong with a request that is not about the creation of a pod.
func holdsPod(request admission.Request) error {
	if request.Kind.Kind != "" && (request.Kind.Kind != "Pod" || request.Kind.Group != "") {
		return fmt.Errorf("the request is about a %s; the webhook object must send pods only", request.Kind.Kind)
	}
	if len(request.Object.Raw) == 0 {
		return fmt.Errorf("the request holds no pod; the webhook object must send operation CREATE only, not %s", request.Operation)
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
	response.AuditAnnotations = map[string]string{"result": string(report.Result), "reason": string(report.Reason)}
	return response, nil
}

// sentence is what the user reads of a denial: the reason, then every problem in full, or the report's own message.
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

// warningLength is how much of one warning the API server lets through where there are many.
const warningLength = 256

// warnings returns what kubectl is to show: only for a pod without a controller, since else it is the controller that
// creates the pod, and nobody reads what it is told.
func warnings(pod *corev1.Pod, report inject.Report) []string {
	if len(report.Problems) == 0 || metav1.GetControllerOfNoCopy(pod) != nil {
		return nil
	}
	var out []string
	for _, problem := range report.Problems {
		out = append(out, api.Shorten(string(problem.Reason)+": "+problem.String(), warningLength))
	}
	return out
}

// NamespacesFrom returns a NamespaceReader on a cache.
func NamespacesFrom(reader client.Reader) NamespaceReader { return cachedNamespaces{reader} }

type cachedNamespaces struct{ reader client.Reader }

func (c cachedNamespaces) Namespace(ctx context.Context, name string) *corev1.Namespace {
	namespace := &corev1.Namespace{}
	if err := c.reader.Get(ctx, client.ObjectKey{Name: name}, namespace); err != nil {
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	}
	return namespace
}

// record counts and logs what became of a request.
func (h *Handler) record(c *call) {
	took := time.Since(c.begun)
	if h.Metrics != nil && !c.dryRun {
		h.Metrics.count(c.report, took)
	}
	log := h.Log.WithValues("result", c.report.Result, "reason", c.report.Reason, "namespace", c.namespace, "pod", c.pod, "uid", c.uid, "duration", took.String())
	if c.dryRun {
		log = log.WithValues("dryRun", true)
	}
	if c.err != nil {
		log.Error(c.err, "no decision about a pod", logValues(c.err)...)
		return
	}
	if len(c.report.Templates) > 0 {
		log = log.WithValues("templates", c.report.Templates)
	}
	if c.report.Message != "" {
		log = log.WithValues("message", c.report.Message)
	}
	log.Info("decided about a pod")
}
