// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"outrigger.dev/outrigger/inject"
)

// withoutAnyPermission has the cluster refuse every read, except of the named kinds.
func (s *liveStage) withoutAnyPermission(readable ...string) *liveStage {
	may := func(object any) bool {
		kind := strings.TrimSuffix(reflect.TypeOf(object).Elem().Name(), "List")
		return strings.Contains(" "+strings.Join(readable, " ")+" ", " "+kind+" ")
	}
	return s.through(interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
			if may(list) {
				return c.List(ctx, list, options...)
			}
			return forbidden
		},
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
			if may(object) {
				return c.Get(ctx, key, object, options...)
			}
			return forbidden
		},
	})
}

// A command that cannot continue names the missing permission and what to do, in place of the API server's error.
func TestCommandsNameTheMissingPermission(t *testing.T) {
	ctx := context.Background()
	const services = "no permission to list Services in namespace demo; the ClusterRole view, bound there, grants it"
	covered := func(s *liveStage, all bool) error {
		_, err := s.coverage(func(context.Context, istioFlags) (*inject.Config, error) { return nil, forbidden }).report(ctx, all)
		return err
	}
	for name, c := range map[string]struct {
		readable string
		run      func(*liveStage) error
		want     string
	}{
		"status":                     {"", func(s *liveStage) error { _, err := s.status(ctx, false); return err }, services},
		"status -A":                  {"", func(s *liveStage) error { _, err := s.status(ctx, true); return err }, "no permission to list Namespaces, which -A needs, and none to list Services in namespace demo; -n NAMESPACE in place of -A selects a namespace"},
		"coverage":                   {"", func(s *liveStage) error { return covered(s, false) }, "no permission to list Pods in namespace demo; the ClusterRole view, bound there, grants it"},
		"coverage -A":                {"", func(s *liveStage) error { return covered(s, true) }, "no permission to list Namespaces, which -A needs, and none to list Pods in namespace demo; -n NAMESPACE in place of -A selects a namespace"},
		"status -A, with Namespaces": {"Namespace", func(s *liveStage) error { _, err := s.status(ctx, true); return err }, "no permission to list Services in namespace demo; -n NAMESPACE in place of -A selects a namespace"},
		"enable":                     {"", func(s *liveStage) error { return s.setRouting(ctx, "demo", "enabled", s.writing(dryRunNone)) }, "no permission to get Namespace demo; the ClusterRole view, bound there, grants it"},
		"disable":                    {"Namespace", func(s *liveStage) error { return s.setRouting(ctx, "demo", "disabled", s.writing(dryRunNone)) }, services},
		"uninstall-routes":           {"", func(s *liveStage) error { return s.uninstallRoutes(ctx, "", true, s.writing(dryRunClient)) }, "no permission to list DestinationRules in all namespaces; -n NAMESPACE selects one namespace"},
	} {
		if err := c.run(shop(t).withoutAnyPermission(c.readable)); err == nil || err.Error() != c.want {
			t.Errorf("%s: %v\nwant %s", name, err, c.want)
		}
	}
}

// Whether the API server's authorization or admission refuses the label decides what the error says.
func TestEnableWithoutThePermissionToLabel(t *testing.T) {
	for refusal, want := range map[string]string{
		`User "jane" cannot patch resource "namespaces" in API group "" in the namespace "demo"`: "no permission to patch Namespace demo; a role of administrators grants it; edit and admin, bound in the namespace, do not",
		"admission webhook denied it: ticket missing":                                            `label namespace demo: namespaces "demo" is forbidden: admission webhook denied it: ticket missing`,
	} {
		s := newLiveStage(t, demo()).through(interceptor.Funcs{Patch: func(context.Context, client.WithWatch, client.Object, client.Patch, ...client.PatchOption) error {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "namespaces"}, "demo", errors.New(refusal))
		}})
		if err := s.setRouting(t.Context(), "demo", "enabled", s.writing(dryRunNone)); err == nil || err.Error() != want {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
}

func TestShiftWithoutThePermissionToAnnotate(t *testing.T) {
	for refusal, want := range map[string]string{
		`User "jane" cannot patch resource "services" in API group "" in the namespace "demo"`: "no permission to patch Service demo/app; the ClusterRole edit, bound in namespace demo, grants it",
		"admission webhook denied it: exposing requires rights":                                `annotate service demo/app: services "app" is forbidden: admission webhook denied it: exposing requires rights`,
	} {
		s := shop(t).through(interceptor.Funcs{Patch: func(context.Context, client.WithWatch, client.Object, client.Patch, ...client.PatchOption) error {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "services"}, "app", errors.New(refusal))
		}})
		if err := s.applyDecision(t.Context(), shifting(t, "app", "v1=90", "v2=10"), s.writing(dryRunNone)); err == nil || err.Error() != want {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
}

// A gateway that may not be read is not reported as missing.
func TestEnableReportsNoGatewayThatIsUnreadable(t *testing.T) {
	s := shop(t, ingressGateway()...)
	s.annotate("app", "outrigger.dev/expose=true")
	s.withoutPermission()
	if out := s.labeled("enabled"); strings.Contains(out, "Gateway") {
		t.Errorf("printed:\n%s", out)
	}
}

// Where Namespaces may be listed, pods that may not be read are noted, also those of the namespace of the command.
func TestCoverageOfEveryNamespaceWithoutPods(t *testing.T) {
	s := shop(t).withoutAnyPermission("Namespace")
	report, err := s.coverage(func(context.Context, istioFlags) (*inject.Config, error) { return nil, forbidden }).report(t.Context(), true)
	if err != nil || len(report.Notes) != 1 || !strings.Contains(report.Notes[0], "Pods") {
		t.Errorf("%v, notes %q", err, report.Notes)
	}
}

func TestInjectNamesTheMissingPermission(t *testing.T) {
	refused := newLiveStage(t).withoutAnyPermission().client
	f := istioFlags{istioNamespace: "istio-system"}
	_, name, err := f.read(t.Context(), refused)
	if err = f.unreadable(name, err); !strings.HasPrefix(err.Error(), "no permission to get ConfigMap istio-sidecar-injector in namespace istio-system; ") || !isForbidden(err) {
		t.Errorf("%v", err)
	}
	if _, err := f.facts(t.Context(), refused); err == nil || !strings.HasPrefix(err.Error(), "no permission to list Nodes, ") {
		t.Errorf("%v", err)
	}
}
