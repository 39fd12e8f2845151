// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The tenant suite: a tenant attacks Outrigger on the real control plane, and what Outrigger wrote is examined.
//
//   - A tenant is a ServiceAccount with the built-in ClusterRole edit in one namespace, and no permission on Istio's kinds.
//   - An exposer is a tenant who may also create Gateways and VirtualServices in that namespace. The policy on exposure lets
//     an exposer pass, so its attacks reach the planner.
//   - A deployer is a ServiceAccount with cluster-admin, as GitOps tools have.
//   - The victim is another namespace, with a Service, a ServiceEntry, and an exposed host.
//
// Every attack is a named case: go test ./e2e -run TestTenant -v lists them.
type tenant struct {
	namespace string
	user      string
	client    client.Client
	warnings  *heard
}

// newTenant creates a namespace that is injected, and a tenant in it. When the test ends, Istio and Envoy judge everything in
// its namespaces.
func newTenant(t *testing.T) tenant {
	t.Helper()
	ns := namespace(t, injected)
	t.Cleanup(func() { wantValid(t) })
	return accountIn(t, ns, "tenant", rbacv1.RoleRef{Kind: "ClusterRole", Name: "edit"})
}

// accountIn creates a ServiceAccount and binds a role to it within its namespace.
func accountIn(t *testing.T, ns, name string, role rbacv1.RoleRef) tenant {
	t.Helper()
	return accountWith(t, ns, name, role, "create", "services")
}

// accountWith is accountIn for a role that permits a verb on a resource, for which it waits.
func accountWith(t *testing.T, ns, name string, role rbacv1.RoleRef, verb, resource string) tenant {
	t.Helper()
	role.APIGroup = rbacv1.GroupName
	subjects := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: ns, Name: name}}
	for _, object := range []client.Object{
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}},
		&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, RoleRef: role, Subjects: subjects},
	} {
		if err := kube.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	account := impersonate(t, ns, name)
	wantPermission(t, account, verb, "", resource, true)
	return account
}

// impersonate returns a client that acts as a ServiceAccount.
func impersonate(t *testing.T, ns, name string) tenant {
	t.Helper()
	out := tenant{namespace: ns, user: userOf(ns, name), warnings: &heard{}}
	config := rest.CopyConfig(cluster.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: out.user, Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + ns, "system:authenticated"}}
	config.WarningHandler, config.WarningHandlerWithContext = nil, out.warnings
	var err error
	if out.client, err = client.New(config, client.Options{Scheme: kube.Scheme()}); err != nil {
		t.Fatal(err)
	}
	return out
}

// grant gives a tenant a Role in its namespace with verbs on resources of one group, and waits until it is in effect.
func (a tenant) grant(t *testing.T, group string, verbs, resources []string) {
	t.Helper()
	_, name, _ := strings.Cut(strings.TrimPrefix(a.user, "system:serviceaccount:"), ":")
	name = fmt.Sprintf("%s-%s", name, strings.ReplaceAll(strings.Join(resources, "-"), "/", "-"))
	meta := metav1.ObjectMeta{Namespace: a.namespace, Name: name}
	for _, object := range []client.Object{
		&rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{APIGroups: []string{group}, Resources: resources, Verbs: verbs}}},
		&rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name}, Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: a.user}}},
	} {
		if err := kube.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	for _, resource := range resources {
		wantPermission(t, a, verbs[0], group, resource, true)
	}
}

// mayExpose makes the tenant an exposer.
func (a tenant) mayExpose(t *testing.T) tenant {
	t.Helper()
	a.grant(t, "networking.istio.io", []string{"create"}, []string{"gateways", "virtualservices"})
	return a
}

// wantPermission waits until the authorizer says so: it learns of roles by a watch.
func wantPermission(t *testing.T, a tenant, verb, group, resource string, want bool) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s may %s %s.%s: %t", a.user, verb, resource, group, want), func() error {
		resource, subresource, _ := strings.Cut(resource, "/")
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: a.namespace, Verb: verb, Group: group, Resource: resource, Subresource: subresource,
		}}}
		if err := a.client.Create(t.Context(), review); err != nil {
			return err
		}
		if review.Status.Allowed != want {
			return fmt.Errorf("it is %t", review.Status.Allowed)
		}
		return nil
	})
}

// needIngress brings an ingress gateway with port 80, once: what is exposed needs one.
func needIngress(t *testing.T) {
	t.Helper()
	ingress.Do(func() {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ingressNamespace}}
		if err := kube.Create(t.Context(), ns); err != nil {
			t.Fatal(err)
		}
		labels := []string{"istio=ingressgateway"}
		apply(t, ns.Name, deployment("ingress", "ingress", labels, labels)+`
apiVersion: v1
kind: Service
metadata: {name: ingress}
spec: {selector: {istio: ingressgateway}, ports: [{name: http, port: 80, targetPort: 8080}]}
`)
		readyPods(t, ns.Name, "istio=ingressgateway", 2)
	})
}

var ingress sync.Once

// webService is a Service with these annotations, in the tenant's namespace, whose pods are those of app web.
func (a tenant) webService(name string, annotations map[string]string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: name, Annotations: annotations},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Name: "http", Port: 8080}}},
	}
}

// needPolicy waits until a ValidatingAdmissionPolicy is enforced, which the API server starts some time after it was created:
// attempt must be refused by it.
func needPolicy(t *testing.T, what string, attempt func() error) {
	t.Helper()
	eventually(t, what+" is enforced", func() error {
		err := attempt()
		if err == nil {
			return errors.New("the request was allowed")
		}
		if !strings.Contains(err.Error(), "ValidatingAdmissionPolicy") {
			return fmt.Errorf("another error: %w", err)
		}
		return nil
	})
}

// upgraded changes values of the shared release for one test, and brings the usual ones back afterwards.
func upgraded(t *testing.T, values map[string]any) {
	t.Helper()
	if err := outrigger.Upgrade(t.Context(), overlaid(settings, values)); err != nil {
		t.Fatal(err)
	}
	waitForPodsOfOutrigger(t, 2) // an old replica leads until it ends
	t.Cleanup(func() {
		if err := outrigger.Upgrade(context.Background(), settings); err != nil {
			t.Error(err)
		}
	})
}

// overlaid returns values with others over them, map by map.
func overlaid(base, over map[string]any) map[string]any {
	out := map[string]any{}
	for key, value := range base {
		out[key] = value
	}
	for key, value := range over {
		below, isMap := out[key].(map[string]any)
		above, wantsMap := value.(map[string]any)
		if isMap && wantsMap {
			value = overlaid(below, above)
		}
		out[key] = value
	}
	return out
}

// written are the routing objects of one namespace.
type written struct {
	rules    []*networkingv1.DestinationRule
	services []*networkingv1.VirtualService
	gateways []*networkingv1.Gateway
}

func writtenIn(t *testing.T, ns string) written {
	t.Helper()
	rules, services, gateways := &networkingv1.DestinationRuleList{}, &networkingv1.VirtualServiceList{}, &networkingv1.GatewayList{}
	for _, list := range []client.ObjectList{rules, services, gateways} {
		if err := kube.List(t.Context(), list, client.InNamespace(ns)); err != nil {
			t.Fatal(err)
		}
	}
	return written{rules.Items, services.Items, gateways.Items}
}

// of keeps the objects that Outrigger wrote for one Service.
func (w written) of(service string) written {
	ours := func(object client.Object) bool { return object.GetLabels()["outrigger.dev/service"] == service }
	var out written
	for _, object := range w.rules {
		if ours(object) {
			out.rules = append(out.rules, object)
		}
	}
	for _, object := range w.services {
		if ours(object) {
			out.services = append(out.services, object)
		}
	}
	for _, object := range w.gateways {
		if ours(object) {
			out.gateways = append(out.gateways, object)
		}
	}
	return out
}

// exposedHosts returns the hosts that are bound to a gateway other than the mesh, and those of Gateways, without the
// namespace in front.
func (w written) exposedHosts() []string {
	var out []string
	for _, vs := range w.services {
		if !onMesh(vs) {
			out = append(out, vs.Spec.Hosts...)
		}
	}
	for _, gw := range w.gateways {
		for _, server := range gw.Spec.Servers {
			for _, host := range server.Hosts {
				_, host, _ = strings.Cut(host, "/")
				out = append(out, host)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// onMesh reports whether a VirtualService changes where sidecars send traffic.
func onMesh(vs *networkingv1.VirtualService) bool {
	return len(vs.Spec.Gateways) == 0 || slices.Contains(vs.Spec.Gateways, "mesh")
}

// wantWithinNamespace fails if an object that Outrigger wrote reaches beyond the namespace of its Service: a sidecar must
// find nothing but the Service's own name, and every destination is in the namespace.
func (w written) wantWithinNamespace(t *testing.T, ns string) {
	t.Helper()
	isOwn := func(host string) bool {
		return strings.HasSuffix(host, "."+ns+".svc.cluster.local") && !strings.Contains(host, "*")
	}
	for _, vs := range w.services {
		own := vs.Labels["outrigger.dev/service"] + "." + ns + ".svc.cluster.local"
		if onMesh(vs) && !slices.Equal(vs.Spec.Hosts, []string{own}) {
			t.Errorf("VirtualService %s is bound to the mesh with hosts %q; want [%s] alone", vs.Name, vs.Spec.Hosts, own)
		}
		for _, rule := range vs.Spec.Http {
			for _, route := range rule.Route {
				if !isOwn(route.Destination.Host) {
					t.Errorf("VirtualService %s routes to %s, outside of namespace %s", vs.Name, route.Destination.Host, ns)
				}
			}
			for _, mirror := range rule.Mirrors {
				if !isOwn(mirror.Destination.Host) {
					t.Errorf("VirtualService %s mirrors to %s, outside of namespace %s", vs.Name, mirror.Destination.Host, ns)
				}
			}
		}
	}
	for _, dr := range w.rules {
		if !isOwn(dr.Spec.Host) {
			t.Errorf("DestinationRule %s is for %s, outside of namespace %s", dr.Name, dr.Spec.Host, ns)
		}
	}
	for _, gw := range w.gateways {
		for _, server := range gw.Spec.Servers {
			for _, host := range server.Hosts {
				if !strings.HasPrefix(host, ns+"/") && !strings.HasPrefix(host, "./") {
					t.Errorf("Gateway %s takes routes of other namespaces for %s", gw.Name, host)
				}
			}
		}
	}
}

// settled waits until Outrigger has seen all Services of a namespace and writes no more: each has its objects, or an Event
// that says why it has none.
func settled(t *testing.T, ns string, services []string) {
	t.Helper()
	eventually(t, "every Service of "+ns+" was seen", func() error {
		objects := writtenIn(t, ns)
		var missing []string
		for _, name := range services {
			if of := objects.of(name); len(of.services) == 0 && eventsAbout(t, ns, "Service", name) == "" {
				missing = append(missing, name)
			}
		}
		if len(missing) > 0 {
			return fmt.Errorf("nothing of %q yet", missing)
		}
		return nil
	})
	quiet(t, ns)
}

// answered waits until every attack has its answer, or as long as a test waits for an effect: the cases then say which has none.
func answered(all func() bool) {
	for deadline := time.Now().Add(patience); !all() && time.Now().Before(deadline); {
		time.Sleep(200 * time.Millisecond)
	}
}
