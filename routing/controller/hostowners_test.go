// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"maps"
	"testing"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

func testScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, networkingv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return scheme
}

func TestHostsBelongToServiceEntriesAndServices(t *testing.T) {
	entry := &networkingv1.ServiceEntry{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "external"}}
	entry.Spec.Hosts = []string{"api.stripe.example", "*.wild.example"}
	other := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "victim", Name: "payments"}}
	reader := fake.NewClientBuilder().WithScheme(testScheme(t)).WithObjects(entry, other).Build()
	sources := &cachedSources{reader: reader, kinds: []optionalKind{{definition: serviceEntryDefinition}}, names: newServiceNames()}
	observed := &routing.Observed{Service: &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "app"}}}
	observed.Intent.Expose = &api.Exposure{Hosts: []string{"api.stripe.example", "*.stripe.example", "a.wild.example", "payments.victim", "payments.nobody", "free.example.com"}}
	if err := (reading{sources, observed}).hostOwners(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"api.stripe.example": "ServiceEntry shop/external", "*.stripe.example": "ServiceEntry shop/external", "a.wild.example": "ServiceEntry shop/external",
		"payments.victim": "Service victim/payments",
	}
	if !maps.Equal(observed.HostOwners, want) {
		t.Errorf("hosts belong to %v, want %v", observed.HostOwners, want)
	}
	sources.kinds, observed.Intent.Expose.Hosts = nil, []string{"api.stripe.example", "*"}
	if err := (reading{sources, observed}).hostOwners(t.Context()); err != nil || len(observed.HostOwners) > 0 {
		t.Errorf("where ServiceEntries are not watched, hosts belong to %v: %v", observed.HostOwners, err)
	}
}
