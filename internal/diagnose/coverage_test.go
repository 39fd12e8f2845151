// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
)

// ownedPod returns a pod of a Deployment, or without an owner if kind is empty.
func ownedPod(name, kind, owner string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: name, Labels: map[string]string{"pod-template-hash": "abc"}}}
	if kind != "" {
		pod.OwnerReferences = []metav1.OwnerReference{{Kind: kind, Name: owner, Controller: new(true)}}
	}
	return pod
}

func coverageOf(pod *corev1.Pod, state api.CoverageState, reason api.CoverageReason, next Successor, details ...string) PodCoverage {
	return PodCoverage{Pod: pod, Coverage: inject.Coverage{State: state, Reason: reason, Details: details}, Next: next}
}

func mixedReport() *CoverageReport {
	r := &CoverageReport{}
	none := Successor{}
	r.AddNamespace("demo", []PodCoverage{
		coverageOf(ownedPod("old-0", "ReplicaSet", "old-abc"), api.CoverageOutdated, api.CoverageImage, none, "the image differs"),
		coverageOf(ownedPod("new-0", "ReplicaSet", "new-abc"), api.CoverageCovered, "", none),
		coverageOf(ownedPod("new-1", "ReplicaSet", "new-abc"), api.CoverageMissing, api.CoverageNoSidecar, none),
		coverageOf(ownedPod("new-2", "ReplicaSet", "new-abc"), api.CoverageMissing, api.CoverageNoSidecar, none),
		coverageOf(ownedPod("wrong", "ReplicaSet", "wrong-abc"), api.CoverageMissing, api.CoverageDenied, none),
		coverageOf(ownedPod("job", "Job", "job"), api.CoverageMissing, api.CoverageNoSidecar, none),
		coverageOf(ownedPod("bare", "", ""), api.CoverageMissing, api.CoverageNoSidecar, none),
		coverageOf(ownedPod("kept", "ReplicaSet", "kept-abc"), CoverageUnchecked, "", none),
		coverageOf(ownedPod("unknown", "ReplicaSet", "unknown-abc"), api.CoverageMissing, api.CoverageNoSidecar, Successor{Unknown: "no permission"}),
		coverageOf(ownedPod("silent", "ReplicaSet", "silent-abc"), api.CoverageMissing, api.CoverageNoSidecar, Successor{NoInjector: "no pod is ready"}),
		coverageOf(ownedPod("out", "ReplicaSet", "out-abc"), "", "", none),
	})
	return r
}

func TestCoverageGroupsPods(t *testing.T) {
	r := mixedReport()
	if got := r.Pods; got.Covered != 1 || got.Missing != 7 || got.Outdated != 1 || got.Unchecked != 1 {
		t.Errorf("counts %+v", got)
	}
	var got []string
	for _, w := range r.Workloads {
		got = append(got, strings.Join([]string{w.Workload, strings.Join(w.Pods, ","), string(w.State), string(w.Reason), w.Remedy()}, " | "))
	}
	want := []string{
		"Deployment/new | new-1,new-2 | missing | NoSidecar | kubectl rollout restart deployment/new -n demo",
		"Deployment/silent | silent | missing | NoSidecar | kubectl rollout restart deployment/silent -n demo",
		"Deployment/unknown | unknown | missing | NoSidecar | kubectl rollout restart deployment/unknown -n demo",
		"Deployment/wrong | wrong | missing | NewPodDenied | (Deployment/wrong in namespace demo: fix what denies its new pods first; outrigger explain names it)",
		"Job/job | job | missing | NoSidecar | (Job/job in namespace demo: its next pod gets the sidecar)",
		"Pod/bare | bare | missing | NoSidecar | kubectl get pod bare -n demo -o yaml | kubectl replace --force -f -",
		"Deployment/old | old-0 | outdated | DifferentImage | kubectl rollout restart deployment/old -n demo",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if of := r.Workloads[0].Of; of != 3 {
		t.Errorf("Deployment/new has %d pods, want 3", of)
	}
}

func TestEvictionOrder(t *testing.T) {
	var got []string
	for w, pod := range mixedReport().EvictionOrder() {
		line := pod.Name
		if kept := w.Keep(pod); kept != nil {
			line += " " + kept.Result + ": " + kept.Message
		}
		got = append(got, line)
	}
	want := []string{
		"new-1",
		"silent left: a new pod would get no sidecar: no pod is ready",
		"unknown left: it is unknown what a new pod would get: no permission",
		"wrong left: a new pod would be denied",
		"job left: a Job's pod is not run twice",
		"bare left: no controller would recreate it",
		"old-0",
		"new-2",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for range mixedReport().EvictionOrder() {
		break // the loop may end early
	}
}

func TestEvictionOf(t *testing.T) {
	resource := schema.GroupResource{Resource: "pods"}
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"evicted":    {nil, "evicted: "},
		"a budget":   {apierrors.NewTooManyRequests("it would violate the budget", 0), "left: a PodDisruptionBudget does not allow it now: it would violate the budget"},
		"replaced":   {apierrors.NewConflict(resource, "web", errors.New("UID")), "gone: it was replaced or deleted meanwhile"},
		"deleted":    {apierrors.NewNotFound(resource, "web"), "gone: it was replaced or deleted meanwhile"},
		"an error":   {errors.New("it broke"), "failed: it broke"},
		"permission": {apierrors.NewForbidden(resource, "web", errors.New("no right")), ""},
	} {
		got, err := EvictionOf(ownedPod("web", "", ""), c.err)
		if (err != nil) != (c.want == "") || err == nil && got.Result+": "+got.Message != c.want {
			t.Errorf("%s: %+v, %v; want %q", name, got, err, c.want)
		}
	}
}

func TestEvictionError(t *testing.T) {
	r := mixedReport()
	if err := r.EvictionError(); err != nil {
		t.Errorf("without evictions: %v", err)
	}
	for w, pod := range r.EvictionOrder() {
		if kept := w.Keep(pod); kept != nil {
			r.Evictions = append(r.Evictions, *kept)
		}
	}
	r.Evictions = append(r.Evictions, Eviction{Result: PodFailed}, Eviction{Result: PodEvicted})
	err := r.EvictionError()
	if err == nil || !strings.HasPrefix(err.Error(), "1 pods could not be evicted; 1 pods were not evicted, because it is unknown") {
		t.Errorf("%v", err)
	}
}

// If the webhook objects cannot be read, the label of the Namespace decides whether a pod should have a sidecar.
func TestCoverageByLabel(t *testing.T) {
	bare, injected := ownedPod("a", "", ""), ownedPod("b", "", "")
	injected.Spec.Containers = []corev1.Container{{Name: "istio-proxy"}}
	out := ownedPod("c", "", "")
	out.Labels = map[string]string{"sidecar.istio.io/inject": "false"}
	for name, c := range map[string]struct {
		pod   *corev1.Pod
		label string
		want  api.CoverageState
	}{
		"missing":         {bare, "enabled", api.CoverageMissing},
		"not compared":    {injected, "enabled", CoverageUnchecked},
		"opted out":       {out, "enabled", ""},
		"not requested":   {bare, "disabled", ""},
		"no label at all": {bare, "", ""},
	} {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "demo", Labels: map[string]string{api.LabelInjection: c.label}}}
		if got := CoverageByLabel(c.pod, namespace); got.State != c.want || got.State != "" && got.Next.Unknown == "" {
			t.Errorf("%s: %+v, want %q", name, got, c.want)
		}
	}
}

func TestSuccessor(t *testing.T) {
	entry := func(injector Injector, bundle string) Entry {
		e := Entry{Injector: injector, Object: "outrigger-sidecar-injector", Matches: true}
		e.Webhook.ClientConfig = admissionregistrationv1.WebhookClientConfig{CABundle: []byte(bundle), Service: &admissionregistrationv1.ServiceReference{Namespace: "system", Name: "outrigger"}}
		return e
	}
	ignored := func(e Entry) Entry {
		e.Webhook.FailurePolicy = new(admissionregistrationv1.Ignore)
		return e
	}
	forbidden := Gaps{}
	forbidden.AddKind("EndpointSlice", "system")
	for name, c := range map[string]struct {
		facts PodFacts
		gaps  Gaps
		want  Successor
	}{
		"istiod is called first":    {PodFacts{Entries: []Entry{entry(Istiod, ""), entry(Outrigger, "")}}, nil, Successor{}},
		"istiod is called after it": {PodFacts{Entries: []Entry{ignored(entry(Outrigger, "")), entry(Istiod, "")}}, nil, Successor{}},
		"the pod is refused": {PodFacts{Entries: []Entry{entry(Outrigger, ""), entry(Istiod, "")}}, nil,
			Successor{NoInjector: "MutatingWebhookConfiguration outrigger-sidecar-injector has no caBundle yet: Outrigger writes it when it runs. kubectl get pods -A -l app.kubernetes.io/name=outrigger"}},
		"it answers": {PodFacts{Entries: []Entry{entry(Outrigger, "ca")}, Endpoints: map[string]int{"system/outrigger": 1}}, nil, Successor{}},
		"no replica is ready": {PodFacts{Entries: []Entry{entry(Outrigger, "ca")}, Endpoints: map[string]int{"system/outrigger": 0}}, nil,
			Successor{NoInjector: "No pod is ready behind Service system/outrigger: kubectl get pods -n system -l app.kubernetes.io/name=outrigger"}},
		"no permission": {PodFacts{Entries: []Entry{entry(Outrigger, "ca")}}, forbidden,
			Successor{Unknown: "you have no permission to read EndpointSlices in namespace system, so it is unknown whether a replica of Outrigger is ready"}},
	} {
		if got := c.facts.Successor(c.gaps); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
