// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"outrigger.dev/outrigger/api"
)

// NamespacesPath is where NamespaceAdvice is served.
const NamespacesPath = "/validate/namespaces"

// NamespaceAdvice answers CREATE and UPDATE of Namespaces with a warning for a label of injection on a namespace that the
// webhook excludes by name. Unless limits is nil, it also warns about each invalid or misspelled annotation or label of routing. An
// update is warned only about what it changes.
func NamespaceAdvice(limits *api.RouteLimits, excluder Selectors) http.Handler {
	return advice(func(ctx context.Context, request admission.Request) ([]string, error) {
		namespace, before, err := decoded[corev1.Namespace](request)
		if err != nil {
			return nil, err
		}
		if namespace.DeletionTimestamp != nil || byCluster(request) {
			return nil, nil
		}
		warnings, err := excludedWarnings(ctx, namespace, before, excluder)
		if limits != nil {
			warnings = append(warnings, NamespaceWarnings(namespace, before, *limits)...)
		}
		return warnings, err
	})
}

// excludedWarnings returns a warning for each injection label in the request that has no effect, because the webhook excludes the
// namespace by name.
func excludedWarnings(ctx context.Context, namespace, before *corev1.Namespace, excluder Selectors) ([]string, error) {
	for _, key := range []string{api.LabelInjection, api.LabelRevision} {
		value, labeled := namespace.Labels[key]
		if !labeled || value == before.Labels[key] {
			continue
		}
		if excluded, err := excluder.Excludes(ctx, namespace.Labels); err != nil || !excluded {
			return nil, err
		}
		return []string{fmt.Sprintf("%s: Namespace %s: metadata.labels[%s] = %q has no effect: Outrigger's webhook excludes this namespace by name (chart value webhook.excludedNamespaces), so its pods get no sidecar. Remove the label: kubectl label namespace %s %s-",
			api.InjectIgnoredNamespace, namespace.Name, key, value, namespace.Name, key)}, nil
	}
	return nil, nil
}

// NamespaceWarnings returns what is wrong with the labels and annotations of routing on a Namespace, as ServiceWarnings does.
func NamespaceWarnings(namespace, before *corev1.Namespace, limits api.RouteLimits) []string {
	var out []string
	for _, p := range limits.NamespaceProblems(namespace) {
		if !isUnchanged(p, before) {
			out = append(out, string(p.Reason)+": "+p.String())
		}
	}
	out = append(out, nearMisses("annotation", namespace.Annotations, before.Annotations)...)
	return append(out, nearMisses("label", namespace.Labels, before.Labels)...)
}
