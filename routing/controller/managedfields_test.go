// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"outrigger.dev/outrigger/api"
)

func TestManagedFieldsAreReadOnlyWhereSomethingIsLeftOut(t *testing.T) {
	const standing = `{"metadata":{"annotations":{"a":"1","b":"2"},"ownerReferences":[{"uid":"11"}]},"spec":{"host":"app","subsets":[{"name":"v1"},{"name":"v2"}]}}`
	for what, c := range map[string]struct {
		body string
		want bool
	}{
		"the same":        {standing, false},
		"another value":   {`{"metadata":{"annotations":{"a":"3","b":"2"},"ownerReferences":[{"uid":"11"}]},"spec":{"host":"app","subsets":[{"name":"v1"},{"name":"v2"}]}}`, false},
		"something more":  {`{"metadata":{"annotations":{"a":"1","b":"2","c":"3"},"ownerReferences":[{"uid":"11"}]},"spec":{"host":"app","exportTo":["*"],"subsets":[{"name":"v1"},{"name":"v2"}]}}`, false},
		"a shorter list":  {`{"metadata":{"annotations":{"a":"1","b":"2"},"ownerReferences":[{"uid":"11"}]},"spec":{"host":"app","subsets":[{"name":"v2"}]}}`, false},
		"an annotation":   {`{"metadata":{"annotations":{"a":"1"},"ownerReferences":[{"uid":"11"}]},"spec":{"host":"app","subsets":[{"name":"v1"},{"name":"v2"}]}}`, true},
		"all annotations": {`{"metadata":{"ownerReferences":[{"uid":"11"}]},"spec":{"host":"app","subsets":[{"name":"v1"},{"name":"v2"}]}}`, true},
		"a field":         {`{"metadata":{"annotations":{"a":"1","b":"2"},"ownerReferences":[{"uid":"11"}]},"spec":{"host":"app"}}`, true},
		"another owner":   {`{"metadata":{"annotations":{"a":"1","b":"2"},"ownerReferences":[{"uid":"12"}]},"spec":{"host":"app","subsets":[{"name":"v1"},{"name":"v2"}]}}`, true},
	} {
		was, body := &unstructured.Unstructured{}, &unstructured.Unstructured{}
		if err := json.Unmarshal([]byte(standing), &was.Object); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(c.body), &body.Object); err != nil {
			t.Fatal(err)
		}
		if got := omitsField(was, body); got != c.want {
			t.Errorf("%s: %v", what, got)
		}
	}
}

// The API server refuses an object with two controllers, and an apply leaves the reference that a backup brought.
func TestARestoredObjectChangesItsController(t *testing.T) {
	s := newStage(t, nil)
	s.settle()
	for _, object := range []client.Object{s.rule(), s.route()} {
		object.SetOwnerReferences([]metav1.OwnerReference{
			{APIVersion: "v1", Kind: "Service", Name: "app", UID: "backup", Controller: ptr.To(true)},
			{APIVersion: "v1", Kind: "ConfigMap", Name: "kept", UID: "12"},
		})
		if err := s.writer.Update(t.Context(), object, client.FieldOwner("backup")); err != nil {
			t.Fatal(err)
		}
	}
	s.writer = interceptor.NewClient(s.writer.(client.WithWatch), interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, options ...client.PatchOption) error {
			now := o.DeepCopyObject().(client.Object)
			if err := c.Get(ctx, client.ObjectKeyFromObject(o), now); err != nil {
				return err
			}
			if owner := metav1.GetControllerOf(now); p.Type() == types.ApplyPatchType && owner != nil && owner.UID != "11" {
				return apierrors.NewInvalid(o.GetObjectKind().GroupVersionKind().GroupKind(), o.GetName(), nil)
			}
			return c.Patch(ctx, o, p, options...)
		},
	})
	s.settle()
	for _, object := range []client.Object{s.rule(), s.route()} {
		if owner := metav1.GetControllerOf(object); owner == nil || owner.UID != "11" {
			t.Errorf("%T has the owners %v", object, object.GetOwnerReferences())
		}
	}
	for _, told := range s.told() {
		if strings.Contains(told, string(api.RouteWriteRefused)) {
			t.Error(told)
		}
	}
}
