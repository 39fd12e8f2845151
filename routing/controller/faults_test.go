// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"outrigger.dev/outrigger/api"
)

// step is one change that a user or workload makes.
type step struct {
	what string
	do   func(*fleet)
}

// journey are the transitions that faults fall into.
var journey = []step{
	{"a second version", func(f *fleet) { f.deploy("v2", "v2", true, "b", 2) }},
	{"shift", func(f *fleet) { f.annotate(map[string]string{api.AnnotationWeights: "v1=90,v2=10"}) }},
	{"promote", func(f *fleet) { f.annotate(map[string]string{api.AnnotationDefaultVersion: "v2"}) }},
	{"a third version, whose workload can roll out", func(f *fleet) { f.deploy("canary", "v3", false, "c", 2) }},
	{"shift to it", func(f *fleet) {
		f.annotate(map[string]string{api.AnnotationDefaultVersion: "v2", api.AnnotationWeights: "v2=50,v3=50"})
	}},
	{"it rolls out", func(f *fleet) { f.deploy("canary", "v4", false, "d", 2); f.removePods("c") }},
	{"expose", func(f *fleet) {
		f.annotate(map[string]string{api.AnnotationDefaultVersion: "v2", api.AnnotationExpose: "true"})
	}},
	{"expose no longer", func(f *fleet) { f.annotate(map[string]string{api.AnnotationDefaultVersion: "v2"}) }},
	{"the first version goes", func(f *fleet) { f.removePods("a"); f.now = f.now.Add(time.Hour) }},
	{"disabled", func(f *fleet) { f.label(map[string]string{api.LabelRouting: "disabled"}) }},
}

// travel goes through the journey and returns the objects after each step; during is called before each settles.
func travel(t *testing.T, during func(f *fleet, step int)) (states []string) {
	t.Helper()
	return travelTo(t, len(journey), during)
}

// travelTo goes through the first steps of the journey.
func travelTo(t *testing.T, steps int, during func(f *fleet, step int)) (states []string) {
	t.Helper()
	f := newFleet(t)
	f.services = f.services[:1]
	f.after = func(verb string, _ client.Object) error { f.noRouteWithoutSubset(verb); return nil }
	f.deploy("v1", "v1", true, "a", 2)
	f.settle()
	for i, step := range journey[:steps] {
		f.now = f.now.Add(time.Minute)
		step.do(f)
		during(f, i)
		f.settle()
		states = append(states, step.what+"\n"+f.specs())
	}
	return states
}

// noRouteWithoutSubset fails the test where a route names a subset that is not there.
func (f *fleet) noRouteWithoutSubset(verb string) {
	f.t.Helper()
	var rules networkingv1.DestinationRuleList
	var routes networkingv1.VirtualServiceList
	f.must(f.cluster.List(context.Background(), &rules))
	f.must(f.cluster.List(context.Background(), &routes))
	there := map[string]bool{"": true}
	for _, rule := range rules.Items {
		for _, subset := range rule.Spec.Subsets {
			there[subset.Name] = true
		}
	}
	for _, vs := range routes.Items {
		for _, http := range vs.Spec.Http {
			for _, route := range http.Route {
				if !there[route.Destination.Subset] {
					f.t.Errorf("after a %s, VirtualService %s names subset %s, which is not there", verb, vs.Name, route.Destination.Subset)
				}
			}
		}
	}
}

// specs returns what the objects say, without when they were written.
func (f *fleet) specs() string {
	f.t.Helper()
	all, err := ListObjects(context.Background(), f.cluster)
	f.must(err)
	var out strings.Builder
	for _, rule := range all.DestinationRules {
		fmt.Fprintf(&out, "DestinationRule %s %s %s\n", rule.Name, rule.Annotations[api.AnnotationDefault], rule.Spec.String())
	}
	for _, vs := range all.VirtualServices {
		fmt.Fprintf(&out, "VirtualService %s %s %s\n", vs.Name, vs.Annotations[api.AnnotationDefault], vs.Spec.String())
	}
	for _, gateway := range all.Gateways {
		fmt.Fprintf(&out, "Gateway %s %s\n", gateway.Name, gateway.Spec.String())
	}
	return strings.Join(strings.Fields(out.String()), " ") // protobuf's text varies its spaces
}

// untroubled is the journey without a fault.
func untroubled(t *testing.T) []string {
	t.Helper()
	return travel(t, func(*fleet, int) {})
}

// stepClock sets the clock when the next write is done.
func (f *fleet) stepClock(by time.Duration) {
	stepped := false
	f.after = func(verb string, _ client.Object) error {
		f.noRouteWithoutSubset(verb)
		if !stepped {
			stepped = true
			f.now = f.now.Add(by)
		}
		return nil
	}
}

var errAway = errors.New("connection refused")

func TestFaultsEndInTheSameState(t *testing.T) {
	want := untroubled(t)
	for i, step := range journey {
		if state := strings.TrimPrefix(want[i], step.what+"\n"); (state == "") != (step.what == "disabled") {
			t.Fatalf("%s: the objects are %q", step.what, state)
		}
	}
	object := schema.GroupResource{Group: networkingv1.GroupName, Resource: "virtualservices"}
	for what, during := range map[string]func(f *fleet, step int){
		"every write fails three times": func(f *fleet, _ int) {
			tries := 0
			f.before = func(string, client.Object) error {
				if tries++; tries%4 != 0 {
					return errAway
				}
				return nil
			}
		},
		"what is written is answered with an error": func(f *fleet, _ int) {
			lost := 0
			f.after = func(verb string, _ client.Object) error {
				f.noRouteWithoutSubset(verb)
				if lost++; lost <= 2 {
					return errAway
				}
				return nil
			}
		},
		"the first write of each step meets another writer": func(f *fleet, _ int) {
			met := false
			f.before = func(_ string, o client.Object) error {
				if !met {
					met = true
					return apierrors.NewConflict(object, o.GetName(), errors.New("changed"))
				}
				return nil
			}
		},
		"the pods are seen late and after a gap": func(f *fleet, _ int) {
			for _, key := range f.services { // with what the store had before
				_, err := f.Reconcile(context.Background(), reconcile.Request{NamespacedName: key})
				f.must(err)
			}
		},
		"the clock steps back in the middle of each step":  func(f *fleet, _ int) { f.stepClock(-time.Hour) },
		"the clock leaps ahead in the middle of each step": func(f *fleet, _ int) { f.stepClock(24 * time.Hour) },
	} {
		t.Run(what, func(t *testing.T) {
			got := travel(t, during)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The leader is killed before or after each single write of each step; the next one, which remembers nothing, goes on.
func TestAKilledLeaderIsFollowed(t *testing.T) {
	want := untroubled(t)
	kills := 0
	for step := range journey {
		for nth, more := 1, true; more; nth++ {
			for _, written := range []bool{false, true} {
				more = false
				steps := min(step+2, len(journey)) // the one after it shows whether something was forgotten
				got := travelTo(t, steps, func(f *fleet, at int) {
					f.before = nil
					f.after = func(verb string, _ client.Object) error { f.noRouteWithoutSubset(verb); return nil }
					if at != step {
						return
					}
					count := 0
					kill := func(client.Object) error {
						if count++; count != nth {
							return nil
						}
						more = true
						kills++
						f.restart()
						f.seePods()
						return errAway // the old leader hears no more
					}
					if written {
						f.after = func(verb string, o client.Object) error { f.noRouteWithoutSubset(verb); return kill(o) }
					} else {
						f.before = func(_ string, o client.Object) error { return kill(o) }
					}
				})
				if diff := cmp.Diff(want[:steps], got); diff != "" {
					t.Errorf("killed at write %d of %q (written: %v): %s", nth, journey[step].what, written, diff)
				}
			}
		}
	}
	if kills < 2*len(journey) {
		t.Errorf("only %d kills", kills)
	}
}

// Somebody else writes to our objects between look and write: what is theirs stays, what is ours comes to be.
func TestAConflictingWriterKeepsWhatIsTheirs(t *testing.T) {
	want := untroubled(t)
	strokes := 0
	got := travel(t, func(f *fleet, _ int) {
		struck := false
		f.before = func(verb string, o client.Object) error {
			if struck || verb != "patch" {
				return nil
			}
			struck = true
			standing := o.DeepCopyObject().(client.Object)
			if err := f.cluster.Get(context.Background(), client.ObjectKeyFromObject(o), standing); err != nil {
				return err
			}
			labels := maps.Clone(standing.GetLabels())
			labels["team"] = "theirs"
			standing.SetLabels(labels)
			strokes++
			return f.cluster.Update(context.Background(), standing)
		}
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if strokes == 0 {
		t.Error("nobody wrote in between")
	}
}
