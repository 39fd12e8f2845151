// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
)

// call collects what is known of a request. The guard builds the response from it.
type call struct {
	startedAt      time.Time
	path           string
	namespace, pod string
	uid            types.UID
	received       []byte // the pod
	dryRun         bool
	report         inject.Report
	err            error      // set: HTTP 500 and no review
	span           trace.Span // nil = not traced
}

type callKey struct{}

// callOf returns the call of a context, or a new one that is discarded.
func callOf(ctx context.Context) *call {
	if c, is := ctx.Value(callKey{}).(*call); is {
		return c
	}
	return &call{}
}

func (c *call) note(request admission.Request) {
	c.namespace, c.pod, c.uid, c.received = request.Namespace, request.Name, request.UID, request.Object.Raw
	c.dryRun = request.DryRun != nil && *request.DryRun
	// If the following steps panic, this is not a bad request.
	c.report = inject.Report{Result: inject.Failed, Reason: api.InjectError}
}

// fail records an error. Only callers of Handle without the guard see its result.
func (c *call) fail(err error) admission.Response {
	reason := api.InjectError
	switch {
	case errors.Is(err, inject.ErrAbandoned):
		reason = api.InjectAbandoned
	case errors.Is(err, errOverloaded):
		reason = api.InjectOverloaded
	}
	c.err, c.report = err, inject.Report{Result: inject.Failed, Reason: reason, Message: err.Error() + "."}
	return admission.Errored(http.StatusInternalServerError, err)
}

// guard serves reviews of pods. It buffers the response until the review has succeeded.
func guard(h *Handler, reviews http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/inject" && !strings.HasPrefix(r.URL.Path, "/inject/") {
			http.NotFound(w, r)
			return
		}
		c := &call{startedAt: time.Now(), path: r.URL.Path, report: inject.Report{Result: inject.Failed, Reason: api.InjectBadRequest}}
		held := &heldResponse{header: http.Header{}}
		entered, err := h.Gate.enter(w, h.traced(c, r))
		defer entered.leave()
		if err != nil {
			c.namespace = entered.namespace
			c.fail(err)
		} else {
			c.serve(reviews, held, entered.request)
		}
		h.record(c)
		if c.err != nil {
			http.Error(w, c.err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(held.body.Bytes()) // a caller that disconnected needs no answer
	})
}

// serve lets the reviews answer into held, and turns a panic into an error.
func (c *call) serve(reviews http.Handler, held *heldResponse, r *http.Request) {
	defer func() {
		if cause := recover(); cause != nil {
			c.err = &panicError{cause: cause, stack: debug.Stack()}
			c.report = inject.Report{Result: inject.Failed, Reason: api.InjectPanic, Message: c.err.Error() + "."}
		}
	}()
	reviews.ServeHTTP(held, r.WithContext(context.WithValue(r.Context(), callKey{}, c)))
	if c.err == nil && c.report.Reason == api.InjectBadRequest {
		c.report.Message = "the body is not an admission review, or too large"
	}
}

// panicError is a panic on its way to the log. The API server sees only its text, which contains no internals.
type panicError struct {
	cause any
	stack []byte
}

func (p *panicError) Error() string { return "the injector failed on this pod; its log says more" }

// heldResponse buffers an answer.
type heldResponse struct {
	header http.Header
	body   bytes.Buffer
}

func (h *heldResponse) Header() http.Header            { return h.header }
func (h *heldResponse) Write(text []byte) (int, error) { return h.body.Write(text) }
func (h *heldResponse) WriteHeader(int)                {}

// logValues returns what the log contains of an error besides its text.
func logValues(err error) []any {
	if p := (*panicError)(nil); errors.As(err, &p) {
		return []any{"panic", fmt.Sprint(p.cause), "stack", string(p.stack)}
	}
	return nil
}
