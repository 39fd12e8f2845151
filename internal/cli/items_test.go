// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
)

// fullMeta is metadata with all fields that readers use, and some that they do not.
func fullMeta(name string) metav1.ObjectMeta {
	end := metav1.NewTime(noon.Add(time.Minute).Local())
	return metav1.ObjectMeta{
		Namespace: "demo", Name: name, UID: "uid-1", ResourceVersion: "17", CreationTimestamp: old(), DeletionTimestamp: &end, Labels: map[string]string{"app": "app", "empty": ""},
		Annotations:     map[string]string{api.AnnotationStatus: "{}", api.KeySidecarInject: "true", api.AnnotationWeights: "v1=90,v2=10", corev1.LastAppliedConfigAnnotation: "{}"},
		OwnerReferences: []metav1.OwnerReference{{Kind: "Node", Name: "other"}, {APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "app-v1-abc", UID: "uid-2", Controller: new(true)}},
		ManagedFields:   []metav1.ManagedFieldsEntry{{Manager: "kubelet"}},
	}
}

func workloadObjects() map[string]client.Object {
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "app", "version": "v1"}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app:1"}}}}
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "app"}, MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "x", Operator: metav1.LabelSelectorOpExists}}}
	service := serviceOf("app", "app")
	service.ObjectMeta = fullMeta("app")
	service.Spec.ClusterIPs = []string{"10.0.0.1"}
	service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}
	return map[string]client.Object{
		"Service":     service,
		"Deployment":  &appsv1.Deployment{ObjectMeta: fullMeta("app"), Spec: appsv1.DeploymentSpec{Replicas: new(int32(3)), Selector: selector, Template: template}, Status: appsv1.DeploymentStatus{Replicas: 3}},
		"StatefulSet": &appsv1.StatefulSet{ObjectMeta: fullMeta("app"), Spec: appsv1.StatefulSetSpec{Replicas: new(int32(0)), Selector: selector, Template: template}},
		"DaemonSet":   &appsv1.DaemonSet{ObjectMeta: fullMeta("app"), Spec: appsv1.DaemonSetSpec{Selector: selector, Template: template}, Status: appsv1.DaemonSetStatus{DesiredNumberScheduled: 4, NumberReady: 2}},
		"Pod": &corev1.Pod{
			ObjectMeta: fullMeta("app"),
			Spec: corev1.PodSpec{
				HostNetwork: true, NodeName: "node-1", InitContainers: []corev1.Container{{Name: "istio-proxy", Image: "proxy:1"}},
				Containers: []corev1.Container{{Name: "app", Image: "app:1", Env: []corev1.EnvVar{{Name: "A"}}}},
			},
			Status: corev1.PodStatus{
				Phase: corev1.PodRunning, PodIP: "10.1.0.1",
				Conditions:        []corev1.PodCondition{{Type: corev1.PodInitialized}, {Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: old()}},
				ContainerStatuses: []corev1.ContainerStatus{{Name: "app", RestartCount: 5, ImageID: "sha256:1"}},
			},
		},
	}
}

// A packed object is the object without what lighten removes.
func TestPackedItemsAreTheObjects(t *testing.T) {
	t.Parallel()
	for kind, object := range workloadObjects() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			want := object.DeepCopyObject().(client.Object)
			lighten(want)
			if cmp.Diff(object, want) == "" {
				t.Error("nothing is removed")
			}
			one, err := pack(object)
			if err != nil {
				t.Fatal(err)
			}
			if !isPacked(one) {
				t.Error("it is not packed")
			}
			if one.GetNamespace() != "demo" || one.GetName() != "app" || one.GetUID() != "uid-1" || one.GetResourceVersion() != "17" {
				t.Errorf("%s/%s %s %s", one.GetNamespace(), one.GetName(), one.GetUID(), one.GetResourceVersion())
			}
			for name, read := range map[string]func() (client.Object, error){"object": one.object, "copy": one.copy} {
				got, err := read()
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s: -want +got:\n%s", name, diff)
				}
			}
		})
	}
}

// What readers of pods read is kept.
func TestLightPodsKeepWhatIsRead(t *testing.T) {
	t.Parallel()
	pod := workloadObjects()["Pod"].(*corev1.Pod)
	lighten(pod)
	want := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "demo", Name: "app", UID: "uid-1", ResourceVersion: "17", CreationTimestamp: old(), DeletionTimestamp: pod.DeletionTimestamp, Labels: map[string]string{"app": "app", "empty": ""},
			Annotations:     map[string]string{api.AnnotationStatus: "{}", api.KeySidecarInject: "true"},
			OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "app-v1-abc", Controller: new(true)}},
		},
		Spec: corev1.PodSpec{HostNetwork: true, InitContainers: []corev1.Container{{Name: "istio-proxy", Image: "proxy:1"}}, Containers: []corev1.Container{{Name: "app", Image: "app:1"}}},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: old()}},
			ContainerStatuses: []corev1.ContainerStatus{{Name: "app", RestartCount: 5}},
		},
	}
	if diff := cmp.Diff(want, pod); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Other kinds are kept as they are, and readers share them.
func TestOtherItemsAreNotPacked(t *testing.T) {
	t.Parallel()
	one := &networkingv1.Gateway{ObjectMeta: metav1.ObjectMeta{Name: "a"}}
	kept, err := pack(one)
	if err != nil {
		t.Fatal(err)
	}
	if same, err := kept.object(); err != nil || same != client.Object(one) {
		t.Errorf("%v %v", same, err)
	}
	if other, err := kept.copy(); err != nil || other == client.Object(one) || other.GetName() != "a" {
		t.Errorf("%v %v", other, err)
	}
}

// Selectors match packed labels as they match others.
func TestSelectorsMatchPackedLabels(t *testing.T) {
	t.Parallel()
	for _, set := range []map[string]string{nil, {}, {"a": "1"}, {"a": ""}, {"a": "1", "b": "2", "c": ""}, {"b": "1"}, {"aa": "1", "a": "2"}} {
		packed := pairsOf(set)
		for _, text := range []string{"", "a", "!a", "a=1", "a!=1", "a=", "a in (1,2)", "a notin (1)", "a=1,b", "b=2,!c", "c=", "aa,a=2"} {
			selector, err := labels.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := selector.Matches(packed), selector.Matches(labels.Set(set)); got != want {
				t.Errorf("%q matches %q: %v, want %v", text, packed, got, want)
			}
		}
		if diff := cmp.Diff(len(set), len(packed.toMap())); diff != "" {
			t.Errorf("%v: %v", set, packed.toMap())
		}
		for key, value := range set {
			if packed.toMap()[key] != value || packed.Get(key) != value || !packed.Has(key) {
				t.Errorf("%s=%s is not in %q", key, value, packed)
			}
		}
	}
}

// The API server accepts every character in an annotation's value. No value changes what the other annotations are.
func FuzzPackedPairs(f *testing.F) {
	f.Add("a.example/note", "x\x00outrigger.dev/weights\x00v1=100\x00zzz", "outrigger.dev/weights", "v1=50,v2=50")
	f.Add("", "", "a", "\x00")
	f.Add("a", "\x01b\x01c", "b", strings.Repeat("\xff", 300))
	f.Fuzz(func(t *testing.T, key, value, otherKey, otherValue string) {
		want := map[string]string{key: value, otherKey: otherValue}
		if got := pairsOf(want).toMap(); !maps.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}
