// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
)

const exposedServices = 150

// exposedWorld has 150 exposed Services. hosts and gateway say what the annotations of each say.
func exposedWorld(t *testing.T, hosts, gateway func(i int) string) (*watches, []*corev1.Service) {
	t.Helper()
	objects := []client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "demo"}}}
	var services []*corev1.Service
	for i := range exposedServices {
		service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{
			Namespace: "demo", Name: fmt.Sprintf("app%03d", i), UID: types.UID(fmt.Sprint(i)),
			Annotations: map[string]string{api.AnnotationExpose: "true", api.AnnotationHosts: hosts(i), api.AnnotationGateway: gateway(i)},
		}}
		services, objects = append(services, service), append(objects, service)
	}
	observed := observedFor(t, nil)
	return &watches{reader: indexedClient(t, objects), options: Options{Settings: observed.Settings}}, services
}

func ownMeta(service *corev1.Service) metav1.ObjectMeta {
	controls := true
	return metav1.ObjectMeta{
		Namespace: service.Namespace, Name: service.Name, Labels: map[string]string{api.LabelManagedBy: api.ManagedBy, api.LabelService: service.Name},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: service.Name, UID: service.UID, Controller: &controls}},
	}
}

func ownRoute(service *corev1.Service, hosts ...string) *networkingv1.VirtualService {
	vs := &networkingv1.VirtualService{ObjectMeta: ownMeta(service)}
	vs.Spec.Hosts, vs.Spec.Gateways = hosts, []string{service.Namespace + "/" + service.Name}
	return vs
}

func gatewayFor(meta metav1.ObjectMeta, hosts ...string) *networkingv1.Gateway {
	out := &networkingv1.Gateway{ObjectMeta: meta}
	out.Spec.Selector = map[string]string{"istio": "ingressgateway"}
	out.Spec.Servers = []*networking.Server{{Hosts: hosts, Port: &networking.Port{Number: 80}}}
	return out
}

// 20 hosts change where 150 Services are exposed: only what they can affect is looked at.
func TestHostChangesHaveFewServicesLookedAt(t *testing.T) {
	own := func(i int) string { return fmt.Sprintf("app%03d.example.com", i) }
	none := func(int) string { return "" }
	shared := func(int) string { return "ingress/shared" }
	var everyHost []string
	for i := range exposedServices {
		everyHost = append(everyHost, own(i))
	}
	for name, test := range map[string]struct {
		hosts, gateway func(int) string
		change         func(services []*corev1.Service, i int) [][2]client.Object // before and after
		want           int                                                        // Services looked at for 20 changes
	}{
		"a name of its own": {own, none, func(services []*corev1.Service, i int) [][2]client.Object {
			before, after := own(i), fmt.Sprintf("new%03d.example.com", i)
			return [][2]client.Object{
				{ownRoute(services[i], before), ownRoute(services[i], after)},
				{gatewayFor(ownMeta(services[i]), before), gatewayFor(ownMeta(services[i]), after)},
			}
		}, 40},
		"a wildcard of its own": {func(i int) string { return fmt.Sprintf("*.app%03d.example.com", i) }, none, func(services []*corev1.Service, i int) [][2]client.Object {
			before, after := fmt.Sprintf("*.app%03d.example.com", i), fmt.Sprintf("*.new%03d.example.com", i)
			return [][2]client.Object{
				{ownRoute(services[i], before), ownRoute(services[i], after)},
				{gatewayFor(ownMeta(services[i]), before), gatewayFor(ownMeta(services[i]), after)},
			}
		}, 40},
		"a host of a Gateway that all Services name": {own, shared, func(_ []*corev1.Service, i int) [][2]client.Object {
			meta := metav1.ObjectMeta{Namespace: "ingress", Name: "shared"}
			without := slices.Delete(slices.Clone(everyHost), i, i+1)
			return [][2]client.Object{{gatewayFor(meta, everyHost...), gatewayFor(meta, without...)}}
		}, 20},
		"a host of a Gateway that no Service names": {own, none, func(_ []*corev1.Service, i int) [][2]client.Object {
			meta := metav1.ObjectMeta{Namespace: "ingress", Name: "theirs"}
			return [][2]client.Object{{gatewayFor(meta, "x.example.org"), gatewayFor(meta, fmt.Sprintf("y%d.example.org", i))}}
		}, 0},
		"a new Gateway for hosts of nobody": {own, none, func(_ []*corev1.Service, i int) [][2]client.Object {
			return [][2]client.Object{{nil, gatewayFor(metav1.ObjectMeta{Namespace: "ingress", Name: fmt.Sprint("theirs", i)}, "x.example.org")}}
		}, 0},
		"the weights of an exposed route": {func(int) string { return "same.example.com" }, none, func(services []*corev1.Service, i int) [][2]client.Object {
			after := ownRoute(services[i], "same.example.com")
			after.Spec.Http = []*networking.HTTPRoute{{Name: "new"}}
			return [][2]client.Object{{ownRoute(services[i], "same.example.com"), after}}
		}, 20},
	} {
		t.Run(name, func(t *testing.T) {
			w, services := exposedWorld(t, test.hosts, test.gateway)
			looked := 0
			for i := range 20 {
				for _, change := range test.change(services, i) {
					keys, err := w.servicesForRouteChange(t.Context(), change[0], change[1])
					if err != nil {
						t.Fatal(err)
					}
					looked += len(inDemo(keys))
				}
			}
			if looked != test.want {
				t.Errorf("%d looks, want %d", looked, test.want)
			}
		})
	}
}

// inDemo leaves out what has the name of a Gateway elsewhere, and is no Service.
// A Gateway with another protocol on a port has the Services looked at that are to be exposed there, and no others.
func TestAPortsProtocolReachesWhomItExcludes(t *testing.T) {
	none := func(int) string { return "" }
	w, services := exposedWorld(t, func(i int) string { return fmt.Sprintf("app%03d.example.com", i) }, none)
	edit := func(i int, annotations ...string) {
		for _, pair := range annotations {
			key, value, _ := strings.Cut(pair, "=")
			services[i].Annotations[key] = value
		}
		if err := w.reader.(client.Client).Update(t.Context(), services[i]); err != nil {
			t.Fatal(err)
		}
	}
	edit(0, api.AnnotationTLSCredential+"=tls")
	edit(1, api.AnnotationTLSCredential+"=tls", api.AnnotationGatewayPort+"=8443", api.AnnotationHTTPSRedirect+"=true")
	edit(2, api.AnnotationGatewayPort+"=8443")
	ported := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ported", Annotations: map[string]string{api.AnnotationGatewayPort: "9000"}}}
	inherits := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ported", Name: "app", Annotations: map[string]string{api.AnnotationExpose: "true"}}}
	for _, object := range []client.Object{ported, inherits} {
		if err := w.reader.(client.Client).Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	everybody := exposedServices - 2 + 1 // on port 80 in plain HTTP: all but two, and the one whose Namespace has another default, by its own annotations
	for name, test := range map[string]struct {
		port     uint32
		protocol string
		want     []string
		many     int
	}{
		"HTTP on 443":    {443, "HTTP", []string{"app000"}, 0},
		"HTTPS on 443":   {443, "HTTPS", nil, 0},
		"TCP on 443":     {443, "TCP", []string{"app000"}, 0},
		"HTTP on 8443":   {8443, "HTTP", []string{"app001"}, 0},
		"HTTPS on 8443":  {8443, "HTTPS", []string{"app002"}, 0},
		"HTTPS on 9000":  {9000, "HTTPS", []string{"app"}, 0},
		"HTTP on 80":     {80, "HTTP", nil, 0},
		"TLS on 80":      {80, "TLS", nil, everybody},
		"nothing on 444": {444, "TLS", nil, 0},
	} {
		gateway := gatewayFor(metav1.ObjectMeta{Namespace: "ingress", Name: "theirs"}, "x.example.net")
		gateway.Spec.Servers[0].Port = &networking.Port{Number: test.port, Protocol: test.protocol}
		if test.protocol == "HTTPS" || test.protocol == "TLS" {
			gateway.Spec.Servers[0].Tls = &networking.ServerTLSSettings{Mode: networking.ServerTLSSettings_SIMPLE}
		}
		keys, err := w.servicesForRouteChange(t.Context(), nil, gateway)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, key := range keys {
			if key.Namespace != "ingress" {
				names = append(names, key.Name)
			}
		}
		if test.many > 0 && len(names) == test.many || test.many == 0 && slices.Equal(names, test.want) {
			continue
		}
		t.Errorf("%s: %d Services are looked at, want %v or %d: %v", name, len(names), test.want, test.many, names[:min(len(names), 5)])
	}
}

func inDemo(keys []client.ObjectKey) []client.ObjectKey {
	return slices.DeleteFunc(keys, func(key client.ObjectKey) bool { return key.Namespace != "demo" })
}

// What a change can affect is looked at, however it is written.
func TestHostChangesReachWhomTheyAffect(t *testing.T) {
	one := func(host string) func(int) string {
		return func(i int) string {
			if i == 7 {
				return host
			}
			return fmt.Sprintf("other%d.example.org", i)
		}
	}
	none := func(int) string { return "" }
	foreign := func(hosts ...string) client.Object {
		return gatewayFor(metav1.ObjectMeta{Namespace: "ingress", Name: "theirs"}, hosts...)
	}
	moved := gatewayFor(metav1.ObjectMeta{Namespace: "ingress", Name: "theirs"}, "x.example.net")
	moved.Spec.Servers[0].Port.Number = 8080
	for name, test := range map[string]struct {
		hosts, gateway func(int) string
		before, after  client.Object
		want           bool
	}{
		"the same name":                   {one("a.b.c"), none, foreign(), foreign("a.b.c"), true},
		"the name goes":                   {one("a.b.c"), none, foreign("a.b.c"), foreign(), true},
		"a wildcard over it":              {one("a.b.c"), none, foreign(), foreign("*.c"), true},
		"a scoped wildcard over it":       {one("a.b.c"), none, foreign(), foreign("demo/*.b.c"), true},
		"the same wildcard":               {one("*.b.c"), none, foreign(), foreign("*.b.c"), true},
		"a wildcard below it":             {one("*.c"), none, foreign(), foreign("*.b.c"), true},
		"every host":                      {one("*"), none, foreign(), foreign("*"), true},
		"every host, for a name":          {one("a.b.c"), none, foreign(), foreign("*"), false},
		"another name":                    {one("a.b.c"), none, foreign(), foreign("x.b.c"), false},
		"the Gateway that it names comes": {one("a.b.c"), one("ingress/theirs"), nil, foreign("x.example.net"), true},
		"the Gateway that it names moves": {one("a.b.c"), one("ingress/theirs"), foreign("x.example.net"), moved, true},
		"every host at the named Gateway": {one("a.b.c"), one("ingress/theirs"), foreign("x.example.net"), foreign("*"), true},
	} {
		t.Run(name, func(t *testing.T) {
			w, services := exposedWorld(t, test.hosts, test.gateway)
			keys, err := w.servicesForRouteChange(t.Context(), test.before, test.after)
			if err != nil {
				t.Fatal(err)
			}
			if got := slices.Contains(keys, client.ObjectKeyFromObject(services[7])); got != test.want {
				t.Errorf("looked at: %t, want %t (%v)", got, test.want, keys)
			}
			if found := inDemo(keys); len(found) > 1 {
				t.Errorf("these Services are looked at: %v", found)
			}
		})
	}
}
