// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingk8s "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/contest"
	"outrigger.dev/outrigger/routing"
	"outrigger.dev/outrigger/routing/podindex"
)

var (
	begin   = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	service = reconcile.Request{NamespacedName: client.ObjectKey{Namespace: "demo", Name: "app"}}
)

// stage is a cluster with one Service of two versions, at a time of its own.
type stage struct {
	*reconciler
	t        *testing.T
	now      time.Time
	writes   int
	refuse   error // what the next write is answered with
	recorder *events.FakeRecorder
	before   func(client.Object) error // a write that returns an error is not made; may be nil
}

func newStage(t *testing.T, annotations map[string]string) *stage {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, networkingv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	s := &stage{t: t, now: begin, recorder: events.NewFakeRecorder(100)}
	write := func(o client.Object, do func() error) error {
		if s.before != nil {
			if err := s.before(o); err != nil {
				return err
			}
		}
		if err := s.refuse; err != nil {
			s.refuse = nil
			return err
		}
		s.writes++
		return do()
	}
	builder := fake.NewClientBuilder().WithScheme(scheme).WithReturnManagedFields().WithObjects(world(annotations)...)
	for _, index := range indexes("cluster.local") {
		builder.WithIndex(index.object, index.field, index.extract)
	}
	byName(builder)
	builder.WithIndex(&networkingk8s.Ingress{}, indexBackends, backendsOf)
	cluster := builder.WithInterceptorFuncs(interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
			if event, is := o.(*eventsv1.Event); is {
				return s.tell(event, func() error { return c.Create(ctx, o, options...) })
			}
			return write(o, func() error { return c.Create(ctx, o, options...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, options ...client.PatchOption) error {
			return write(o, func() error { return c.Patch(ctx, o, p, options...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.DeleteOption) error {
			return write(o, func() error { return c.Delete(ctx, o, options...) })
		},
	}).Build()
	reporter := newReporter()
	reporter.recorder = s.recorder
	s.reconciler = reconcilerOf(t, cluster, reporter, func() time.Time { return s.now })
	s.fillPods()
	return s
}

// reconcilerOf returns a reconciler that has just started, and reads and writes a cluster.
func reconcilerOf(t *testing.T, cluster client.Client, reporter *reporter, now func() time.Time) *reconciler {
	t.Helper()
	options := Options{RootNamespace: "istio-system", Settings: settings()}
	workloads := func(namespace string) []routing.Workload {
		list, err := listWorkloads(context.Background(), cluster, namespace)
		if err != nil {
			t.Error(err)
		}
		return list
	}
	return &reconciler{
		uidOf: func(namespace string, ref routing.WorkloadRef) types.UID {
			return types.UID("uid of " + namespace + "/" + ref.String())
		},
		options: options, writer: cluster, reporter: reporter, dependencies: newPlanDependencies(), written: newOwnWrites(), contests: contest.NewLedger(), now: now,
		sources: &cachedSources{
			reader: cluster, options: options, index: podindex.New(), names: newServiceNames(), deletedRules: newRestoredDestinationRules(now),
			workloads: workloads,
			workload: func(namespace string, ref routing.WorkloadRef) (routing.Workload, bool) {
				return findWorkload(workloads(namespace), ref)
			},
		},
	}
}

// gather does as Reconcile does.
func (r *reconciler) gather(ctx context.Context, key client.ObjectKey) (*routing.Observed, []api.RouteProblem, error) {
	return Gather(ctx, r.sources, key, GatherOptions{Settings: r.options.Settings, RootNamespace: r.options.RootNamespace})
}

// fillPods does what the Reflector does: the store holds the pods of the cluster.
func (s *stage) fillPods() {
	s.t.Helper()
	var list corev1.PodList
	if err := s.sources.reader.List(context.Background(), &list); err != nil {
		s.t.Fatal(err)
	}
	var items []any
	for i := range list.Items {
		items = append(items, podindex.EntryOf(&list.Items[i]))
	}
	if err := s.sources.index.Replace(items, ""); err != nil {
		s.t.Fatal(err)
	}
}

func settings() api.RoutingSettings {
	return api.RoutingSettings{
		Settle: 2 * time.Second, PropagationDelay: 2 * time.Second, SubsetRetention: time.Minute, SplitAge: 5 * time.Minute,
		DefaultGoneWindow: 5 * time.Minute, DefaultGoneAfter: 30 * time.Second,
		Expose: api.ExposeEnabled, AllowWildcardHost: true, ClusterDomain: "cluster.local", MaxVersions: 20,
	}
}

func world(annotations map[string]string) []client.Object {
	meta := func(name string, labels map[string]string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "demo", Name: name, Labels: labels, CreationTimestamp: metav1.NewTime(begin.Add(-time.Second))}
	}
	app := &corev1.Service{ObjectMeta: meta("app", nil), Spec: corev1.ServiceSpec{
		ClusterIP: "10.0.0.1", Selector: map[string]string{"app": "app"}, Ports: []corev1.ServicePort{{Name: "http", Port: 80}},
	}}
	app.UID, app.Annotations = "11", annotations
	objects := []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "demo", Labels: map[string]string{api.LabelInjection: "enabled"}}}, app,
	}
	for _, version := range []string{"v1", "v2"} {
		labels := map[string]string{"app": "app", "version": version}
		deployment := &appsv1.Deployment{ObjectMeta: meta("app-"+version, nil), Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}},
		}}
		hashed := maps.Clone(labels)
		hashed["pod-template-hash"] = "abc"
		pod := &corev1.Pod{ObjectMeta: meta("app-"+version+"-abc-1", hashed), Status: corev1.PodStatus{
			Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		}}
		controls := true
		pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "app-" + version + "-abc", Controller: &controls}}
		if version == "v2" {
			deployment.CreationTimestamp.Time, pod.CreationTimestamp.Time = begin, begin
		}
		objects = append(objects, deployment, pod)
	}
	return objects
}

func (s *stage) reconcile() reconcile.Result {
	s.t.Helper()
	result, err := s.Reconcile(context.Background(), service)
	if err != nil {
		s.t.Fatal(err)
	}
	return result
}

// settle reconciles until nothing waits any more.
func (s *stage) settle() {
	s.t.Helper()
	for range 20 {
		before := s.writes
		result := s.reconcile()
		if result.RequeueAfter == 0 && s.writes == before {
			return
		}
		s.now = s.now.Add(result.RequeueAfter)
	}
	s.t.Fatal("it does not come to rest")
}

// tell creates an Event, which told returns like those of the recorder.
func (s *stage) tell(event *eventsv1.Event, create func() error) error {
	if s.before != nil {
		if err := s.before(event); err != nil {
			return err
		}
	}
	err := create()
	if err == nil {
		s.recorder.Events <- event.Type + " " + event.Reason + " " + event.Note
	}
	return err
}

func (s *stage) told() []string {
	var out []string
	for len(s.recorder.Events) > 0 {
		out = append(out, <-s.recorder.Events)
	}
	return out
}

func (s *stage) route() *networkingv1.VirtualService {
	s.t.Helper()
	vs := &networkingv1.VirtualService{}
	if err := s.sources.reader.Get(context.Background(), service.NamespacedName, vs); err != nil {
		s.t.Fatal(err)
	}
	return vs
}

func (s *stage) annotate(annotations map[string]string) {
	s.t.Helper()
	object := &corev1.Service{}
	if err := s.sources.reader.Get(context.Background(), service.NamespacedName, object); err != nil {
		s.t.Fatal(err)
	}
	object.Annotations = annotations
	if err := s.writer.Update(context.Background(), object); err != nil {
		s.t.Fatal(err)
	}
}

func TestComesToRest(t *testing.T) {
	s := newStage(t, map[string]string{api.AnnotationWeights: "v1=90,v2=10"})
	s.settle()
	if s.writes == 0 {
		t.Fatal("nothing was written")
	}
	if told := s.told(); !slices.Contains(told, "Normal Created VirtualService app: v1=90 v2=10") {
		t.Errorf("told %q", told)
	}
	before := s.writes
	s.reconcile()
	if s.writes != before || len(s.told()) != 0 {
		t.Error("looked at again, it writes or tells again")
	}
}

func TestChangesWhatStands(t *testing.T) {
	s := newStage(t, nil)
	s.settle()
	s.told()
	s.annotate(map[string]string{api.AnnotationWeights: "v1=1,v2=3"})
	s.settle()
	if told := s.told(); !slices.Contains(told, "Normal Updated VirtualService app: v1=25 v2=75") && !slices.Contains(told, "Normal Updated VirtualService app: v1=1 v2=3") {
		t.Errorf("told %q", told)
	}
	if words := s.route().Annotations[api.AnnotationWords]; words == "" {
		t.Error("the words are not recorded")
	}
	before := s.writes
	s.annotate(map[string]string{api.AnnotationWeights: "v1=1,v2=3", api.AnnotationMatch: "v2=header:end-user:jason", api.AnnotationMirror: "v2=10"})
	s.settle()
	// Both objects record the decision, and the Event says what changed for callers.
	if told := s.told(); s.writes < before+2 || !slices.Equal(told, []string{"Normal Updated VirtualService app: end-user=jason -> v2=100; v1=25 v2=75 (copied to v2=10%)"}) {
		t.Errorf("%d writes, told %q", s.writes-before, told)
	}
	s.annotate(nil)
	s.settle()
	vs := s.route()
	if words, there := vs.Annotations[api.AnnotationWords]; there {
		t.Errorf("what is no longer written stays: %s", words)
	}
}

// What was written by the create goes as well when it is no longer written.
func TestTakesAwayWhatItCreated(t *testing.T) {
	s := newStage(t, map[string]string{api.AnnotationWeights: "v1=1,v2=3"})
	s.settle()
	if words := s.route().Annotations[api.AnnotationWords]; words == "" {
		t.Error("the words are not recorded")
	}
	s.annotate(nil)
	s.settle()
	if words, there := s.route().Annotations[api.AnnotationWords]; there {
		t.Errorf("what is no longer written stays: %s", words)
	}
}

func TestAnotherClusterThanSeen(t *testing.T) {
	resource := schema.GroupResource{Group: "networking.istio.io", Resource: "virtualservices"}
	for _, refusal := range []error{
		apierrors.NewAlreadyExists(resource, "app"),
		apierrors.NewConflict(resource, "app", nil),
		apierrors.NewNotFound(resource, "app"),
	} {
		s := newStage(t, nil)
		for s.writes == 0 { // up to the first write, which is refused
			s.refuse = refusal
			result := s.reconcile()
			if s.refuse == nil {
				if result.RequeueAfter != conflictRetry {
					t.Errorf("%v: looked at again after %v", refusal, result.RequeueAfter)
				}
				break
			}
			s.now = s.now.Add(result.RequeueAfter)
		}
		if told := s.told(); len(told) != 0 {
			t.Errorf("%v: told %q of what was not written", refusal, told)
		}
		s.refuse = nil
		s.settle()
		s.route()
	}
}

func TestTellsAProblemOnce(t *testing.T) {
	s := newStage(t, map[string]string{api.AnnotationWeights: "v1=many"})
	s.settle()
	s.reconcile()
	count := func() int {
		n := 0
		for _, event := range s.told() {
			if strings.HasPrefix(event, "Warning "+string(api.RouteInvalidAnnotation)) {
				n++
			}
		}
		return n
	}
	if n := count(); n != 1 {
		t.Errorf("told %d times", n)
	}
	s.annotate(nil)
	s.settle()
	s.annotate(map[string]string{api.AnnotationWeights: "v1=many"})
	s.settle()
	if n := count(); n != 1 {
		t.Errorf("told %d times when it came back", n)
	}
}

func TestLooksAgainWhenTimeHasWork(t *testing.T) {
	s := newStage(t, nil)
	if result := s.reconcile(); result.RequeueAfter <= 0 || result.RequeueAfter > 2*time.Second {
		t.Errorf("a Service that is just seen is looked at after %v", result.RequeueAfter)
	}
}

// Somebody else's manager sets shares: they hold. Once more it rebuilds the route: it is left alone.
func TestEditsByOthers(t *testing.T) {
	s := newStage(t, nil)
	s.settle()
	s.told()
	edit := func(change func(*networkingv1.VirtualService)) {
		t.Helper()
		vs := s.route()
		change(vs)
		if err := s.writer.Update(t.Context(), vs, client.FieldOwner("kiali")); err != nil {
			t.Fatal(err)
		}
		s.settle()
	}
	edit(func(vs *networkingv1.VirtualService) {
		rule := vs.Spec.Http[0]
		rule.Name, rule.Route[0].Weight = "", 30
		other := rule.Route[0].DeepCopy()
		other.Destination.Subset, other.Weight = "v2", 70
		rule.Route = append(rule.Route, other)
	})
	told := s.told()
	if !slices.Contains(told, "Normal Updated VirtualService app: v1=30 v2=70") || !slices.ContainsFunc(told, func(e string) bool {
		return strings.HasPrefix(e, "Normal "+string(api.RouteWeightsAdopted))
	}) {
		t.Errorf("told %q", told)
	}
	before := s.writes
	edit(func(vs *networkingv1.VirtualService) { vs.Spec.Http[0].Name = "mine" }) // a name alone is nothing
	if told := s.told(); s.writes != before+1 || len(told) != 1 {
		t.Errorf("%d writes, told %q", s.writes-before, told)
	}
	before = s.writes
	edit(func(vs *networkingv1.VirtualService) { vs.Spec.Hosts = append(vs.Spec.Hosts, "app.example.com") })
	// The DestinationRule records whose route it is.
	if told := s.told(); s.writes != before+1 || len(told) != 1 || !strings.HasPrefix(told[0], "Warning "+string(api.RouteDrifted)) {
		t.Errorf("%d writes, told %q", s.writes-before, told)
	}
}
