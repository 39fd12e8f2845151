// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"testing"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
)

func extraRules() *networkingv1.VirtualService {
	vs := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "app-extra"}}
	vs.Spec.Http = []*networkingapi.HTTPRoute{{Route: []*networkingapi.HTTPRouteDestination{
		{Destination: &networkingapi.Destination{Host: "app", Subset: "v2"}},
	}}}
	return vs
}

// delegates lists the delegates of a route by the position of the rule.
func (c *cluster) delegates(name string) map[int]string {
	out := map[int]string{}
	for i, rule := range c.route(name).Spec.Http {
		if rule.Delegate != nil {
			out[i] = rule.Delegate.Namespace + "/" + rule.Delegate.Name
		}
	}
	return out
}

func TestUsersRulesComeFirst(t *testing.T) {
	c := twoVersions(t)
	c.annotate("expose=true", "path=/hello")
	c.advance(time.Minute)
	c.writes = nil
	c.foreign.VirtualServices = []*networkingv1.VirtualService{extraRules()}
	c.settle()
	c.wrote(applyRoute, "Apply VirtualService app-gateway")
	for _, name := range []string{"app", "app-gateway"} {
		if got := c.delegates(name); len(got) != 1 || got[0] != "demo/app-extra" {
			t.Errorf("%s has the delegates %v", name, got)
		}
	}
	for name, path := range map[string]string{"app": "/", "app-gateway": "/hello"} {
		if match := c.route(name).Spec.Http[0].Match; len(match) != 1 || match[0].Uri.GetPrefix() != path {
			t.Errorf("%s has the match %v", name, match)
		}
	}
	if label := c.route("app").Labels[api.LabelKialiWizard]; label != "request_routing" {
		t.Errorf("Kiali's label is %q", label)
	}
	c.tells()
	// The subset that it names stays without pods.
	c.remove("app-v2")
	c.gone("app-v2")
	c.advance(time.Hour)
	c.has("v1 v2", "; v1")
	c.writes = nil
	c.foreign.VirtualServices = nil
	c.settle()
	c.wrote(applyRule, applyRoute, "Apply VirtualService app-gateway")
	c.advance(time.Hour)
	c.has("v1", "v1")
}

func TestDelegatesThatAreNone(t *testing.T) {
	for what, test := range map[string]struct {
		change func(*cluster, *networkingv1.VirtualService)
		told   []api.RouteReason
	}{
		"gateways":     {func(_ *cluster, vs *networkingv1.VirtualService) { vs.Spec.Gateways = []string{"gw"} }, []api.RouteReason{api.RouteDelegateUnusable}},
		"tcp":          {func(_ *cluster, vs *networkingv1.VirtualService) { vs.Spec.Tcp = []*networkingapi.TCPRoute{{}} }, []api.RouteReason{api.RouteDelegateUnusable}},
		"no rules":     {func(_ *cluster, vs *networkingv1.VirtualService) { vs.Spec.Http = nil }, []api.RouteReason{api.RouteDelegateUnusable}},
		"our host":     {func(_ *cluster, vs *networkingv1.VirtualService) { vs.Spec.Hosts = []string{"app"} }, []api.RouteReason{api.RouteDelegateUnusable, api.RouteRouteConflict}},
		"no http port": {func(c *cluster, _ *networkingv1.VirtualService) { c.service.Spec.Ports[0].Name = "tcp" }, []api.RouteReason{api.RouteDelegateUnusable}},
		"another Service's": {func(c *cluster, vs *networkingv1.VirtualService) {
			c.names["app-extra"], vs.Spec.Hosts = true, []string{"app-extra"}
		}, nil},
		"elsewhere": {func(_ *cluster, vs *networkingv1.VirtualService) { vs.Namespace = "other" }, nil},
		"ours for a Service": {func(_ *cluster, vs *networkingv1.VirtualService) {
			vs.Labels = map[string]string{api.LabelManagedBy: api.ManagedBy}
		}, nil},
	} {
		t.Run(what, func(t *testing.T) {
			c := twoVersions(t)
			vs := extraRules()
			c.foreign.VirtualServices = []*networkingv1.VirtualService{vs}
			test.change(c, vs)
			c.tells(test.told...)
			if what != "our host" && len(c.delegates("app")) > 0 {
				t.Errorf("it is led to: %v", c.delegates("app"))
			}
		})
	}
}

// A route for another host that leads to ours names our subsets as well.
func TestARouteForAnotherHostKeepsTheSubsetsThatItNames(t *testing.T) {
	c := twoVersions(t)
	vs := foreignRoute("v2")
	vs.Spec.Hosts = []string{"front.example.com"}
	if !MayConcern(vs, c.service, "cluster.local") {
		t.Error("it is not kept")
	}
	c.foreign.VirtualServices = []*networkingv1.VirtualService{vs}
	c.remove("app-v2")
	c.gone("app-v2")
	c.advance(time.Hour)
	c.has("v1 v2", "v1")
	c.tells()
}
