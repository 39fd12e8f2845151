// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
)

// hostAttack is a Service that an exposer exposes for a host of somebody else. VICTIM and OWN stand for the namespaces.
type hostAttack struct {
	name  string
	hosts string   // the annotation
	other []string // more annotations, as "key=value"
	// refused hosts must not be served by any gateway; those of the annotation if nil. What the mesh sees is examined in any case.
	refused []string
	served  []string // hosts that must be served all the same; nil: none is
}

var hostAttacks = []hostAttack{
	{name: "a Service of the victim", hosts: "payments.VICTIM.svc.cluster.local"},
	{name: "a Service of the victim, without the cluster's domain", hosts: "payments.VICTIM.svc"},
	{name: "a Service of the victim, in capitals", hosts: "PAYMENTS.VICTIM.SVC.CLUSTER.LOCAL", refused: []string{"payments.VICTIM.svc.cluster.local", "PAYMENTS.VICTIM.SVC.CLUSTER.LOCAL"}},
	{name: "a Service of the victim, as a rooted name", hosts: "payments.VICTIM.svc.cluster.local.", refused: []string{"payments.VICTIM.svc.cluster.local", "payments.VICTIM.svc.cluster.local."}},
	{name: "a Service of the victim, among hosts of the tenant's own", hosts: "shop.tenant.example,payments.VICTIM.svc.cluster.local", refused: []string{"payments.VICTIM.svc.cluster.local"}},
	{name: "a Service of the victim, behind a line break", hosts: "shop.tenant.example,\npayments.VICTIM.svc.cluster.local", refused: []string{"payments.VICTIM.svc.cluster.local"}},
	{name: "all Services of the victim", hosts: "*.VICTIM.svc.cluster.local"},
	{name: "all Services of the victim, without the cluster's domain", hosts: "*.VICTIM.svc"},
	{name: "all Services", hosts: "*.svc.cluster.local"},
	{name: "all Services, without the cluster's domain", hosts: "*.svc"},
	{name: "the cluster's domain", hosts: "*.cluster.local"},
	{name: "the top-level domain of the cluster's", hosts: "*.local"},
	{name: "a Service that does not exist yet", hosts: "future.newteam.svc.cluster.local"},
	{name: "a Service of the tenant's that does not exist", hosts: "other.OWN.svc.cluster.local"},
	{name: "istiod", hosts: "istiod.istio-system.svc"},
	{name: "istiod, in full", hosts: "istiod.istio-system.svc.cluster.local"},
	{name: "the API server", hosts: "kubernetes.default.svc.cluster.local"},
	{name: "Outrigger itself", hosts: "outrigger.outrigger-system.svc"},
	{name: "a ServiceEntry's host", hosts: "api.partner.example"},
	{name: "a host under a ServiceEntry's wildcard", hosts: "eu.supplier.example"},
	{name: "a wildcard over a ServiceEntry's host", hosts: "*.partner.example"},
	{name: "a whole top-level domain", hosts: "*.com"},
	{name: "another whole top-level domain", hosts: "*.example"},
	{name: "a host that the victim exposes", hosts: "shop.victim.example"},
	{name: "a host that the victim exposes, at another path", hosts: "shop.victim.example", other: []string{"path=/login"}},
	{name: "a URL", hosts: "https://admin.tenant.example/", refused: []string{"*", "admin.tenant.example"}},
	{name: "a host with a port", hosts: "admin.tenant.example:443", refused: []string{"*", "admin.tenant.example"}},
	{name: "an address", hosts: "192.0.2.1", refused: []string{"*", "192.0.2.1"}},
	{name: "a host in other letters", hosts: "shop.viсtim.example", refused: []string{"*", "shop.viсtim.example"}}, // the third is Cyrillic
	{name: "a host with its namespace", hosts: "VICTIM/shop.tenant.example", refused: []string{"*", "shop.tenant.example", "VICTIM/shop.tenant.example"}},
	{name: "the mesh as a host", hosts: "mesh", refused: []string{"*"}},
	{name: "an empty list", hosts: "", refused: []string{"*"}},
	{name: "commas", hosts: ",,", refused: []string{"*"}},

	{name: "a selector that is none", hosts: "a.tenant.example", other: []string{"gateway-selector=istio: internal"}},
	{name: "a Gateway without its namespace", hosts: "b.tenant.example", other: []string{"gateway=tls-gateway"}},
	{name: "a Gateway that is called mesh", hosts: "payments.VICTIM.svc.cluster.local", other: []string{"gateway=OWN/mesh"}},
	{name: "the mesh as a Gateway", hosts: "payments.VICTIM.svc.cluster.local", other: []string{"gateway=mesh"}},
	{name: "a port that is a name", hosts: "c.tenant.example", other: []string{"gateway-port=https"}},
	{name: "a path that is none", hosts: "d.tenant.example", other: []string{"path=public/"}},
	{name: "a path with a control character", hosts: "e.tenant.example", other: []string{"path=/a\x01b"}},
	{name: "a rewritten path with a line break", hosts: "f.tenant.example", other: []string{"path-rewrite=/a\nx-admin: 1"}},
	{name: "a switch that is none", hosts: "g.tenant.example", other: []string{"expose=flase"}},
	{name: "a port that the Service lacks", hosts: "h.tenant.example", other: []string{"service-port=admin"}},
	{name: "a certificate of another namespace", hosts: "i.tenant.example", other: []string{"tls-credential=kubernetes-gateway://VICTIM/shop-tls"}},
	{name: "the proxy's own certificate", hosts: "j.tenant.example", other: []string{"tls-credential=builtin://", "https-redirect=true"}},
	{name: "a certificate from a file", hosts: "k.tenant.example", other: []string{"tls-credential=file-cert:/etc/certs/tls.crt~/etc/certs/tls.key"}},
	{name: "a redirect without a certificate", hosts: "l.tenant.example", other: []string{"https-redirect=true"}},
	{name: "a certificate beside a Gateway", hosts: "m.tenant.example", other: []string{"tls-credential=shop-tls", "gateway=OWN/own"}},
	{name: "the victim's host with HTTPS", hosts: "shop.victim.example", other: []string{"tls-credential=shop-tls"}},
	{name: "allowed hosts on the Service", hosts: "payments.VICTIM.svc.cluster.local", other: []string{"allowed-hosts=*"}},
	{name: "records of Outrigger's on the Service", hosts: "shop.victim.example", other: []string{`record={"default":"v1"}`, "claimed-at=shop.victim.example=2000-01-01T00:00:00Z", "exposed-at=2000-01-01T00:00:00Z"}},

	{name: "a public name that nobody has claimed", hosts: "api.stripe.com", refused: []string{}, served: []string{"api.stripe.com"}},
	{name: "an ordinary host", hosts: "shop.tenant.example", refused: []string{}, served: []string{"shop.tenant.example"}},
}

// An exposer may write Gateways and VirtualServices in one namespace, and claims the hosts of others. No sidecar ever sees
// another host than the Service's own, no gateway serves the host of somebody else, and what the victim has stays as it is.
func TestTenantClaimsHosts(t *testing.T) {
	needIstio(t)
	needIngress(t)
	victim := newVictim(t)
	attacker := newTenant(t)
	exposer := accountIn(t, attacker.namespace, "exposer", rbacv1.RoleRef{Kind: "ClusterRole", Name: "edit"}).mayExpose(t)
	names := strings.NewReplacer("VICTIM", victim, "OWN", attacker.namespace)
	before := describeAll(t, victim)

	apply(t, attacker.namespace, fixed("web-v1", "web", "v1"))
	var services []string
	for i, attack := range hostAttacks {
		name := fmt.Sprintf("s%d", i)
		items := append([]string{"expose=true", "hosts=" + attack.hosts}, attack.other...)
		for j := range items {
			items[j] = names.Replace(items[j])
		}
		service := exposer.webService(name, annotations(items...))
		if err := exposer.client.Create(t.Context(), service); err != nil {
			t.Fatalf("%s: %v", attack.name, err)
		}
		services = append(services, name)
	}
	settled(t, attacker.namespace, services)
	answered(func() bool {
		all := writtenIn(t, attacker.namespace)
		for i, attack := range hostAttacks {
			if isServed := slices.Equal(all.of(services[i]).exposedHosts(), attack.served); !isServed && attack.served != nil || attack.served == nil && eventsAbout(t, attacker.namespace, "Service", services[i]) == "" {
				return false
			}
		}
		return true
	})
	quiet(t, attacker.namespace)
	all := writtenIn(t, attacker.namespace)
	for i, attack := range hostAttacks {
		t.Run(attack.name, func(t *testing.T) {
			got := all.of(services[i])
			got.wantWithinNamespace(t, attacker.namespace)
			refused := attack.refused
			if refused == nil {
				refused = strings.Split(attack.hosts, ",")
			}
			exposed := got.exposedHosts()
			for _, host := range refused {
				if host = names.Replace(host); slices.ContainsFunc(exposed, func(e string) bool { return strings.EqualFold(e, host) }) {
					t.Errorf("%q is exposed", host)
				}
			}
			if attack.served != nil && !slices.Equal(exposed, attack.served) {
				t.Errorf("exposed are %q, want %q", exposed, attack.served)
			}
			if attack.served == nil && eventsAbout(t, attacker.namespace, "Service", services[i]) == "" {
				t.Error("no Event says why the host is not served")
			}
		})
	}
	if after := describeAll(t, victim); after != before {
		t.Errorf("the victim's objects changed from\n%s\nto\n%s", before, after)
	}
	wantCallsReachVictim(t, victim, attacker.namespace)
}

// wantCallsReachVictim follows calls to every host that was attacked, as istiod makes proxies route them: the victim's go to
// the victim, and what the attacker did not get served goes nowhere near its pods.
func wantCallsReachVictim(t *testing.T, victim, attacker string) {
	t.Helper()
	mesh := meshOf(t)
	payments := "payments." + victim + ".svc.cluster.local"
	calls := []meshCall{
		{sidecar(victim), payments, victim}, {sidecar(attacker), payments, victim}, {sidecar(victim), "payments", victim},
		{sidecar(victim), "shop." + victim + ".svc", victim},
		{mesh.gateway, "shop.victim.example", victim}, {mesh.gateway, payments, ""}, {mesh.gateway, "other.example", ""},
		{mesh.gateway, "shop.tenant.example", attacker}, {sidecar(attacker), "s0." + attacker + ".svc.cluster.local", attacker},
	}
	for _, attack := range hostAttacks {
		for host := range strings.SplitSeq(strings.ReplaceAll(attack.hosts, "VICTIM", victim), ",") {
			if host = strings.Replace(strings.TrimSpace(host), "*.", "any.", 1); host != "" && !strings.Contains(host, "OWN") {
				calls = append(calls, meshCall{sidecar(victim), strings.ToLower(host), "*"})
			}
		}
	}
	for _, fault := range misrouted(t, mesh, attacker, calls) {
		t.Error(fault)
	}
	// With the object that releases before this rule wrote, calls go astray, and it is found.
	mesh.objects = append(mesh.objects, json.RawMessage(fmt.Sprintf(`{
		"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "hijack", "namespace": %[1]q, "creationTimestamp": "2001-01-01T00:00:00Z"},
		"spec": {"hosts": [%[2]q, "api.stripe.com"], "gateways": ["mesh"], "http": [{"route": [{"destination": {"host": "s0.%[1]s.svc.cluster.local"}}]}]}
	}`, attacker, payments)))
	faults := strings.Join(misrouted(t, mesh, attacker, calls), "\n")
	for _, host := range []string{payments, "api.stripe.com"} {
		if !strings.Contains(faults, fmt.Sprintf("a call from %s (gateway: false) to %s ", victim, host)) {
			t.Errorf("a VirtualService on the mesh for %s is not found; found is %q", host, faults)
		}
	}
}

// newVictim creates a namespace with a Service, a ServiceEntry and an exposed host, as its administrator does.
func newVictim(t *testing.T) string {
	t.Helper()
	victim := namespace(t, injected)
	apply(t, victim, service("payments")+fixed("payments-v1", "payments", "v1")+`
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: partner}
spec: {hosts: [api.partner.example], ports: [{number: 443, name: tls, protocol: TLS}], resolution: DNS}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: supplier}
spec: {hosts: ["*.supplier.example"], ports: [{number: 443, name: tls, protocol: TLS}], resolution: NONE}
---
apiVersion: v1
kind: Service
metadata: {name: shop, annotations: {outrigger.dev/expose: "true", outrigger.dev/hosts: shop.victim.example}}
spec: {selector: {app: payments}, ports: [{name: http, port: 8080}]}
`)
	wantRoutes(t, victim, "payments", "v1=100")
	eventually(t, "the victim's host is served", func() error {
		if hosts := writtenIn(t, victim).of("shop").exposedHosts(); !slices.Equal(hosts, []string{"shop.victim.example"}) {
			return fmt.Errorf("exposed are %q", hosts)
		}
		return nil
	})
	settled(t, victim, []string{"payments", "shop"})
	return victim
}

// describeAll returns what all routing objects of a namespace say.
func describeAll(t *testing.T, ns string) string {
	t.Helper()
	var out []string
	objects := writtenIn(t, ns)
	for _, vs := range objects.services {
		out = append(out, fmt.Sprintf("VirtualService %s: %v", vs.Name, &vs.Spec))
	}
	for _, dr := range objects.rules {
		out = append(out, fmt.Sprintf("DestinationRule %s: %v", dr.Name, &dr.Spec))
	}
	for _, gw := range objects.gateways {
		out = append(out, fmt.Sprintf("Gateway %s: %v", gw.Name, &gw.Spec))
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// wordAttack is a value that a tenant with the ClusterRole edit alone writes on a Service that is not exposed.
type wordAttack struct{ name, key, value string }

var wordAttacks = []wordAttack{
	{"a parameter's name that Envoy rejects", api.AnnotationMatch, "v1=query:" + strings.Repeat("a", 1025) + ":1"},
	{"a header's name of 20,000 bytes", api.AnnotationMatch, "v1=header:" + strings.Repeat("a", 20000) + ":1"},
	{"a header's value of 100,000 bytes", api.AnnotationMatch, "v1=header:a:" + strings.Repeat("b", 100000)},
	{"the method as a header", api.AnnotationMatch, "v1=header:method:GET"},
	{"the scheme as a header", api.AnnotationMatch, "v1=header:scheme:http"},
	{"the authority as a header", api.AnnotationMatch, "v1=header:authority:payments"},
	{"the URI as a header", api.AnnotationMatch, "v1=header:uri:/"},
	{"a pseudo-header", api.AnnotationMatch, "v1=header::path:/"},
	{"a control character in a header", api.AnnotationMatch, "v1=header:a:b\x01c"},
	{"a line break in a header", api.AnnotationMatch, "v1=header:a:b\r\nx-admin"},
	{"a name that breaks out of its header", api.AnnotationMatch, "v1=header:a b:c"},
	{"a thousand items", api.AnnotationMatch, strings.TrimSuffix(strings.Repeat("v1=header:a:b;", 1000), ";")},
	{"a cookie that is an expression", api.AnnotationMatch, "v1=cookie:a:(b|.*)*$"},
	{"a source of another namespace", api.AnnotationMatch, "v1=source:v1.victim"},
	{"a mirror to another Service", api.AnnotationMirror, "payments.victim=100"},
	{"a mirror of more than everything", api.AnnotationMirror, "v1=1000"},
	{"weights that overflow", api.AnnotationWeights, "v1=4294967296"},
	{"weights below zero", api.AnnotationWeights, "v1=-1"},
	{"a version that is a host", api.AnnotationDefaultVersion, "payments.victim.svc.cluster.local"},
	{"a version label that is no label", api.AnnotationVersionLabel, "a b"},
	{"a cookie for another path", api.AnnotationSticky, "cookie:a; path=/; domain=victim.example:1h"},
	{"a cookie for a thousand years", api.AnnotationSticky, "cookie:a:8760000h"},
	{"subsets that stay forever", api.AnnotationSubsetRetention, "1000000h1ns"},
	{"a decision of the future", api.AnnotationDecidedAt, "9999-12-31T23:59:59Z"},
	{"a record of Outrigger's", api.AnnotationRecord, `{"default":"v9"}`},
	{"a digest of Outrigger's", api.AnnotationWritten, "x"},
	{"shares as if adopted", api.AnnotationAdopted, `{"v9":100}`},
	{"an escaped byte that is no character", api.AnnotationMatch, "v1=header:a:%FF"},
}

// What a tenant writes on a Service that is not exposed changes routes of this Service alone, within what Envoy accepts.
func TestTenantWritesHostileValues(t *testing.T) {
	needIstio(t)
	attacker := newTenant(t)
	apply(t, attacker.namespace, fixed("web-v1", "web", "v1"))
	var services []string
	for i, attack := range wordAttacks {
		name := fmt.Sprintf("s%d", i)
		if err := attacker.client.Create(t.Context(), attacker.webService(name, map[string]string{attack.key: attack.value})); err != nil {
			t.Fatalf("%s: %v", attack.name, err)
		}
		services = append(services, name)
	}
	settled(t, attacker.namespace, services)
	all := writtenIn(t, attacker.namespace)
	for i, attack := range wordAttacks {
		t.Run(attack.name, func(t *testing.T) {
			got := all.of(services[i])
			got.wantWithinNamespace(t, attacker.namespace)
			if exposed := got.exposedHosts(); len(exposed) > 0 {
				t.Errorf("exposed are %q, by %s", exposed, attack.key)
			}
			for _, vs := range got.services {
				wantBounded(t, vs)
			}
		})
	}
}

// reservedHeaders are names that Istio does not match as headers, so that such a condition holds for every request.
var reservedHeaders = []string{"uri", "scheme", "method", "authority"}

// wantBounded fails if a VirtualService holds what Envoy rejects, or a condition that is none.
func wantBounded(t *testing.T, vs *networkingv1.VirtualService) {
	t.Helper()
	checkText := func(what, text string, limit int) {
		if len(text) > limit || strings.ContainsFunc(text, func(r rune) bool { return r < 0x20 || r == 0x7f || r == '\uFFFD' }) {
			t.Errorf("VirtualService %s has %s %.60q of %d bytes", vs.Name, what, text, len(text))
		}
	}
	matches := 0
	for _, rule := range vs.Spec.Http {
		for _, match := range rule.Match {
			matches++
			for name, value := range match.Headers {
				checkText("a header's name", name, 1024)
				checkText("a header's value", text(value), 16<<10)
				if lower := strings.ToLower(name); slices.Contains(reservedHeaders, lower) || strings.ContainsAny(name, ": ") {
					t.Errorf("VirtualService %s matches on header %q, which is no header", vs.Name, name)
				}
			}
			for name, value := range match.QueryParams {
				checkText("a parameter's name", name, 1024)
				checkText("a parameter's value", text(value), 16<<10)
			}
		}
	}
	if matches > 100 {
		t.Errorf("VirtualService %s has %d conditions", vs.Name, matches)
	}
}

func text(match *networking.StringMatch) string {
	return match.GetExact() + match.GetPrefix() + match.GetRegex()
}

// A tenant asks the API server for what Outrigger does: nothing of it is in the ClusterRole edit.
func TestTenantAsksTheAPIServer(t *testing.T) {
	needIstio(t)
	victim, attacker := namespace(t, injected), newTenant(t)
	apply(t, victim, service("payments")+fixed("payments-v1", "payments", "v1"))
	wantRoutes(t, victim, "payments", "v1=100")
	apply(t, attacker.namespace, service("web")+fixed("web-v1", "web", "v1"))
	wantRoutes(t, attacker.namespace, "web", "v1=100")
	ours, err := virtualService(attacker.namespace, "web")
	if err != nil {
		t.Fatal(err)
	}
	inNamespace := func(ns, name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: ns, Name: name} }
	merge := func(object client.Object, patch string) error {
		return attacker.client.Patch(t.Context(), object, client.RawPatch(types.MergePatchType, []byte(patch)))
	}
	for _, attack := range []struct {
		name    string
		attempt func() error
	}{
		{"create a VirtualService", func() error {
			return attacker.client.Create(t.Context(), &networkingv1.VirtualService{ObjectMeta: inNamespace(attacker.namespace, "mine")})
		}},
		{"create a DestinationRule", func() error {
			return attacker.client.Create(t.Context(), &networkingv1.DestinationRule{ObjectMeta: inNamespace(attacker.namespace, "mine")})
		}},
		{"create a Gateway", func() error {
			return attacker.client.Create(t.Context(), &networkingv1.Gateway{ObjectMeta: inNamespace(attacker.namespace, "mine")})
		}},
		{"create a ServiceEntry", func() error {
			return attacker.client.Create(t.Context(), &networkingv1.ServiceEntry{ObjectMeta: inNamespace(attacker.namespace, "mine")})
		}},
		{"change Outrigger's VirtualService", func() error {
			return merge(ours.DeepCopy(), `{"spec":{"hosts":["*.svc.cluster.local"]}}`)
		}},
		{"forge Outrigger's record", func() error {
			return merge(ours.DeepCopy(), `{"metadata":{"annotations":{"outrigger.dev/record":"{}"}}}`)
		}},
		{"delete Outrigger's VirtualService", func() error { return attacker.client.Delete(t.Context(), ours.DeepCopy()) }},
		{"delete the victim's VirtualService", func() error {
			return attacker.client.Delete(t.Context(), &networkingv1.VirtualService{ObjectMeta: inNamespace(victim, "payments")})
		}},
		{"annotate the victim's Service", func() error {
			return merge(tenant{namespace: victim}.webService("payments", nil), `{"metadata":{"annotations":{"outrigger.dev/routing":"disabled"}}}`)
		}},
		{"expose the victim's Service", func() error {
			return merge(tenant{namespace: victim}.webService("payments", nil), `{"metadata":{"annotations":{"outrigger.dev/expose":"true"}}}`)
		}},
		{"annotate the own Namespace", func() error { return mergeNamespace(t, attacker, attacker.namespace) }},
		{"annotate the victim's Namespace", func() error { return mergeNamespace(t, attacker, victim) }},
		{"weaken the policy on exposure", func() error { return attacker.client.Delete(t.Context(), exposurePolicy()) }},
		{"change the webhook object", func() error { return merge(injectorObject(), `{"webhooks":[]}`) }},
		{"change Outrigger's configuration", func() error {
			return merge(configMap(outriggerNamespace, "outrigger-config"), `{"data":{"config.yaml":""}}`)
		}},
		{"change Istio's configuration", func() error { return merge(configMap("istio-system", "istio"), `{"data":{"mesh":""}}`) }},
		{"read Outrigger's CA", func() error {
			return attacker.client.Get(t.Context(), client.ObjectKey{Namespace: outriggerNamespace, Name: "outrigger-ca"}, secret())
		}},
		{"run a pod beside Outrigger", func() error {
			return attacker.client.Create(t.Context(), podOf(t, outriggerNamespace, "spec: {serviceAccountName: outrigger}"))
		}},
		{"act as Outrigger", func() error { return asOutrigger(t, attacker).Delete(t.Context(), ours.DeepCopy()) }},
		{"ask for Outrigger's token", func() error { return tokenOfOutrigger(t, attacker) }},
	} {
		t.Run(attack.name, func(t *testing.T) {
			if err := attack.attempt(); !apierrors.IsForbidden(err) {
				t.Errorf("%v; want it forbidden", err)
			}
		})
	}
}
