// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"encoding/json"
	"fmt"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// applied is the result of the writes of a plan.
type applied struct {
	refused                  // the writes that the API server rejected
	again   bool             // an object changed since it was read, so the Service must be reconciled again
	written []routing.Change // in their order
}

// hasRoutesLeft reports whether VirtualServices of the plan are not written yet, so that requests may still take the earlier route.
func (a applied) hasRoutesLeft(admitted admission) bool {
	return countRoutes(a.written) < countRoutes(admitted.changes)+countRoutes(admitted.delayed)
}

func countRoutes(changes []routing.Change) (n int) {
	for _, change := range changes {
		if _, is := change.Object.(*networkingv1.VirtualService); is {
			n++
		}
	}
	return n
}

// apply writes the changes in order. It stops if an object changed since it was read. A write that the API server rejects is a Problem.
func (r *reconciler) apply(ctx context.Context, observed *routing.Observed, changes []routing.Change) (out applied, err error) {
	for _, change := range changes {
		if out.blocks(change) {
			continue
		}
		gvk, err := apiutil.GVKForObject(change.Object, r.writer.Scheme())
		if err != nil {
			return out, err
		}
		body, err := bodyOf(change.Object)
		if err != nil {
			return out, err
		}
		body.SetGroupVersionKind(gvk)
		attempt, err := r.attempt(observed, change)
		if err != nil {
			return out, err
		}
		if err := r.write(ctx, observed, change, body); err != nil {
			if apierrors.IsAlreadyExists(err) || apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
				out.again = true
				return out, nil
			}
			if status, is := refusalOf(err); is {
				out.add(gvk.Kind, change, status)
				continue
			}
			return out, fmt.Errorf("%s %s %s: %w", change.Action, gvk.Kind, client.ObjectKeyFromObject(change.Object), err)
		}
		version := body.GetResourceVersion()
		if change.Action == routing.Delete {
			version = change.ResourceVersion
		}
		r.written.note(client.ObjectKeyFromObject(observed.Service), writtenObject{gvk.Kind, client.ObjectKeyFromObject(body)},
			writtenState{version: version, deleted: change.Action == routing.Delete, until: r.now().Add(awaitFor)})
		r.contests.Wrote(attempt, digestAfter(observed, change))
		r.reporter.countWrite(change, gvk.Kind)
		out.written = append(out.written, change)
		if r.contests.Manager(attempt.Object) == "" { // a contested object has a separate Event
			r.reporter.reportWrite(observed.Service, change, body)
		}
	}
	return out, nil
}

func (r *reconciler) write(ctx context.Context, observed *routing.Observed, change routing.Change, body *unstructured.Unstructured) error {
	switch change.Action {
	case routing.Create:
		return r.writer.Create(ctx, body, client.FieldOwner(api.FieldManager))
	case routing.Apply:
		version, err := r.migrateManagedFields(ctx, observed, change, body)
		if err != nil {
			return err
		}
		body.SetResourceVersion(version)
		text, err := body.MarshalJSON()
		if err != nil {
			return err
		}
		return r.writer.Patch(ctx, body, client.RawPatch(types.ApplyPatchType, text), client.FieldOwner(api.FieldManager), client.ForceOwnership)
	case routing.Release:
		return r.release(ctx, observed, change, body)
	case routing.Delete:
		uid, version := change.Object.GetUID(), change.ResourceVersion
		return r.writer.Delete(ctx, body, client.Preconditions{UID: &uid, ResourceVersion: &version})
	}
	return fmt.Errorf("unknown action %q", change.Action)
}

// live reads the metadata of an object from the API server, by a list of its name, which needs no permission to get.
func (r *reconciler) live(ctx context.Context, object client.Object) (*metav1.PartialObjectMetadata, error) {
	gvk := object.GetObjectKind().GroupVersionKind()
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
	if err := r.writer.List(ctx, list, client.InNamespace(object.GetNamespace()), client.MatchingFields{metav1.ObjectNameField: object.GetName()}); err != nil {
		return nil, err
	}
	if len(list.Items) != 1 {
		return nil, apierrors.NewNotFound(schema.GroupResource{Group: gvk.Group, Resource: gvk.Kind}, object.GetName())
	}
	list.Items[0].SetGroupVersionKind(gvk)
	return &list.Items[0], nil
}

func existingObject(objects routing.Objects, like routing.Object) routing.Object {
	for _, object := range objects.All() {
		if fmt.Sprintf("%T", object) == fmt.Sprintf("%T", like) && client.ObjectKeyFromObject(object) == client.ObjectKeyFromObject(like) {
			return object
		}
	}
	return nil
}

// bodyOf returns the fields of an object that we write: name, labels, annotations, owner, and spec.
func bodyOf(object routing.Object) (*unstructured.Unstructured, error) {
	text, err := json.Marshal(object)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", client.ObjectKeyFromObject(object), err)
	}
	var whole struct {
		Spec map[string]any `json:"spec"`
	}
	if err := json.Unmarshal(text, &whole); err != nil {
		return nil, fmt.Errorf("decode %s: %w", client.ObjectKeyFromObject(object), err)
	}
	body := &unstructured.Unstructured{Object: map[string]any{"spec": integers(whole.Spec)}}
	body.SetNamespace(object.GetNamespace())
	body.SetName(object.GetName())
	body.SetLabels(object.GetLabels())
	body.SetAnnotations(object.GetAnnotations())
	body.SetOwnerReferences(object.GetOwnerReferences())
	return body, nil
}

// integers turns the whole numbers of decoded JSON into int64, because an Unstructured with other kinds cannot be copied.
func integers(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for key, item := range v {
			v[key] = integers(item)
		}
	case []any:
		for i, item := range v {
			v[i] = integers(item)
		}
	case float64:
		if whole := int64(v); float64(whole) == v {
			return whole
		}
	}
	return value
}
