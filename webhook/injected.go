// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
)

// InjectedPodsPath is where InjectedPods is served, below it the action in lower case: warn, deny or audit.
const InjectedPodsPath = "/validate/pods/"

// GuardActions are the values of the chart's guardRails.action.
var GuardActions = []string{"Warn", "Deny", "Audit"}

// InjectedPods returns a handler for each guard action, by its path, that answers the creation of pods which claim to be
// injected: it recognizes a proxy that no injector gave them, which an admission policy cannot.
func InjectedPods(namespaces NamespaceReader, source ConfigSource) map[string]http.Handler {
	handlers := map[string]http.Handler{}
	for _, action := range GuardActions {
		handlers[InjectedPodsPath+strings.ToLower(action)] = serveReviews(func(ctx context.Context, request admission.Request) (admission.Response, error) {
			if reason := skipsExisting(request); reason != "" {
				return admission.Allowed(""), nil
			}
			problem, err := foreignProxy(ctx, request, namespaces, source)
			if err != nil || problem == nil {
				return admission.Allowed(""), err
			}
			return guarded(action, *problem), nil
		})
	}
	return handlers
}

func foreignProxy(ctx context.Context, request admission.Request, namespaces NamespaceReader, source ConfigSource) (*api.InjectProblem, error) {
	if err := isOfPods(request); err != nil {
		return nil, err
	}
	if err := hasPod(request); err != nil {
		return nil, err
	}
	pod := &corev1.Pod{}
	if err := json.Unmarshal(request.Object.Raw, pod); err != nil {
		return nil, fmt.Errorf("decoding the pod of the request: %w", err)
	}
	pod.Namespace = request.Namespace
	config, err := source.Current()
	if err != nil {
		return nil, err
	}
	return inject.ForeignProxy(inject.Request{Pod: pod, Namespace: namespaces.Namespace(ctx, request.Namespace)}, config)
}

// guarded is the answer to a pod with a problem.
func guarded(action string, problem api.InjectProblem) admission.Response {
	sentence := string(problem.Reason) + ": " + problem.String()
	var response admission.Response
	switch action {
	case "Deny":
		response = admission.Denied(sentence)
	case "Warn":
		response = admission.Allowed("").WithWarnings(api.Shorten(sentence, warningLength))
	default:
		response = admission.Allowed("")
	}
	response.AuditAnnotations = map[string]string{"reason": string(problem.Reason)}
	return response
}
