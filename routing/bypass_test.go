// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"testing"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	networkingk8s "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"outrigger.dev/outrigger/api"
)

func fields(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &object.Object); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return object
}

func virtual(t *testing.T, namespace, name, spec string) *networkingv1.VirtualService {
	t.Helper()
	vs := &networkingv1.VirtualService{}
	if err := yaml.Unmarshal(fmt.Appendf(nil, "{metadata: {namespace: %s, name: %s}, spec: %s}", namespace, name, spec), vs); err != nil {
		t.Fatalf("%v in %s", err, spec)
	}
	return vs
}

// Each object is there alone, beside what it needs.
func TestVirtualServicesThatBypassTheVersions(t *testing.T) {
	const toApp = "app.demo.svc.cluster.local"
	root := func(namespace, spec string) *networkingv1.VirtualService { return virtual(t, namespace, "root", spec) }
	delegate := func(spec string) *networkingv1.VirtualService { return virtual(t, "demo", "part", spec) }
	atGateway := root("infra", "{hosts: [a.example.com], gateways: [gw], http: [{delegate: {name: part, namespace: demo}}]}")
	for what, test := range map[string]struct {
		routes []*networkingv1.VirtualService
		want   []api.RouteReason
	}{
		"delegate, at a gateway":            {[]*networkingv1.VirtualService{atGateway, delegate("{http: [{route: [{destination: {host: app}}]}]}")}, []api.RouteReason{api.RouteDelegateBypasses}},
		"delegate, full host":               {[]*networkingv1.VirtualService{atGateway, delegate("{http: [{route: [{destination: {host: " + toApp + "}}]}]}")}, []api.RouteReason{api.RouteDelegateBypasses}},
		"delegate, in the mesh":             {[]*networkingv1.VirtualService{root("demo", "{hosts: [api.internal], http: [{delegate: {name: part}}]}"), delegate("{http: [{route: [{destination: {host: app}}]}]}")}, []api.RouteReason{api.RouteDelegateBypasses}},
		"delegate with a subset":            {[]*networkingv1.VirtualService{atGateway, delegate("{http: [{route: [{destination: {host: app, subset: v1}}]}]}")}, nil},
		"delegate of nobody":                {[]*networkingv1.VirtualService{delegate("{http: [{route: [{destination: {host: app}}]}]}")}, nil},
		"delegate of another namespace":     {[]*networkingv1.VirtualService{root("infra", "{hosts: [a.example.com], gateways: [gw], http: [{delegate: {name: part}}]}"), delegate("{http: [{route: [{destination: {host: app}}]}]}")}, nil},
		"delegate, hidden from its root":    {[]*networkingv1.VirtualService{atGateway, delegate("{exportTo: [.], http: [{route: [{destination: {host: app}}]}]}")}, nil},
		"delegate, exported to its root":    {[]*networkingv1.VirtualService{atGateway, delegate("{exportTo: [infra], http: [{route: [{destination: {host: app}}]}]}")}, []api.RouteReason{api.RouteDelegateBypasses}},
		"delegate, root for nobody":         {[]*networkingv1.VirtualService{root("infra", "{exportTo: ['~'], hosts: [a.example.com], gateways: [gw], http: [{delegate: {name: part, namespace: demo}}]}"), delegate("{http: [{route: [{destination: {host: app}}]}]}")}, nil},
		"delegate to another Service":       {[]*networkingv1.VirtualService{atGateway, delegate("{http: [{route: [{destination: {host: other}}]}]}")}, nil},
		"a share of 0":                      {[]*networkingv1.VirtualService{atGateway, delegate("{http: [{route: [{destination: {host: app}, weight: 0}, {destination: {host: other}, weight: 100}]}]}")}, nil},
		"a share":                           {[]*networkingv1.VirtualService{atGateway, delegate("{http: [{route: [{destination: {host: app}, weight: 1}, {destination: {host: other}, weight: 99}]}]}")}, []api.RouteReason{api.RouteDelegateBypasses}},
		"copies":                            {[]*networkingv1.VirtualService{atGateway, delegate("{http: [{route: [{destination: {host: other}}], mirrors: [{destination: {host: app}}]}]}")}, []api.RouteReason{api.RouteDelegateBypasses}},
		"our delegate":                      {[]*networkingv1.VirtualService{virtual(t, "demo", "app-extra", "{http: [{match: [{uri: {prefix: /x}}], route: [{destination: {host: app}}]}]}")}, []api.RouteReason{api.RouteDelegateBypasses}},
		"our delegate with a subset":        {[]*networkingv1.VirtualService{virtual(t, "demo", "app-extra", "{http: [{route: [{destination: {host: app, subset: v2}}]}]}")}, nil},
		"at a gateway":                      {[]*networkingv1.VirtualService{root("infra", "{hosts: [a.example.com], gateways: [gw], http: [{route: [{destination: {host: "+toApp+"}}]}]}")}, []api.RouteReason{api.RouteGatewayBypasses}},
		"at a gateway, for nobody":          {[]*networkingv1.VirtualService{root("infra", "{exportTo: ['~'], hosts: [a.example.com], gateways: [gw], http: [{route: [{destination: {host: "+toApp+"}}]}]}")}, nil},
		"at a gateway, tls":                 {[]*networkingv1.VirtualService{root("infra", "{hosts: [a.example.com], gateways: [gw], tls: [{match: [{sniHosts: [a.example.com]}], route: [{destination: {host: "+toApp+"}}]}]}")}, []api.RouteReason{api.RouteGatewayBypasses}},
		"another host in the mesh":          {[]*networkingv1.VirtualService{root("shop", "{hosts: [api.internal], http: [{route: [{destination: {host: "+toApp+"}}]}]}")}, []api.RouteReason{api.RouteMeshBypasses}},
		"another host in the mesh, tcp":     {[]*networkingv1.VirtualService{root("shop", "{hosts: [api.internal], tcp: [{route: [{destination: {host: "+toApp+"}}]}]}")}, []api.RouteReason{api.RouteMeshBypasses}},
		"another host, for nobody":          {[]*networkingv1.VirtualService{root("shop", "{exportTo: ['~'], hosts: [api.internal], http: [{route: [{destination: {host: "+toApp+"}}]}]}")}, nil},
		"another host, a Service elsewhere": {[]*networkingv1.VirtualService{root("shop", "{hosts: [api.internal], http: [{route: [{destination: {host: app}}]}]}")}, nil},
		"another host with a subset":        {[]*networkingv1.VirtualService{root("shop", "{hosts: [api.internal], http: [{route: [{destination: {host: "+toApp+", subset: v1}}]}]}")}, nil},
	} {
		t.Run(what, func(t *testing.T) {
			c := twoVersions(t)
			for _, vs := range test.routes {
				if len(test.want) > 0 && !MayConcern(vs, c.service, "cluster.local") {
					t.Errorf("VirtualService %s is not kept", vs.Name)
				}
			}
			c.foreign.VirtualServices = test.routes
			c.tells(test.want...)
			c.foreign.VirtualServices = nil
			c.tells()
		})
	}
}

// With one version, or one workload that rolls out another, every path reaches the same pods.
func TestOneVersionIsNotBypassed(t *testing.T) {
	c := newCluster(t)
	c.foreign.VirtualServices = []*networkingv1.VirtualService{virtual(t, "infra", "edge", "{hosts: [a.example.com], gateways: [gw], http: [{route: [{destination: {host: app.demo.svc.cluster.local}}]}]}")}
	c.fixed("app-v1", "v1", 2)
	c.ready()
	c.advance(time.Minute)
	c.has("v1", "v1")
	c.tells()
	c.fixed("app-v2", "v2", 1)
	c.ready()
	c.advance(time.Minute)
	c.tells(api.RouteGatewayBypasses)
	c.remove("app-v2")
	c.gone("app-v2")
	c.advance(time.Minute)
	c.tells()
}

func TestRoutesOfGatewayAPI(t *testing.T) {
	const grant = "{metadata: {namespace: demo, name: g}, spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}], to: [{group: '', kind: Service%s}]}}"
	for what, test := range map[string]struct {
		namespace, spec, grant string
		want                   string // parents
	}{
		"its Gateway":                    {"demo", "{parentRefs: [{name: gw}], rules: [{backendRefs: [{name: app, port: 80}]}]}", "", "[Gateway demo/gw]"},
		"two parents":                    {"demo", "{parentRefs: [{name: gw}, {name: gw, sectionName: b}, {group: networking.istio.io, kind: ServiceEntry, name: x}], rules: [{backendRefs: [{name: app, port: 80}]}]}", "", "[Gateway demo/gw ServiceEntry demo/x]"},
		"another kind of parent":         {"demo", "{parentRefs: [{group: example.com, kind: Gateway, name: gw}], rules: [{backendRefs: [{name: app, port: 80}]}]}", "", ""},
		"another Service":                {"demo", "{parentRefs: [{name: gw}], rules: [{backendRefs: [{name: other, port: 80}]}]}", "", ""},
		"no port":                        {"demo", "{parentRefs: [{name: gw}], rules: [{backendRefs: [{name: app}]}]}", "", ""},
		"weight 0":                       {"demo", "{parentRefs: [{name: gw}], rules: [{backendRefs: [{name: app, port: 80, weight: 0}]}]}", "", ""},
		"copies":                         {"demo", "{parentRefs: [{name: gw}], rules: [{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: app, port: 80}}}], backendRefs: [{name: other, port: 80}]}]}", "", "[Gateway demo/gw]"},
		"a host name":                    {"shop", "{parentRefs: [{name: gw}], rules: [{backendRefs: [{group: networking.istio.io, kind: Hostname, name: app.demo.svc.cluster.local, port: 80}]}]}", "", "[Gateway shop/gw]"},
		"an import":                      {"demo", "{parentRefs: [{name: gw}], rules: [{backendRefs: [{group: multicluster.x-k8s.io, kind: ServiceImport, name: app, port: 80}]}]}", "", "[Gateway demo/gw]"},
		"another kind of backend":        {"demo", "{parentRefs: [{name: gw}], rules: [{backendRefs: [{group: example.com, kind: Service, name: app, port: 80}]}]}", "", ""},
		"elsewhere, another Service":     {"shop", "{parentRefs: [{name: gw}], rules: [{backendRefs: [{name: app, port: 80}]}]}", "", ""},
		"elsewhere, not permitted":       {"shop", "{parentRefs: [{name: gw}], rules: [{backendRefs: [{name: app, namespace: demo, port: 80}]}]}", "", ""},
		"elsewhere, permitted":           {"shop", "{parentRefs: [{name: gw}], rules: [{backendRefs: [{name: app, namespace: demo, port: 80}]}]}", fmt.Sprintf(grant, ""), "[Gateway shop/gw]"},
		"elsewhere, permitted by name":   {"shop", "{parentRefs: [{name: gw}], rules: [{backendRefs: [{name: app, namespace: demo, port: 80}]}]}", fmt.Sprintf(grant, ", name: app"), "[Gateway shop/gw]"},
		"elsewhere, another permitted":   {"shop", "{parentRefs: [{name: gw}], rules: [{backendRefs: [{name: app, namespace: demo, port: 80}]}]}", fmt.Sprintf(grant, ", name: other"), ""},
		"a third namespace permitted":    {"third", "{parentRefs: [{name: gw}], rules: [{backendRefs: [{name: app, namespace: demo, port: 80}]}]}", fmt.Sprintf(grant, ""), ""},
		"in the mesh, nothing to permit": {"shop", "{parentRefs: [{group: '', kind: Service, name: facade}], rules: [{backendRefs: [{name: app, namespace: demo, port: 80}]}]}", "", "[Service shop/facade]"},
	} {
		object := fields(t, fmt.Sprintf("{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {namespace: %s, name: r}, spec: %s}", test.namespace, test.spec))
		var grants []*unstructured.Unstructured
		if test.grant != "" {
			grants = append(grants, fields(t, test.grant))
		}
		got := ""
		for _, bypass := range Bypasses(types.NamespacedName{Namespace: "demo", Name: "app"}, []GatewayAPIRoute{GatewayAPIRouteOf(object, "cluster.local")}, grants) {
			got += fmt.Sprint(bypass.Parents)
		}
		if got != test.want {
			t.Errorf("%s: %s, want %s", what, got, test.want)
		}
	}
}

// What the parent's controller refuses is no path.
func TestRefusedRoutesAreNoPath(t *testing.T) {
	status := func(section, accepted string) string {
		return fmt.Sprintf("{parentRef: {name: gw%s}, controllerName: x, conditions: [{type: Accepted, status: '%s'}]}", section, accepted)
	}
	for parents, want := range map[string]string{
		"":                         "[Gateway demo/gw]",
		status("", "True"):         "[Gateway demo/gw]",
		status("", "False"):        "[]",
		status("", "Unknown"):      "[Gateway demo/gw]",
		"{parentRef: {name: gw2}}": "[Gateway demo/gw]",
		status(", sectionName: a", "False") + "," + status(", sectionName: b", "True"):  "[Gateway demo/gw]",
		status(", sectionName: a", "False") + "," + status(", sectionName: b", "False"): "[]",
	} {
		object := fields(t, "{kind: HTTPRoute, metadata: {namespace: demo, name: r}, spec: {parentRefs: [{name: gw}]}, status: {parents: ["+parents+"]}}")
		if got := fmt.Sprint(GatewayAPIRouteOf(object, "cluster.local").Parents); got != want {
			t.Errorf("%s: %s, want %s", parents, got, want)
		}
	}
}

func TestPathsOfOtherKindsAreReported(t *testing.T) {
	c := twoVersions(t)
	c.bypasses = []Bypass{{Object: api.ObjectRef{Kind: "TCPRoute", Namespace: "demo", Name: "x"}, Parents: []string{"Gateway demo/gw"}}}
	c.tells(api.RouteGatewayAPIBypasses)
	c.bypasses = nil
	c.tells()
	ingress := &networkingk8s.Ingress{}
	c.ingresses = []*networkingk8s.Ingress{ingress}
	for _, test := range []struct {
		namespace, backend string
		want               []api.RouteReason
	}{
		{"demo", "{name: app, port: {number: 8080}}", []api.RouteReason{api.RouteIngressBypasses}},
		{"demo", "{name: app, port: {name: http}}", []api.RouteReason{api.RouteIngressBypasses}},
		{"demo", "{name: app, port: {name: other}}", nil},
		{"demo", "{name: other, port: {number: 8080}}", nil},
		{"shop", "{name: app, port: {number: 8080}}", nil},
	} {
		*ingress = networkingk8s.Ingress{}
		if err := yaml.Unmarshal(fmt.Appendf(nil, "{metadata: {namespace: %s, name: i}, spec: {rules: [{http: {paths: [{backend: {service: %s}}]}}]}}", test.namespace, test.backend), ingress); err != nil {
			t.Fatal(err)
		}
		c.tells(test.want...)
	}
}
