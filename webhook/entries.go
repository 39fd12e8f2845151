// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"fmt"
	"maps"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// PodSelector reports whether the API server would call Outrigger's webhook for a pod.
type PodSelector interface {
	// Selects returns whether an entry of Outrigger's webhook object selects pods with these labels in the namespace.
	Selects(ctx context.Context, namespace *corev1.Namespace, podLabels map[string]string) (bool, error)
}

// NamespaceExcluder reports which namespaces Outrigger's webhook object excludes by name.
type NamespaceExcluder interface {
	// Excludes returns whether an entry of Outrigger's webhook object would select a namespace with these labels under another name,
	// and none selects it under its actual name.
	Excludes(ctx context.Context, namespaceLabels map[string]string) (bool, error)
}

// EntriesFrom returns the Selectors on a cache that holds Outrigger's MutatingWebhookConfiguration of that name. It evaluates the
// selectors of the live object, but not its matchConditions: those of the chart only repeat rules of the decision.
func EntriesFrom(reader client.Reader, name string) Selectors { return entries{reader, name} }

// Selectors evaluates the selectors of Outrigger's webhook object.
type Selectors interface {
	PodSelector
	NamespaceExcluder
}

type entries struct {
	reader client.Reader
	name   string
}

func (e entries) Selects(ctx context.Context, namespace *corev1.Namespace, podLabels map[string]string) (bool, error) {
	object := &admissionregistrationv1.MutatingWebhookConfiguration{}
	err := e.reader.Get(ctx, client.ObjectKey{Name: e.name}, object)
	if apierrors.IsNotFound(err) {
		return false, nil // the webhook object does not exist, so no pod matches
	}
	if err != nil {
		return false, fmt.Errorf("reading MutatingWebhookConfiguration %s: %w", e.name, err)
	}
	for _, entry := range object.Webhooks {
		is, err := matches(entry.NamespaceSelector, namespace.Labels)
		if err == nil && is {
			is, err = matches(entry.ObjectSelector, podLabels)
		}
		if err != nil {
			return false, fmt.Errorf("MutatingWebhookConfiguration %s: webhooks[%s]: %w", e.name, entry.Name, err)
		}
		if is {
			return true, nil
		}
	}
	return false, nil
}

func (e entries) Excludes(ctx context.Context, namespaceLabels map[string]string) (bool, error) {
	object := &admissionregistrationv1.MutatingWebhookConfiguration{}
	if err := e.reader.Get(ctx, client.ObjectKey{Name: e.name}, object); err != nil {
		return false, client.IgnoreNotFound(err)
	}
	renamed := maps.Clone(namespaceLabels)
	renamed[corev1.LabelMetadataName] = "a/b" // an invalid namespace name, so no selector excludes it
	excludes := false
	for _, entry := range object.Webhooks {
		is, err := matches(entry.NamespaceSelector, namespaceLabels)
		if err != nil {
			return false, fmt.Errorf("MutatingWebhookConfiguration %s: webhooks[%s]: %w", e.name, entry.Name, err)
		}
		if is {
			return false, nil
		}
		if is, err = matches(entry.NamespaceSelector, renamed); err != nil {
			return false, fmt.Errorf("MutatingWebhookConfiguration %s: webhooks[%s]: %w", e.name, entry.Name, err)
		}
		excludes = excludes || is
	}
	return excludes, nil
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
