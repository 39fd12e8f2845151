// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
)

// A server-side apply removes an omitted field only if no other manager owns it. A field that another client added, for example
// spec.exportTo by kubectl edit, would stay.

// dropAdded removes the fields of a spec that other managers own and that a new body omits. It updates the resource version of live.
func (r *reconciler) dropAdded(ctx context.Context, live *metav1.PartialObjectMetadata, was, body *unstructured.Unstructured) error {
	removed := addedFields(was.Object["spec"], body.Object["spec"], ownedByOthers(live.ManagedFields))
	if body.GetKind() == "DestinationRule" {
		delete(removed, "trafficPolicy") // the user's
	}
	if len(removed) == 0 {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": live.ResourceVersion}, "spec": removed})
	if err != nil {
		return fmt.Errorf("fields that others added: %w", err)
	}
	return r.writer.Patch(ctx, live, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(api.FieldManager))
}

// ownedByOthers returns the fields of the spec that other managers own, in the form of managed fields.
func ownedByOthers(entries []metav1.ManagedFieldsEntry) []map[string]any {
	var out []map[string]any
	for _, entry := range entries {
		var fields map[string]any
		if entry.Manager == api.FieldManager || entry.Subresource != "" || entry.FieldsV1 == nil || json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields) != nil {
			continue
		}
		if spec, is := fields["f:spec"].(map[string]any); is {
			out = append(out, spec)
		}
	}
	return out
}

// addedFields returns a merge patch that removes the fields which the old value has, the new one omits, and an owner has. Each list
// is one field.
func addedFields(was, is any, owners []map[string]any) map[string]any {
	out := map[string]any{}
	old, _ := was.(map[string]any)
	now, _ := is.(map[string]any)
	for name, value := range old {
		var below []map[string]any
		owned := false
		for _, owner := range owners {
			field, has := owner["f:"+name]
			owned = owned || has
			if deeper, is := field.(map[string]any); is {
				below = append(below, deeper)
			}
		}
		if !owned {
			continue
		}
		if _, stays := now[name]; !stays {
			out[name] = nil
			continue
		}
		if deeper := addedFields(value, now[name], fieldsOnly(below)); len(deeper) > 0 {
			out[name] = deeper
		}
	}
	return out
}

// fieldsOnly drops the elements of lists.
func fieldsOnly(owners []map[string]any) []map[string]any {
	var out []map[string]any
	for _, owner := range owners {
		fields := map[string]any{}
		for step, below := range owner {
			if strings.HasPrefix(step, "f:") {
				fields[step] = below
			}
		}
		out = append(out, fields)
	}
	return out
}
