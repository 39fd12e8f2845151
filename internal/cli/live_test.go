// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/routing"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// liveStage is a cluster in memory, as a user of the command line meets it, and what the command printed.
type liveStage struct {
	*live
	t   *testing.T
	out bytes.Buffer
}

func newLiveStage(t *testing.T, objects ...client.Object) *liveStage {
	t.Helper()
	scheme, err := liveScheme()
	if err != nil {
		t.Fatal(err)
	}
	byName := func(o client.Object) []string { return []string{o.GetName()} }
	cluster := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithIndex(&corev1.Event{}, "reason", func(o client.Object) []string {
		return []string{o.(*corev1.Event).Reason}
	}).WithIndex(&corev1.Event{}, "involvedObject.name", func(o client.Object) []string {
		return []string{o.(*corev1.Event).InvolvedObject.Name}
	}).WithIndex(&corev1.ConfigMap{}, metav1.ObjectNameField, byName).
		WithIndex(&admissionregistrationv1.MutatingWebhookConfiguration{}, metav1.ObjectNameField, byName).Build()
	return &liveStage{t: t, live: &live{
		client: cluster, namespace: "demo", config: api.DefaultConfig(), systemNamespace: defaultSystemNamespace, gaps: diagnose.Gaps{}, now: func() time.Time { return noon },
	}}
}

func (s *liveStage) writing(dryRun string) writing {
	s.out.Reset()
	return writing{dryRun: dryRun, timeout: time.Second, out: &s.out}
}

// reconcile does what the controller would have done by noon: it writes what is planned, until nothing changes.
func (s *liveStage) reconcile(names ...string) {
	s.t.Helper()
	for range 10 {
		changed := false
		for _, name := range names {
			observed, _, err := s.sources(s.snapshot("demo", false)).Gather(context.Background(), client.ObjectKey{Namespace: "demo", Name: name})
			if err != nil {
				s.t.Fatal(err)
			}
			for _, change := range routing.Diff(observed.Existing, routing.Plan(diagnose.WithoutDelays(*observed), noon).Objects) {
				changed = true
				s.write(change)
			}
		}
		if !changed {
			return
		}
	}
	s.t.Fatal("the plan of a plan is not empty")
}

func (s *liveStage) write(change routing.Change) {
	s.t.Helper()
	object := change.Object.DeepCopyObject().(client.Object)
	var err error
	switch change.Action {
	case routing.Create:
		err = s.client.Create(context.Background(), object)
	case routing.Apply:
		object.SetResourceVersion(change.ResourceVersion)
		err = s.client.Update(context.Background(), object)
	case routing.Delete:
		err = s.client.Delete(context.Background(), object)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *liveStage) annotations(name string) map[string]string {
	s.t.Helper()
	service := &corev1.Service{}
	if err := s.client.Get(context.Background(), client.ObjectKey{Namespace: "demo", Name: name}, service); err != nil {
		s.t.Fatal(err)
	}
	return service.Annotations
}

func (s *liveStage) printed(want ...string) {
	s.t.Helper()
	for _, text := range want {
		if !strings.Contains(s.out.String(), text) {
			s.t.Errorf("%q is not in what was printed:\n%s", text, s.out.String())
		}
	}
}

func old() metav1.Time { return metav1.NewTime(noon.Add(-time.Minute)) }

func demo(labels ...string) *corev1.Namespace {
	out := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "demo", Labels: map[string]string{}}}
	for _, label := range labels {
		key, value, _ := strings.Cut(label, "=")
		out.Labels[key] = value
	}
	return out
}

func serviceOf(name, app string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: name, UID: types.UID("uid-" + name), CreationTimestamp: old(), Annotations: map[string]string{}},
		Spec:       corev1.ServiceSpec{ClusterIP: "10.0.0.1", Selector: map[string]string{"app": app}, Ports: []corev1.ServicePort{{Name: "http", Port: 8080}}},
	}
}

// runningPods are a Deployment whose selector holds the version, and its pods, of which some are ready.
func runningPods(app, version string, pods, ready int) []client.Object {
	name := app + "-" + version
	labels := map[string]string{"app": app, "version": version}
	out := []client.Object{&appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: name, CreationTimestamp: old()},
		Spec: appsv1.DeploymentSpec{Replicas: ptr.To(int32(pods)), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}}},
	}}
	for i := range pods {
		pod := podOf(name+"-abc-"+string(rune('a'+i)), map[string]string{"app": app, "version": version, "pod-template-hash": "abc"}, i < ready)
		pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: name + "-abc", UID: "rs", Controller: ptr.To(true)}}
		out = append(out, pod)
	}
	return out
}

func podOf(name string, labels map[string]string, ready bool) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: name, Labels: labels, CreationTimestamp: old()}}
	pod.Spec.Containers = []corev1.Container{{Name: "app"}, {Name: "istio-proxy"}}
	pod.Status.Phase = corev1.PodRunning
	if ready {
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	return pod
}

// shop is a cluster at rest: Services app and app-internal over v1, the default, and v2.
func shop(t *testing.T, more ...client.Object) *liveStage {
	t.Helper()
	objects := append(runningPods("app", "v1", 2, 2), runningPods("app", "v2", 10, 9)...)
	s := newLiveStage(t, append(append(objects, demo("istio-injection=enabled"), serviceOf("app", "app"), serviceOf("app-internal", "app"), serviceOf("other", "other")), more...)...)
	s.reconcile("app", "app-internal")
	return s
}

// ingressGateway are a gateway's pod, its Service and a node.
func ingressGateway() []client.Object {
	labels := map[string]string{"istio": "ingressgateway"}
	pod, service := podOf("ingress", labels, true), serviceOf("istio-ingressgateway", "")
	pod.Namespace, service.Namespace, service.Spec.Selector = "istio-system", "istio-system", labels
	service.Spec.Ports = []corev1.ServicePort{{Name: "http2", Port: 80, NodePort: 31380}}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}}
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: "node-1"}, {Type: corev1.NodeInternalIP, Address: "192.0.2.7"}}
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	return []client.Object{pod, service, node}
}

func byHand(name, host string) *networkingv1.VirtualService {
	vs := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: name, CreationTimestamp: old()}}
	vs.Spec.Hosts = []string{host}
	vs.Spec.Http = []*networkingapi.HTTPRoute{{Route: []*networkingapi.HTTPRouteDestination{{Destination: &networkingapi.Destination{Host: host}}}}}
	return vs
}

func (s *liveStage) look(name string) routing.Observed {
	s.t.Helper()
	observed, _, err := s.sources(s.snapshot("demo", false)).Gather(context.Background(), client.ObjectKey{Namespace: "demo", Name: name})
	if err != nil {
		s.t.Fatal(err)
	}
	return *observed
}

func (s *liveStage) annotate(name string, words ...string) {
	s.t.Helper()
	set := map[string]string{}
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		set[key] = value
	}
	patch, err := metadataPatch("annotations", set)
	if err != nil {
		s.t.Fatal(err)
	}
	service := serviceOf(name, "")
	if err := s.client.Patch(context.Background(), service, patch); err != nil {
		s.t.Fatal(err)
	}
}
