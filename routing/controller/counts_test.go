// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing/podindex"
)

// fleet is a cluster of some Services, at a time of its own. Every request that writes is counted by kind.
type fleet struct {
	*reconciler
	t        *testing.T
	cluster  client.Client
	services []client.ObjectKey
	now      time.Time
	writes   map[string]int
	before   func(verb string, object client.Object) error // a fault; nil = none
	after    func(verb string, object client.Object) error
	looked   int // reconciles
}

const fleetSize = 3

func newFleet(t *testing.T) *fleet {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, networkingv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	f := &fleet{t: t, now: begin, writes: map[string]int{}}
	write := func(verb string, object client.Object, do func() error) error {
		kind, err := apiutil.GVKForObject(object, scheme)
		if err != nil {
			return err
		}
		if kind.Group != networkingv1.GroupName {
			return do()
		}
		f.writes[kind.Kind]++
		if f.before != nil {
			if err := f.before(verb, object); err != nil {
				return err
			}
		}
		if err := do(); err != nil {
			return err
		}
		if f.after != nil {
			return f.after(verb, object)
		}
		return nil
	}
	builder := fake.NewClientBuilder().WithScheme(scheme).WithReturnManagedFields()
	for _, index := range indexes("cluster.local") {
		builder.WithIndex(index.object, index.field, index.extract)
	}
	byName(builder)
	f.cluster = builder.WithInterceptorFuncs(interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
			return write("create", o, func() error { return c.Create(ctx, o, options...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, options ...client.PatchOption) error {
			return write("patch", o, func() error { return c.Patch(ctx, o, p, options...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.DeleteOption) error {
			return write("delete", o, func() error {
				if err := met(ctx, c, o, options); err != nil {
					return err
				}
				return c.Delete(ctx, o, options...)
			})
		},
	}).Build()
	f.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "demo", Labels: map[string]string{api.LabelInjection: "enabled"}}})
	for i := range fleetSize {
		name := fmt.Sprintf("app%d", i)
		service := &corev1.Service{ObjectMeta: f.meta(name, nil), Spec: corev1.ServiceSpec{
			ClusterIP: "10.0.0.1", Selector: map[string]string{"app": name}, Ports: []corev1.ServicePort{{Name: "http", Port: 80}},
		}}
		service.UID = types.UID("uid-" + name)
		f.create(service)
		f.services = append(f.services, client.ObjectKeyFromObject(service))
	}
	f.restart()
	return f
}

// met checks the preconditions of a delete, as the API server does and the fake one does not.
func met(ctx context.Context, cluster client.Client, object client.Object, options []client.DeleteOption) error {
	wanted := client.DeleteOptions{}
	wanted.ApplyOptions(options)
	standing := object.DeepCopyObject().(client.Object)
	if err := cluster.Get(ctx, client.ObjectKeyFromObject(object), standing); err != nil || wanted.Preconditions == nil {
		return err
	}
	if *wanted.Preconditions.UID != standing.GetUID() || *wanted.Preconditions.ResourceVersion != standing.GetResourceVersion() {
		return apierrors.NewConflict(schema.GroupResource{Group: networkingv1.GroupName}, object.GetName(), errors.New("precondition failed"))
	}
	return nil
}

// byName has a fake client find Istio's objects by their names, as the API server does.
func byName(builder *fake.ClientBuilder) {
	for _, object := range []client.Object{&networkingv1.DestinationRule{}, &networkingv1.VirtualService{}, &networkingv1.Gateway{}} {
		builder.WithIndex(object, metav1.ObjectNameField, func(o client.Object) []string { return []string{o.GetName()} })
	}
}

// restart puts a new leader in the place of the one that was, which remembers nothing.
func (f *fleet) restart() {
	reporter := newReporter()
	reporter.recorder = &events.FakeRecorder{}
	f.reconciler = reconcilerOf(f.t, f.cluster, reporter, func() time.Time { return f.now })
}

func (f *fleet) meta(name string, labels map[string]string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "demo", Name: name, Labels: labels, CreationTimestamp: metav1.NewTime(f.now)}
}

func (f *fleet) create(object client.Object) {
	f.t.Helper()
	if err := f.cluster.Create(context.Background(), object); err != nil {
		f.t.Fatal(err)
	}
}

// deploy makes every Service a Deployment with ready pods of a version; fixed ones have it in their selector.
func (f *fleet) deploy(track, version string, fixed bool, hash string, pods int) {
	f.t.Helper()
	for _, key := range f.services {
		name := key.Name + "-" + track
		labels := map[string]string{"app": key.Name, "version": version}
		selector := map[string]string{"app": key.Name, "track": track}
		if fixed {
			selector = labels
		}
		deployment := &appsv1.Deployment{ObjectMeta: f.meta(name, nil), Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: selector},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}},
		}}
		if err := f.cluster.Create(context.Background(), deployment); apierrors.IsAlreadyExists(err) {
			standing := &appsv1.Deployment{}
			f.must(f.cluster.Get(context.Background(), client.ObjectKeyFromObject(deployment), standing))
			standing.Spec = deployment.Spec
			f.must(f.cluster.Update(context.Background(), standing))
		} else {
			f.must(err)
		}
		for i := range pods {
			f.addPod(key.Name, name, version, hash, i)
		}
	}
}

func (f *fleet) addPod(app, deployment, version, hash string, number int) {
	f.t.Helper()
	controls := true
	labels := map[string]string{"app": app, "version": version, "pod-template-hash": hash}
	pod := &corev1.Pod{ObjectMeta: f.meta(fmt.Sprintf("%s-%s-%d", deployment, hash, number), labels), Status: corev1.PodStatus{
		Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
	}}
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: deployment + "-" + hash, Controller: &controls}}
	f.create(pod)
}

// removePods deletes the pods of all Services with a template hash.
func (f *fleet) removePods(hash string) {
	f.t.Helper()
	f.must(f.cluster.DeleteAllOf(context.Background(), &corev1.Pod{}, client.InNamespace("demo"), client.MatchingLabels{"pod-template-hash": hash}))
}

func (f *fleet) annotate(annotations map[string]string) {
	f.t.Helper()
	f.change(func(service *corev1.Service) { service.Annotations = maps.Clone(annotations) })
}

func (f *fleet) label(labels map[string]string) {
	f.t.Helper()
	f.change(func(service *corev1.Service) { service.Labels = maps.Clone(labels) })
}

func (f *fleet) change(how func(*corev1.Service)) {
	f.t.Helper()
	for _, key := range f.services {
		service := &corev1.Service{}
		f.must(f.cluster.Get(context.Background(), key, service))
		how(service)
		f.must(f.cluster.Update(context.Background(), service))
	}
}

func (f *fleet) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// seePods brings the store to what is in the cluster, as the watch does, and returns the Services to be looked at.
func (f *fleet) seePods() map[client.ObjectKey]bool {
	f.t.Helper()
	var list corev1.PodList
	f.must(f.cluster.List(context.Background(), &list))
	items := make([]any, len(list.Items))
	for i := range list.Items {
		items[i] = podindex.EntryOf(&list.Items[i])
	}
	due := map[client.ObjectKey]bool{}
	source := &podSource{
		watching: &watches{reader: f.sources.reader, pods: f.sources.index, dependencies: f.dependencies},
		failed:   func(err error, what string) { f.t.Errorf("%s: %v", what, err) },
	}
	f.sources.index.Changed = func(before, after *podindex.Shape) {
		for _, key := range source.servicesFor(context.Background(), before, after) {
			due[key] = true
		}
	}
	f.must(f.sources.index.Replace(items, ""))
	return due
}

// settle looks at every Service until none waits any more; an error is answered as the queue does, by another look.
func (f *fleet) settle() {
	f.t.Helper()
	f.seePods()
	for range 200 {
		wait, busy := time.Duration(0), false
		for _, key := range f.services {
			f.looked++
			before := total(f.writes)
			round := f.options.Canaries.round(key)
			result, err := f.Reconcile(context.Background(), reconcile.Request{NamespacedName: key})
			for next := f.options.Canaries.round(key); next != nil && next != round; next = f.options.Canaries.round(key) {
				<-f.options.Canaries.answered
				round = next
				result, err = f.Reconcile(context.Background(), reconcile.Request{NamespacedName: key})
			}
			if err != nil || total(f.writes) != before {
				busy = true
			}
			if result.RequeueAfter > 0 && (wait == 0 || result.RequeueAfter < wait) {
				wait = result.RequeueAfter
			}
		}
		if !busy && wait == 0 {
			return
		}
		if !busy {
			f.now = f.now.Add(wait)
		}
	}
	f.t.Fatal("it does not come to rest")
}

func total(writes map[string]int) int {
	sum := 0
	for _, n := range writes {
		sum += n
	}
	return sum
}

// wantWrites compares what was written since it was asked last, per Service.
func (f *fleet) wantWrites(what string, want map[string]int) {
	f.t.Helper()
	exact := map[string]int{}
	for kind, n := range want {
		exact[kind] = n * len(f.services)
	}
	if diff := cmp.Diff(exact, f.writes); diff != "" {
		f.t.Errorf("%s, %d Services (-want +got): %s", what, len(f.services), diff)
	}
	clear(f.writes)
}

const (
	rules  = "DestinationRule"
	routes = "VirtualService"
)

func TestWritesOfFixedWorkloads(t *testing.T) {
	f := newFleet(t)
	f.deploy("v1", "v1", true, "a", 2)
	f.now = f.now.Add(time.Second)
	f.deploy("v2", "v2", true, "b", 2)
	f.settle()
	f.wantWrites("cold start", map[string]int{rules: 1, routes: 1})

	f.restart()
	f.settle()
	f.wantWrites("restart", map[string]int{})

	// The new pods of a restarted workload come before the old ones go.
	f.deploy("v1", "v1", true, "c", 2)
	due := f.seePods()
	f.removePods("a")
	maps.Copy(due, f.seePods())
	if len(due) > 0 {
		t.Errorf("pods of the same versions have Services looked at: %v", due)
	}
	f.settle()
	f.wantWrites("every pod anew", map[string]int{})

	f.annotate(map[string]string{api.AnnotationWeights: "v1=90,v2=10"})
	f.settle()
	f.wantWrites("shift", map[string]int{rules: 1, routes: 1}) // both record the weights in effect
	f.annotate(map[string]string{api.AnnotationWeights: "v1=50,v2=50"})
	f.settle()
	f.wantWrites("shift again", map[string]int{rules: 1, routes: 1})

	f.deploy("v3", "v3", true, "d", 2)
	if due := f.seePods(); len(due) != len(f.services) {
		t.Errorf("a new version has %d Services looked at", len(due))
	}
	f.settle()
	f.wantWrites("a new version", map[string]int{rules: 1})

	for _, key := range f.services {
		f.must(f.cluster.Delete(context.Background(), &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: key.Name + "-v3"}}))
	}
	f.removePods("d")
	f.settle()
	// The mark that it is unused, and its end after the retention.
	f.wantWrites("a version removed", map[string]int{rules: 2})
}

// A canary without metrics is written when it starts, with each step, and at its end; one with metrics once more, with its first numbers.
func TestWritesOfACanary(t *testing.T) {
	for _, hasMetrics := range []bool{false, true} {
		f := newFleet(t)
		if hasMetrics {
			server := metricsServer(t, func(promQL string, _ *http.Request) string {
				if strings.HasPrefix(promQL, "sum((max_over_time(istio_requests_total") {
					return vector("100")
				}
				return vector("0")
			})
			f.options.Canaries = canaryMetricsOf(t, server.URL, nil)
			f.options.Canaries.now = func() time.Time { return f.now }
			f.options.Settings.Canary.HasMetrics = true
		}
		f.deploy("v1", "v1", true, "a", 2)
		f.now = f.now.Add(time.Second)
		f.deploy("v2", "v2", true, "b", 2)
		f.settle()
		clear(f.writes)
		f.annotate(map[string]string{api.AnnotationCanary: "v2", api.AnnotationCanarySteps: "50@1m,100@1m", api.AnnotationWeights: "v1=100"}) // superseded at the start
		f.settle()
		want := map[string]int{rules: 3, routes: 3}
		if hasMetrics {
			want = map[string]int{rules: 4, routes: 4}
		}
		f.wantWrites(fmt.Sprintf("a canary of two steps, with metrics: %t", hasMetrics), want)
		f.restart()
		f.settle()
		f.wantWrites("restart", map[string]int{})
	}
}

// For each object of a Service with a canary, a freeze causes one write of the record when it begins, and one when it ends.
func TestWritesOfAFreeze(t *testing.T) {
	f := newFleet(t)
	f.deploy("v1", "v1", true, "a", 2)
	f.now = f.now.Add(time.Second)
	f.deploy("v2", "v2", true, "b", 2)
	f.settle()
	clear(f.writes)
	f.options.Settings.Freeze = true
	f.settle()
	f.wantWrites("a freeze without canaries", map[string]int{})
	f.options.Settings.Freeze = false
	f.annotate(map[string]string{api.AnnotationCanary: "v2", api.AnnotationCanarySteps: "50@1m,100@1m"})
	for range 3 {
		for _, key := range f.services {
			if _, err := f.Reconcile(t.Context(), reconcile.Request{NamespacedName: key}); err != nil {
				t.Fatal(err)
			}
		}
	}
	f.wantWrites("the first step", map[string]int{rules: 1, routes: 1})
	f.options.Settings.Freeze = true
	f.settle()
	f.wantWrites("the freeze begins", map[string]int{rules: 1, routes: 1})
	f.now = f.now.Add(5 * time.Hour)
	f.restart()
	f.options.Settings.Freeze = true
	f.settle()
	f.wantWrites("restart during the freeze", map[string]int{})
	f.options.Settings.Freeze = false
	for range 3 {
		for _, key := range f.services {
			if _, err := f.Reconcile(t.Context(), reconcile.Request{NamespacedName: key}); err != nil {
				t.Fatal(err)
			}
		}
	}
	f.wantWrites("the freeze ends", map[string]int{rules: 1, routes: 1})
	f.settle()
	f.wantWrites("the other step, and the success", map[string]int{rules: 2, routes: 2})
}

// Each at a port of its own: only one Service has "*" at a port.
func TestWritesWhereExposedForEveryHost(t *testing.T) {
	f := newFleet(t)
	f.options.Settings.GatewayPorts = []string{"20000-30000"} // no gateway runs here
	f.deploy("v1", "v1", true, "a", 2)
	f.now = f.now.Add(time.Second)
	f.deploy("v2", "v2", true, "b", 2)
	words := func(weights string) {
		port := 20000
		f.change(func(service *corev1.Service) {
			port++
			service.Annotations = map[string]string{api.AnnotationExpose: "true", api.AnnotationGatewayPort: fmt.Sprint(port), api.AnnotationWeights: weights}
		})
	}
	words("v1=100")
	f.settle()
	f.wantWrites("cold start", map[string]int{rules: 1, routes: 2, "Gateway": 1})
	words("v1=90,v2=10")
	f.settle()
	f.wantWrites("shift", map[string]int{rules: 1, routes: 2})
	f.restart()
	f.settle()
	f.wantWrites("restart", map[string]int{})
}

// A step that is due after a write does not wait for the write to come back, which is looked at behind all else.
func TestTheNextStepIsKnownAfterAWrite(t *testing.T) {
	s := newStage(t, nil)
	s.now = s.now.Add(time.Minute)
	if result := s.reconcile(); s.writes != 1 || result.RequeueAfter != s.options.Settings.PropagationDelay || result.Priority == nil || *result.Priority != 0 {
		t.Errorf("after the DestinationRule: %d writes, and again after %v with priority %v", s.writes, result.RequeueAfter, result.Priority)
	}
}

func TestWritesOfARolloutInPlace(t *testing.T) {
	f := newFleet(t)
	f.deploy("main", "v1", false, "a", 2)
	f.settle()
	f.wantWrites("cold start", map[string]int{rules: 1, routes: 1})

	f.rollOut("main", "v2", "a", "b")
	// The new version with the mark on the old one, and the old one's end.
	f.wantWrites("rollout of a lone workload", map[string]int{rules: 2})
	f.rollOut("main", "v3", "b", "c")
	f.wantWrites("another one", map[string]int{rules: 2})
}

func TestWritesOfASecondWorkload(t *testing.T) {
	f := newFleet(t)
	f.deploy("main", "v1", false, "a", 2)
	f.settle()
	clear(f.writes)
	f.now = f.now.Add(time.Hour)
	f.deploy("canary", "v2", false, "x", 2)
	f.settle()
	f.wantWrites("a second workload beside a lone rolling one", map[string]int{rules: 1, routes: 1})

	f.rollOut("main", "v3", "a", "b")
	if got, most := f.writes[routes], 5*len(f.services); got > most {
		t.Errorf("a rollout beside a second workload wrote VirtualServices %d times, more than %d", got, most)
	}
	delete(f.writes, routes)
	// What comes, and the end of what goes, whose retention begins with the write of the route that leaves it.
	f.wantWrites("its DestinationRules", map[string]int{rules: 2})
}

// Pods and workloads are watched separately. If the route exists before the controller sees the Deployment, the record is corrected when the
// Deployment appears: first the workload that has the version, then that the default follows that workload.
func TestWritesOfAPodSeenBeforeItsDeployment(t *testing.T) {
	f := newFleet(t)
	for _, key := range f.services {
		f.addPod(key.Name, key.Name+"-main", "v1", "a", 0)
	}
	f.settle()
	f.wantWrites("pods", map[string]int{rules: 1, routes: 1})
	f.deploy("main", "v1", false, "b", 0)
	f.settle()
	f.wantWrites("their Deployment", map[string]int{rules: 2, routes: 3})
}

// rollOut changes the version of a workload of two pods in place, one pod at a time, and waits for the end of it all.
func (f *fleet) rollOut(track, version, from, to string) {
	f.t.Helper()
	f.now = f.now.Add(time.Hour)
	f.deploy(track, version, false, to, 0)
	for i := range 2 {
		for _, key := range f.services {
			f.addPod(key.Name, key.Name+"-"+track, version, to, i)
		}
		f.settle()
		for _, key := range f.services {
			f.must(f.cluster.Delete(context.Background(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
				Namespace: "demo", Name: fmt.Sprintf("%s-%s-%s-%d", key.Name, track, from, i),
			}}))
		}
		f.settle()
	}
	f.now = f.now.Add(time.Hour)
	f.settle()
}
