// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
)

// rival is another client, which changes an object back as soon as Outrigger has written it.
type rival struct {
	*stage
	revert func() error
}

// fight reverts whenever the object is as Outrigger wants it, and looks at the Service as often as its queue would, for as
// long as given. It returns when Outrigger wrote, from the start of the fight.
func (r *rival) fight(length time.Duration) []time.Duration {
	r.t.Helper()
	began, last, writes := r.now, r.writes, []time.Duration(nil)
	if err := r.revert(); err != nil {
		r.t.Fatal(err)
	}
	for r.now.Before(began.Add(length)) {
		wait := r.reconcile().RequeueAfter
		if r.writes != last {
			last = r.writes
			writes = append(writes, r.now.Sub(began))
			if err := r.revert(); err != nil {
				r.t.Fatal(err)
			}
			wait = 100 * time.Millisecond // as the change comes back through the watch
		}
		if wait == 0 {
			break
		}
		r.now = r.now.Add(wait)
	}
	return writes
}

func writtenAt(numbers ...float64) []time.Duration {
	var out []time.Duration
	for _, n := range numbers {
		out = append(out, time.Duration(n*float64(time.Second)))
	}
	return out
}

// patched changes an object as another field manager.
func (s *stage) patched(object client.Object, manager string, change func()) error {
	if err := s.sources.reader.Get(context.Background(), service.NamespacedName, object); err != nil {
		return err
	}
	change()
	return s.writer.Update(context.Background(), object, client.FieldOwner(manager))
}

// uncounted leaves out the writes that the test itself does.
func (s *stage) uncounted(do func() error) func() error {
	return func() error {
		before := s.writes
		err := do()
		s.writes = before
		return err
	}
}

func TestAContestedObjectIsWrittenRarely(t *testing.T) {
	for _, test := range []struct {
		name        string
		annotations map[string]string
		revert      func(s *stage) error
		length      time.Duration
		want        []time.Duration
		kind        string
		manager     string
	}{
		{
			name: "a record on the DestinationRule", length: 25 * time.Minute, kind: "DestinationRule", manager: "argocd",
			revert: func(s *stage) error {
				rule := &networkingv1.DestinationRule{}
				return s.patched(rule, "argocd", func() { rule.Annotations[api.AnnotationRecord] = "theirs" })
			},
			want: writtenAt(0, 0.1, 0.2, 0.3, 0.4, 10.4, 30.4, 70.4, 150.4, 310.4, 610.4, 910.4, 1210.4),
		},
		{
			name: "a subset that no route names", length: 2 * time.Minute, kind: "DestinationRule", manager: "argocd",
			revert: func(s *stage) error {
				rule := &networkingv1.DestinationRule{}
				return s.patched(rule, "argocd", func() {
					rule.Spec.Subsets = slices.DeleteFunc(rule.Spec.Subsets, func(subset *networking.Subset) bool { return subset.Name == "v2" })
				})
			},
			want: writtenAt(0, 0.1, 0.2, 0.3, 0.4, 10.4, 30.4, 70.4),
		},
		{
			name: "the subset that the route names", length: 10 * time.Second, kind: "DestinationRule", manager: "argocd",
			revert: func(s *stage) error {
				rule := &networkingv1.DestinationRule{}
				return s.patched(rule, "argocd", func() { rule.Spec.Subsets = []*networking.Subset{{Name: "theirs"}} })
			},
			want: writtenAt(0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
		},
		{
			name: "other labels for the subset that the route names", length: 4 * time.Second, kind: "", manager: "",
			revert: func(s *stage) error {
				rule := &networkingv1.DestinationRule{}
				return s.patched(rule, "argocd", func() { rule.Spec.Subsets[0].Labels = map[string]string{"app": "none"} })
			},
			want: writtenAt(0, 1, 2, 3),
		},
		{
			name: "the DestinationRule is deleted", length: 10 * time.Second, kind: "DestinationRule", manager: "unknown",
			revert: func(s *stage) error {
				rule := &networkingv1.DestinationRule{}
				if err := s.sources.reader.Get(context.Background(), service.NamespacedName, rule); err != nil {
					return err
				}
				if err := s.writer.Delete(context.Background(), rule); err != nil {
					return err
				}
				s.written.sawDelete(rule)
				return nil
			},
			want: writtenAt(0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
		},
		{
			name: "the VirtualService", length: 2 * time.Minute, kind: "VirtualService", manager: "kiali",
			annotations: map[string]string{api.AnnotationDrift: "revert"},
			revert: func(s *stage) error {
				route := &networkingv1.VirtualService{}
				return s.patched(route, "kiali", func() { route.Spec.Hosts = append(route.Spec.Hosts, "app.example.com") })
			},
			want: writtenAt(0, 0.1, 0.2, 0.3, 0.4, 10.4, 30.4, 70.4),
		},
		{
			name: "the Gateway", length: 2 * time.Minute, kind: "Gateway", manager: "terraform",
			annotations: map[string]string{api.AnnotationExpose: "true", api.AnnotationGatewayPort: "20001"},
			revert: func(s *stage) error {
				gateway := &networkingv1.Gateway{}
				return s.patched(gateway, "terraform", func() { gateway.Spec.Selector = map[string]string{"istio": "theirs"} })
			},
			want: writtenAt(0, 0.1, 0.2, 0.3, 0.4, 10.4, 30.4, 70.4),
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStage(t, test.annotations)
			s.options.Settings.GatewayPorts = []string{"20001"}
			s.settle()
			s.now = s.now.Add(time.Hour) // nothing of ours is due any more
			s.settle()
			s.told()
			r := &rival{stage: s, revert: s.uncounted(func() error { return test.revert(s) })}
			if diff := cmp.Diff(test.want, r.fight(test.length)); diff != "" {
				t.Errorf("writes (-want +got):\n%s", diff)
			}
			told, problems := 0, s.reporter.reported[service.NamespacedName]
			for _, event := range s.told() {
				if strings.HasPrefix(event, "Warning Contested") {
					told++
				}
			}
			standing := 0
			for p := range problems {
				if p.Reason != api.RouteContested {
					continue
				}
				standing++
				if p.Object.Kind != test.kind || p.Value != test.manager {
					t.Errorf("contested: %s by %q, want %s by %q", p.Object, p.Value, test.kind, test.manager)
				}
			}
			want := 0
			if test.kind != "" {
				want = 1
			}
			if told != want || standing != want {
				t.Errorf("%d Events and %d problems, want %d of each", told, standing, want)
			}
		})
	}
}

// Once the other client stops, the object is as it must be within the last delay, and the problem goes.
func TestAContestEnds(t *testing.T) {
	s := newStage(t, nil)
	s.settle()
	s.now = s.now.Add(time.Hour)
	s.settle()
	rule := &networkingv1.DestinationRule{}
	r := &rival{stage: s, revert: s.uncounted(func() error {
		return s.patched(rule, "argocd", func() { rule.Annotations = nil })
	})}
	r.fight(time.Minute)
	s.told()
	s.settle()
	for p := range s.reporter.reported[service.NamespacedName] {
		if p.Reason == api.RouteContested {
			t.Error("it is still contested")
		}
	}
	if before := s.writes; r.revert() != nil || s.reconcile().RequeueAfter < 0 || s.writes != before+1 {
		t.Errorf("%d writes after the next revert, want 1 at once", s.writes-before)
	}
}

// Neither a new decision of the user nor a stranger's own fields wait for a contest.
func TestADecisionIsWrittenWhileAnObjectIsContested(t *testing.T) {
	s := newStage(t, map[string]string{api.AnnotationWeights: "v1=90,v2=10"})
	s.settle()
	s.now = s.now.Add(time.Hour)
	s.settle()
	route := &networkingv1.VirtualService{}
	r := &rival{stage: s, revert: s.uncounted(func() error {
		return s.patched(route, "kiali", func() { route.Spec.Http[0].Route[0].Weight, route.Spec.Http[0].Route[1].Weight = 1, 99 })
	})}
	r.fight(time.Minute)
	s.reconcile() // as it is due
	if err := r.revert(); err != nil {
		t.Fatal(err)
	}
	s.now = s.now.Add(time.Second)
	before := s.writes
	s.reconcile()
	if s.writes != before {
		t.Fatal("the contested route was written; want it held")
	}
	s.annotate(map[string]string{api.AnnotationWeights: "v1=50,v2=50"})
	s.reconcile()
	if got := s.route().Spec.Http[0].Route[0].Weight; s.writes == before || got != 50 {
		t.Errorf("%d writes, and v1 has weight %d; want the new weights at once", s.writes-before, got)
	}
}

// A stranger that writes fields of its own contests nothing.
func TestAStrangersOwnFieldsAreNoContest(t *testing.T) {
	s := newStage(t, nil)
	s.settle()
	s.now = s.now.Add(time.Hour)
	rule := &networkingv1.DestinationRule{}
	for i := range 20 {
		s.reconcile()
		err := s.patched(rule, "tuner", func() {
			rule.Labels["example.com/team"] = "theirs"
			rule.Spec.TrafficPolicy = &networking.TrafficPolicy{ConnectionPool: &networking.ConnectionPoolSettings{Tcp: &networking.ConnectionPoolSettings_TCPSettings{MaxConnections: int32(i)}}}
		})
		if err != nil {
			t.Fatal(err)
		}
		weights := "v1=90,v2=10"
		if i%2 == 0 {
			weights = "v1=80,v2=20"
		}
		s.annotate(map[string]string{api.AnnotationWeights: weights})
		s.reconcile()
		if got := s.route().Spec.Http[0].Route[0].Weight; fmt.Sprint("v1=", got) != weights[:5] {
			t.Fatalf("shift %d: v1 has weight %d, want %s at once", i, got, weights)
		}
	}
	for p := range s.reporter.reported[service.NamespacedName] {
		if p.Reason == api.RouteContested {
			t.Errorf("contested: %s by %s", p.Object, p.Value)
		}
	}
}
