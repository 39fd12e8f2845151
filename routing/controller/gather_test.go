// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/routing"
)

// What a command sees of a Service is what the controller plans from.
func TestLiveSeesWhatTheControllerDoes(t *testing.T) {
	s := newStage(t, map[string]string{"outrigger.dev/weights": "v1=90,v2=10", "outrigger.dev/expose": "true", "outrigger.dev/path": "no path"})
	s.settle()
	want, wantProblems, err := s.gather(context.Background(), service.NamespacedName)
	if err != nil {
		t.Fatal(err)
	}
	live := NewLive(s.sources.reader, s.writer.RESTMapper(), s.options)
	got, problems, err := live.Gather(context.Background(), service.NamespacedName)
	if err != nil {
		t.Fatal(err)
	}
	if len(want.Pods) == 0 || len(want.Existing.VirtualServices) == 0 || len(wantProblems) == 0 {
		t.Fatalf("the stage is empty: %d pods, %d routes, %d problems", len(want.Pods), len(want.Existing.VirtualServices), len(wantProblems))
	}
	if diff := cmp.Diff(want.Pods, got.Pods); diff != "" {
		t.Errorf("pods, -controller +live:\n%s", diff)
	}
	if diff := cmp.Diff(want.Workloads, got.Workloads); diff != "" {
		t.Errorf("workloads, -controller +live:\n%s", diff)
	}
	if diff := cmp.Diff(written(want.Existing), written(got.Existing)); diff != "" {
		t.Errorf("objects, -controller +live:\n%s", diff)
	}
	if diff := cmp.Diff(wantProblems, problems); diff != "" {
		t.Errorf("problems, -controller +live:\n%s", diff)
	}
	if diff := cmp.Diff([]any{want.ServiceNames, want.IngressSelectors, len(want.IngressServices), want.ManagedBy}, []any{got.ServiceNames, got.IngressSelectors, len(got.IngressServices), got.ManagedBy}); diff != "" {
		t.Errorf("the rest, -controller +live:\n%s", diff)
	}
}

func TestLiveFindsNothingWhereNoServiceIs(t *testing.T) {
	s := newStage(t, nil)
	live := NewLive(s.sources.reader, s.writer.RESTMapper(), s.options)
	observed, _, err := live.Gather(context.Background(), client.ObjectKey{Namespace: "demo", Name: "nobody"})
	if observed != nil || err != nil {
		t.Errorf("%v, %v", observed, err)
	}
	nowhere := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "nowhere", Name: "app"}}
	if err := s.writer.Create(context.Background(), nowhere); err != nil {
		t.Fatal(err)
	}
	if _, _, err := live.Gather(context.Background(), client.ObjectKeyFromObject(nowhere)); err == nil {
		t.Error("a Namespace that is not there is no error")
	}
}

// written are the objects with the versions at which they were read.
func written(objects routing.Objects) []string {
	var out []string
	for _, object := range objects.All() {
		out = append(out, fmt.Sprintf("%T %s %s", object, object.GetName(), object.GetResourceVersion()))
	}
	return out
}
