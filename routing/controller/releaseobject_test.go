// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// The release of an object removes what is ours, keeps what is the user's, and fails over another resource version.
func TestReleasePatchRemovesOurMarksAlone(t *testing.T) {
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "app"}}
	vs := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{
		Namespace: "demo", Name: "app",
		Labels:      map[string]string{api.LabelManagedBy: api.ManagedBy, api.LabelService: "app", "team": "a"},
		Annotations: map[string]string{api.AnnotationRecord: "{}", corev1.LastAppliedConfigAnnotation: "{}", "outrigger.dev/note": "mine"},
		OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "v1", Kind: "ConfigMap", Name: "theirs", UID: "1"},
			{APIVersion: "v1", Kind: "Service", Name: "app", UID: "2", Controller: ptr.To(true)},
		},
	}}
	live := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "7", ManagedFields: []metav1.ManagedFieldsEntry{{Manager: api.FieldManager}, {Manager: "kubectl"}}}}
	text, err := releasePatch(vs, routing.Released(vs, service), live)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"metadata": map[string]any{
		"resourceVersion": "7",
		"labels":          map[string]any{api.LabelManagedBy: nil, api.LabelService: nil},
		"annotations":     map[string]any{api.AnnotationRecord: nil},
		"ownerReferences": []any{map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "name": "theirs", "uid": "1"}},
		"managedFields":   []any{map[string]any{"manager": "kubectl"}},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("patch (-want +got):\n%s", diff)
	}
}
