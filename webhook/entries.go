// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"fmt"
	"maps"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// PodSelector reports whether the API server would call Outrigger's webhook for a pod with these labels in the namespace.
type PodSelector interface {
	Selects(ctx context.Context, namespace *corev1.Namespace, podLabels map[string]string) (bool, error)
}

// Selectors evaluates the selectors of Outrigger's webhook object.
type Selectors struct {
	reader client.Reader
	name   string
}

// EntriesFrom returns the Selectors on a cache that holds Outrigger's MutatingWebhookConfiguration of that name. It evaluates the
// selectors of the live object, but not its matchConditions: those of the chart only repeat rules of the decision.
func EntriesFrom(reader client.Reader, name string) Selectors { return Selectors{reader, name} }

// Selects implements PodSelector.
func (s Selectors) Selects(ctx context.Context, namespace *corev1.Namespace, podLabels map[string]string) (bool, error) {
	return s.any(ctx, func(entry *admissionregistrationv1.MutatingWebhook) (bool, error) {
		if is, err := matches(entry.NamespaceSelector, namespace.Labels); err != nil || !is {
			return false, err
		}
		return matches(entry.ObjectSelector, podLabels)
	})
}

// Excludes reports whether the webhook object excludes a namespace with these labels by name: an entry would select it under another
// name, and none selects it under its actual name.
func (s Selectors) Excludes(ctx context.Context, namespaceLabels map[string]string) (bool, error) {
	selects := func(set map[string]string) (bool, error) {
		return s.any(ctx, func(entry *admissionregistrationv1.MutatingWebhook) (bool, error) {
			return matches(entry.NamespaceSelector, set)
		})
	}
	if selected, err := selects(namespaceLabels); err != nil || selected {
		return false, err
	}
	renamed := maps.Clone(namespaceLabels)
	renamed[corev1.LabelMetadataName] = "a/b" // an invalid namespace name, so no selector excludes it
	return selects(renamed)
}

// any reports whether an entry of the webhook object meets a condition; false if the object does not exist.
func (s Selectors) any(ctx context.Context, condition func(*admissionregistrationv1.MutatingWebhook) (bool, error)) (bool, error) {
	object := &admissionregistrationv1.MutatingWebhookConfiguration{}
	if err := client.IgnoreNotFound(s.reader.Get(ctx, client.ObjectKey{Name: s.name}, object)); err != nil {
		return false, fmt.Errorf("reading MutatingWebhookConfiguration %s: %w", s.name, err)
	}
	for i := range object.Webhooks {
		if is, err := condition(&object.Webhooks[i]); err != nil {
			return false, fmt.Errorf("MutatingWebhookConfiguration %s: webhooks[%s]: %w", s.name, object.Webhooks[i].Name, err)
		} else if is {
			return true, nil
		}
	}
	return false, nil
}

func matches(selector *metav1.LabelSelector, set map[string]string) (bool, error) {
	if selector == nil {
		return true, nil // an absent selector selects everything; LabelSelectorAsSelector says nothing
	}
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return false, err
	}
	return parsed.Matches(labels.Set(set)), nil
}
