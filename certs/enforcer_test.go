// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AKS's admissions enforcer adds two requirements to the namespace selector of every webhook. A replica neither reverts nor
// answers that with a write, and when it has to write the caBundle, it leaves them alone.
func TestSelectorsOfTheAKSEnforcerStay(t *testing.T) {
	c := newCluster()
	keeper := c.replica(t)
	look(t, keeper)
	enforced := []metav1.LabelSelectorRequirement{
		{Key: "control-plane", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"true"}},
		{Key: "kubernetes.azure.com/managedby", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"aks"}},
	}
	webhooks := c.AdmissionregistrationV1().MutatingWebhookConfigurations()
	change := func(change func(*admissionregistrationv1.MutatingWebhook)) {
		t.Helper()
		object, err := webhooks.Get(t.Context(), webhookName, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range object.Webhooks {
			change(&object.Webhooks[i])
		}
		if _, err := webhooks.Update(t.Context(), object, metav1.UpdateOptions{FieldManager: "admissionsenforcer"}); err != nil {
			t.Fatal(err)
		}
	}
	patches := func() (count int) {
		for _, action := range c.Actions() {
			if action.Matches("patch", "mutatingwebhookconfigurations") {
				count++
			}
		}
		return count
	}
	before := patches()
	change(func(entry *admissionregistrationv1.MutatingWebhook) {
		entry.NamespaceSelector = &metav1.LabelSelector{MatchExpressions: enforced}
	})
	for range 3 {
		look(t, keeper)
	}
	if after := patches(); before == 0 || after != before {
		t.Errorf("%d writes before the enforcer's, %d after it; want no other", before, after)
	}
	change(func(entry *admissionregistrationv1.MutatingWebhook) { entry.ClientConfig.CABundle = nil })
	look(t, keeper)
	c.trusted(t, keeper)
	object, err := webhooks.Get(t.Context(), webhookName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range object.Webhooks {
		if diff := cmp.Diff(enforced, entry.NamespaceSelector.MatchExpressions); diff != "" {
			t.Errorf("entry %s (-enforced +now):\n%s", entry.Name, diff)
		}
	}
}
