// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

// A tenant labels a pod like the gateway's, and has a Service select it. Ports and addresses are those of the gateway alone.
func TestATenantsServiceIsNoGateway(t *testing.T) {
	installed := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	service := func(namespace, name string, at time.Time) *corev1.Service {
		return &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, CreationTimestamp: metav1.NewTime(at)},
			Spec:       corev1.ServiceSpec{Selector: map[string]string{"istio": "ingressgateway"}, Ports: []corev1.ServicePort{{Port: 9999}}},
		}
	}
	labels := []map[string]string{{"istio": "ingressgateway", "app": "x"}}
	reader := fake.NewClientBuilder().WithScheme(scheme.Scheme).WithObjects(
		service("istio-system", "ingressgateway", installed),
		service("istio-system", "ingressgateway-internal", installed.Add(time.Hour)),
		service("a-tenant", "evil", installed.Add(time.Second)),
		service("tenant", "evil", installed.Add(time.Hour)),
	).Build()
	for _, test := range []struct {
		namespaces []string
		want       []string
	}{
		{[]string{"a-tenant", "istio-system", "tenant"}, []string{"istio-system/ingressgateway", "istio-system/ingressgateway-internal"}},
		{[]string{"tenant"}, []string{"tenant/evil"}}, // a gateway in a team's namespace is a gateway
		{nil, nil},
	} {
		podLabels := map[string][]map[string]string{}
		for _, namespace := range test.namespaces {
			podLabels[namespace] = labels
		}
		services, err := servicesOfGateway(context.Background(), reader, podLabels)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range services {
			got = append(got, s.Namespace+"/"+s.Name)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}
