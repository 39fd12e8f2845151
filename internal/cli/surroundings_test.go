// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/routing/controller"
)

// Like the controller, status counts no Service of a tenant that labels pods like the gateway's: its address would be shown as the URL.
func TestIngressIgnoresServicesOfTenants(t *testing.T) {
	objects := ingressGateway()
	labels := map[string]string{"istio": "ingressgateway"}
	pod, service := podOf("ingress", labels, true), serviceOf("web", "")
	pod.Namespace, service.Namespace, service.Spec.Selector = "a-tenant", "a-tenant", labels
	objects[1].SetCreationTimestamp(metav1.NewTime(noon.Add(-time.Hour)))
	service.CreationTimestamp = metav1.NewTime(noon)
	s := newLiveStage(t, append([]client.Object{pod, service}, objects...)...)
	services, err := controller.GatewayServices(t.Context(), s.snapshot("demo", false), labels)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, found := range services {
		got = append(got, found.Namespace+"/"+found.Name)
	}
	if diff := cmp.Diff([]string{"istio-system/istio-ingressgateway"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
