// SPDX-License-Identifier: Apache-2.0

package contest

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var (
	start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	rule  = Object{Owner: "demo/app", Kind: "DestinationRule", Namespace: "demo", Name: "app"}
)

// fight lets another client revert the object at every step, for as long as given, and returns when it was written.
func fight(l *Ledger, step, length time.Duration, attempt Attempt) []time.Duration {
	var writes []time.Duration
	for at := time.Duration(0); at < length; at += step {
		attempt.Object, attempt.Found, attempt.Now = rule, "theirs", start.Add(at)
		v := l.Judge(attempt)
		if v.Contested {
			l.Contest(rule, "argocd")
		}
		if v.Write {
			writes = append(writes, at)
			l.Wrote(attempt, "ours")
		}
	}
	return writes
}

func seconds(numbers ...int) []time.Duration {
	var out []time.Duration
	for _, n := range numbers {
		out = append(out, time.Duration(n)*time.Second)
	}
	return out
}

func TestBackOff(t *testing.T) {
	for _, test := range []struct {
		name    string
		step    time.Duration
		length  time.Duration
		attempt Attempt
		want    []time.Duration
	}{
		{
			// The first write answers nobody. Five reverts are answered at once, the next ones ever more rarely.
			name: "reverted all the time", step: time.Second, length: 25 * time.Minute,
			want: seconds(0, 1, 2, 3, 4, 5, 15, 35, 75, 155, 315, 615, 915, 1215),
		},
		{
			name: "reverted all the time, with harm", step: 100 * time.Millisecond, length: 5 * time.Second, attempt: Attempt{Harm: true},
			want: []time.Duration{0, 100 * time.Millisecond, 1100 * time.Millisecond, 2100 * time.Millisecond, 3100 * time.Millisecond, 4100 * time.Millisecond},
		},
		{
			name: "reverted four times a minute", step: 15 * time.Second, length: 2 * time.Minute,
			want: seconds(0, 15, 30, 45, 60, 75, 90, 105),
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, fight(NewLedger(), test.step, test.length, test.attempt)); diff != "" {
				t.Errorf("writes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHarmIsRepairedWhileContested(t *testing.T) {
	l := NewLedger()
	fight(l, time.Second, 10*time.Minute, Attempt{})
	attempt := Attempt{Object: rule, Found: "theirs", Harm: true, Now: start.Add(10*time.Minute + 30*time.Second)}
	if v := l.Judge(attempt); !v.Write || !v.Contested {
		t.Errorf("a harmful revert of a contested object: %+v; want a write at once", v)
	}
	l.Wrote(attempt, "ours")
	attempt.Now = attempt.Now.Add(300 * time.Millisecond)
	if v := l.Judge(attempt); v.Write || v.Again != attempt.Now.Add(700*time.Millisecond) {
		t.Errorf("the next harmful revert: %+v; want a write after a second", v)
	}
}

func TestANewDecisionIsNotDelayed(t *testing.T) {
	l := NewLedger()
	fight(l, time.Second, 10*time.Minute, Attempt{Decision: "a"})
	attempt := Attempt{Object: rule, Found: "theirs", Decision: "a", Now: start.Add(10*time.Minute + time.Second)}
	if v := l.Judge(attempt); v.Write {
		t.Error("the old decision is written; want a delay")
	}
	attempt.Decision = "b"
	if v := l.Judge(attempt); !v.Write {
		t.Error("a new decision is delayed; want a write at once")
	}
	l.Wrote(attempt, "ours")
	if v := l.Judge(attempt); v.Write {
		t.Error("the same decision is written again at once; want a delay")
	}
}

// A change of our own plan, over the object as we wrote it, answers nobody.
func TestOwnChangesAreNotReverts(t *testing.T) {
	l := NewLedger()
	for i := range 20 {
		a := Attempt{Object: rule, Found: fmt.Sprint(i), Now: start}
		if v := l.Judge(a); !v.Write || v.Reverts || v.Contested {
			t.Fatalf("change %d: %+v", i, v)
		}
		l.Wrote(a, fmt.Sprint(i+1))
	}
}

// An object that we delete and another client creates again is contested as well.
func TestDeletedObjectsThatComeBack(t *testing.T) {
	l := NewLedger()
	writes := 0
	for at := range 60 {
		a := Attempt{Object: rule, Found: "back", Now: start.Add(time.Duration(at) * time.Second)}
		if l.Judge(a).Write {
			writes++
			l.Wrote(a, Absent)
		}
	}
	if writes != 8 {
		t.Errorf("%d deletes in a minute, want 8", writes)
	}
}

func TestAContestEnds(t *testing.T) {
	l := NewLedger()
	fight(l, time.Second, 20*time.Second, Attempt{}) // the last write at 15s; the delay is 20s
	if manager, until := l.Settled(rule, start.Add(30*time.Second)); manager != "argocd" || until != start.Add(75*time.Second) {
		t.Errorf("after 15s without a revert: contested by %q until %v; want argocd until a minute after the last write", manager, until)
	}
	if manager, until := l.Settled(rule, start.Add(75*time.Second)); manager != "" || !until.IsZero() {
		t.Errorf("after a minute without a revert: contested by %q until %v", manager, until)
	}
	if len(l.Of(rule.Owner)) != 0 || l.Manager(rule) != "" {
		t.Error("it is still listed")
	}
	if v := l.Judge(Attempt{Object: rule, Found: "theirs", Now: start.Add(76 * time.Second)}); !v.Write || v.Contested {
		t.Errorf("the next revert: %+v; want a write at once", v)
	}
}

func TestForget(t *testing.T) {
	l := NewLedger()
	fight(l, time.Second, 20*time.Second, Attempt{})
	l.Forget("demo/other")
	if len(l.Of(rule.Owner)) != 1 {
		t.Error("another owner's objects are forgotten")
	}
	l.Forget(rule.Owner)
	if v := l.Judge(Attempt{Object: rule, Found: "theirs", Now: start.Add(21 * time.Second)}); !v.Write || v.Reverts || l.Manager(rule) != "" {
		t.Errorf("after Forget: %+v", v)
	}
}

func TestManagerOf(t *testing.T) {
	at := func(second int) *metav1.Time {
		out := metav1.NewTime(start.Add(time.Duration(second) * time.Second))
		return &out
	}
	spec := metav1.NewFieldsV1(`{"f:spec":{"f:subsets":{}}}`)
	marks := metav1.NewFieldsV1(`{"f:metadata":{"f:labels":{}}}`)
	for _, test := range []struct {
		name string
		want string
		in   []metav1.ManagedFieldsEntry
	}{
		{"nobody else", "unknown", []metav1.ManagedFieldsEntry{{Manager: "outrigger", Time: at(9), FieldsV1: spec}}},
		{"nothing at all", "unknown", nil},
		{"the last writer", "argocd", []metav1.ManagedFieldsEntry{
			{Manager: "outrigger", Time: at(9), FieldsV1: spec}, {Manager: "helm", Time: at(1), FieldsV1: spec}, {Manager: "argocd", Time: at(5), FieldsV1: spec},
		}},
		{"the one that has the spec", "argocd", []metav1.ManagedFieldsEntry{
			{Manager: "labeler", Time: at(5), FieldsV1: marks}, {Manager: "argocd", Time: at(5), FieldsV1: spec},
		}},
		{"not the status", "argocd", []metav1.ManagedFieldsEntry{
			{Manager: "argocd", Time: at(5), FieldsV1: spec}, {Manager: "istiod", Time: at(8), Subresource: "status"},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := ManagerOf(test.in, "outrigger", "spec"); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestMetric(t *testing.T) {
	registry := prometheus.NewRegistry()
	metric, err := Register(registry)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Register(registry); err != nil || again != metric {
		t.Errorf("registered again: %v, %v; want the same", again, err)
	}
	l := NewLedger()
	stop := metric.Watch(l)
	for i := range 100 {
		o := Object{Owner: "a", Kind: "Gateway", Name: fmt.Sprint(i)}
		l.Wrote(Attempt{Object: o}, "ours")
		l.Contest(o, fmt.Sprintf("manager-%d", i%50))
	}
	if got := samples(t, registry); len(got) != maxSeries+1 || got["Gateway others"] != 60 {
		t.Errorf("of 50 field managers: %v; want %d series, and 60 objects of the others", got, maxSeries+1)
	}
	l.Forget("a")
	l.Wrote(Attempt{Object: rule}, "ours")
	l.Contest(rule, "argocd")
	if diff := cmp.Diff(map[string]float64{"DestinationRule argocd": 1}, samples(t, registry)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	stop()
	if got := samples(t, registry); len(got) != 0 {
		t.Errorf("without a Ledger: %v", got)
	}
}

// samples returns the values of the metric by kind and field manager.
func samples(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, family := range families {
		if family.GetName() != "outrigger_contested_objects" {
			t.Errorf("unexpected metric %s", family.GetName())
		}
		for _, m := range family.GetMetric() {
			if m.GetGauge().GetValue() == 0 {
				continue
			}
			out[m.GetLabel()[0].GetValue()+" "+m.GetLabel()[1].GetValue()] = m.GetGauge().GetValue()
		}
	}
	return out
}
