// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// release removes our marks from an object that the user replaced: owner reference, labels, annotations, and our entries of
// the managed fields, with which the user's next server-side apply would conflict. It writes metadata only.
func (r *reconciler) release(ctx context.Context, observed *routing.Observed, change routing.Change, body *unstructured.Unstructured) error {
	live, err := r.live(ctx, body)
	if err != nil {
		return err
	}
	if live.ResourceVersion != change.ResourceVersion {
		return apierrors.NewConflict(schema.GroupResource{Group: networkingv1.GroupName, Resource: body.GetKind()}, live.Name, errors.New("it changed meanwhile"))
	}
	patch, err := releasePatch(change.Object, routing.Released(change.Object, observed.Service), live)
	if err != nil {
		return err
	}
	return r.writer.Patch(ctx, body, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(api.FieldManager))
}

// releasePatch returns the merge patch that turns an object's metadata into that of its released copy. It contains the resource
// version.
func releasePatch(is, released routing.Object, live *metav1.PartialObjectMetadata) ([]byte, error) {
	metadata := map[string]any{
		"resourceVersion": live.ResourceVersion,
		"labels":          removedKeys(is.GetLabels(), released.GetLabels()),
		"annotations":     removedKeys(is.GetAnnotations(), released.GetAnnotations()),
		"ownerReferences": released.GetOwnerReferences(),
	}
	others := slices.DeleteFunc(slices.Clone(live.ManagedFields), func(entry metav1.ManagedFieldsEntry) bool { return entry.Manager == api.FieldManager })
	if len(others) > 0 {
		metadata["managedFields"] = others
	}
	text, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return nil, fmt.Errorf("encode the release of %s: %w", live.Name, err)
	}
	return text, nil
}

func removedKeys(is, released map[string]string) map[string]any {
	out := map[string]any{}
	for key := range is {
		if _, stays := released[key]; !stays {
			out[key] = nil
		}
	}
	return out
}
