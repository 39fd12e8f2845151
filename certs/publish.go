// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// readWebhook reads the webhook object and stores its caBundles.
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

// trusts stores what API servers trust from now on.
func (k *Keeper) trusts(published trust) {
	k.published, k.since = published, k.since.note(published.certs(), k.options.Now())
}

// publish writes the trusted CAs to every entry of both webhook objects, and returns when the next change is due by time alone. The
// entries of the validating one only warn, and ignore failures; neither the serving certificate nor readiness waits for it.
func (k *Keeper) publish(ctx context.Context, trusted []byte, object *admissionregistrationv1.MutatingWebhookConfiguration) (time.Time, error) {
	if trusted == nil {
		return time.Time{}, nil
	}
	now := k.options.Now()
	validator, validatorErr := k.readValidator(ctx)
	mutating, validating := entriesOf(object), entriesOfValidator(validator)
	seen := observe(trusted, mutating, validating)
	var recordErr error
	if object != nil {
		recordErr = k.record(ctx, seen)
	}
	retired := k.offered.retired(seen.ours, now)
	k.offered = noteOffered(retired, k.offered, seen.ours, now)
	for _, entries := range [][]entry{mutating, validating} {
		for i := range entries {
			entries[i].wanted = bundleFor(entries[i].caBundle, trusted, retired, k.records, now)
		}
	}
	k.repairs.need(trusted)
	webhookAgain, webhookErr := k.publishToWebhook(ctx, object, mutating, trusted)
	validatorAgain, publishErr := k.publishToValidator(ctx, validator, validating, trusted)
	err := errors.Join(recordErr, webhookErr, validatorErr, publishErr)
	return soonest(k.records.next(seen, now), webhookAgain, validatorAgain), err
}

// observe returns which CAs the entries have.
func observe(trusted []byte, mutating, validating []entry) observation {
	out := observation{ours: bundleCerts(trusted)}
	for _, entry := range mutating {
		out.entries = append(out.entries, bundleCerts(entry.caBundle))
	}
	for _, entry := range slices.Concat(mutating, validating) {
		for _, cert := range bundleCerts(entry.caBundle) {
			if !contains(out.ours, cert) && !contains(out.foreign, cert) {
				out.foreign = append(out.foreign, cert)
			}
		}
	}
	return out
}

func (k *Keeper) publishToWebhook(ctx context.Context, object *admissionregistrationv1.MutatingWebhookConfiguration, entries []entry, trusted []byte) (time.Time, error) {
	if object == nil {
		return time.Time{}, nil
	}
	webhooks := k.options.Client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	return k.writeBundles(ctx, target{
		kind: kindMutating, meta: object.ObjectMeta, entries: entries,
		patch: func(ctx context.Context, patch []byte) (string, error) {
			patched, err := webhooks.Patch(ctx, object.Name, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
			if err != nil {
				return "", err
			}
			bundles := make([][]byte, len(entries))
			for i, entry := range entries {
				bundles[i] = entry.wanted
			}
			k.trusts(trustOf(bundles...))
			return patched.ResourceVersion, nil
		},
		version: func(ctx context.Context) (string, error) {
			now, err := webhooks.Get(ctx, object.Name, metav1.GetOptions{})
			if err != nil {
				return "", err
			}
			return now.ResourceVersion, nil
		},
	}, trusted)
}

// soonest returns the earliest of these times, of which zero means never.
func soonest(times ...time.Time) time.Time {
	var out time.Time
	for _, at := range times {
		if !at.IsZero() && (out.IsZero() || at.Before(out)) {
			out = at
		}
	}
	return out
}

// readValidator returns the validating webhook object; nil if there is none.
func (k *Keeper) readValidator(ctx context.Context) (*admissionregistrationv1.ValidatingWebhookConfiguration, error) {
	name := k.options.Validator
	if name == "" {
		return nil, nil
	}
	object, err := k.options.Client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil // it was deleted; the watch reports when it is created again
	}
	if err != nil {
		return nil, fmt.Errorf("reading ValidatingWebhookConfiguration %s: %w", name, err)
	}
	return object, nil
}

func (k *Keeper) publishToValidator(ctx context.Context, object *admissionregistrationv1.ValidatingWebhookConfiguration, entries []entry, trusted []byte) (time.Time, error) {
	if object == nil {
		return time.Time{}, nil
	}
	validators := k.options.Client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	return k.writeBundles(ctx, target{
		kind: kindValidating, meta: object.ObjectMeta, entries: entries,
		patch: func(ctx context.Context, patch []byte) (string, error) {
			patched, err := validators.Patch(ctx, object.Name, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
			if err != nil {
				return "", err
			}
			return patched.ResourceVersion, nil
		},
		version: func(ctx context.Context) (string, error) {
			now, err := validators.Get(ctx, object.Name, metav1.GetOptions{})
			if err != nil {
				return "", err
			}
			return now.ResourceVersion, nil
		},
	}, trusted)
}

// entry is one entry of a webhook object of either kind.
type entry struct {
	name     string
	caBundle []byte // what it has
	wanted   []byte // what it must have
}

func entriesOf(object *admissionregistrationv1.MutatingWebhookConfiguration) []entry {
	if object == nil {
		return nil
	}
	out := make([]entry, len(object.Webhooks))
	for i, webhook := range object.Webhooks {
		out[i] = entry{name: webhook.Name, caBundle: webhook.ClientConfig.CABundle}
	}
	return out
}

func entriesOfValidator(object *admissionregistrationv1.ValidatingWebhookConfiguration) []entry {
	if object == nil {
		return nil
	}
	out := make([]entry, len(object.Webhooks))
	for i, webhook := range object.Webhooks {
		out[i] = entry{name: webhook.Name, caBundle: webhook.ClientConfig.CABundle}
	}
	return out
}

// bundlePatch returns the JSON patch that writes the caBundles of the entries that need another one; nil if none does. It tests the
// name and the caBundle of each entry, so that a concurrent change of the list is never overwritten by position, and a CA that
// another replica added is never lost.
func bundlePatch(entries []entry) ([]byte, error) {
	type operation struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value"`
	}
	var operations []operation
	for i, entry := range entries {
		if sameCerts(entry.caBundle, entry.wanted) {
			continue
		}
		name, caBundle := fmt.Sprintf("/webhooks/%d/name", i), fmt.Sprintf("/webhooks/%d/clientConfig/caBundle", i)
		operations = append(operations, operation{"test", name, entry.name})
		if len(entry.caBundle) > 0 {
			operations = append(operations, operation{"test", caBundle, entry.caBundle})
		}
		operations = append(operations, operation{"add", caBundle, entry.wanted})
	}
	if operations == nil {
		return nil, nil
	}
	return json.Marshal(operations)
}
