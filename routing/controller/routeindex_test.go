// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

var exposures = []map[string]string{
	nil,
	{api.AnnotationExpose: "true"},
	{api.AnnotationExpose: "true", api.AnnotationHosts: "a.example.com"},
	{api.AnnotationExpose: "true", api.AnnotationHosts: "*.example.com"},
	{api.AnnotationExpose: "true", api.AnnotationHosts: "a.example.com", api.AnnotationGateway: "other/app"},
	{api.AnnotationExpose: "true", api.AnnotationHosts: "d.example.org", api.AnnotationTLSCredential: "d-tls", api.AnnotationHTTPSRedirect: "true"},
	{api.AnnotationExpose: "true", api.AnnotationHosts: "d.example.org", api.AnnotationGatewayPort: "443"},
}

// Among random objects of others, the index finds all from which a look at everything would make another plan.
func TestTheIndexFindsWhatMatters(t *testing.T) {
	mattered := 0
	for seed := range uint64(40) {
		objects := randomRoutes(rand.New(rand.NewPCG(seed, 7)))
		reader := indexedClient(t, objects)
		for _, annotations := range exposures {
			observed := observedFor(t, annotations)
			all, err := ListObjects(t.Context(), reader)
			if err != nil {
				t.Fatal(err)
			}
			inMemory := NewObjectIndex(observed.Settings.ClusterDomain)
			inMemory.Add(all)
			want := planText(t, observed, all)
			for where, read := range map[string]readObjects{"the caches": (&cachedSources{reader: reader}).Objects, "memory": inMemory.Objects} {
				found, err := concerning(t.Context(), read, observed)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, planText(t, observed, found)); diff != "" {
					t.Fatalf("seed %d, %v, from %s: %s", seed, annotations, where, diff)
				}
			}
			if want != planText(t, observed, routing.Objects{}) {
				mattered++
			}
		}
	}
	if mattered < 20 {
		t.Errorf("only %d times the random objects mattered", mattered)
	}
}

// A Service is looked at when an object comes or goes without which its plan would be another.
func TestWhatMattersHasTheServiceLookedAt(t *testing.T) {
	mattered := 0
	for seed := range uint64(40) {
		objects := randomRoutes(rand.New(rand.NewPCG(seed, 8)))
		for _, annotations := range exposures {
			observed := observedFor(t, annotations)
			service := observed.Service
			with := indexedClient(t, append([]client.Object{service.DeepCopy()}, objects...))
			all, err := ListObjects(t.Context(), with)
			if err != nil {
				t.Fatal(err)
			}
			want := planText(t, observed, all)
			watching := &watches{reader: with, options: Options{Settings: observed.Settings}}
			for _, object := range objects {
				if planText(t, observed, without(all, object)) == want {
					continue
				}
				mattered++
				keys, err := watching.servicesForRouteChange(t.Context(), nil, object)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Contains(keys, client.ObjectKeyFromObject(service)) {
					t.Errorf("seed %d, %v: %T %s/%s matters, and has %v looked at", seed, annotations, object, object.GetNamespace(), object.GetName(), keys)
				}
			}
		}
	}
	if mattered < 50 {
		t.Errorf("only %d times an object mattered", mattered)
	}
}

func without(all routing.Objects, object client.Object) routing.Objects {
	return routing.Objects{
		DestinationRules: others(all.DestinationRules, object), VirtualServices: others(all.VirtualServices, object), Gateways: others(all.Gateways, object),
	}
}

func others[O client.Object](all []O, object client.Object) []O {
	return slices.DeleteFunc(slices.Clone(all), func(o O) bool {
		return fmt.Sprintf("%T", o) == fmt.Sprintf("%T", object) && client.ObjectKeyFromObject(o) == client.ObjectKeyFromObject(object)
	})
}

// planText is what a plan says and would write, made from these objects of others.
func planText(t *testing.T, observed *routing.Observed, found routing.Objects) string {
	t.Helper()
	with := *observed
	foreign := func(o routing.Object) bool {
		return routing.MayConcern(o, observed.Service, observed.Settings.ClusterDomain)
	}
	with.Foreign = routing.Objects{
		DestinationRules: copies(found.DestinationRules, foreign),
		VirtualServices:  copies(found.VirtualServices, foreign),
		Gateways:         copies(found.Gateways, foreign),
	}
	plan := routing.PlanOffline(with, begin) // the first plan only creates subsets, so most objects would not matter
	text := ""
	for _, change := range routing.Diff(routing.Objects{}, plan.Objects) {
		body, err := bodyOf(change.Object)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(body.Object)
		if err != nil {
			t.Fatal(err)
		}
		text += string(raw) + "\n"
	}
	for _, problem := range plan.Problems {
		text += problem.String() + "\n"
	}
	return text
}

func observedFor(t *testing.T, annotations map[string]string) *routing.Observed {
	t.Helper()
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "app", UID: "11", Annotations: annotations, CreationTimestamp: metav1.NewTime(begin.Add(-60e9))},
		Spec:       corev1.ServiceSpec{ClusterIP: "10.0.0.1", Selector: map[string]string{"app": "app"}, Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: "demo", Labels: map[string]string{api.LabelInjection: "enabled"},
		Annotations: map[string]string{api.AnnotationAllowedHosts: "*,other/app"},
	}}
	intent, _ := api.RouteIntentOf(service, namespace)
	ref, second := routing.WorkloadRef{Kind: "Deployment", Name: "app-v1"}, routing.WorkloadRef{Kind: "Deployment", Name: "app-v2"}
	return &routing.Observed{
		Service: service, Namespace: namespace, Intent: intent, RootNamespace: "istio-system", Settings: settings(),
		Pods: []routing.PodGroup{{Workload: ref, Version: "v1", Pods: 1, Ready: 1, Created: begin.Add(-1)}, {Workload: second, Version: "v2", Pods: 1, Ready: 1, Created: begin}},
		Workloads: []routing.Workload{
			{WorkloadRef: ref, Created: begin.Add(-1), Replicas: 1, Selector: map[string]string{"version": "v1"}, Labels: map[string]string{"app": "app", "version": "v1"}},
			{WorkloadRef: second, Created: begin, Replicas: 1, Selector: map[string]string{"version": "v2"}, Labels: map[string]string{"app": "app", "version": "v2"}},
		},
		ServiceNames: map[string]bool{"app": true},
	}
}

func indexedClient(t *testing.T, objects []client.Object) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, networkingv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	builder := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...)
	for _, index := range indexes("cluster.local") {
		builder.WithIndex(index.object, index.field, index.extract)
	}
	return builder.Build()
}

// serverAt is a server at a place such as "443/HTTPS".
func serverAt(place, host string) *networkingapi.Server {
	number, protocol, _ := strings.Cut(place, "/")
	server := &networkingapi.Server{Hosts: []string{host}, Port: &networkingapi.Port{Number: map[string]uint32{"80": 80, "443": 443}[number], Name: "x", Protocol: protocol}}
	if protocol == "HTTPS" {
		server.Tls = &networkingapi.ServerTLSSettings{Mode: networkingapi.ServerTLSSettings_SIMPLE, CredentialName: "theirs"}
	}
	return server
}

func randomRoutes(random *rand.Rand) []client.Object {
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	host := func() string {
		return pick("app", "app.demo.svc.cluster.local", "*", "*.cluster.local", "*.demo.svc.cluster.local", "other", "a.example.com", "b.example.com", "*.example.com")
	}
	var out []client.Object
	for i := range 6 {
		meta := metav1.ObjectMeta{
			Namespace: pick("demo", "other", "istio-system"), CreationTimestamp: metav1.NewTime(begin),
			Name: pick("app", "app-auto", "app-gateway", "app-extra", fmt.Sprint("x", i)),
		}
		var object client.Object
		switch random.IntN(3) {
		case 0:
			object = &networkingv1.DestinationRule{ObjectMeta: meta, Spec: networkingapi.DestinationRule{
				Host: host(), Subsets: []*networkingapi.Subset{{Name: pick("v1", "v2"), Labels: map[string]string{"version": pick("v1", "v9")}}},
				TrafficPolicy: &networkingapi.TrafficPolicy{ConnectionPool: &networkingapi.ConnectionPoolSettings{
					Tcp: &networkingapi.ConnectionPoolSettings_TCPSettings{MaxConnections: int32(i)},
				}},
			}}
		case 1:
			vs := &networkingv1.VirtualService{ObjectMeta: meta, Spec: networkingapi.VirtualService{
				Hosts: []string{host()}, ExportTo: []string{pick("*", ".", "~")},
				Http: []*networkingapi.HTTPRoute{{Route: []*networkingapi.HTTPRouteDestination{{Destination: &networkingapi.Destination{Host: host(), Subset: pick("", "v1", "v2")}}}}},
			}}
			if random.IntN(3) == 0 {
				vs.Spec.Http = append(vs.Spec.Http, &networkingapi.HTTPRoute{Delegate: &networkingapi.Delegate{Name: pick("app-extra", "x1", "x2"), Namespace: pick("", "demo", "other")}})
			}
			if (meta.Name == "app-extra" || strings.HasPrefix(meta.Name, "x")) && random.IntN(2) == 0 {
				vs.Spec.Hosts = nil // a delegate
			} else if random.IntN(2) == 0 {
				vs.Spec.Gateways = []string{pick("mesh", "app", "other/app", "demo/app", "x1")}
			}
			object = vs
		default:
			object = &networkingv1.Gateway{ObjectMeta: meta, Spec: networkingapi.Gateway{
				Selector: map[string]string{"istio": pick("ingressgateway", "egressgateway")},
				Servers:  []*networkingapi.Server{serverAt(pick("80/HTTP", "80/HTTP", "443/HTTP", "443/HTTPS", "80/HTTPS", "443/TCP"), pick("", "*/", "demo/", "./")+host())},
			}}
		}
		if !slices.ContainsFunc(out, func(o client.Object) bool {
			return fmt.Sprintf("%T", o) == fmt.Sprintf("%T", object) && client.ObjectKeyFromObject(o) == client.ObjectKeyFromObject(object)
		}) {
			out = append(out, object)
		}
	}
	if namespace := pick("", "other", "third"); namespace != "" { // a host that is served, by a route and its Gateway
		at := metav1.ObjectMeta{Namespace: namespace, Name: "shown", CreationTimestamp: metav1.NewTime(begin)}
		served := []string{pick("a.example.com", "b.example.com", "*.example.com", "c.b.example.com")}
		out = append(out,
			&networkingv1.Gateway{ObjectMeta: at, Spec: networkingapi.Gateway{
				Selector: map[string]string{"istio": "ingressgateway"},
				Servers:  []*networkingapi.Server{{Hosts: served, Port: &networkingapi.Port{Number: 80, Name: "http", Protocol: "HTTP"}}},
			}},
			&networkingv1.VirtualService{ObjectMeta: at, Spec: networkingapi.VirtualService{
				Hosts: served, Gateways: []string{"shown"},
				Http: []*networkingapi.HTTPRoute{{Route: []*networkingapi.HTTPRouteDestination{{Destination: &networkingapi.Destination{Host: "web"}}}}},
			}})
	}
	return out
}
