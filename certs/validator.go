package certs

import (
	"context"
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// publishToValidator writes the trusted CAs into every entry of the validating webhook object. Its entries only warn and
// ignore failures, so that no serving certificate and no readiness waits for it.
func (k *Keeper) publishToValidator(ctx context.Context) error {
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
	// What is patched, an entry's name and its clientConfig, is the same in both kinds of webhook object.
	entries := make([]admissionregistrationv1.MutatingWebhook, len(object.Webhooks))
	for i, entry := range object.Webhooks {
		entries[i] = admissionregistrationv1.MutatingWebhook{Name: entry.Name, ClientConfig: entry.ClientConfig}
	}
	patch, err := bundlePatch(entries, k.held.trusted(k.options.Now()))
	if err != nil || patch == nil {
		return err
	}
	if _, err := validators.Patch(ctx, name, types.JSONPatchType, patch, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("writing the caBundle of ValidatingWebhookConfiguration %s: %w", name, err)
	}
	k.options.Log.Info("the caBundle was published", "validatingWebhookConfiguration", name)
	return nil
}

func (k *Keeper) validatorInformer() cache.SharedIndexInformer {
	client := k.options.Client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	return informerOf(k.options.Client, &admissionregistrationv1.ValidatingWebhookConfiguration{}, k.options.Validator,
		func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return client.List(ctx, o) },
		client.Watch)
}
