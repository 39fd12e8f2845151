// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/routing"
)

// wideCluster is a cluster of so many Services, each with two versions of two pods, that answers whole lists only.
type wideCluster struct {
	namespaces, each int
	routes           routing.Objects
}

func (m *wideCluster) name(i int) (namespace, name string) {
	return fmt.Sprintf("ns-%03d", i/m.each), fmt.Sprintf("web-%04d", i%m.each)
}

// list fills a list as an API server would.
func (m *wideCluster) list(list client.ObjectList) bool {
	for i := range m.namespaces * m.each {
		namespace, name := m.name(i)
		switch l := list.(type) {
		case *corev1.NamespaceList:
			if i%m.each == 0 {
				one := demo("istio-injection=enabled")
				one.Name = namespace
				l.Items = append(l.Items, *one)
			}
		case *corev1.ServiceList:
			one := serviceOf(name, name)
			one.Namespace, one.UID = namespace, types.UID(namespace+name)
			l.Items = append(l.Items, *one)
		case *appsv1.DeploymentList:
			for _, version := range []string{"v1", "v2"} {
				one := *runningPods(name, version, 0, 0)[0].(*appsv1.Deployment)
				one.Namespace = namespace
				l.Items = append(l.Items, one)
			}
		case *corev1.PodList:
			for _, version := range []string{"v1", "v2"} {
				for _, o := range runningPods(name, version, 2, 2)[1:] {
					one := *o.(*corev1.Pod)
					one.Namespace = namespace
					fill(&one)
					l.Items = append(l.Items, one)
				}
			}
		case *networkingv1.DestinationRuleList:
			l.Items = m.routes.DestinationRules
			return true
		case *networkingv1.VirtualServiceList:
			l.Items = m.routes.VirtualServices
			return true
		default:
			return false
		}
	}
	return true
}

// fill gives a pod what pods with a sidecar have.
func fill(pod *corev1.Pod) {
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		c.Image = "registry.example.com/" + pod.Name
		for n := range 20 {
			c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("VARIABLE_%d", n), Value: strings.Repeat(pod.Name, 3)})
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: fmt.Sprintf("volume-%d", n), MountPath: "/" + pod.Name})
		}
	}
	pod.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubelet", FieldsV1: metav1.NewFieldsV1(`{"f:status":"` + strings.Repeat("x", 2000) + `"}`)}}
}

// What the dashboard keeps of 1,000 Services with 4,000 pods is small, and it requests each list once. With 5,000 Services, set namespaces to 50:
// 38 MiB.
func TestDashboardOfManyServices(t *testing.T) { // not parallel: it measures memory
	if testing.Short() {
		t.Skip("it plans 1,000 Services several times")
	}
	many := &wideCluster{namespaces: 10, each: 100}
	lists := 0
	s := newLiveStage(t).through(interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
			wanted := client.ListOptions{}
			wanted.ApplyOptions(options)
			if wanted.Namespace == "" && wanted.LabelSelector == nil && wanted.FieldSelector == nil && many.list(list) {
				lists++
				return nil
			}
			return c.List(ctx, list, options...)
		},
		Watch: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) (watch.Interface, error) {
			return watch.NewFake(), nil
		},
	})
	s.config.Routing.MultiCluster = api.MultiClusterDisabled // for speed: it searches all pods of the cluster for each Service without a route
	sources := s.sources(s.snapshot("demo", true))
	for i := range many.namespaces * many.each {
		namespace, name := many.name(i)
		observed, _, err := sources.Gather(t.Context(), client.ObjectKey{Namespace: namespace, Name: name})
		if err != nil {
			t.Fatal(err)
		}
		objects := routing.Plan(diagnose.WithoutDelays(*observed), noon).Objects
		observed.Existing = objects
		objects = routing.Plan(diagnose.WithoutDelays(*observed), noon).Objects
		many.routes.DestinationRules = append(many.routes.DestinationRules, objects.DestinationRules...)
		many.routes.VirtualServices = append(many.routes.VirtualServices, objects.VirtualServices...)
	}
	sources, lists = nil, 0
	var before, memory runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	d := s.dashboard(true)
	var report diagnose.StatusReport
	for _, which := range []string{"first", "second"} {
		began := time.Now()
		var err error
		if report, err = d.status(t.Context()); err != nil {
			t.Fatal(err)
		}
		took := time.Since(began)
		runtime.GC()
		runtime.ReadMemStats(&memory)
		t.Logf("%s reading: %v; %d MiB kept, %d lists", which, took.Round(time.Millisecond), (int64(memory.HeapAlloc)-int64(before.HeapAlloc))>>20, lists)
		if kept := int64(memory.HeapAlloc) - int64(before.HeapAlloc); kept > 15<<20 {
			t.Errorf("%d MiB are kept", kept>>20)
		}
	}
	if lists != 6 {
		t.Errorf("%d lists were requested, want 6: each once", lists)
	}
	states := map[string]int{}
	for _, n := range report.Namespaces {
		for _, service := range n.Services {
			states[service.State]++
		}
	}
	if states[diagnose.StateRouted] != 1000 {
		t.Errorf("states %v", states)
	}
}
