// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func TestDryRunOf(t *testing.T) {
	quota := apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "web-x", errors.New("exceeded quota: none"))
	for name, c := range map[string]struct {
		err  error
		want DryRun
	}{
		"accepted":          {nil, DryRun{Created: true, Sidecar: true}},
		"refused":           {quota, DryRun{Refused: quota.Error()}},
		"no such namespace": {apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "demo"), DryRun{Unchecked: "namespace demo does not exist"}},
		"a webhook without dry run": {
			apierrors.NewBadRequest("admission webhook x does not support dry run"), DryRun{Unchecked: "admission webhook x does not support dry run"},
		},
		"another bad request": {apierrors.NewBadRequest("no spec"), DryRun{Refused: "no spec"}},
		"no answer":           {errors.New("connection refused"), DryRun{Unchecked: "the API server did not answer: connection refused"}},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "demo"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "istio-proxy"}}}}
		if diff := cmp.Diff(c.want, DryRunOf(pod, c.err)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
	if got := DryRunOf(&corev1.Pod{}, nil); !got.Created || got.Sidecar {
		t.Errorf("without a sidecar: %+v", got)
	}
}

func TestNoDryRunOf(t *testing.T) {
	if why := NoDryRunOf("Rollout"); why != "" {
		t.Errorf("Rollout: %s", why)
	}
	if why := NoDryRunOf("Service"); why != "the controller of a Service builds its pods itself" {
		t.Errorf("Service: %s", why)
	}
}

// A running pod is created as a new one, with the volumes that the controller of a StatefulSet adds.
func TestDryRunPod(t *testing.T) {
	running := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "demo", Name: "db-0", UID: "u", ResourceVersion: "7", Labels: map[string]string{"app": "db"},
			OwnerReferences: []metav1.OwnerReference{{Kind: "StatefulSet", Name: "db"}},
		},
		Spec:   corev1.PodSpec{NodeName: "node", Volumes: []corev1.Volume{{Name: "tmp"}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
	want := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "demo", GenerateName: "db-0-", Labels: map[string]string{"app": "db"}},
		Spec: corev1.PodSpec{Volumes: []corev1.Volume{{Name: "tmp"}, {Name: "data", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"},
		}}}},
	}
	if diff := cmp.Diff(want, DryRunPod(running, []string{"data", "tmp"})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if running.Name != "db-0" || len(running.Spec.Volumes) != 1 {
		t.Error("the argument was modified")
	}
}

func workloadFrom(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	out := &unstructured.Unstructured{}
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err == nil {
		err = out.UnmarshalJSON(raw)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestReplicaFailure(t *testing.T) {
	for status, want := range map[string][]PodFailure{"True": {{"ReplicaFailure", "no quota"}}, "False": nil} {
		workload := workloadFrom(t, "apiVersion: apps/v1\nkind: Deployment\nstatus: {conditions: [{type: ReplicaFailure, status: '"+status+"', message: no quota}]}")
		if diff := cmp.Diff(want, ReplicaFailure(workload)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", status, diff)
		}
	}
}

func TestLacksPods(t *testing.T) {
	for workload, want := range map[string]bool{
		"apiVersion: apps/v1\nkind: Deployment\nspec: {replicas: 1}":                                                            false, // its condition says
		"apiVersion: apps/v1\nkind: StatefulSet\nspec: {replicas: 1}":                                                           true,
		"apiVersion: apps/v1\nkind: StatefulSet\nspec: {replicas: 1}\nstatus: {replicas: 1}":                                    false,
		"apiVersion: apps/v1\nkind: DaemonSet\nstatus: {desiredNumberScheduled: 2, currentNumberScheduled: 0}":                  true,
		"apiVersion: apps/v1\nkind: DaemonSet\nstatus: {desiredNumberScheduled: 2, currentNumberScheduled: 2}":                  false,
		"apiVersion: batch/v1\nkind: Job\nmetadata: {name: job}":                                                                true,
		"apiVersion: batch/v1\nkind: Job\nstatus: {completionTime: '2026-01-02T11:30:00Z'}":                                     false,
		"apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nspec: {replicas: 2}\nstatus: {replicas: 1}\nmetadata: {name: canary}": true,
	} {
		if got := LacksPods(workloadFrom(t, workload)); got != want {
			t.Errorf("%t, want %t:\n%s", got, want, workload)
		}
	}
}

func TestEventFailure(t *testing.T) {
	workload := workloadFrom(t, "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {uid: set, creationTimestamp: '2026-01-02T11:00:00Z'}")
	event := func(about types.UID, message string, at time.Time) corev1.Event {
		return corev1.Event{InvolvedObject: corev1.ObjectReference{UID: about}, Message: message, LastTimestamp: metav1.NewTime(at)}
	}
	series := event("set", "series", noon.Add(-time.Hour))
	series.Series = &corev1.EventSeries{LastObservedTime: metav1.NewMicroTime(noon.Add(-time.Second))}
	early, late := event("set", "early", noon.Add(-2*time.Minute)), event("set", "late", noon.Add(-time.Minute))
	pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(noon.Add(-90 * time.Second))}}
	for name, c := range map[string]struct {
		owned  map[types.UID]bool
		pods   []corev1.Pod
		events []corev1.Event
		want   string
	}{
		"the newest":              {nil, nil, []corev1.Event{late, early}, "late"},
		"a series":                {nil, nil, []corev1.Event{late, series}, "series"},
		"of another object":       {nil, nil, []corev1.Event{event("other", "other", noon)}, ""},
		"of an owned object":      {map[types.UID]bool{"rs": true}, nil, []corev1.Event{early, event("rs", "owned", noon)}, "owned"},
		"before the last pod":     {nil, []corev1.Pod{pod}, []corev1.Event{early}, ""},
		"after the last pod":      {nil, []corev1.Pod{pod}, []corev1.Event{early, late}, "late"},
		"of an earlier namesake":  {nil, nil, []corev1.Event{event("set", "older", noon.Add(-2*time.Hour))}, ""},
		"no Event, no failure":    {nil, nil, nil, ""},
		"two owned, newest first": {map[types.UID]bool{"a": true, "b": true}, nil, []corev1.Event{event("b", "b", noon), event("a", "a", noon.Add(-time.Second))}, "b"},
	} {
		got := ""
		for _, failure := range EventFailure(workload, c.owned, c.pods, c.events) {
			got += failure.Message
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
