// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/csaupgrade"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// migrateManagedFields prepares an object for an apply that removes fields: an apply removes only fields that an apply set, so fields
// that our create set become those of an apply. It returns the resource version after that. The caches keep no managed fields, so they
// are read from the API server if the new body omits a field.
func (r *reconciler) migrateManagedFields(ctx context.Context, observed *routing.Observed, change routing.Change, body *unstructured.Unstructured) (string, error) {
	existing := existingObject(observed.Existing, change.Object)
	if existing == nil {
		return change.ResourceVersion, nil
	}
	was, err := bodyOf(existing)
	if err != nil || !omitsField(was, body) {
		return change.ResourceVersion, err
	}
	live, err := r.live(ctx, body)
	if err != nil {
		return "", err
	}
	if live.ResourceVersion != change.ResourceVersion {
		return "", apierrors.NewConflict(schema.GroupResource{Group: networkingv1.GroupName, Resource: body.GetKind()}, live.Name, errors.New("it changed meanwhile"))
	}
	if err := r.dropController(ctx, live, body); err != nil {
		return "", err
	}
	if err := r.dropAdded(ctx, live, was, body); err != nil {
		return "", err
	}
	if !mustMigrateFields(live.ManagedFields, body) {
		return live.ResourceVersion, nil
	}
	patch, err := csaupgrade.UpgradeManagedFieldsPatch(live, sets.New(api.FieldManager), api.FieldManager)
	if err != nil {
		return "", fmt.Errorf("managed fields: %w", err)
	}
	if err := r.writer.Patch(ctx, live, client.RawPatch(types.JSONPatchType, patch)); err != nil {
		return "", err
	}
	return live.ResourceVersion, nil
}

// mustMigrateFields reports whether the new body omits a field that we own by a create alone, which an apply would not remove.
// Otherwise the apply is enough, and is one write.
func mustMigrateFields(fields []metav1.ManagedFieldsEntry, body *unstructured.Unstructured) bool {
	return slices.ContainsFunc(fields, func(entry metav1.ManagedFieldsEntry) bool {
		if !createdByUs(entry) || entry.FieldsV1 == nil {
			return false
		}
		var owned map[string]any
		if err := json.Unmarshal(entry.FieldsV1.GetRawBytes(), &owned); err != nil {
			return true
		}
		return lacks(body.Object, owned)
	})
}

func createdByUs(entry metav1.ManagedFieldsEntry) bool {
	return entry.Manager == api.FieldManager && entry.Operation == metav1.ManagedFieldsOperationUpdate && entry.Subresource == ""
}

// dropController removes from an object the controller that its new body does not name. A backup restores our objects with
// the UID of the Service that it was made of. An apply leaves that reference, since another client wrote it, and the API
// server refuses an object with two controllers.
func (r *reconciler) dropController(ctx context.Context, live *metav1.PartialObjectMetadata, body *unstructured.Unstructured) error {
	kept := slices.DeleteFunc(slices.Clone(live.OwnerReferences), func(owner metav1.OwnerReference) bool {
		named := slices.ContainsFunc(body.GetOwnerReferences(), func(ours metav1.OwnerReference) bool { return ours.UID == owner.UID })
		return ptr.Deref(owner.Controller, false) && !named
	})
	if len(kept) == len(live.OwnerReferences) {
		return nil
	}
	patch, err := json.Marshal([]map[string]any{
		{"op": "replace", "path": "/metadata/resourceVersion", "value": live.ResourceVersion},
		{"op": "replace", "path": "/metadata/ownerReferences", "value": kept},
	})
	if err != nil {
		return fmt.Errorf("encode owners: %w", err)
	}
	return r.writer.Patch(ctx, live, client.RawPatch(types.JSONPatchType, patch))
}

// omitsField reports whether a new body omits a field of the existing one, or has other owners: only then can an apply fail to
// remove something. Each list is one field, except the owners.
func omitsField(was, body *unstructured.Unstructured) bool {
	return fieldOmitted(was.Object, body.Object) || !reflect.DeepEqual(was.GetOwnerReferences(), body.GetOwnerReferences())
}

func fieldOmitted(was, is any) bool {
	fields, isObject := was.(map[string]any)
	if !isObject {
		return false
	}
	in, _ := is.(map[string]any)
	for name, value := range fields {
		now, has := in[name]
		if !has || fieldOmitted(value, now) {
			return true
		}
	}
	return false
}

// lacks reports whether a value lacks one of the fields of a set, in the form of managed fields. Anything but a field or a keyed
// element counts as missing: the CustomResourceDefinitions have nothing else.
func lacks(value any, owned map[string]any) bool {
	for step, below := range owned {
		name, isField := strings.CutPrefix(step, "f:")
		if step == "." {
			continue
		}
		if strings.HasPrefix(step, "k:") && lists(value, step) {
			continue
		}
		object, isObject := value.(map[string]any)
		if !isField || !isObject {
			return true
		}
		field, has := object[name]
		if deeper, _ := below.(map[string]any); !has || lacks(field, deeper) {
			return true
		}
	}
	return false
}

// lists reports whether a list has an element with the keys of a step like k:{"uid":"11"}.
func lists(value any, step string) bool {
	var keys map[string]any
	if err := json.Unmarshal([]byte(strings.TrimPrefix(step, "k:")), &keys); err != nil {
		return false
	}
	elements, _ := value.([]any)
	return slices.ContainsFunc(elements, func(element any) bool {
		object, _ := element.(map[string]any)
		for key, want := range keys {
			if object[key] != want {
				return false
			}
		}
		return object != nil
	})
}
