// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"testing"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

func TestRestoredRulesAreRememberedForAWhile(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	rule := func(name string, created time.Time) *networkingv1.DestinationRule {
		return &networkingv1.DestinationRule{ObjectMeta: metav1.ObjectMeta{
			Namespace: "demo", Name: name, CreationTimestamp: metav1.NewTime(created),
			Labels:          map[string]string{api.LabelManagedBy: api.ManagedBy, api.LabelService: "app"},
			Annotations:     map[string]string{api.AnnotationSubsetAdded: "v1=2026-01-02T09:00:00.000Z"},
			OwnerReferences: []metav1.OwnerReference{{Kind: "Service", Name: "app", UID: "old", Controller: ptr.To(true)}},
		}}
	}
	key := client.ObjectKey{Namespace: "demo", Name: "app"}
	restored := newRestoredDestinationRules(func() time.Time { return now })
	restored.note(rule("app", time.Date(2026, 1, 2, 9, 0, 0, 0, time.UTC))) // made by us
	if got := restored.forService(key); got != nil {
		t.Errorf("an object that we created counts as restored: %v", got)
	}
	restored.note(rule("app", now))
	restored.note(rule("app", now)) // seen twice, kept once
	if got := restored.forService(key); got == nil || got.Name != "app" {
		t.Errorf("remembered: %v", got)
	}
	foreign := rule("other", now)
	foreign.Labels = nil
	restored.note(foreign)
	if got := restored.forService(key); got == nil || got.Name != "app" {
		t.Errorf("remembered: %v", got)
	}
	replaced := rule("app", now)
	replaced.Annotations = map[string]string{api.AnnotationRecord: `{"default":"v2"}`}
	bare := replaced.DeepCopy()
	restored.noteReplaced(replaced, bare) // an edit
	if got := restored.forService(key); routing.HasRecord(got) {
		t.Errorf("an object that is ours counts as replaced: %v", got)
	}
	bare.Labels, bare.Annotations, bare.OwnerReferences = nil, nil, nil
	restored.noteReplaced(replaced, bare)
	if got := restored.forService(key); !routing.HasRecord(got) {
		t.Errorf("a record that was replaced is not remembered: %v", got)
	}
	now = now.Add(restoredFor + time.Second)
	if got := restored.forService(key); got != nil {
		t.Errorf("still remembered after %v: %v", restoredFor, got)
	}
	var none *restoredDestinationRules
	if got := none.forService(key); got != nil {
		t.Errorf("%v", got)
	}
}
