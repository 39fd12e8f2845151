// SPDX-License-Identifier: Apache-2.0

package routing_test

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// A Service has a version v1. Its owner deploys v2 and sends it a tenth of the requests. A route names a subset only once the
// proxies know it, so the DestinationRule is written first.
func ExamplePlan() {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "web", UID: "1", CreationTimestamp: metav1.NewTime(now.Add(-time.Hour)),
			Annotations: map[string]string{api.AnnotationWeights: "v1=90,v2=10"},
		},
		Spec: corev1.ServiceSpec{
			ClusterIP: "10.0.0.1", Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Name: "http", Port: 80}},
		},
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{"istio-injection": "enabled"}}}
	intent, problems := api.RouteIntentOf(service, namespace)
	fmt.Println("invalid annotations:", len(problems))

	observed := routing.Observed{
		Service: service, Namespace: namespace, Intent: intent,
		Settings: api.DefaultConfig().RoutingSettings(), RootNamespace: "istio-system",
	}
	for version, created := range map[string]time.Time{"v1": now.Add(-time.Hour), "v2": now.Add(-time.Minute)} {
		ref := routing.WorkloadRef{Kind: "Deployment", Name: "web-" + version}
		labels := map[string]string{"app": "web", "version": version}
		observed.Workloads = append(observed.Workloads, routing.Workload{WorkloadRef: ref, Created: created, Replicas: 2, Selector: labels, Labels: labels})
		observed.Pods = append(observed.Pods, routing.PodGroup{Workload: ref, Version: version, Pods: 2, Ready: 2, Created: created, ReadySince: created})
	}

	for at := now; ; {
		result := routing.Plan(observed, at)
		changes := observed.Changes(result)
		for _, change := range changes {
			fmt.Printf("after %v: %s %T\n", at.Sub(now), change.Action, change.Object)
		}
		for _, vs := range result.Objects.VirtualServices {
			fmt.Println("the route is", routing.RulesOf(vs)[0])
		}
		observed.Existing = result.Objects
		switch {
		case len(changes) > 0: // a controller sees its own writes and plans again
		case result.Next.IsZero():
			return
		default:
			at = result.Next
		}
	}
	// Output:
	// invalid annotations: 0
	// after 0s: Create *v1.DestinationRule
	// after 2s: Apply *v1.DestinationRule
	// after 2s: Create *v1.VirtualService
	// the route is v1=90 v2=10
	// the route is v1=90 v2=10
}
