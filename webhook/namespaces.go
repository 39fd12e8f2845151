package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"outrigger.dev/outrigger/api"
)

// NamespacesPath is where NamespaceAdvice is served.
const NamespacesPath = "/validate/namespaces"

// NamespaceAdvice answers CREATE and UPDATE of Namespaces with a warning for each annotation or label of routing that does
// not say what was meant. On an update only what it changes is warned of.
func NamespaceAdvice(limits api.RouteLimits) http.Handler {
	return advice(func(_ context.Context, request admission.Request) ([]string, error) {
		if len(request.Object.Raw) == 0 {
			return nil, errNoObject(request)
		}
		namespace, before := &corev1.Namespace{}, &corev1.Namespace{}
		if err := json.Unmarshal(request.Object.Raw, namespace); err != nil {
			return nil, fmt.Errorf("decoding the Namespace of the request: %w", err)
		}
		if request.Operation == admissionv1.Update && len(request.OldObject.Raw) > 0 {
			if err := json.Unmarshal(request.OldObject.Raw, before); err != nil {
				return nil, fmt.Errorf("decoding the old Namespace of the request: %w", err)
			}
		}
		if namespace.DeletionTimestamp != nil || byCluster(request) {
			return nil, nil
		}
		return NamespaceWarnings(namespace, before, limits), nil
	})
}

// NamespaceWarnings says what is wrong with the labels and annotations about routing on a Namespace, as ServiceWarnings does.
func NamespaceWarnings(namespace, before *corev1.Namespace, limits api.RouteLimits) []string {
	var out []string
	for _, p := range limits.NamespaceProblems(namespace) {
		if !stood(p, before) {
			out = append(out, string(p.Reason)+": "+p.String())
		}
	}
	out = append(out, nearMisses("annotation", namespace.Annotations, before.Annotations)...)
	return append(out, nearMisses("label", namespace.Labels, before.Labels)...)
}
