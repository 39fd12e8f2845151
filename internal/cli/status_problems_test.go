// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// annotateNamespace sets annotations of namespace demo.
func (s *liveStage) annotateNamespace(words ...string) {
	s.t.Helper()
	namespace := &corev1.Namespace{}
	if err := s.client.Get(context.Background(), types.NamespacedName{Name: "demo"}, namespace); err != nil {
		s.t.Fatal(err)
	}
	was := namespace.DeepCopy()
	namespace.Annotations = map[string]string{}
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		namespace.Annotations[key] = value
	}
	if err := s.client.Patch(context.Background(), namespace, client.MergeFrom(was)); err != nil {
		s.t.Fatal(err)
	}
}

// A problem with a setting of the Namespace is printed once, with the Services that it affects.
func TestStatusPrintsAProblemOfANamespaceOnce(t *testing.T) {
	s := shop(t, ingressGateway()...)
	s.annotate("app", "outrigger.dev/expose=true", "outrigger.dev/hosts=a.example.com")
	s.annotate("app-internal", "outrigger.dev/expose=true", "outrigger.dev/hosts=b.example.com")
	s.annotateNamespace("outrigger.dev/gateway=istio-system/none", "outrigger.dev/eager=maybe")
	s.reconcile("app", "app-internal")
	got := s.table(tableView{}, false)
	for _, want := range []string{
		`GatewayNotFound: Namespace demo, metadata.annotations[outrigger.dev/gateway] = "istio-system/none": There is no such Gateway. The Service is not exposed. Affected Services: app, app-internal.`,
		`InvalidAnnotation: Namespace demo, metadata.annotations[outrigger.dev/eager] = "maybe": `,
	} {
		if strings.Count(got, want) != 1 {
			t.Errorf("want once: %s\n%s", want, got)
		}
	}
	if want := "Affected Service: app."; strings.Contains(s.table(tableView{}, false, "app-internal"), want) || !strings.Contains(s.table(tableView{}, false, "app"), want) {
		t.Errorf("status of one Service, got\n%s", s.table(tableView{}, false, "app"))
	}
}
