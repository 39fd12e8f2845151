package certs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// readWebhook reads the webhook object, and notes what it trusts.
func (k *Keeper) readWebhook(ctx context.Context) (*admissionregistrationv1.MutatingWebhookConfiguration, error) {
	name := k.options.WebhookConfiguration
	object, err := k.options.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading MutatingWebhookConfiguration %s: %w", name, err)
	}
	if len(object.Webhooks) == 0 {
		return nil, fmt.Errorf("MutatingWebhookConfiguration %s has no entries", name)
	}
	k.about = object
	bundles := make([][]byte, len(object.Webhooks))
	for i, entry := range object.Webhooks {
		bundles[i] = entry.ClientConfig.CABundle
	}
	k.trusts(trustOf(bundles...))
	return object, nil
}

// trusts notes what API servers trust from now on.
func (k *Keeper) trusts(published trust) {
	k.published, k.since = published, k.since.note(published.certs(), k.options.Now())
}

// publish writes the trusted CAs into every entry of both webhook objects. Those of the validating one only warn and
// ignore failures, so that no serving certificate and no readiness waits for it.
func (k *Keeper) publish(ctx context.Context, trusted []byte, object *admissionregistrationv1.MutatingWebhookConfiguration) error {
	if trusted == nil {
		return nil
	}
	var wanted []byte
	wanted, k.strangers = bundleOf(trusted, k.published, k.strangers, k.options.Now())
	var faults error
	if object != nil {
		faults = k.publishToWebhook(ctx, wanted, object)
	}
	return errors.Join(faults, k.publishToValidator(ctx, wanted))
}

func (k *Keeper) publishToWebhook(ctx context.Context, wanted []byte, object *admissionregistrationv1.MutatingWebhookConfiguration) error {
	entries := make([]entry, len(object.Webhooks))
	for i, webhook := range object.Webhooks {
		entries[i] = entry{webhook.Name, webhook.ClientConfig.CABundle}
	}
	return k.writeBundles("MutatingWebhookConfiguration "+object.Name, entries, wanted, func(patch []byte) error {
		webhooks := k.options.Client.AdmissionregistrationV1().MutatingWebhookConfigurations()
		if _, err := webhooks.Patch(ctx, object.Name, types.JSONPatchType, patch, metav1.PatchOptions{}); err != nil {
			return err
		}
		k.trusts(trustOf(wanted))
		return nil
	})
}

func (k *Keeper) publishToValidator(ctx context.Context, wanted []byte) error {
	name := k.options.Validator
	if name == "" {
		return nil
	}
	validators := k.options.Client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	object, err := validators.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil // it was removed, and we hear of it when it comes back
	}
	if err != nil {
		return fmt.Errorf("reading ValidatingWebhookConfiguration %s: %w", name, err)
	}
	entries := make([]entry, len(object.Webhooks))
	for i, webhook := range object.Webhooks {
		entries[i] = entry{webhook.Name, webhook.ClientConfig.CABundle}
	}
	return k.writeBundles("ValidatingWebhookConfiguration "+name, entries, wanted, func(patch []byte) error {
		_, err := validators.Patch(ctx, name, types.JSONPatchType, patch, metav1.PatchOptions{})
		return err
	})
}

// writeBundles has the patch written that makes every entry of a webhook object have the caBundle, if one is needed.
func (k *Keeper) writeBundles(object string, entries []entry, wanted []byte, write func(patch []byte) error) error {
	patch, err := bundlePatch(entries, wanted)
	if err != nil || patch == nil {
		return err
	}
	if err := write(patch); err != nil {
		return fmt.Errorf("writing the caBundle of %s: %w", object, err)
	}
	k.options.Log.Info("the caBundle was published", "object", object)
	return nil
}

// entry is what is read of one entry of a webhook object of either kind.
type entry struct {
	name     string
	caBundle []byte
}

// bundlePatch returns the JSON patch that writes the caBundle where another one stands; nil if that is nowhere. The name
// of each entry is tested, so that a list that changed meanwhile is never written by position.
func bundlePatch(entries []entry, wanted []byte) ([]byte, error) {
	type operation struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value"`
	}
	var operations []operation
	for i, entry := range entries {
		if sameCerts(entry.caBundle, wanted) {
			continue
		}
		operations = append(operations,
			operation{"test", fmt.Sprintf("/webhooks/%d/name", i), entry.name},
			operation{"add", fmt.Sprintf("/webhooks/%d/clientConfig/caBundle", i), wanted})
	}
	if operations == nil {
		return nil, nil
	}
	return json.Marshal(operations)
}
