// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
)

func TestSubsetName(t *testing.T) {
	for _, test := range []struct{ version, want string }{
		{"v1", "v1"},
		{"1-2-3", "1-2-3"},
		{"1.2.3", "1-2-3"},
		{"v1.10", "v1-10"},
		{"V1", "v1-dae96fc0"},
		{"v1_2", "v1-2-614edb1f"},
		{"v1-", "v1-87703cec"},
		{"1.2.3_build", "1-2-3-build-32f890bf"},
		{"_", "d2e2adf7"},
		{strings.Repeat("a", 63), strings.Repeat("a", 63)},
		{strings.Repeat("A", 63), strings.Repeat("a", 54) + "-1b58d00f"},
	} {
		got := SubsetName(test.version)
		if got != test.want {
			t.Errorf("SubsetName(%q) = %q, want %q", test.version, got, test.want)
		}
		if !plainVersion.MatchString(got) || len(got) > 63 {
			t.Errorf("SubsetName(%q) = %q is no DNS label", test.version, got)
		}
	}
}

func TestVersionsInNaturalOrder(t *testing.T) {
	want := []string{"0.9", "v1-rc1", "v1-rc2", "v1-rc10", "v1", "1.2-beta", "1.2", "1.2.1", "v1.10", "v2", "10", "20260102", "latest"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, CompareVersions)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, a := range want {
		for _, b := range want {
			if CompareVersions(a, b) != -CompareVersions(b, a) {
				t.Errorf("the order of %s and %s depends on which is asked first", a, b)
			}
		}
	}
}

func TestPortTraffic(t *testing.T) {
	app := func(protocol string) corev1.ServicePort {
		return corev1.ServicePort{Name: "tcp", Port: 80, AppProtocol: &protocol}
	}
	for _, test := range []struct {
		port corev1.ServicePort
		want traffic
	}{
		{corev1.ServicePort{Name: "http", Port: 80}, trafficHTTP},
		{corev1.ServicePort{Name: "HTTP2-x", Port: 80}, trafficHTTP},
		{corev1.ServicePort{Name: "grpc-web-x", Port: 80}, trafficHTTP},
		{corev1.ServicePort{Name: "httpx", Port: 80}, trafficGuessed},
		{corev1.ServicePort{Name: "web", Port: 80}, trafficGuessed},
		{corev1.ServicePort{Port: 80}, trafficGuessed},
		{corev1.ServicePort{Port: 3306}, trafficTCP},
		{corev1.ServicePort{Name: "http", Port: 3306}, trafficHTTP},
		{corev1.ServicePort{Name: "mongo-db", Port: 1}, trafficTCP},
		{corev1.ServicePort{Name: "https-x", Port: 443}, trafficTLS},
		{corev1.ServicePort{Name: "tls", Port: 443}, trafficTLS},
		{corev1.ServicePort{Name: "http", Port: 80, Protocol: corev1.ProtocolUDP}, trafficNone},
		{corev1.ServicePort{Name: "http", Port: 80, Protocol: corev1.ProtocolSCTP}, trafficNone},
		{app("http"), trafficHTTP},
		{app("kubernetes.io/h2c"), trafficHTTP},
		{app("kubernetes.io/ws"), trafficHTTP},
		{app("kubernetes.io/wss"), trafficTLS},
		{app("example.com/own"), trafficGuessed},
	} {
		if got := portTraffic(test.port); got != test.want {
			t.Errorf("%s %d: %v, want %v", test.port.Name, test.port.Port, got, test.want)
		}
	}
}

func TestNormalised(t *testing.T) {
	for _, test := range []struct{ in, want []portion }{
		{[]portion{{"v1", 90}, {"v2", 10}}, []portion{{"v1", 90}, {"v2", 10}}},
		{[]portion{{"v2", 1}, {"v1", 1}, {"v3", 1}}, []portion{{"v1", 34}, {"v2", 33}, {"v3", 33}}},
		{[]portion{{"v1", 1}, {"v2", 2}}, []portion{{"v1", 33}, {"v2", 67}}},
		{[]portion{{"v1", 3}, {"v1", 1}}, []portion{{"v1", 100}}},
		{[]portion{{"v1", 999}, {"v2", 1}}, []portion{{"v1", 999}, {"v2", 1}}},
		{[]portion{{"", 4}, {"", 4}}, []portion{{"", 100}}},
	} {
		if got := normalised(test.in); !slices.Equal(got, test.want) {
			t.Errorf("normalised(%v) = %v, want %v", test.in, got, test.want)
		}
	}
}

func pod(name, owner, ownerKind string, labels map[string]string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	if owner != "" {
		controller := true
		p.OwnerReferences = []metav1.OwnerReference{{Kind: ownerKind, Name: owner, Controller: &controller}}
	}
	return p
}

func TestWorkloadOf(t *testing.T) {
	for _, test := range []struct {
		name string
		pod  *corev1.Pod
		want WorkloadRef
		ok   bool
	}{
		{"a Deployment's", pod("a", "app-v1-7d4", "ReplicaSet", map[string]string{"pod-template-hash": "7d4"}), WorkloadRef{"Deployment", "app-v1"}, true},
		{"a Rollout's", pod("a", "app-7d4", "ReplicaSet", map[string]string{"rollouts-pod-template-hash": "7d4"}), WorkloadRef{"Rollout", "app"}, true},
		{"a bare ReplicaSet's", pod("a", "app-7d4", "ReplicaSet", map[string]string{"pod-template-hash": "other"}), WorkloadRef{"ReplicaSet", "app-7d4"}, true},
		{"a StatefulSet's", pod("db-0", "db", "StatefulSet", nil), WorkloadRef{"StatefulSet", "db"}, true},
		{"a DeploymentConfig's", pod("a", "app-1", "ReplicationController", map[string]string{"deploymentconfig": "app"}), WorkloadRef{"DeploymentConfig", "app"}, true},
		{"an unknown owner's", pod("a", "x", "CloneSet", nil), WorkloadRef{"CloneSet", "x"}, true},
		{"an owner's that is no name", pod("a", "web --server=https://evil.example", "Deployment", nil), WorkloadRef{"Pod", "a"}, true},
		{"an owner's that is no kind", pod("a", "web", "Deployment --server=https://evil.example", nil), WorkloadRef{"Pod", "a"}, true},
		{"nobody's", pod("alone", "", "", nil), WorkloadRef{"Pod", "alone"}, true},
		{"a Job's", pod("a", "job-1", "Job", nil), WorkloadRef{}, false},
	} {
		if got, ok := WorkloadOf(test.pod); got != test.want || ok != test.ok {
			t.Errorf("%s pod: %v %t, want %v %t", test.name, got, ok, test.want, test.ok)
		}
	}
}

func TestGroupPods(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	make := func(name, version string, age int, ready bool, phase corev1.PodPhase) *corev1.Pod {
		p := pod(name, "db", "StatefulSet", map[string]string{"version": version})
		p.CreationTimestamp, p.Status.Phase = metav1.NewTime(at.Add(-time.Duration(age)*time.Hour)), phase
		if ready {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		}
		return p
	}
	ending := make("c", "v1", 3, true, corev1.PodRunning)
	ending.DeletionTimestamp = &metav1.Time{Time: at}
	late := make("f", "v2", 1, true, corev1.PodRunning)
	late.Status.Conditions[0].LastTransitionTime = metav1.NewTime(at)
	late.Labels["controller-revision-hash"], ending.Labels["controller-revision-hash"] = "b7", "a1"
	late.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 1}, {RestartCount: 4}}
	late.Status.InitContainerStatuses = []corev1.ContainerStatus{{RestartCount: 2}}
	ending.Status.ContainerStatuses = late.Status.ContainerStatuses
	got := GroupPods([]*corev1.Pod{
		make("b", "v2", 1, true, corev1.PodRunning), make("a", "v1", 2, true, corev1.PodRunning), ending, make("d", "v1", 9, false, corev1.PodFailed), make("e", "v1", 9, false, corev1.PodSucceeded),
		pod("j", "job", "Job", map[string]string{"version": "v1"}), late,
	}, "version")
	db := WorkloadRef{"StatefulSet", "db"}
	want := []PodGroup{
		{Workload: db, Version: "v1", Pods: 2, Ready: 1, Terminating: 1, Created: at.Add(-3 * time.Hour), ReadySince: at.Add(-2 * time.Hour)},
		{Workload: db, Version: "v2", Pods: 2, Ready: 2, Created: at.Add(-time.Hour), ReadySince: at.Add(-time.Hour), Templates: "b7", Restarts: "f=4"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestRecordIsReadAsItWasWritten(t *testing.T) {
	want := record{
		Default: parseMeaning("v1 Deployment/app"), By: ByFirst, Selector: "x", RefusedExposure: "y",
		Names: map[string]meaning{"v2": parseMeaning("Deployment/a StatefulSet/b"), "v3": parseMeaning("v3")},
	}
	rule := &networkingv1.DestinationRule{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"outrigger.dev/record": want.text()}}}
	if diff := cmp.Diff(want, recordOf(rule)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	rule.Annotations["outrigger.dev/record"] = "{"
	if got := recordOf(rule); !got.isZero() {
		t.Errorf("a broken record reads as %+v", got)
	}
}

func TestTimesAreNeverCutShort(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 123_456_789, time.UTC)
	back, ok := parseTime(timeText(now))
	if !ok || back.Before(now) || back.Sub(now) > time.Millisecond {
		t.Errorf("%v is read back as %v", now, back)
	}
}

func TestMayConcern(t *testing.T) {
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "app"}}
	vs := func(namespace, host string, gateways ...string) *networkingv1.VirtualService {
		return &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "x"}, Spec: networkingapi.VirtualService{Hosts: []string{host}, Gateways: gateways}}
	}
	rule := func(namespace, host string) *networkingv1.DestinationRule {
		return &networkingv1.DestinationRule{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "x"}, Spec: networkingapi.DestinationRule{Host: host}}
	}
	named := rule("demo", "elsewhere")
	named.Name = "app"
	for _, test := range []struct {
		name   string
		object Object
		want   bool
	}{
		{"a short name in the Service's namespace", vs("demo", "app"), true},
		{"a short name in another namespace", vs("other", "app"), false},
		{"two labels are taken literally", vs("demo", "app.demo"), false},
		{"the full name anywhere", vs("other", "app.demo.svc.cluster.local"), true},
		{"a wildcard", vs("other", "*.demo.svc.cluster.local"), true},
		{"a wildcard beside it", vs("other", "*.other.svc.cluster.local"), false},
		{"a gateway's route", vs("other", "a.example.com", "x/y"), true},
		{"a rule by its short name", rule("demo", "app"), true},
		{"a rule for another host", rule("demo", "other"), false},
		{"our name", named, true},
		{"any Gateway", &networkingv1.Gateway{}, true},
	} {
		if got := MayConcern(test.object, service, "cluster.local"); got != test.want {
			t.Errorf("%s: %t, want %t", test.name, got, test.want)
		}
	}
}

func TestDiffTakesEqualMeaningAsEqual(t *testing.T) {
	c := newCluster(t)
	c.fixed("app-v1", "v1", 1)
	c.ready()
	c.advance(time.Minute)
	c.writes = nil
	c.existing.VirtualServices[0].Spec.Http[0].Route[0].Weight = 100 // what the API server, or Kiali, makes of none
	c.settle()
	c.wrote()
	c.existing.VirtualServices[0].Labels[api.LabelKialiWizard] = "theirs"
	c.existing.DestinationRules[0].Spec.Host = "app"
	c.settle()
	c.wrote(applyRoute) // a short host means the full one
}
