// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
)

// adviser returns warnings about a request. It never denies it.
type adviser func(ctx context.Context, request admission.Request) ([]string, error)

// advice serves an adviser. An error or a panic is HTTP 500 and no review: the failurePolicy of these entries is Ignore.
func advice(advise adviser) http.Handler {
	return serveReviews(func(ctx context.Context, request admission.Request) (admission.Response, error) {
		warnings, err := advise(ctx, request)
		for i, warning := range warnings {
			warnings[i] = api.Shorten(warning, warningLength)
		}
		return admission.Allowed("").WithWarnings(warnings...), err
	})
}

// reviewFunc answers a request about an object that it does not change.
type reviewFunc func(ctx context.Context, request admission.Request) (admission.Response, error)

// serveReviews serves a reviewFunc. An error or a panic is HTTP 500 and no review, so that the failurePolicy of the entry decides.
func serveReviews(review reviewFunc) http.Handler {
	reviews := (&admission.Webhook{Handler: admission.HandlerFunc(func(ctx context.Context, request admission.Request) admission.Response {
		callOf(ctx).note(request)
		response, err := review(ctx, request)
		if err != nil {
			callOf(ctx).err = err
			return admission.Errored(http.StatusInternalServerError, err)
		}
		return response
	})}).WithRecoverPanic(false)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, held := &call{path: r.URL.Path, report: inject.Report{Reason: api.InjectBadRequest}}, &heldResponse{header: http.Header{}}
		c.serve(reviews, held, r)
		switch {
		case c.err != nil:
			logf.Log.WithName("webhook").Error(c.err, "no advice", append([]any{"path", c.path, "namespace", c.namespace, "name", c.pod}, logValues(c.err)...)...)
			http.Error(w, c.err.Error(), http.StatusInternalServerError)
			return
		case c.report.Reason == api.InjectBadRequest: // held is a denial of an unreadable request
			http.Error(w, c.report.Message, http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(held.body.Bytes()) // a caller that disconnected needs no answer
	})
}

// decoded returns the object of a request, and its state before an update, which is empty for a new object.
func decoded[T any](request admission.Request) (after, before *T, err error) {
	if len(request.Object.Raw) == 0 {
		return nil, nil, errNoObject(request)
	}
	after, before = new(T), new(T)
	if err := json.Unmarshal(request.Object.Raw, after); err != nil {
		return nil, nil, fmt.Errorf("decoding the %s of the request: %w", request.Kind.Kind, err)
	}
	if len(request.OldObject.Raw) > 0 {
		if err := json.Unmarshal(request.OldObject.Raw, before); err != nil {
			return nil, nil, fmt.Errorf("decoding the old %s of the request: %w", request.Kind.Kind, err)
		}
	}
	return after, before, nil
}

// byCluster reports whether a request comes from Kubernetes' controllers: they do not read warnings.
func byCluster(request admission.Request) bool {
	user := request.UserInfo.Username
	return strings.HasPrefix(user, "system:serviceaccount:kube-system:") || user == "system:kube-controller-manager"
}

func errNoObject(request admission.Request) error {
	return fmt.Errorf("%s of %s %s/%s came without the object", request.Operation, request.Kind.Kind, request.Namespace, request.Name)
}
