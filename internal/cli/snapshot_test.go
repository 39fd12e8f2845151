// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"outrigger.dev/outrigger/internal/diagnose"
)

var forbidden = apierrors.NewForbidden(schema.GroupResource{Resource: "things"}, "", nil)

// through puts something in the way of the reads of a stage.
func (s *liveStage) through(funcs interceptor.Funcs) *liveStage {
	s.client = interceptor.NewClient(s.client.(client.WithWatch), funcs)
	return s
}

// Someone with the rights of one namespace sees its versions and weights, and is told what is not known.
func TestStatusWithTheRightsOfOneNamespace(t *testing.T) {
	s := shop(t).through(interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
			wanted := client.ListOptions{}
			if wanted.ApplyOptions(options); wanted.Namespace != "demo" {
				return forbidden
			}
			return c.List(ctx, list, options...)
		},
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return forbidden
		},
	})
	report, err := s.status(context.Background(), false, "app")
	if err != nil {
		t.Fatal(err)
	}
	app := report.Namespaces[0].Services[0]
	if app.State != diagnose.StateRouted || len(app.Versions) != 2 || *app.Versions[0].Weight != 100 {
		t.Errorf("%+v", app)
	}
	want := []string{
		"You have no permission to read Namespace demo; DestinationRules, Gateways, VirtualServices outside namespace demo. What depends on them is unknown. docs/understand/security.md lists the permissions of users.",
	}
	if diff := cmp.Diff(want, report.Notes); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestStatusWithoutIstio(t *testing.T) {
	noIstio := &meta.NoKindMatchError{GroupKind: schema.GroupKind{Group: "networking.istio.io", Kind: "VirtualService"}}
	s := newLiveStage(t, append(runningPods("app", "v1", 1, 1), demo("istio-injection=enabled"), serviceOf("app", "app"))...).through(interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
			switch list.(type) {
			case *networkingv1.DestinationRuleList, *networkingv1.VirtualServiceList, *networkingv1.GatewayList:
				return noIstio
			}
			return c.List(ctx, list, options...)
		},
	})
	report, err := s.status(context.Background(), false)
	if err != nil {
		t.Fatal(err)
	}
	if got := report.Namespaces[0].Services[0].State; got != diagnose.StateWaiting {
		t.Errorf("state %q", got)
	}
	if len(report.Notes) != 3 || !strings.Contains(report.Notes[0], "The cluster has no kind DestinationRule: Istio is not installed") {
		t.Errorf("notes: %q", report.Notes)
	}
}

// However many Services there are, each kind is asked for once.
func TestStatusAsksForEachKindOnce(t *testing.T) {
	asked := map[string]int{}
	s := shop(t, ingressGateway()...)
	s.annotate("app", "outrigger.dev/expose=true")
	s.annotate("app-internal", "outrigger.dev/expose=true", "outrigger.dev/hosts=a.example.com")
	s.reconcile("app", "app-internal")
	s.through(interceptor.Funcs{List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
		wanted := client.ListOptions{}
		wanted.ApplyOptions(options)
		kind := strings.TrimPrefix(strings.TrimSuffix(fmt.Sprintf("%T", list), "List"), "*v1.")
		asked[kind+" "+wanted.Namespace]++
		return c.List(ctx, list, options...)
	}})
	if _, err := s.status(context.Background(), true); err != nil {
		t.Fatal(err)
	}
	want := map[string]int{}
	for _, kind := range []string{"Namespace", "Service", "Pod", "Node", "Deployment", "StatefulSet", "DaemonSet", "DestinationRule", "VirtualService", "Gateway", "WorkloadEntry", "ServiceEntry", "Ingress"} {
		want[kind+" "] = 1
	}
	want["ConfigMap istio-system"], want["MutatingWebhookConfiguration "] = 1, 1 // Istio's configuration and its default tag, by name
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestSettingsAreThoseOfTheInstallation(t *testing.T) {
	text := "apiVersion: config.outrigger.dev/v1alpha1\nkind: Configuration\nrouting: {propagationDelay: 7s}\n"
	settings := &corev1.ConfigMap{Data: map[string]string{"config.yaml": text}}
	settings.Namespace, settings.Name = "elsewhere", "o-config"
	s := newLiveStage(t, settings)
	for _, c := range []struct {
		system, want string
	}{{"elsewhere", "7s"}, {"nowhere", "2s"}} {
		s.from = &clusterFlags{system: c.system}
		err := s.readSettings(t.Context())
		if got := s.config.Routing.PropagationDelay.String(); err != nil || got != c.want {
			t.Errorf("%s: %s, %v", c.system, got, err)
		}
	}
}
