// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"testing"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
)

// meshRoute is a VirtualService of somebody else's for a host in the mesh.
func meshRoute(namespace, host string, exportTo ...string) *networkingv1.VirtualService {
	vs := foreignRoute("")
	vs.Namespace, vs.Name, vs.Spec.Hosts, vs.Spec.ExportTo = namespace, "theirs", []string{host}, exportTo
	vs.Spec.Http[0].Route[0].Destination.Host = "elsewhere.example.com"
	return vs
}

func at(when time.Time, vs *networkingv1.VirtualService) *networkingv1.VirtualService {
	vs.CreationTimestamp = metav1.NewTime(when)
	return vs
}

func subsetRule(namespace, host string, policy *networkingapi.TrafficPolicy, subsets ...*networkingapi.Subset) *networkingv1.DestinationRule {
	rule := wideRule(namespace, "theirs", host, 0)
	rule.Spec.TrafficPolicy, rule.Spec.Subsets = policy, subsets
	return rule
}

// hidden is the same rule, exported to nobody.
func hidden(rule *networkingv1.DestinationRule) *networkingv1.DestinationRule {
	rule.Spec.ExportTo = []string{"~"}
	return rule
}

func subset(name, key, value string, policy *networkingapi.TrafficPolicy) *networkingapi.Subset {
	return &networkingapi.Subset{Name: name, Labels: map[string]string{key: value}, TrafficPolicy: policy}
}

// Who stands back for objects of others on our host: hosts as Istio resolves them, once while ours stand, once before
// anything is written.
func TestWhoStandsBack(t *testing.T) {
	old, young := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	gateway := meshRoute("edge", "app.example.com")
	gateway.Spec.Gateways = []string{"edge/gw"}
	gateway.Spec.Http[0].Route[0].Destination.Host = "app.demo.svc.cluster.local"
	pinned := gateway.DeepCopy()
	pinned.Spec.Http[0].Route[0].Destination.Subset = "v1"
	for _, test := range []struct {
		what    string
		route   *networkingv1.VirtualService
		rule    *networkingv1.DestinationRule
		told    []api.RouteReason
		subsets string // as they stand; the same at first sight unless first says otherwise
		routes  string
		first   string // subsets and routes at first sight
	}{
		{"a short name", meshRoute("demo", "app"), nil, []api.RouteReason{api.RouteRouteConflict}, "v1 v2", "none", ""},
		{"the full name", meshRoute("demo", "app.demo.svc.cluster.local"), nil, []api.RouteReason{api.RouteRouteConflict}, "v1 v2", "none", ""},
		{"a wildcard", meshRoute("demo", "*.demo.svc.cluster.local"), nil, []api.RouteReason{api.RouteRouteConflict}, "v1 v2", "none", ""},
		{"a wider wildcard", meshRoute("demo", "*.local"), nil, []api.RouteReason{api.RouteRouteConflict}, "v1 v2", "none", ""},
		{"a name with a dot is what it says", meshRoute("demo", "app.demo"), nil, nil, "v1 v2", "v1", ""},
		{"a short name elsewhere is another Service's", meshRoute("other", "app"), nil, nil, "v1 v2", "v1", ""},
		{"another wildcard", meshRoute("demo", "*.other.svc.cluster.local"), nil, nil, "v1 v2", "v1", ""},
		{"elsewhere and older", at(old, meshRoute("other", "app.demo.svc.cluster.local")), nil, []api.RouteReason{api.RouteRouteShadowed}, "v1 v2", "v1", ""},
		{"elsewhere and younger", at(young, meshRoute("other", "app.demo.svc.cluster.local")), nil, []api.RouteReason{api.RouteRouteHijackable}, "v1 v2", "v1", ""},
		{"elsewhere by a wildcard", at(young, meshRoute("other", "*.local")), nil, []api.RouteReason{api.RouteRouteHijackable}, "v1 v2", "v1", ""},
		{"elsewhere for callers there", at(young, meshRoute("other", "app.demo.svc.cluster.local", ".")), nil, []api.RouteReason{api.RouteRouteShadowed}, "v1 v2", "v1", ""},
		{"here, for nobody", meshRoute("demo", "app", "~"), nil, nil, "v1 v2", "v1", ""},
		{"elsewhere for nobody", meshRoute("other", "app.demo.svc.cluster.local", "~"), nil, nil, "v1 v2", "v1", ""},
		{"at a gateway alone", gateway, nil, []api.RouteReason{api.RouteGatewayBypasses}, "v1 v2", "v1", ""},
		{"at a gateway, with a subset", pinned, nil, nil, "v1 v2", "v1", ""},

		{"a rule without subsets", nil, subsetRule("demo", "app", connections(7)), []api.RouteReason{api.RoutePolicyShared}, "v1 v2", "v1", ""},
		{"other subsets", nil, subsetRule("demo", "app", nil, subset("x", "track", "x", nil)), []api.RouteReason{api.RoutePolicyShared}, "v1 v2", "v1", ""},
		{"our names, our labels", nil, subsetRule("demo", "app.demo.svc.cluster.local", nil, subset("v1", "version", "v1", nil)), []api.RouteReason{api.RoutePolicyShared}, "v1 v2", "v1", ""},
		{"our names with a policy", nil, subsetRule("demo", "app", nil, subset("v2", "version", "v2", connections(7))), []api.RouteReason{api.RoutePolicyShared}, "v1", "v1", ""},
		{"our names for other labels", nil, subsetRule("demo", "app", nil, subset("v1", "track", "x", nil)), []api.RouteReason{api.RouteSubsetConflict}, "v1 v2", "v1", " none"},
		{"a clash that nobody sees", nil, hidden(subsetRule("demo", "app", nil, subset("v1", "track", "x", nil))), nil, "v1 v2", "v1", ""},
		{"a client's, that nobody sees", nil, hidden(subsetRule("other", "*.local", connections(7))), nil, "v1 v2", "v1", ""},
		{"a client's namespace", nil, subsetRule("other", "app.demo.svc.cluster.local", connections(7)), []api.RouteReason{api.RouteShadowedInNamespaces}, "v1 v2", "v1", ""},
		{"the root namespace", nil, subsetRule("istio-system", "app.demo.svc.cluster.local", connections(7)), []api.RouteReason{api.RoutePolicyInherited}, "v1 v2", "v1", ""},
		{"a short name elsewhere", nil, subsetRule("other", "app", connections(7)), nil, "v1 v2", "v1", ""},
	} {
		t.Run(test.what, func(t *testing.T) {
			put := func(c *cluster) {
				if test.route != nil {
					c.foreign.VirtualServices = []*networkingv1.VirtualService{test.route}
					if !MayConcern(test.route, c.service, "cluster.local") && len(test.told) > 0 {
						t.Error("it is not kept")
					}
				}
				if test.rule != nil {
					c.foreign.DestinationRules = []*networkingv1.DestinationRule{test.rule}
					if !MayConcern(test.rule, c.service, "cluster.local") && len(test.told) > 0 {
						t.Error("it is not kept")
					}
				}
			}
			c := twoVersions(t)
			put(c)
			c.tells(test.told...)
			c.advance(time.Hour)
			c.has(test.subsets, test.routes)
			c.tells(test.told...)

			first := newCluster(t)
			put(first)
			first.fixed("app-v1", "v1", 2)
			first.fixed("app-v2", "v2", 2)
			first.ready()
			first.advance(time.Minute)
			if test.first == "" {
				first.has(test.subsets, test.routes)
			} else {
				first.has("", "none")
				first.wrote()
			}
			first.tells(test.told...)
		})
	}
}

func TestTheGatewaysPartStaysWhereTheMeshIsTaken(t *testing.T) {
	for _, test := range []struct{ hosts, want string }{
		{"a.example.com", "app-gateway: a.example.com@demo/app; 80: demo/a.example.com"},
		{"*", "app-gateway: *@demo/app; 80: demo/*"},
	} {
		c := twoVersions(t)
		c.annotate("expose=true", "hosts="+test.hosts)
		c.advance(time.Minute)
		c.exposed(test.want)
		c.foreign.VirtualServices = []*networkingv1.VirtualService{foreignRoute("v2")}
		c.settle()
		c.exposed(test.want)
		vs := c.route("app-gateway")
		if len(vs.Spec.Gateways) != 1 || len(vs.Spec.Hosts) != 1 || vs.Spec.Hosts[0] != test.hosts {
			t.Errorf("it is still bound to the mesh: %v %v", vs.Spec.Gateways, vs.Spec.Hosts)
		}
		c.tells(api.RouteRouteConflict)
		c.foreign.VirtualServices = nil
		c.settle()
		c.has("v1 v2", "v1")
	}
}

// A route once written is withdrawn only by a word about it; everything else leaves the last one.
func TestOnlyAWordWithdraws(t *testing.T) {
	stays := map[string]func(c *cluster){
		"a bad default":       func(c *cluster) { c.annotate("default-version=@newest") },
		"bad weights":         func(c *cluster) { c.annotate("weights=v2") },
		"a bad match":         func(c *cluster) { c.annotate("match=v2=x:y") },
		"a bad version label": func(c *cluster) { c.annotate("version-label=a b") },
		"a bad mode":          func(c *cluster) { c.service.Labels[api.LabelRouting] = "off" },
		"injection off":       func(c *cluster) { c.namespace.Labels["istio-injection"] = "disabled" },
		"no label":            func(c *cluster) { c.namespace.Labels = nil },
		"ambient":             func(c *cluster) { c.ambient = true },
		"a clashing DestinationRule": func(c *cluster) {
			c.foreign.DestinationRules = []*networkingv1.DestinationRule{subsetRule("demo", "app", nil, subset("v1", "x", "y", nil))}
		},
		"limits":                  func(c *cluster) { c.settings.MaxVersions = 1 },
		"a stray pod":             func(c *cluster) { c.run("stray", "v9", 1, 1) },
		"a pod without a version": func(c *cluster) { c.run("stray", "", 1, 1) },
		"several clusters":        func(c *cluster) { c.several = true },
		"its pods away":           func(c *cluster) { c.empty = true; c.gone("app-v1") },
		"no pod ready":            func(c *cluster) { c.empty = true; c.run("app-v1", "v1", 2, 0); c.run("app-v2", "v2", 2, 0) },
		"a route elsewhere": func(c *cluster) {
			c.foreign.VirtualServices = []*networkingv1.VirtualService{meshRoute("other", "app.demo.svc.cluster.local")}
		},
		"eager off": func(c *cluster) { c.annotate("eager=false") },
	}
	for what, change := range stays {
		t.Run(what, func(t *testing.T) {
			c := twoVersions(t)
			change(c)
			c.advance(time.Hour)
			if got := c.routes("app"); got != "v1" {
				t.Errorf("the route is %q", got)
			}
		})
	}
	goes := map[string]func(c *cluster){
		"disabled":              func(c *cluster) { c.service.Labels[api.LabelRouting] = "disabled" },
		"disabled by Namespace": func(c *cluster) { c.namespace.Labels[api.LabelRouting] = "disabled" },
		"a foreign route":       func(c *cluster) { c.foreign.VirtualServices = []*networkingv1.VirtualService{meshRoute("demo", "app")} },
		"a Rollout":             func(c *cluster) { c.managedBy = "Rollout demo/app" },
		"headless":              func(c *cluster) { c.service.Spec.ClusterIP = corev1.ClusterIPNone },
		"no selector":           func(c *cluster) { c.service.Spec.Selector = nil },
		"ExternalName":          func(c *cluster) { c.service.Spec.Type = corev1.ServiceTypeExternalName },
		"a version selected":    func(c *cluster) { c.service.Spec.Selector["version"] = "v1" },
	}
	for what, change := range goes {
		t.Run(what, func(t *testing.T) {
			c := twoVersions(t)
			change(c)
			c.settle()
			c.has("v1 v2", "none") // the route first
			c.advance(2 * time.Minute)
			if what == "a foreign route" {
				c.has("v1 v2", "none")
			} else {
				c.has("", "none")
			}
			c.writes = nil
			c.advance(time.Hour)
			c.wrote()
		})
	}
}

func TestTelemetrysVersionIsCompared(t *testing.T) {
	c := twoVersions(t)
	labels := c.workloads[deploymentRef("app-v2")].Labels
	labels[labelAppVersion] = "1.16.0"
	c.tells(api.RouteTelemetryDiffers)
	labels[labelCanonicalRevision] = "v2"
	c.tells()
	labels[labelCanonicalRevision] = "other"
	c.tells(api.RouteTelemetryDiffers)
	c.gone("app-v2") // nothing to show
	c.advance(time.Hour)
	c.tells()
}
