// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	networkingk8s "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

func gatewayRoute(t *testing.T, kind, namespace, name, spec string) *unstructured.Unstructured {
	t.Helper()
	out := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(fmt.Appendf(nil, "{spec: %s}", spec), &out.Object); err != nil {
		t.Fatal(err)
	}
	out.SetGroupVersionKind(schema.GroupVersionKind{Group: routeKind.Group, Version: "v1", Kind: kind})
	out.SetNamespace(namespace)
	out.SetName(name)
	return out
}

// pathsCluster serves the kinds of Gateway API that are named, and has the routes as the caches keep them if reduced is set.
func pathsCluster(t *testing.T, kinds []string, reduced bool, forbidden func(namespace string) bool, objects ...*unstructured.Unstructured) (client.Client, meta.RESTMapper, []optionalKind) {
	t.Helper()
	scheme := testScheme(t)
	version := schema.GroupVersion{Group: routeKind.Group, Version: "v1"}
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{version})
	builder := fake.NewClientBuilder()
	var watched []optionalKind
	for _, kind := range kinds {
		scheme.AddKnownTypeWithName(version.WithKind(kind), &unstructured.Unstructured{})
		scheme.AddKnownTypeWithName(version.WithKind(kind+"List"), &unstructured.UnstructuredList{})
		mapper.Add(version.WithKind(kind), meta.RESTScopeNamespace)
		k := optionalKind{definition: strings.ToLower(kind) + "s." + routeKind.Group, gvk: version.WithKind(kind), routes: kind != "ReferenceGrant"}
		watched = append(watched, k)
		if k.routes {
			builder.WithIndex(k.object(), indexBackends, backendsOf)
		}
	}
	for _, object := range objects {
		at := slices.IndexFunc(watched, func(k optionalKind) bool { return k.gvk.Kind == object.GetKind() })
		if !reduced || !watched[at].routes {
			builder.WithObjects(object)
			continue
		}
		kept, err := watched[at].reduce("cluster.local")(object)
		if err != nil {
			t.Fatal(err)
		}
		if _, whole := kept.(*unstructured.Unstructured).Object["spec"]; whole {
			t.Error("the spec is kept")
		}
		builder.WithObjects(kept.(client.Object))
	}
	return builder.WithScheme(scheme).WithRESTMapper(mapper).WithInterceptorFuncs(interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
			wanted := client.ListOptions{}
			if wanted.ApplyOptions(options); forbidden != nil && forbidden(wanted.Namespace) {
				return apierrors.NewForbidden(schema.GroupResource{Group: routeKind.Group, Resource: "routes"}, "", nil)
			}
			return c.List(ctx, list, options...)
		},
	}).Build(), mapper, watched
}

// The caches and a look at the API server find the same routes, of the kinds that the cluster has.
func TestRoutesOfGatewayAPIAreFound(t *testing.T) {
	routes := []*unstructured.Unstructured{
		gatewayRoute(t, "HTTPRoute", "demo", "web", "{hostnames: [a.example.com], parentRefs: [{name: gw}], rules: [{backendRefs: [{name: app, port: 80}]}]}"),
		gatewayRoute(t, "HTTPRoute", "demo", "other", "{parentRefs: [{name: gw}], rules: [{backendRefs: [{name: other, port: 80}]}]}"),
		gatewayRoute(t, "HTTPRoute", "shop", "foreign", "{parentRefs: [{name: gw}], rules: [{backendRefs: [{name: app, namespace: demo, port: 80}]}]}"),
		gatewayRoute(t, "HTTPRoute", "third", "denied", "{parentRefs: [{name: gw}], rules: [{backendRefs: [{name: app, namespace: demo, port: 80}]}]}"),
		gatewayRoute(t, "ReferenceGrant", "demo", "shop", "{from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}], to: [{group: '', kind: Service}]}"),
	}
	tcp := gatewayRoute(t, "TCPRoute", "demo", "db", "{parentRefs: [{name: gw}], rules: [{backendRefs: [{name: app, port: 80}]}]}")
	both := []routing.Bypass{
		{Object: api.ObjectRef{Kind: "HTTPRoute", Namespace: "demo", Name: "web"}, Parents: []string{"Gateway demo/gw"}, Hosts: []string{"a.example.com"}},
		{Object: api.ObjectRef{Kind: "HTTPRoute", Namespace: "shop", Name: "foreign"}, Parents: []string{"Gateway shop/gw"}},
	}
	with := append(slices.Clone(both), routing.Bypass{Object: api.ObjectRef{Kind: "TCPRoute", Namespace: "demo", Name: "db"}, Parents: []string{"Gateway demo/gw"}})
	for what, test := range map[string]struct {
		kinds     []string
		objects   []*unstructured.Unstructured
		forbidden func(namespace string) bool
		want      []routing.Bypass
		live      bool // the caches have no part in it
	}{
		"no such kind":               {nil, nil, nil, nil, false},
		"HTTPRoutes":                 {[]string{"HTTPRoute", "ReferenceGrant"}, routes, nil, both, false},
		"TCPRoutes, too":             {[]string{"HTTPRoute", "TCPRoute", "ReferenceGrant"}, append(slices.Clone(routes), tcp), nil, with, false},
		"no grants":                  {[]string{"HTTPRoute"}, routes[:4], nil, both[:1], false},
		"the own namespace's, alone": {[]string{"HTTPRoute", "ReferenceGrant"}, routes, func(namespace string) bool { return namespace != "demo" }, both[:1], true},
		"what may not be read":       {[]string{"HTTPRoute", "ReferenceGrant"}, routes, func(string) bool { return true }, nil, true},
	} {
		t.Run(what, func(t *testing.T) {
			cached, _, kinds := pathsCluster(t, test.kinds, true, test.forbidden, test.objects...)
			whole, mapper, _ := pathsCluster(t, test.kinds, false, test.forbidden, test.objects...)
			for name, from := range map[string]Sources{"cached": &cachedSources{reader: cached, kinds: kinds}, "live": NewLive(whole, mapper, Options{Settings: settings()})} {
				if name == "cached" && test.live {
					continue
				}
				for range 2 { // the second from what was read
					observed := &routing.Observed{Service: demoApp()}
					if err := (reading{from, observed}).paths(t.Context()); err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(test.want, observed.Bypasses, cmpopts.EquateEmpty()); diff != "" {
						t.Errorf("%s, -want +got:\n%s", name, diff)
					}
				}
			}
		})
	}
}

func TestARouteHasItsServicesLookedAt(t *testing.T) {
	kind := optionalKind{routes: true}
	reduced := func(spec string) *unstructured.Unstructured {
		once, err := kind.reduce("cluster.local")(gatewayRoute(t, "HTTPRoute", "demo", "web", spec))
		if err != nil {
			t.Fatal(err)
		}
		twice, err := kind.reduce("cluster.local")(once)
		if diff := cmp.Diff(once, twice); err != nil || diff != "" {
			t.Errorf("a reduced object changes again: %v\n%s", err, diff)
		}
		return once.(*unstructured.Unstructured)
	}
	before := reduced("{parentRefs: [{name: gw}], rules: [{backendRefs: [{name: app, port: 80}]}]}")
	if keys, err := servicesForReduced(t.Context(), before); err != nil || !slices.Equal(keys, []client.ObjectKey{service.NamespacedName}) {
		t.Errorf("it has %v looked at: %v", keys, err)
	}
	again := before.DeepCopy()
	again.SetResourceVersion("2")
	if reducedDiffer(before, again) || !reducedDiffer(before, reduced("{parentRefs: [{name: other}], rules: [{backendRefs: [{name: app, port: 80}]}]}")) {
		t.Error("what differs is not seen, or what does not is")
	}
	grant := gatewayRoute(t, "ReferenceGrant", "demo", "g", "{}")
	s := newStage(t, nil)
	if keys, err := (&watches{reader: s.sources.reader}).servicesForGrant(t.Context(), grant); err != nil || !slices.Contains(keys, service.NamespacedName) {
		t.Errorf("a grant has %v looked at: %v", keys, err)
	}
}

func ingress(name, class, annotation, service string, hosts ...string) *networkingk8s.Ingress {
	out := &networkingk8s.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: name}}
	if class != "" {
		out.Spec.IngressClassName = ptr.To(class)
	}
	if annotation != "" {
		out.Annotations = map[string]string{"kubernetes.io/ingress.class": annotation}
	}
	for _, host := range hosts {
		path := networkingk8s.HTTPIngressPath{Backend: networkingk8s.IngressBackend{Service: &networkingk8s.IngressServiceBackend{Name: service, Port: networkingk8s.ServiceBackendPort{Number: 80}}}}
		out.Spec.Rules = append(out.Spec.Rules, networkingk8s.IngressRule{Host: host, IngressRuleValue: networkingk8s.IngressRuleValue{HTTP: &networkingk8s.HTTPIngressRuleValue{Paths: []networkingk8s.HTTPIngressPath{path}}}})
	}
	return out
}

// Which Ingresses are read: of Istio's class by the mesh's own settings, and those alone that can matter.
func TestIngressesThatIstioServesAreRead(t *testing.T) {
	edge := &networkingk8s.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "edge"}, Spec: networkingk8s.IngressClassSpec{Controller: "istio.io/ingress-controller"}}
	objects := []client.Object{
		ingress("a", "", "istio", "app", "a.example.com"), ingress("b", "edge", "", "app", "b.example.com"), ingress("c", "nginx", "", "app", "c.example.com"),
		ingress("d", "", "", "app", "d.example.com"), ingress("e", "", "istio", "other", "e.example.com"), ingress("f", "", "custom", "app", "f.example.com"), edge,
	}
	kinds := []optionalKind{{definition: ingressResource}, {definition: ingressClassResource}}
	reader := fake.NewClientBuilder().WithScheme(testScheme(t)).WithObjects(objects...).WithIndex(&networkingk8s.Ingress{}, indexBackends, backendsOf).Build()
	for what, test := range map[string]struct {
		mesh   routing.Mesh
		expose bool
		want   string
	}{
		"by default, for its paths": {routing.Mesh{}, false, "a b"},
		"for its hosts":             {routing.Mesh{}, true, "a b e"},
		"the mesh's class":          {routing.Mesh{Ingress: routing.IngressController{Class: "custom"}}, false, "b f"},
		"every Ingress":             {routing.Mesh{Ingress: routing.IngressController{Mode: routing.IngressDefault}}, false, "a b c d"},
		"none":                      {routing.Mesh{Ingress: routing.IngressController{Mode: routing.IngressOff}}, true, ""},
	} {
		t.Run(what, func(t *testing.T) {
			options := Options{Settings: settings(), Mesh: func(context.Context) routing.Mesh { return test.mesh }}
			for name, from := range map[string]Sources{"cached": &cachedSources{reader: reader, kinds: kinds, options: options}, "live": NewLive(reader, reader.RESTMapper(), options)} {
				observed := &routing.Observed{Service: demoApp()}
				if test.expose {
					observed.Intent.Expose = &api.Exposure{}
				}
				if err := (reading{from, observed}).paths(t.Context()); err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, i := range observed.Ingresses {
					if test.expose || name == "cached" || slices.Contains(routing.IngressBackendsOf(i), "app") {
						got = append(got, i.Name)
					}
				}
				if strings.Join(got, " ") != test.want {
					t.Errorf("%s: %v, want %s", name, got, test.want)
				}
			}
		})
	}
	if got, _, err := (&cachedSources{reader: reader}).Ingresses(t.Context(), service.NamespacedName, true); err != nil || got != nil {
		t.Errorf("where Ingresses are not watched: %v, %v", got, err)
	}
	watching := &watches{reader: reader}
	if keys, err := watching.servicesForIngressClass(t.Context(), edge); err == nil && !slices.Contains(keys, service.NamespacedName) {
		t.Errorf("a class has %v looked at", keys)
	}
}

// An Ingress is created and deleted: its problem is reported, and ends.
func TestAPathThatBypassesTheVersionsIsTold(t *testing.T) {
	s := newStage(t, nil)
	s.sources.kinds = []optionalKind{{definition: ingressResource}}
	s.settle()
	s.told()
	problems := func() int { return len(s.reporter.reported[service.NamespacedName]) }
	if problems() != 0 {
		t.Fatalf("told %v", s.reporter.reported)
	}
	web := ingress("web", "", "istio", "app", "a.example.com")
	if err := s.writer.Create(t.Context(), web); err != nil {
		t.Fatal(err)
	}
	watching := &watches{reader: s.sources.reader, options: s.options, pods: s.sources.index, dependencies: s.dependencies}
	if keys, err := watching.servicesForIngress(t.Context(), web); err != nil || !slices.Contains(keys, service.NamespacedName) {
		t.Errorf("an Ingress has %v looked at: %v", keys, err)
	}
	s.settle()
	if told := s.told(); problems() != 1 || !slices.ContainsFunc(told, func(e string) bool { return strings.Contains(e, "IngressBypassesSubsets") }) {
		t.Errorf("told %q", told)
	}
	web.Spec.Rules[0].HTTP.Paths[0].Backend.Service.Name = "app-v1"
	if err := s.writer.Update(t.Context(), web); err != nil {
		t.Fatal(err)
	}
	s.settle()
	if problems() != 0 {
		t.Errorf("it names a version's Service, and is still told: %v", s.reporter.reported)
	}
}
