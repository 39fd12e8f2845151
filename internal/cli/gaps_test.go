// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/diagnose"
)

// withoutPermission has the cluster refuse lists of the whole cluster and of other namespaces, and of these kinds everywhere.
func (s *liveStage) withoutPermission(kinds ...string) *liveStage {
	return s.through(interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
			wanted := client.ListOptions{}
			wanted.ApplyOptions(options)
			kind := strings.TrimSuffix(reflect.TypeOf(list).Elem().Name(), "List")
			if wanted.Namespace != "demo" || slices.Contains(kinds, kind) {
				return forbidden
			}
			return c.List(ctx, list, options...)
		},
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
			if _, is := object.(*corev1.Namespace); is && (key.Name != "demo" || slices.Contains(kinds, "Namespace")) {
				return forbidden
			}
			if _, is := object.(*corev1.ConfigMap); is {
				return forbidden
			}
			return c.Get(ctx, key, object, options...)
		},
	})
}

// What a user may not read is unknown: it is neither a failure nor taken for absent.
func TestStatusWithoutThePermissionOfAKind(t *testing.T) {
	for name, c := range map[string]struct {
		hidden []string
		want   []string // rows of the table
		note   string   // its beginning
	}{
		"what edit grants": {nil, []string{"app routed v1 2/2 90 -", "app routed v2 9/10 10 -"}, "Namespace istio-system; DestinationRules, Gateways,"},
		"WorkloadEntries":  {[]string{"WorkloadEntry"}, []string{"app routed v1 2/2 90 -"}, "WorkloadEntries;"},
		"Istio's kinds": {
			[]string{"DestinationRule", "Gateway", "ServiceEntry", "VirtualService", "WorkloadEntry"},
			[]string{"app unknown v1 2/2 ? -", "app unknown v2 9/10 ? -", "other unknown - 0/0 - -"}, "DestinationRules, Gateways, VirtualServices, WorkloadEntries; Namespace istio-system",
		},
		"Pods":          {[]string{"Pod"}, []string{"app unknown v1 0/0 - -"}, "Pods;"},
		"the Namespace": {[]string{"Namespace"}, []string{"app routed v1 2/2 90 -", "other unknown - 0/0 - -"}, "Namespace demo, Namespace istio-system;"},
	} {
		t.Run(name, func(t *testing.T) {
			s := shop(t)
			s.annotate("app", "outrigger.dev/weights=v1=90,v2=10")
			s.reconcile("app", "app-internal")
			s.withoutPermission(c.hidden...)
			report, err := s.status(t.Context(), false)
			if err != nil {
				t.Fatal(err)
			}
			if len(report.Notes) != 1 || !strings.HasPrefix(report.Notes[0], "You have no permission to read "+c.note) {
				t.Errorf("notes: %q", report.Notes)
			}
			if err := printStatus(report, tableView{gaps: s.gaps}, &s.out); err != nil {
				t.Fatal(err)
			}
			got := squeeze(s.out.String())
			for _, want := range c.want {
				if !strings.Contains(got, want+"\n") {
					t.Errorf("%q is not in\n%s", want, got)
				}
			}
			if strings.Contains(got, "not written yet") {
				t.Errorf("a change is reported as due:\n%s", got)
			}
		})
	}
}

// An exposure depends on the gateway's pods and Services, which few users may read: that they are not seen is not reported.
func TestStatusOfAnExposureWithTheRightsOfOneNamespace(t *testing.T) {
	s := shop(t, ingressGateway()...)
	s.annotate("app", "outrigger.dev/expose=true")
	s.reconcile("app", "app-internal")
	s.withoutPermission()
	got := squeeze(s.table(tableView{gaps: s.gaps}, false, "app"))
	for _, wrong := range []string{"GatewaySelectorUnmatched", "GatewayPortNotExposed", "not written yet"} {
		if strings.Contains(got, wrong) {
			t.Errorf("%q is in\n%s", wrong, got)
		}
	}
	if !strings.Contains(got, "app routed v1 2/2 100 -") || !strings.Contains(got, "app demo/app * 80") {
		t.Errorf("got\n%s", got)
	}
}

func TestStatusOfEveryNamespaceWithTheRightsOfOne(t *testing.T) {
	s := shop(t).withoutPermission()
	got := squeeze(s.table(tableView{namespaces: true, gaps: s.gaps}, true))
	if !strings.Contains(got, "demo app routed v1 2/2 100 -") {
		t.Errorf("got\n%s", got)
	}
	if note := s.gaps.Note("demo"); !strings.Contains(note, "read Namespaces; ") {
		t.Errorf("note %q", note)
	}
}

func TestExplainOfAServiceWithoutPermissions(t *testing.T) {
	s := shop(t).withoutPermission("DestinationRule", "VirtualService", "Namespace")
	observed := s.look("app")
	story := func() string {
		s.out.Reset()
		if err := printExplanation(diagnose.ExplainService(observed, nil, diagnose.Surroundings{Gaps: s.gaps}, noon).Paragraphs(), &s.out); err != nil {
			t.Fatal(err)
		}
		return squeeze(s.out.String())
	}
	got := story()
	for _, want := range []string{"State unknown: you have no permission", "Routing unknown, since you have no permission to read Namespace demo", "Default unknown", "Where requests go\nunknown\n"} {
		if !strings.Contains(strings.ReplaceAll(got, "\n ", "\n"), want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}

// A decision needs the permission to update the Service alone. What it cannot see, it neither refuses nor confirms.
func TestShiftWithTheRightsOfOneNamespace(t *testing.T) {
	s := shop(t).withoutPermission("WorkloadEntry")
	var notes strings.Builder
	output := s.writing(dryRunNone)
	output.notes = &notes
	if err := s.applyDecision(t.Context(), shifting(t, "app", "v1=90", "v2=10"), output); err != nil {
		t.Fatal(err)
	}
	s.printed("service/app: v1=100 -> v1=90 v2=10\n", "service/app annotated\n")
	if !strings.HasPrefix(notes.String(), "Note: You have no permission to read WorkloadEntries; ") || strings.Count(notes.String(), "\n") != 1 {
		t.Errorf("notes %q", notes.String())
	}
	s.reconcile("app", "app-internal")
	if why, err := s.pendingReason(t.Context(), []diagnose.Forecast{{Observed: s.look("app")}}); err != nil || why != "" {
		t.Errorf("%q, %v", why, err)
	}
}

func TestShiftWithoutThePermissionToReadRoutes(t *testing.T) {
	s := shop(t).withoutPermission("DestinationRule", "VirtualService")
	output := s.writing(dryRunNone)
	output.wait = true
	if err := s.applyDecision(t.Context(), shifting(t, "app", "v1=90", "v2=10"), output); err == nil || !strings.Contains(err.Error(), "--wait needs permission to list DaemonSets") {
		t.Errorf("--wait: %v", err)
	}
	if got := s.annotations("app"); len(got) > 0 {
		t.Errorf("written: %v", got)
	}
	if err := s.applyDecision(t.Context(), shifting(t, "app", "v1=90", "v2=10"), s.writing(dryRunNone)); err != nil {
		t.Fatal(err)
	}
	s.printed("service/app: its current route is unknown\n", "service/app annotated\n")

	s = shop(t).withoutPermission("Pod")
	if err := s.applyDecision(t.Context(), shifting(t, "app", "v9=1"), s.writing(dryRunNone)); err == nil || !strings.Contains(err.Error(), "no permission to list Pods in namespace demo, so it is unknown whether service app has version v9") {
		t.Errorf("%v", err)
	}
}

// What is unknown is not removed.
func TestUninstallWithoutThePermissionToListPods(t *testing.T) {
	s := shop(t).withoutPermission("Pod")
	s.configs = []api.Config{s.config} // Outrigger is installed, and its Lease is gone
	if err := s.uninstallRoutes(t.Context(), "demo", false, s.writing(dryRunNone)); err == nil || !strings.Contains(err.Error(), "list Pods") {
		t.Errorf("%v\n%s", err, s.out.String())
	}
}

// A running Outrigger recreates what is removed, so the command must know that none runs.
func TestUninstallWithoutThePermissionToSeeWhetherOutriggerRuns(t *testing.T) {
	forbidLease := interceptor.Funcs{Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
		if _, is := object.(*coordinationv1.Lease); is {
			return forbidden
		}
		return c.Get(ctx, key, object, options...)
	}}
	for name, c := range map[string]struct {
		prepare func(*liveStage)
		want    string
	}{
		"the Lease":             {func(s *liveStage) { s.through(forbidLease) }, "no permission to get Lease outrigger-routing in namespace outrigger-system"},
		"the name of the Lease": {func(s *liveStage) { s.gaps.AddKind("ConfigMap", s.systemNamespace) }, "no permission to list ConfigMaps, which name the Lease of Outrigger, in namespace outrigger-system"},
	} {
		t.Run(name, func(t *testing.T) {
			s := shop(t)
			c.prepare(s)
			for _, all := range []bool{true, false} {
				err := s.uninstallRoutes(t.Context(), "demo", all, s.writing(dryRunNone))
				if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "outrigger disable demo") {
					t.Errorf("--all=%t: %v", all, err)
				}
			}
			if s.look("app").Existing.IsEmpty() {
				t.Error("the routes were removed")
			}
		})
	}
}

func TestStatusWithoutThePermissionToListServices(t *testing.T) {
	s := shop(t).withoutPermission("Service")
	if _, err := s.status(t.Context(), false); err == nil || !strings.Contains(err.Error(), "no permission to list Services in namespace demo") {
		t.Errorf("%v", err)
	}
}
