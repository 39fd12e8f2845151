// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"slices"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	networkingk8s "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"outrigger.dev/outrigger/api"
)

// status knows the mesh's own domain and class of Ingresses, as the controller does.
func TestStatusKnowsTheMeshConfiguration(t *testing.T) {
	configMap := func(name string, data map[string]string) client.Object {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: name}, Data: data}
	}
	maps := func(suffix string) []client.Object {
		return []client.Object{
			configMap("istio-sidecar-injector"+suffix, map[string]string{
				"config": "policy: enabled\ndefaultTemplates: [sidecar]\ntemplates: {sidecar: \"spec: {}\"}",
				"values": `{"global": {"proxy": {"clusterDomain": "corp.example"}}}`,
			}),
			configMap("istio"+suffix, map[string]string{"mesh": "ingressClass: edge"}),
		}
	}
	tag := &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "istio-revision-tag-default", Labels: map[string]string{api.LabelRevision: "canary"}}}
	for what, test := range map[string]struct {
		istio  []client.Object
		known  bool
		rights interceptor.Funcs
	}{
		"by default":        {maps(""), true, interceptor.Funcs{}},
		"by the tag":        {append(maps("-canary"), tag), true, interceptor.Funcs{}},
		"absent":            {nil, false, interceptor.Funcs{}},
		"what does not fit": {[]client.Object{configMap("istio", map[string]string{"mesh": "ingressClass: [1]"}), configMap("istio-sidecar-injector", nil)}, false, interceptor.Funcs{}},

		"by the chart's role": {append(maps("-canary"), tag), true, interceptor.Funcs{
			Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
				switch object.(type) {
				case *corev1.ConfigMap, *admissionregistrationv1.MutatingWebhookConfiguration:
					t.Errorf("the role does not permit to get %T %s", object, key)
					return forbidden
				}
				return c.Get(ctx, key, object, options...)
			},
		}},
		"by a user's role that permits get alone": {maps(""), true, interceptor.Funcs{
			List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
				if _, is := list.(*corev1.ConfigMapList); is {
					return forbidden
				}
				return c.List(ctx, list, options...)
			},
		}},
	} {
		t.Run(what, func(t *testing.T) {
			ingress := &networkingk8s.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "web", Annotations: map[string]string{"kubernetes.io/ingress.class": "edge"}}}
			ingress.Spec.Rules = []networkingk8s.IngressRule{{IngressRuleValue: networkingk8s.IngressRuleValue{HTTP: &networkingk8s.HTTPIngressRuleValue{Paths: []networkingk8s.HTTPIngressPath{{
				Backend: networkingk8s.IngressBackend{Service: &networkingk8s.IngressServiceBackend{Name: "app", Port: networkingk8s.ServiceBackendPort{Number: 80}}},
			}}}}}}
			s := shop(t, append(test.istio, ingress)...)
			s.reconcile("app")
			s.annotate("app", api.AnnotationExpose+"=true", api.AnnotationHosts+"=app.demo.svc.corp.example")
			s.through(test.rights)
			report, err := s.status(t.Context(), false, "app")
			if err != nil {
				t.Fatal(err)
			}
			var reasons []string
			for _, problem := range report.Namespaces[0].Services[0].Problems {
				reasons = append(reasons, problem.Reason)
			}
			for _, reason := range []api.RouteReason{api.RouteHostReserved, api.RouteIngressBypasses} {
				if slices.Contains(reasons, string(reason)) != test.known {
					t.Errorf("problems %v, want %s among them: %t", reasons, reason, test.known)
				}
			}
			if noted := strings.Contains(strings.Join(report.Notes, "\n"), "Istio's configuration is not known"); noted == test.known {
				t.Errorf("notes %q", report.Notes)
			}
		})
	}
}
