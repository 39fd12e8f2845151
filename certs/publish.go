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

// webhookObject is a webhook object of either kind. The zero value is one that is not known, or does not exist.
type webhookObject struct {
	kind    string
	meta    metav1.ObjectMeta
	entries []entry
}

const (
	kindMutating   = "MutatingWebhookConfiguration"
	kindValidating = "ValidatingWebhookConfiguration"
)

// entry is one entry of a webhook object.
type entry struct {
	name     string
	caBundle []byte // what it has
	wanted   []byte // what it must have
}

func webhookObjectOf(object any) (out webhookObject) {
	switch o := object.(type) {
	case *admissionregistrationv1.MutatingWebhookConfiguration:
		out.kind, out.meta = kindMutating, o.ObjectMeta
		for _, webhook := range o.Webhooks {
			out.entries = append(out.entries, entry{name: webhook.Name, caBundle: webhook.ClientConfig.CABundle})
		}
	case *admissionregistrationv1.ValidatingWebhookConfiguration:
		out.kind, out.meta = kindValidating, o.ObjectMeta
		for _, webhook := range o.Webhooks {
			out.entries = append(out.entries, entry{name: webhook.Name, caBundle: webhook.ClientConfig.CABundle})
		}
	}
	return out
}

func (k *Keeper) read(ctx context.Context, kind, name string) (webhookObject, error) {
	var object any
	var err error
	if kind == kindMutating {
		object, err = k.options.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, name, metav1.GetOptions{})
	} else {
		object, err = k.options.Client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(ctx, name, metav1.GetOptions{})
	}
	if err != nil {
		return webhookObject{}, fmt.Errorf("reading %s %s: %w", kind, name, err)
	}
	return webhookObjectOf(object), nil
}

func (k *Keeper) patch(ctx context.Context, o webhookObject, patch []byte) (version string, err error) {
	var object any
	options := metav1.PatchOptions{FieldManager: fieldManager}
	if o.kind == kindMutating {
		object, err = k.options.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Patch(ctx, o.meta.Name, types.JSONPatchType, patch, options)
	} else {
		object, err = k.options.Client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Patch(ctx, o.meta.Name, types.JSONPatchType, patch, options)
	}
	if err != nil {
		return "", err
	}
	return webhookObjectOf(object).meta.ResourceVersion, nil
}

// readWebhook reads the mutating webhook object and stores its caBundles.
func (k *Keeper) readWebhook(ctx context.Context) (webhookObject, error) {
	object, err := k.read(ctx, kindMutating, k.options.WebhookConfiguration)
	if err != nil {
		return webhookObject{}, err
	}
	if len(object.entries) == 0 {
		return webhookObject{}, fmt.Errorf("%s %s has no entries", kindMutating, object.meta.Name)
	}
	k.about = object.meta
	k.trusts(object.entries, func(e entry) []byte { return e.caBundle })
	return object, nil
}

// trusts stores what API servers trust from now on: these caBundles of the mutating webhook object.
func (k *Keeper) trusts(entries []entry, bundle func(entry) []byte) {
	bundles := make([][]byte, len(entries))
	for i, entry := range entries {
		bundles[i] = bundle(entry)
	}
	k.published = trustOf(bundles...)
	k.since = k.since.note(k.published.certs(), k.options.Now())
}

// publish writes the trusted CAs to every entry of both webhook objects, and returns when the next change is due by time alone. The
// entries of the validating one only warn, and ignore failures; neither the serving certificate nor readiness waits for it.
func (k *Keeper) publish(ctx context.Context, trusted []byte, object webhookObject) (time.Time, error) {
	if trusted == nil {
		return time.Time{}, nil
	}
	now := k.options.Now()
	validator, validatorErr := k.readValidator(ctx)
	seen := observe(trusted, object.entries, validator.entries)
	var recordErr error
	if object.kind != "" {
		recordErr = k.record(ctx, seen)
	}
	retired := k.offered.retired(seen.ours, now)
	k.offered = noteOffered(retired, k.offered, seen.ours, now)
	for _, entries := range [][]entry{object.entries, validator.entries} {
		for i := range entries {
			entries[i].wanted = bundleFor(entries[i].caBundle, trusted, retired, k.records, now)
		}
	}
	k.repairs.need(trusted)
	webhookAgain, webhookErr := k.writeBundles(ctx, object, trusted)
	validatorAgain, publishErr := k.writeBundles(ctx, validator, trusted)
	err := errors.Join(recordErr, webhookErr, validatorErr, publishErr)
	return soonest(k.records.next(seen, now), webhookAgain, validatorAgain), err
}

func (k *Keeper) readValidator(ctx context.Context) (webhookObject, error) {
	if k.options.Validator == "" {
		return webhookObject{}, nil
	}
	object, err := k.read(ctx, kindValidating, k.options.Validator)
	if apierrors.IsNotFound(err) {
		return webhookObject{}, nil // it was deleted; the watch reports when it is created again
	}
	return object, err
}

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
