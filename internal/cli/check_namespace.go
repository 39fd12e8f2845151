// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/diagnose"
)

// whyNotAsked returns why the API server does not call Outrigger for the pod of the check, and the fix. If the namespace or the
// webhook object cannot be read, it returns the possible causes.
func (c *checker) whyNotAsked(ctx context.Context) string {
	namespace, object := &corev1.Namespace{}, &admissionregistrationv1.MutatingWebhookConfiguration{}
	if c.client.Get(ctx, client.ObjectKey{Name: c.namespace}, namespace) != nil || c.client.Get(ctx, client.ObjectKey{Name: c.config.WebhookConfigurationName()}, object) != nil {
		return "Either the namespace is excluded or labeled for another injector, or the webhook does not answer and its failurePolicy is Ignore"
	}
	entries := diagnose.MatchingEntries(ctx, []admissionregistrationv1.MutatingWebhookConfiguration{*object}, c.pod(c.namespace), namespace)
	if slices.ContainsFunc(entries, func(v diagnose.Entry) bool { return v.Matches }) {
		return fmt.Sprintf("The webhook does not answer, and its failurePolicy is Ignore. Example: kubectl get pods -A -l app.kubernetes.io/name=%s", api.Outrigger)
	}
	advice := strings.Join((&diagnose.PodFacts{Namespace: namespace, Entries: entries}).HowToMatch(), "; ")
	for _, key := range []string{api.LabelInjection, api.LabelRevision} {
		if value, labeled := namespace.Labels[key]; labeled && !diagnose.IsExcludedByName(entries) {
			return fmt.Sprintf("Namespace %s has the label %s=%s, and no entry of MutatingWebhookConfiguration %s matches it. Example: %s", namespace.Name, key, value, object.Name, advice)
		}
	}
	if diagnose.IsExcludedByName(entries) {
		return fmt.Sprintf("MutatingWebhookConfiguration %s excludes namespace %s by name (chart value webhook.excludedNamespaces). Check another namespace: outrigger check -n NAMESPACE", object.Name, namespace.Name)
	}
	var why []string
	for _, v := range entries {
		why = append(why, v.Name+": "+v.Why)
	}
	return fmt.Sprintf("No entry of MutatingWebhookConfiguration %s matches: %s", object.Name, strings.Join(why, "; "))
}
