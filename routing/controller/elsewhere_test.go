// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
	"outrigger.dev/outrigger/routing/podindex"
)

var routeKind = schema.GroupVersionKind{Group: "gateway.networking.k8s.io", Version: "v1", Kind: "HTTPRoute"}

func httpRoute(namespace, name, parentNamespace string) *unstructured.Unstructured {
	out := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"parentRefs": []any{map[string]any{"kind": "Service", "name": "app", "namespace": parentNamespace}},
		"rules":      []any{map[string]any{"timeouts": map[string]any{"request": "1s"}}},
	}}}
	out.SetGroupVersionKind(routeKind)
	out.SetNamespace(namespace)
	out.SetName(name)
	return out
}

// takersCluster serves HTTPRoutes, and none of the other kinds.
func takersCluster(t *testing.T, refuse func(namespace string) bool, objects ...client.Object) (client.Client, meta.RESTMapper) {
	t.Helper()
	scheme := runtime.NewScheme()
	scheme.AddKnownTypeWithName(routeKind, &unstructured.Unstructured{})
	scheme.AddKnownTypeWithName(routeKind.GroupVersion().WithKind("HTTPRouteList"), &unstructured.UnstructuredList{})
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{routeKind.GroupVersion()})
	mapper.Add(routeKind, meta.RESTScopeNamespace)
	kind := &unstructured.Unstructured{}
	kind.SetGroupVersionKind(routeKind)
	cluster := fake.NewClientBuilder().WithScheme(scheme).WithRESTMapper(mapper).WithIndex(kind, indexRouted, reducedServices).WithObjects(objects...).WithInterceptorFuncs(interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
			wanted := client.ListOptions{}
			if wanted.ApplyOptions(options); refuse(wanted.Namespace) {
				return apierrors.NewForbidden(schema.GroupResource{Group: routeKind.Group, Resource: "httproutes"}, "", nil)
			}
			return c.List(ctx, list, options...)
		},
	}).Build()
	return cluster, mapper
}

func demoApp() *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "app"}}
}

func TestTakersAreFoundWhereTheyMayBeRead(t *testing.T) {
	for what, test := range map[string]struct {
		refuse func(namespace string) bool
		want   string
	}{
		"in the namespace":      {func(namespace string) bool { return namespace != "demo" }, "HTTPRoute demo/mine"},
		"not at all, not known": {func(string) bool { return true }, ""},
	} {
		cluster, mapper := takersCluster(t, test.refuse, httpRoute("demo", "mine", "demo"), httpRoute("demo", "yours", "demo"), httpRoute("a", "theirs", "demo"), httpRoute("a", "other", "a"))
		live := NewLive(cluster, mapper, Options{})
		for range 2 { // the second from what was read
			if got, err := live.ManagedBy(t.Context(), service.NamespacedName); err != nil || got != test.want {
				t.Errorf("%s: %q, %v, want %q", what, got, err, test.want)
			}
		}
	}
}

func TestTakersAreWatched(t *testing.T) {
	router := routing.OtherRouters()[2]
	reduce := optionalKind{router: &router}.reduce("cluster.local")
	var held []client.Object
	for _, object := range []*unstructured.Unstructured{httpRoute("demo", "mine", "demo"), httpRoute("a", "theirs", "demo"), httpRoute("a", "other", "a")} {
		once, err := reduce(object)
		if err != nil {
			t.Fatal(err)
		}
		twice, err := reduce(once)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(once, twice); diff != "" {
			t.Errorf("a reduced object changes again:\n%s", diff)
		}
		if _, kept := once.(*unstructured.Unstructured).Object["spec"]; kept {
			t.Error("the spec is kept")
		}
		held = append(held, once.(client.Object))
	}
	if keys, err := servicesForReduced(t.Context(), held[0]); err != nil || len(keys) != 1 || keys[0] != service.NamespacedName {
		t.Errorf("%v has %v looked at: %v", held[0].GetName(), keys, err)
	}
	if keys, err := servicesForReduced(t.Context(), held[1]); err != nil || len(keys) != 0 {
		t.Errorf("a route of another namespace has %v looked at: %v", keys, err)
	}
	cluster, _ := takersCluster(t, func(string) bool { return false }, held...)
	cached := &cachedSources{reader: cluster, kinds: []optionalKind{{definition: workloadEntryDefinition}, {definition: router.Definition, gvk: routeKind, router: &router}}}
	if got, err := cached.ManagedBy(t.Context(), service.NamespacedName); err != nil || got != "HTTPRoute demo/mine" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := (&cachedSources{reader: cluster}).ManagedBy(t.Context(), service.NamespacedName); err != nil || got != "" {
		t.Errorf("kinds that are not there: %q, %v", got, err)
	}
}

func TestWorkloadEntriesTakePart(t *testing.T) {
	s := newStage(t, map[string]string{api.AnnotationWeights: "v1=1,v9=1"})
	s.sources.kinds = []optionalKind{{definition: workloadEntryDefinition}}
	entry := &networkingv1.WorkloadEntry{
		ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "machine", Labels: map[string]string{"version": "v9"}},
		Spec:       networkingapi.WorkloadEntry{Address: "10.0.0.9", Labels: map[string]string{"app": "app", "version": "v8"}},
	}
	if err := s.writer.Create(t.Context(), entry); err != nil {
		t.Fatal(err)
	}
	s.settle() // comes to rest although the store of pods knows nothing of it
	if told := s.told(); !slices.ContainsFunc(told, func(e string) bool { return strings.HasSuffix(e, "VirtualService app: v1=50 v9=50") }) {
		t.Errorf("told %q", told)
	}
	watching := &watches{reader: s.sources.reader, options: s.options, pods: s.sources.index, dependencies: s.dependencies}
	if keys, err := watching.servicesForEntry(t.Context(), entry); err != nil || !slices.Contains(keys, service.NamespacedName) {
		t.Errorf("a WorkloadEntry has %v looked at: %v", keys, err)
	}
	sick := entry.DeepCopy()
	sick.Status.Conditions = append(sick.Status.Conditions, nil)
	if entryDiffers(entry, entry.DeepCopy()) || !entryDiffers(entry, sick) {
		t.Error("what differs is not seen, or what does not is")
	}
}

func TestSeveralClustersAreRecognised(t *testing.T) {
	for what, sign := range map[string]client.Object{
		"a network": &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "istio-system", Labels: map[string]string{labelNetwork: "n1"}}},
		"a gateway": &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "gw", Labels: map[string]string{labelIstio: eastWestGateway}}},
	} {
		s := newStage(t, nil)
		if err := s.writer.Create(t.Context(), sign); err != nil {
			t.Fatal(err)
		}
		s.fillPods()
		observed, _, err := s.gather(t.Context(), service.NamespacedName)
		if err != nil || !observed.MultiCluster {
			t.Errorf("%s is not recognised: %v", what, err)
		}
		looked, _, err := NewLive(s.sources.reader, s.writer.RESTMapper(), s.options).Gather(t.Context(), service.NamespacedName)
		if err != nil || !looked.MultiCluster {
			t.Errorf("%s is not recognised by a look: %v", what, err)
		}
	}
}

// A gateway without Istio's own label is one all the same, if a Service is to be exposed there.
func TestAnyGatewaysPodsAndServicesMatterToWhatIsExposedThere(t *testing.T) {
	s := newStage(t, map[string]string{api.AnnotationExpose: "true", api.AnnotationGatewaySelector: "app=edge"})
	s.reconcile()
	plain := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "plain"}}
	if err := s.writer.Create(t.Context(), plain); err != nil {
		t.Fatal(err)
	}
	watching := &watches{reader: s.sources.reader, options: s.options, pods: s.sources.index, dependencies: s.dependencies}
	source := &podSource{watching: watching, failed: func(err error, what string) { t.Errorf("%s: %v", what, err) }}
	var due []client.ObjectKey
	s.sources.index.Changed = func(before, after *podindex.Shape) {
		due = append(due, source.servicesFor(t.Context(), before, after)...)
	}
	pod := func(name string, labels map[string]string) *podindex.Entry {
		return podindex.EntryOf(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "edge", Name: name, Labels: labels}})
	}
	see := func(entry *podindex.Entry) []client.ObjectKey {
		t.Helper()
		due = nil
		if err := s.sources.index.Add(entry); err != nil {
			t.Fatal(err)
		}
		return due
	}
	if got := see(pod("edge-1", map[string]string{"app": "edge", "x": "y"})); !slices.Contains(got, service.NamespacedName) {
		t.Errorf("a pod of the gateway has %v looked at", got)
	}
	if got := see(pod("other-1", map[string]string{"app": "other"})); len(got) > 0 {
		t.Errorf("a pod of something else has %v looked at", got)
	}
	edge := func(selector map[string]string) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "edge", Name: "edge"}, Spec: corev1.ServiceSpec{Selector: selector}}
	}
	for _, test := range []struct {
		selector map[string]string
		want     int
	}{{map[string]string{"x": "y"}, 2}, {map[string]string{"app": "edge"}, 2}, {map[string]string{"app": "other"}, 1}, {map[string]string{"z": "y"}, 1}, {nil, 1}} {
		if keys, err := watching.servicesForService(t.Context(), edge(test.selector)); err != nil || len(keys) != test.want {
			t.Errorf("Service of %v has %v looked at: %v", test.selector, keys, err)
		}
	}
	// The first and the last pod of an east-west gateway matter to all, others do not.
	if got := see(pod("ew-1", map[string]string{labelIstio: eastWestGateway})); !slices.Contains(got, client.ObjectKeyFromObject(plain)) {
		t.Errorf("the first pod has %v looked at", got)
	}
	if got := see(pod("ew-2", map[string]string{labelIstio: eastWestGateway, "x": "z"})); slices.Contains(got, client.ObjectKeyFromObject(plain)) {
		t.Errorf("the second pod has %v looked at", got)
	}
	s.annotate(nil)
	s.reconcile()
	if got := see(pod("edge-2", map[string]string{"app": "edge"})); len(got) > 0 {
		t.Errorf("a pod of a gateway where nothing is exposed any more has %v looked at", got)
	}
}
