// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/internal/diagnose"
)

// made takes decisions one after another, each of which takes effect.
func (s *liveStage) made(requests ...diagnose.Request) {
	s.t.Helper()
	for _, request := range requests {
		if err := s.applyDecision(context.Background(), request, s.writing(dryRunNone)); err != nil {
			s.t.Fatal(err)
		}
		s.reconcile("app", "app-internal")
	}
}

func (s *liveStage) undone(to int) error {
	err := s.undo(context.Background(), "app", to, s.writing(dryRunNone))
	if err == nil {
		s.reconcile("app", "app-internal")
	}
	return err
}

func TestUndoReturnsToTheDecisionBefore(t *testing.T) {
	s := shop(t)
	s.made(shifting(t, "app", "v1=90", "v2=10"))
	s.made(promoting(t, "app", "v2"))
	if err := s.undone(0); err != nil {
		t.Fatal(err)
	}
	want := `service/app returns to v1=90,v2=10, which was in effect until 2026-01-02 12:00:00 UTC
service/app: v2=100 -> v1=90 v2=10
`
	if !strings.HasPrefix(s.out.String(), want) {
		t.Errorf("printed:\n%s", s.out.String())
	}
	s.printed("outrigger.dev/decided-at=2026-01-02T12:00:02Z outrigger.dev/default-version=v1 outrigger.dev/weights=v1=90,v2=10 --overwrite", "service/app annotated\n")
	if got := diagnose.ReadRoute(s.look("app")).String(); got != "v1=90 v2=10" {
		t.Errorf("the route is %s", got)
	}
	// Undo of an undo returns to what was undone; --to reaches further back.
	if err := s.undone(0); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"outrigger.dev/decided-at": "2026-01-02T12:00:03Z", "outrigger.dev/default-version": "v2"}, s.annotations("app")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if err := s.undone(2); err != nil {
		t.Fatal(err)
	}
	if got := diagnose.ReadRoute(s.look("app")).String(); got != "v1=100" {
		t.Errorf("the route is %s", got)
	}
}

// Without a default that differs, undo writes nothing about it.
func TestUndoOfAShiftKeepsTheDefault(t *testing.T) {
	s := shop(t)
	s.made(shifting(t, "app", "v1=90", "v2=10"))
	if err := s.undone(0); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"outrigger.dev/decided-at": "2026-01-02T12:00:01Z"}, s.annotations("app")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// What is written and not in effect is undone first: the decision in effect stays.
func TestUndoOfWhatIsNotInEffect(t *testing.T) {
	for name, c := range map[string]struct{ annotation, told, weights, version string }{
		"pending weights": {"outrigger.dev/weights=v1=50,v9=50", "outrigger.dev/weights=v1=50,v9=50 is not in effect and is undone", "v1=90,v2=10", ""},
		"invalid weights": {"outrigger.dev/weights=v1=50%", "outrigger.dev/weights=v1=50% is not in effect", "v1=90,v2=10", ""},
		"pending default": {"outrigger.dev/default-version=v9", "outrigger.dev/default-version=v9 is not in effect", "v1=90,v2=10", "v1"},
	} {
		t.Run(name, func(t *testing.T) {
			s := shop(t)
			s.made(shifting(t, "app", "v1=90", "v2=10"))
			s.annotate("app", c.annotation)
			s.reconcile("app")
			if err := s.undone(0); err != nil {
				t.Fatal(err)
			}
			s.printed("service/app stays at v1=90,v2=10: "+c.told, "service/app: v1=90 v2=10 (unchanged)\n")
			is := s.annotations("app")
			if is["outrigger.dev/weights"] != c.weights || is["outrigger.dev/default-version"] != c.version {
				t.Errorf("annotations: %v", is)
			}
		})
	}
}

func TestUndoIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		around func(s *liveStage)
		to     int
		want   string
	}{
		"nothing is recorded": {func(s *liveStage) { s.forget() }, 0, "service demo/app has no decision to return to"},
		"no earlier decision": {func(*liveStage) {}, 0, "service demo/app has no earlier decision to return to; v1 is the first recorded decision"},
		"too far back":        {func(s *liveStage) { s.made(shifting(s.t, "app", "v1=90", "v2=10")) }, 4, "--to=4: service demo/app has the earlier decisions 1 (v1)"},
		"a version that is gone": {func(s *liveStage) {
			s.made(shifting(s.t, "app", "v1=90", "v2=10"), promoting(s.t, "app", "v1"))
			s.drop("app-v2")
		}, 0, "service demo/app cannot return to v1=90,v2=10: it has no version v2; it has v1. To choose an older decision: outrigger status app -n demo -o wide"},
	} {
		t.Run(name, func(t *testing.T) {
			s := shop(t)
			c.around(s)
			before := s.annotations("app")
			if err := s.undone(c.to); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if diff := cmp.Diff(before, s.annotations("app")); diff != "" {
				t.Errorf("written:\n%s", diff)
			}
		})
	}
	if err := shop(t).undo(context.Background(), "ap", 0, writing{out: &bytes.Buffer{}}); err == nil || !strings.Contains(err.Error(), "namespace demo has no Service ap") {
		t.Errorf("%v", err)
	}
}

func TestStatusListsTheDecisions(t *testing.T) {
	s := shop(t)
	s.made(shifting(t, "app", "v1=90", "v2=10"), shifting(t, "app", "v1=50", "v2=50"))
	report, err := s.status(context.Background(), false, "app")
	if err != nil {
		t.Fatal(err)
	}
	want := []diagnose.PastDecision{{Default: "v1", Weights: "v1=90,v2=10", Until: "2026-01-02T12:00:00Z"}, {Default: "v1", Until: "2026-01-02T12:00:00Z"}}
	if diff := cmp.Diff(want, report.Namespaces[0].Services[0].History); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for wide, want := range map[bool]string{true: "SERVICE   UNDO --TO   DEFAULT   WEIGHTS       UNTIL\napp       1           v1        v1=90,v2=10   2026-01-02T12:00:00Z\napp       2           v1        -             2026-01-02T12:00:00Z\n", false: ""} {
		var out bytes.Buffer
		if err := printStatus(report, tableView{wide: wide}, &out); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), want) || !wide && strings.Contains(out.String(), "UNDO") {
			t.Errorf("wide=%t:\n%s", wide, out.String())
		}
	}
}

// drop deletes a Deployment and its pods.
func (s *liveStage) drop(name string) {
	s.t.Helper()
	var pods corev1.PodList
	if err := s.client.List(context.Background(), &pods, client.InNamespace("demo")); err != nil {
		s.t.Fatal(err)
	}
	for i := range pods.Items {
		if strings.HasPrefix(pods.Items[i].Name, name+"-") {
			s.delete(&pods.Items[i])
		}
	}
	s.delete(&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: name}})
}

// forget deletes what records decisions.
func (s *liveStage) forget() {
	s.t.Helper()
	observed := s.look("app")
	for _, rule := range observed.Existing.DestinationRules {
		s.delete(rule)
	}
	for _, vs := range observed.Existing.VirtualServices {
		s.delete(vs)
	}
}

func (s *liveStage) delete(object client.Object) {
	s.t.Helper()
	if err := s.client.Delete(context.Background(), object); err != nil {
		s.t.Fatal(err)
	}
}
