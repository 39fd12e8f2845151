// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func injectorObject() *admissionregistrationv1.MutatingWebhookConfiguration {
	return &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "outrigger-sidecar-injector"}}
}

func exposurePolicy() *admissionregistrationv1.ValidatingAdmissionPolicy {
	return &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "outrigger-exposure"}}
}

func configMap(ns, name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
}

func secret() *corev1.Secret { return &corev1.Secret{} }

func mergeNamespace(t *testing.T, as tenant, name string) error {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	return as.client.Patch(t.Context(), ns, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"outrigger.dev/allowed-hosts":"*"}}}`)))
}

// asOutrigger returns a client of a tenant that claims to be Outrigger: the API server forbids tenants to impersonate.
func asOutrigger(t *testing.T, as tenant) client.Client {
	t.Helper()
	config := rest.CopyConfig(cluster.Config)
	config.Impersonate = rest.ImpersonationConfig{}
	token := &authenticationv1.TokenRequest{}
	_, name, _ := strings.Cut(strings.TrimPrefix(as.user, "system:serviceaccount:"), ":")
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: as.namespace, Name: name}}
	if err := kube.SubResource("token").Create(t.Context(), account, token); err != nil {
		t.Fatal(err)
	}
	config = rest.AnonymousClientConfig(config)
	config.BearerToken = token.Status.Token
	config.Impersonate = rest.ImpersonationConfig{UserName: userOf(outriggerNamespace, outriggerName)}
	c, err := client.New(config, client.Options{Scheme: kube.Scheme(), Mapper: kube.RESTMapper()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func tokenOfOutrigger(t *testing.T, as tenant) error {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: outriggerNamespace, Name: outriggerName}}
	return as.client.SubResource("token").Create(t.Context(), account, &authenticationv1.TokenRequest{})
}

// Somebody who has taken over Outrigger has its permission to patch its webhook objects, which RBAC cannot narrow to one
// field. The policy does: nothing but the caBundle can be changed, metadata included.
func TestTenantWithOutriggersAccount(t *testing.T) {
	needIstio(t)
	stolen := impersonate(t, outriggerNamespace, outriggerName)
	injector := injectorObject()
	if err := kube.Get(t.Context(), client.ObjectKeyFromObject(injector), injector); err != nil {
		t.Fatal(err)
	}
	validator := &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "outrigger-validator"}}
	if err := kube.Get(t.Context(), client.ObjectKeyFromObject(validator), validator); err != nil {
		t.Fatal(err)
	}
	try := func(before, after client.Object) error {
		return stolen.client.Patch(t.Context(), after, client.MergeFrom(before), client.DryRunAll)
	}
	needPolicy(t, "the policy on webhook objects", func() error {
		after := injector.DeepCopy()
		after.Labels["taken"] = "over"
		return try(injector, after)
	})
	for name, change := range map[string]func(*admissionregistrationv1.MutatingWebhookConfiguration){
		"every object of the cluster": func(w *admissionregistrationv1.MutatingWebhookConfiguration) {
			w.Webhooks[0].Rules = []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{"*"},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*/*"}},
			}}
		},
		"updates of pods": func(w *admissionregistrationv1.MutatingWebhookConfiguration) {
			w.Webhooks[0].Rules[0].Operations = append(w.Webhooks[0].Rules[0].Operations, admissionregistrationv1.Update)
		},
		"pods of every namespace": func(w *admissionregistrationv1.MutatingWebhookConfiguration) { w.Webhooks[0].NamespaceSelector = nil },
		"pods with every label":   func(w *admissionregistrationv1.MutatingWebhookConfiguration) { w.Webhooks[0].ObjectSelector = nil },
		"no conditions":           func(w *admissionregistrationv1.MutatingWebhookConfiguration) { w.Webhooks[0].MatchConditions = nil },
		"another condition": func(w *admissionregistrationv1.MutatingWebhookConfiguration) {
			w.Webhooks[0].MatchConditions[0].Expression = "true"
		},
		"another address": func(w *admissionregistrationv1.MutatingWebhookConfiguration) {
			w.Webhooks[0].ClientConfig.URL, w.Webhooks[0].ClientConfig.Service = ptr.To("https://evil.example/inject"), nil
		},
		"another Service": func(w *admissionregistrationv1.MutatingWebhookConfiguration) {
			w.Webhooks[0].ClientConfig.URL, w.Webhooks[0].ClientConfig.Service = nil, &admissionregistrationv1.ServiceReference{Namespace: "evil", Name: "evil"}
		},
		"failures that are ignored": func(w *admissionregistrationv1.MutatingWebhookConfiguration) {
			w.Webhooks[0].FailurePolicy = ptr.To(admissionregistrationv1.Ignore)
		},
		"another timeout": func(w *admissionregistrationv1.MutatingWebhookConfiguration) {
			w.Webhooks[0].TimeoutSeconds = ptr.To[int32](30)
		},
		"reinvocation": func(w *admissionregistrationv1.MutatingWebhookConfiguration) {
			w.Webhooks[0].ReinvocationPolicy = ptr.To(admissionregistrationv1.IfNeededReinvocationPolicy)
		},
		"another match policy": func(w *admissionregistrationv1.MutatingWebhookConfiguration) {
			w.Webhooks[0].MatchPolicy = ptr.To(admissionregistrationv1.Exact)
		},
		"another name of an entry": func(w *admissionregistrationv1.MutatingWebhookConfiguration) {
			w.Webhooks[0].Name = "evil.sidecar-injector.outrigger.dev"
		},
		"one entry less": func(w *admissionregistrationv1.MutatingWebhookConfiguration) { w.Webhooks = w.Webhooks[1:] },
		"no entries":     func(w *admissionregistrationv1.MutatingWebhookConfiguration) { w.Webhooks = nil },
		"another order of entries": func(w *admissionregistrationv1.MutatingWebhookConfiguration) {
			w.Webhooks[0], w.Webhooks[1] = w.Webhooks[1], w.Webhooks[0]
		},
		"the last entry as the first": func(w *admissionregistrationv1.MutatingWebhookConfiguration) {
			last := len(w.Webhooks) - 1
			w.Webhooks[0].NamespaceSelector, w.Webhooks[last].NamespaceSelector = w.Webhooks[last].NamespaceSelector, w.Webhooks[0].NamespaceSelector
		},
		"one entry more": func(w *admissionregistrationv1.MutatingWebhookConfiguration) {
			more := *w.Webhooks[0].DeepCopy()
			more.Name = "more.sidecar-injector.outrigger.dev"
			w.Webhooks = append(w.Webhooks, more)
		},
		"a label":   func(w *admissionregistrationv1.MutatingWebhookConfiguration) { w.Labels["taken"] = "over" },
		"no labels": func(w *admissionregistrationv1.MutatingWebhookConfiguration) { w.Labels = nil },
		"an annotation": func(w *admissionregistrationv1.MutatingWebhookConfiguration) {
			w.Annotations = map[string]string{"cert-manager.io/inject-ca-from": "evil/evil"}
		},
		"a finalizer": func(w *admissionregistrationv1.MutatingWebhookConfiguration) {
			w.Finalizers = []string{"evil.example/held"}
		},
		"an owner": func(w *admissionregistrationv1.MutatingWebhookConfiguration) {
			w.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Namespace", Name: "default", UID: "u"}}
		},
		"all but caBundles": func(w *admissionregistrationv1.MutatingWebhookConfiguration) {
			w.Webhooks[0].ClientConfig.CABundle, w.Webhooks[0].TimeoutSeconds = w.Webhooks[1].ClientConfig.CABundle, ptr.To[int32](1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			after := injector.DeepCopy()
			change(after)
			if err := try(injector, after); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "may change nothing but clientConfig.caBundle") {
				t.Errorf("%v; want it denied by the policy", err)
			}
		})
	}
	t.Run("the validating webhook", func(t *testing.T) {
		after := validator.DeepCopy()
		after.Webhooks[0].FailurePolicy = ptr.To(admissionregistrationv1.Fail)
		if err := try(validator, after); !apierrors.IsForbidden(err) {
			t.Errorf("%v; want it denied", err)
		}
	})
	t.Run("the caBundle", func(t *testing.T) {
		after := injector.DeepCopy()
		for i := range after.Webhooks {
			after.Webhooks[i].ClientConfig.CABundle = append(bytes.Clone(injector.Webhooks[i].ClientConfig.CABundle), '\n')
		}
		if err := try(injector, after); err != nil {
			t.Errorf("Outrigger cannot publish its CA: %v", err)
		}
	})
	t.Run("the caBundle, removed", func(t *testing.T) {
		after := injector.DeepCopy()
		after.Webhooks[0].ClientConfig.CABundle = nil
		if err := try(injector, after); err != nil {
			t.Errorf("%v; want it allowed, since it is the caBundle alone", err)
		}
	})
	t.Run("an administrator", func(t *testing.T) {
		after := injector.DeepCopy()
		after.Webhooks[0].TimeoutSeconds = ptr.To[int32](30)
		if err := kube.Patch(t.Context(), after, client.MergeFrom(injector), client.DryRunAll); err != nil {
			t.Errorf("the policy is about Outrigger alone: %v", err)
		}
	})
	t.Run("a deletion", func(t *testing.T) { // RBAC grants it to the hook that removes the release, and to nobody else
		if err := stolen.client.Delete(t.Context(), injector.DeepCopy(), client.DryRunAll); !apierrors.IsForbidden(err) || strings.Contains(err.Error(), "ValidatingAdmissionPolicy") {
			t.Errorf("%v; want it forbidden by RBAC", err)
		}
	})
	t.Run("a caBundle that Outrigger repairs", func(t *testing.T) { // with its own account, under the policy
		broken := injector.DeepCopy()
		for i := range broken.Webhooks {
			broken.Webhooks[i].ClientConfig.CABundle = nil
		}
		if err := kube.Patch(t.Context(), broken, client.MergeFrom(injector)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the caBundle is there again", func() error { return caBundlesOf(t, injector.Name) })
	})
}

func caBundlesOf(t *testing.T, name string) error {
	t.Helper()
	object := &admissionregistrationv1.MutatingWebhookConfiguration{}
	if err := kube.Get(context.Background(), client.ObjectKey{Name: name}, object); err != nil {
		return err
	}
	var missing []error
	for _, entry := range object.Webhooks {
		if len(entry.ClientConfig.CABundle) == 0 {
			missing = append(missing, fmt.Errorf("%s has none", entry.Name))
		}
	}
	return errors.Join(missing...)
}
