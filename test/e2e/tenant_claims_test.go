// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	networkingk8s "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// exposes waits until exactly these hosts of a Service are exposed.
func exposes(t *testing.T, ns, service string, hosts ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s/%s is exposed for %q", ns, service, hosts), func() error {
		objects := writtenIn(t, ns).of(service)
		if got := objects.exposedHosts(); !slices.Equal(got, hosts) {
			return fmt.Errorf("exposed are %q", got)
		}
		if isRouted := slices.ContainsFunc(objects.services, func(vs *networkingv1.VirtualService) bool { return !onMesh(vs) }); isRouted != (len(hosts) > 0) {
			return fmt.Errorf("exposed, and a VirtualService has the hosts: %t", isRouted) // only that records since when they are claimed
		}
		return nil
	})
}

// An exposer whose objects are older than the victim's adds a wildcard, and tries changes that are refused.
func TestTenantClaimsHostsLater(t *testing.T) {
	needIstio(t)
	needIngress(t)
	edit := rbacv1.RoleRef{Kind: "ClusterRole", Name: "edit"}
	var exposers []tenant
	for _, host := range []string{"one.later.example", "two.later.example"} {
		exposer := accountIn(t, newTenant(t).namespace, "exposer", edit).mayExpose(t)
		apply(t, exposer.namespace, fixed("web-v1", "web", "v1"))
		if err := exposer.client.Create(t.Context(), exposer.webService("web", annotations("expose=true", "hosts="+host))); err != nil {
			t.Fatal(err)
		}
		exposes(t, exposer.namespace, "web", host)
		exposers = append(exposers, exposer)
		time.Sleep(time.Second) // creation times are whole seconds
	}
	attacker, victim := exposers[0].namespace, exposers[1].namespace
	before := describeAll(t, victim)
	for attack, says := range map[string]string{
		"hosts=one.later.example,*.later.example": "Host *.later.example",
		"hosts=*.later.example":                   "Refused: outrigger.dev/hosts=*.later.example",
		"hosts=two.later.example":                 "Refused: outrigger.dev/hosts=two.later.example",
		"gateway-selector=istio=ingresgateway":    "Refused: outrigger.dev/gateway-selector=istio=ingresgateway",
		"gateway=nobody/nosuch":                   "Refused: outrigger.dev/gateway=nobody/nosuch",
		"gateway-port=8443":                       "Refused: outrigger.dev/gateway-port=8443",
		"gateway-port=15021":                      "port 15021 is used by Istio's proxy",
	} {
		t.Run(attack, func(t *testing.T) {
			annotate(t, attacker, "web", "outrigger.dev/hosts=one.later.example", "outrigger.dev/gateway-selector-", "outrigger.dev/gateway-", "outrigger.dev/gateway-port-")
			annotate(t, attacker, "web", "outrigger.dev/"+attack)
			eventually(t, "an Event says that the exposure stays", func() error {
				if events := eventsAbout(t, attacker, "Service", "web"); !strings.Contains(events, says) {
					return fmt.Errorf("the Events are\n%s", events)
				}
				return nil
			})
			quiet(t, attacker)
			exposes(t, attacker, "web", "one.later.example")
			if after := describeAll(t, victim); after != before {
				t.Errorf("the victim's objects changed from\n%s\nto\n%s", before, after)
			}
		})
	}
}

// A tenant publishes hosts with an Ingress, which istiod serves. It ends no exposure, and has the host before a later one.
func TestTenantClaimsHostsByIngress(t *testing.T) {
	needIstio(t)
	needIngress(t)
	attacker := newTenant(t)
	exposer := accountIn(t, newTenant(t).namespace, "exposer", rbacv1.RoleRef{Kind: "ClusterRole", Name: "edit"}).mayExpose(t)
	apply(t, exposer.namespace, fixed("web-v1", "web", "v1"))
	expose := func(name, host string) {
		if err := exposer.client.Create(t.Context(), exposer.webService(name, annotations("expose=true", "hosts="+host))); err != nil {
			t.Fatal(err)
		}
	}
	expose("first", "first.ingress.example")
	exposes(t, exposer.namespace, "first", "first.ingress.example")
	prefix := networkingk8s.PathTypePrefix
	ingress := &networkingk8s.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: attacker.namespace, Name: "claim", Annotations: map[string]string{"kubernetes.io/ingress.class": "istio"}}}
	for _, host := range []string{"first.ingress.example", "second.ingress.example"} {
		backend := networkingk8s.IngressBackend{Service: &networkingk8s.IngressServiceBackend{Name: "web", Port: networkingk8s.ServiceBackendPort{Number: 8080}}}
		ingress.Spec.Rules = append(ingress.Spec.Rules, networkingk8s.IngressRule{Host: host, IngressRuleValue: networkingk8s.IngressRuleValue{
			HTTP: &networkingk8s.HTTPIngressRuleValue{Paths: []networkingk8s.HTTPIngressPath{{Path: "/", PathType: &prefix, Backend: backend}}},
		}})
	}
	if err := attacker.client.Create(t.Context(), ingress); err != nil {
		t.Fatal(err)
	}
	wantEvent(t, exposer.namespace, "first", "HostConflict") // the Ingress is known
	expose("second", "second.ingress.example")
	settled(t, exposer.namespace, []string{"second"})
	quiet(t, exposer.namespace)
	exposes(t, exposer.namespace, "first", "first.ingress.example")
	exposes(t, exposer.namespace, "second")
}
