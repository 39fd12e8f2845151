// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
)

// twoVersions is a cluster at rest with v1, the default, and v2.
func twoVersions(t testing.TB) *cluster {
	t.Helper()
	c := newCluster(t)
	c.fixed("app-v1", "v1", 2)
	c.fixed("app-v2", "v2", 2)
	c.ready()
	c.advance(10 * time.Minute)
	c.has("v1 v2", "v1")
	c.writes = nil
	return c
}

// loneWorkload is a cluster at rest: one workload of two pods, which may change its version v1 in place.
func loneWorkload(t *testing.T) *cluster {
	t.Helper()
	c := newCluster(t)
	c.rolling("app", "v1", 2)
	c.ready()
	c.advance(10 * time.Minute)
	c.has("v1", "-")
	c.writes = nil
	return c
}

// gates describes all gateway parts: "app.example.com@demo/app on app; ports 80: demo/app.example.com";
// "443: demo/app.example.com with app-tls; 80: demo/app.example.com redirected".
func (c *cluster) gates() string {
	var out []string
	for _, vs := range c.existing.sorted().VirtualServices {
		if len(boundGateways(vs)) > 0 {
			hosts := slices.DeleteFunc(slices.Clone(vs.Spec.Hosts), func(h string) bool { return strings.HasSuffix(h, ".cluster.local") })
			out = append(out, fmt.Sprintf("%s: %s@%s", vs.Name, strings.Join(hosts, ","), strings.Join(boundGateways(vs), ",")))
		}
	}
	for _, gateway := range c.existing.Gateways {
		for _, server := range gateway.Spec.Servers {
			how := ""
			if tls := server.GetTls(); tls.GetHttpsRedirect() {
				how = " redirected"
			} else if tls != nil {
				how = " with " + tls.CredentialName
			}
			out = append(out, fmt.Sprintf("%d: %s%s", server.Port.Number, strings.Join(server.Hosts, ","), how))
		}
	}
	return strings.Join(out, "; ")
}

func (c *cluster) exposed(want string) {
	c.t.Helper()
	if got := c.gates(); got != want {
		c.t.Errorf("%v: gateway parts %q, want %q", c.now, got, want)
	}
}

func TestExposureIsAddedBeforeTheOldOneGoes(t *testing.T) {
	c := twoVersions(t)
	c.annotate("expose=true")
	c.settle()
	c.exposed("app-gateway: *@demo/app; 80: demo/*")
	c.wrote(applyRule, "Create Gateway app", applyRoute, "Create VirtualService app-gateway") // the words are noted on both
	c.advance(time.Minute)
	c.wrote()

	c.annotate("hosts=a.example.com")
	c.settle()
	c.exposed("app-gateway: *@demo/app; 80: demo/*,demo/a.example.com")
	c.advance(3 * time.Second)
	c.exposed("app-gateway: a.example.com@demo/app; 80: demo/a.example.com")
	c.wrote("Apply Gateway app", applyRoute, "Apply VirtualService app-gateway", "Apply VirtualService app-gateway", "Apply Gateway app")

	c.annotate("hosts=b.example.com", "gateway-port=8066")
	c.settle()
	c.exposed("app-gateway: a.example.com,b.example.com@demo/app; 8066: demo/b.example.com; 80: demo/a.example.com")
	c.advance(3 * time.Second)
	c.exposed("app-gateway: b.example.com@demo/app; 8066: demo/b.example.com")

	c.annotate("hosts-", "gateway-port-")
	c.settle()
	c.exposed("app-gateway: *@demo/app; 80: demo/*; 8066: demo/b.example.com")
	c.advance(3 * time.Second)
	c.exposed("app-gateway: *@demo/app; 80: demo/*")
	c.annotate("path=/hello")
	c.advance(time.Minute)
	c.writes = nil
	c.annotate("expose-")
	c.settle()
	c.exposed("")
	c.wrote(applyRule, applyRoute, "Delete VirtualService app-gateway", "Delete Gateway app")
	c.has("v1 v2", "v1")
	c.tells(api.RouteWithoutEffect) // the path is still written
}

func foreignGateway(c *cluster, host string, ours bool) *networkingv1.Gateway {
	gateway := &networkingv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "theirs", CreationTimestamp: metav1.NewTime(c.now)}}
	if ours {
		controller := true
		gateway.Labels = map[string]string{api.LabelManagedBy: api.ManagedBy, api.LabelService: "theirs"}
		gateway.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: "theirs", UID: "x", Controller: &controller}}
	}
	gateway.Spec.Selector = map[string]string{"istio": "ingressgateway"}
	gateway.Spec.Servers = []*server{{Port: &networkingapi.Port{Number: 80}, Hosts: []string{host}}}
	return gateway
}

func TestWhoServesAHostFirstKeepsIt(t *testing.T) {
	t.Run("a newcomer is told about and takes nothing", func(t *testing.T) {
		c := twoVersions(t)
		c.annotate("expose=true")
		c.advance(time.Minute)
		c.writes = nil
		c.foreign.Gateways = []*networkingv1.Gateway{foreignGateway(c, "*", false)}
		c.tells(api.RouteHostConflict)
		c.exposed("app-gateway: *@demo/app; 80: demo/*")
		c.wrote()
	})
	t.Run("who was there keeps it, and a waiting * does not take over by itself", func(t *testing.T) {
		c := twoVersions(t)
		c.foreign.Gateways = []*networkingv1.Gateway{foreignGateway(c, "other/*", true)}
		c.advance(time.Minute)
		c.annotate("expose=true")
		c.tells(api.RouteHostConflict)
		c.exposed("")
		c.foreign.Gateways = nil
		c.advance(time.Minute)
		c.tells(api.RouteHostConflict)
		c.exposed("")
		c.annotate("expose-")
		c.settle()
		c.annotate("expose=true")
		c.tells()
		c.exposed("app-gateway: *@demo/app; 80: demo/*")
	})
	t.Run("of two of ours made at once the older, then the lower name, keeps it", func(t *testing.T) {
		c := twoVersions(t)
		c.annotate("expose=true")
		c.settle()
		exposedElsewhere(c, "other", "*", c.now, c.now)
		c.settle()
		c.exposed("app-gateway: *@demo/app; 80: demo/*")
		exposedElsewhere(c, "a", "*", c.now, c.now)
		c.settle()
		c.exposed("")
		c.tells(api.RouteHostConflict)
	})
	t.Run("a name beside their *", func(t *testing.T) {
		c := twoVersions(t)
		c.foreign.Gateways = []*networkingv1.Gateway{foreignGateway(c, "*", false)}
		c.annotate("expose=true", "hosts=a.example.com")
		c.tells()
		c.exposed("app-gateway: a.example.com@demo/app; 80: demo/a.example.com")
	})
	t.Run("another port, other gateway pods", func(t *testing.T) {
		c := twoVersions(t)
		internal := foreignGateway(c, "*", false)
		internal.Spec.Selector = map[string]string{"istio": "internal"}
		c.foreign.Gateways = []*networkingv1.Gateway{internal, foreignGateway(c, "*", false)}
		c.annotate("expose=true", "gateway-port=8066")
		c.tells()
		c.exposed("app-gateway: *@demo/app; 8066: demo/*")
	})
	t.Run("a VirtualService at the gateway that we are to share", func(t *testing.T) {
		c := twoVersions(t)
		shared := foreignGateway(c, "*", false)
		theirs := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: "third", Name: "theirs"}}
		theirs.Spec.Hosts, theirs.Spec.Gateways = []string{"*.example.com"}, []string{"other/theirs"}
		c.foreign = Objects{Gateways: []*networkingv1.Gateway{shared}, VirtualServices: []*networkingv1.VirtualService{theirs}}
		c.annotate("expose=true", "gateway=other/theirs", "hosts=a.example.com,a.example.org")
		c.tells(api.RouteHostConflict)
		c.exposed("app-gateway: a.example.org@other/theirs")
	})
}

func TestExposureIsAPrivilege(t *testing.T) {
	for _, test := range []struct {
		name    string
		setting api.ExposeSetting
		allowed string // "" = no list
		hosts   string
		wild    bool
		want    string
		told    []api.RouteReason
	}{
		{"nobody may", api.ExposeDisabled, "*", "a.example.com", true, "", []api.RouteReason{api.RouteExposeNotPermitted}},
		{"only listed namespaces may, this is none", api.ExposeNamespaces, "", "a.example.com", true, "", []api.RouteReason{api.RouteExposeNotPermitted}},
		{"only listed namespaces may, this is one", api.ExposeNamespaces, "*.example.com", "a.example.com", true, "app-gateway: a.example.com@demo/app; 80: demo/a.example.com", nil},
		{"a list binds in any case", api.ExposeEnabled, "*.example.com", "a.example.com,a.example.org", true, "app-gateway: a.example.com@demo/app; 80: demo/a.example.com", []api.RouteReason{api.RouteHostNotAllowed}},
		{"a wildcard below the list's", api.ExposeEnabled, "*.example.com", "*.a.example.com", true, "app-gateway: *.a.example.com@demo/app; 80: demo/*.a.example.com", nil},
		{"the list's parent is not on it", api.ExposeEnabled, "*.example.com", "example.com", true, "", []api.RouteReason{api.RouteHostNotAllowed}},
		{"every host is not on a list of names", api.ExposeEnabled, "*.example.com", "*", true, "", []api.RouteReason{api.RouteHostNotAllowed}},
		{"an empty list allows nothing", api.ExposeEnabled, " ", "a.example.com", true, "", []api.RouteReason{api.RouteHostNotAllowed}},
		{"every host must be allowed by the installation", api.ExposeEnabled, "", "*", false, "", []api.RouteReason{api.RouteHostNotAllowed}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := twoVersions(t)
			c.settings.Expose, c.settings.AllowWildcardHost = test.setting, test.wild
			if test.allowed != "" {
				c.namespace.Annotations = map[string]string{api.AnnotationAllowedHosts: test.allowed}
			}
			c.annotate("expose=true", "hosts="+test.hosts)
			c.tells(test.told...)
			c.exposed(test.want)
			c.has("v1 v2", "v1")
		})
	}
}

// A Gateway of another namespace is no way around what is not permitted.
func TestASharedGatewayNeedsTheSamePermission(t *testing.T) {
	for _, test := range []struct {
		name    string
		setting api.ExposeSetting
		allowed string // "" = no list
		hosts   string
		want    string
		told    []api.RouteReason
	}{
		{"everybody may", api.ExposeEnabled, "", "a.example.com", "app-gateway: a.example.com@other/theirs", nil},
		{"nobody may", api.ExposeDisabled, "*", "a.example.com", "", []api.RouteReason{api.RouteExposeNotPermitted}},
		{"only listed namespaces may, this is none", api.ExposeNamespaces, "", "a.example.com", "", []api.RouteReason{api.RouteExposeNotPermitted}},
		{"only listed namespaces may, this is one", api.ExposeNamespaces, "*.example.com", "a.example.com", "app-gateway: a.example.com@other/theirs", nil},
		{"a list binds in any case", api.ExposeEnabled, "*.example.com", "a.example.com,bank.example.org", "app-gateway: a.example.com@other/theirs", []api.RouteReason{api.RouteHostNotAllowed}},
		{"every host is not on a list of names", api.ExposeEnabled, "*.example.com", "*", "", []api.RouteReason{api.RouteHostNotAllowed}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := twoVersions(t)
			c.settings.Expose = test.setting
			c.foreign.Gateways = []*networkingv1.Gateway{foreignGateway(c, "*", false)}
			if test.allowed != "" {
				c.namespace.Annotations = map[string]string{api.AnnotationAllowedHosts: test.allowed}
			}
			c.annotate("expose=true", "gateway=other/theirs", "hosts="+test.hosts)
			c.tells(test.told...)
			c.exposed(test.want)
			c.has("v1 v2", "v1")
		})
	}
}

func TestIngressThatIsNotThereIsTold(t *testing.T) {
	c := twoVersions(t)
	c.annotate("expose=true", "gateway-port=9999")
	c.tells(api.RouteGatewayPortUnexposed)
	c.ingress = nil
	c.tells(api.RouteGatewayUnmatched)
	c.annotate("gateway=istio-system/none")
	c.advance(time.Minute)
	c.tells(api.RouteGatewayNotFound)
	c.exposed("")
}

func foreignRoute(subset string) *networkingv1.VirtualService {
	vs := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "mine"}}
	vs.Spec.Hosts = []string{"app"}
	vs.Spec.Http = []*networkingapi.HTTPRoute{{Route: []*networkingapi.HTTPRouteDestination{{Destination: &networkingapi.Destination{Host: "app", Subset: subset}}}}}
	return vs
}

func TestForeignRoutePutAndTakenAway(t *testing.T) {
	c := twoVersions(t)
	c.foreign.VirtualServices = []*networkingv1.VirtualService{foreignRoute("v2")}
	c.settle()
	c.has("v1 v2", "none")
	c.wrote(applyRule, deleteRoute) // the record says that ours was not deleted by another client
	c.tells(api.RouteRouteConflict)
	// A subset that it names is never pruned.
	c.remove("app-v2")
	c.gone("app-v2")
	c.advance(time.Hour)
	c.has("v1 v2", "none")
	// Not even when the user wants us to go.
	c.service.Labels[api.LabelRouting] = "disabled"
	c.advance(time.Hour)
	c.has("v1 v2", "none")
	c.tells(api.RouteSubsetsInUse)
	c.service.Labels[api.LabelRouting] = ""
	c.foreign.VirtualServices = nil
	c.settle()
	c.has("v1 v2", "v1")
	c.advance(time.Hour)
	c.has("v1", "v1")
	c.tells()
}

func TestForeignDestinationRuleThatClashes(t *testing.T) {
	clash := &networkingv1.DestinationRule{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "mine"}}
	clash.Spec.Host = "app"
	clash.Spec.Subsets = []*networkingapi.Subset{{Name: "v1", Labels: map[string]string{"track": "stable"}}}
	c := twoVersions(t)
	c.foreign.DestinationRules = []*networkingv1.DestinationRule{clash}
	c.fixed("app-v3", "v3", 1)
	c.advance(time.Hour)
	c.has("v1 v2", "v1")
	c.wrote()
	c.tells(api.RouteSubsetConflict)
	c.foreign.DestinationRules = nil
	c.settle()
	c.has("v1 v2 v3", "v1")
}

func TestHandEditsAreRestored(t *testing.T) {
	c := twoVersions(t)
	c.annotate("drift=revert")
	c.settle()
	c.writes = nil
	c.existing.VirtualServices[0].Spec.Http[0].Route[0].Destination.Subset = "v2"
	c.settle()
	c.has("v1 v2", "v1")
	c.wrote(applyRoute)

	rule := c.existing.DestinationRules[0]
	rule.Spec.TrafficPolicy = &networkingapi.TrafficPolicy{ConnectionPool: &networkingapi.ConnectionPoolSettings{Tcp: &networkingapi.ConnectionPoolSettings_TCPSettings{MaxConnections: 7}}}
	c.settle()
	c.wrote()
	rule.Spec.Subsets = []*networkingapi.Subset{{Name: "theirs", Labels: map[string]string{"track": "stable"}}}
	c.since = map[string]time.Time{"v1": c.now.Add(-time.Hour)} // the gap is the user's
	c.settle()
	c.has("v1 v2 theirs", "v1")
	c.wrote(applyRule)
	if got := c.existing.DestinationRules[0].Spec.GetTrafficPolicy().GetConnectionPool().GetTcp().GetMaxConnections(); got != 7 {
		t.Errorf("the user's trafficPolicy is lost: %d", got)
	}
	c.existing.VirtualServices[0].Annotations = nil
	c.existing.VirtualServices[0].Labels["team"] = "a"
	c.settle()
	c.wrote(applyRoute)
	c.existing.DestinationRules = nil
	c.since = map[string]time.Time{"v1": c.now.Add(-time.Hour)}
	c.settle()
	c.has("v1 v2", "v1")
	c.wrote(createRule)
}

func TestNamesAreBoundToTracks(t *testing.T) {
	c := newCluster(t)
	c.rolling("stable", "v1", 4)
	c.ready()
	c.advance(time.Minute)
	c.rolling("canary", "v2", 4)
	c.ready()
	c.annotate("weights=v1=75,v2=25")
	c.advance(time.Minute)
	c.has("v1 v2", "v1=75 v2=25")
	// The canary rolls to v3: the name v2 means it and goes with it.
	c.template("canary", "v3")
	c.run("canary", "v3", 4, 4)
	c.run("canary", "v2", 0, 0)
	c.advance(10 * time.Second)
	c.has("v1 v2 v3", "v1=75 v3=25")
	c.tells(api.RouteVersionSucceeded)
	// Another workload that comes with the text v2 is not meant.
	c.fixed("other", "v2", 4)
	c.ready()
	c.advance(time.Minute)
	c.has("v1 v2 v3", "v1=75 v3=25")
	// A changed text binds anew what some track carries.
	c.annotate("weights=v1=50,v2=50")
	c.settle()
	c.has("v1 v2 v3", "v1=50 v2=50")
	c.tells()
}

func TestTwoNamesOfOneTrackAreLiteral(t *testing.T) {
	c := newCluster(t)
	c.rolling("app", "v1", 2)
	c.ready()
	c.advance(time.Minute)
	c.template("app", "v2")
	c.run("app", "v2", 2, 2)
	c.advance(10 * time.Second)
	c.annotate("weights=v1=90,v2=10")
	c.settle()
	c.has("v1 v2", "v1=90 v2=10")
}

func TestNewcomerWithTheDefaultsVersionJoins(t *testing.T) {
	c := newCluster(t)
	c.rolling("on-demand", "v1", 2)
	c.ready()
	c.advance(10 * time.Minute)
	c.rolling("spot", "v1", 2)
	c.ready()
	c.advance(time.Minute)
	c.has("v1", "-") // both are the default: nothing tells them apart, and nothing need
	c.template("spot", "v2")
	c.run("spot", "v2", 2, 2)
	c.run("spot", "v1", 0, 0)
	c.advance(time.Minute)
	c.has("v1 v2", "-")
	c.rolling("next", "v3", 1)
	c.settle()
	c.has("v1 v2 v3", "v1=50 v2=50")
}

func TestUnversionedPodsPreventTheFirstRoute(t *testing.T) {
	c := newCluster(t)
	c.fixed("app-v1", "v1", 2)
	c.rolling("old", "", 2)
	c.ready()
	c.advance(10 * time.Minute)
	c.has("v1", "none")
	c.tells(api.RouteUnversionedPods)
	c.wrote(createRule)
	c.empty = true
	c.template("old", "v0")
	c.run("old", "", 0, 0)
	c.run("old", "v0", 2, 2)
	c.advance(time.Minute)
	c.has("v0 v1", "none") // two versions that both serve
	c.tells(api.RoutePreexistingSplit)
}

func TestUnversionedPodsOfALoneRolloutPreventNothing(t *testing.T) {
	c := newCluster(t)
	c.rolling("app", "", 2)
	c.ready()
	c.advance(10 * time.Minute)
	c.has("", "none")
	c.wrote()
	c.template("app", "v1")
	c.run("app", "v1", 1, 0)
	c.advance(10 * time.Second)
	c.has("v1", "-")
	c.tells()
}

func TestAnEarlyDefaultIsRevisedUntilItsRecordIsSettled(t *testing.T) {
	c := newCluster(t)
	c.fixed("app-v1", "v1", 0)
	c.fixed("app-v2", "v2", 1)
	c.settle()
	c.has("v2", "v2")
	c.advance(time.Second)
	c.run("app-v1", "v1", 1, 0) // its first pod appears late
	c.settle()
	c.has("v1 v2", "v1")
	c.ready()
	c.advance(time.Hour)
	c.fixed("app-v0", "v0", 1)
	c.ready()
	c.advance(time.Hour)
	c.has("v0 v1 v2", "v1")
}

func TestPolicies(t *testing.T) {
	for _, test := range []struct{ policy, before, after string }{
		{"@first", "v1", "v1"}, {"@lowest", "v1", "v0.9"}, {"@highest", "v2", "v10"}, {"@all", "-", "-"},
	} {
		t.Run(test.policy, func(t *testing.T) {
			c := newCluster(t)
			c.annotate("default-version=" + test.policy)
			c.fixed("app-v1", "v1", 1)
			c.fixed("app-v2", "v2", 1)
			c.ready()
			c.advance(10 * time.Minute)
			c.has("v1 v2", test.before)
			c.fixed("app-v10", "v10", 1)
			c.fixed("app-v0.9", "v0.9", 1)
			c.advance(time.Minute)
			c.has("v0-9 v1 v2 v10", test.before)
			c.ready()
			c.spread()
			c.has("v0-9 v1 v2 v10", strings.ReplaceAll(test.after, ".", "-"))
			c.tells()
		})
	}
}

func TestTooManyVersions(t *testing.T) {
	c := newCluster(t)
	c.settings.MaxVersions = 2
	for _, version := range []string{"v1", "v2", "v3"} {
		c.fixed("app-"+version, version, 1)
	}
	c.ready()
	c.advance(time.Minute)
	c.has("v1 v2", "v1")
	c.tells(api.RouteTooManyVersions)
	c.annotate("default-version=v3")
	c.advance(time.Minute)
	c.has("v1 v2", "v1")
	c.annotate("default-version-")
	c.remove("app-v2")
	c.gone("app-v2")
	c.advance(10 * time.Minute)
	c.has("v1 v3", "v1")
}

func TestTakenElsewhere(t *testing.T) {
	t.Run("a Rollout takes the Service", func(t *testing.T) {
		c := twoVersions(t)
		c.managedBy = "Rollout demo/app"
		c.settle()
		c.has("v1 v2", "none")
		c.tells(api.RouteManagedElsewhere)
		c.advance(2 * time.Minute)
		c.has("", "none")
	})
	t.Run("ambient leaves what stands", func(t *testing.T) {
		c := twoVersions(t)
		c.ambient = true
		c.fixed("app-v3", "v3", 1)
		c.advance(time.Hour)
		c.has("v1 v2", "v1")
		c.wrote()
		c.tells(api.RouteAmbientUnsupported)
	})
	t.Run("the selector comes to name a version", func(t *testing.T) {
		c := twoVersions(t)
		c.service.Spec.Selector["version"] = "v1"
		c.gone("app-v2")
		c.advance(5 * time.Minute)
		c.has("", "none")
	})
	t.Run("our names are taken", func(t *testing.T) {
		c := newCluster(t)
		vs := foreignRoute("")
		vs.Spec.Hosts, vs.Name = []string{"elsewhere.example.com"}, "app"
		c.foreign.VirtualServices = []*networkingv1.VirtualService{vs}
		c.fixed("app-v1", "v1", 1)
		c.ready()
		c.advance(time.Minute)
		if got := c.routes("app-auto"); got != "v1" {
			t.Errorf("app-auto: %s", got)
		}
	})
	t.Run("so is the second one", func(t *testing.T) {
		c := newCluster(t)
		vs, other := foreignRoute(""), foreignRoute("")
		vs.Spec.Hosts, vs.Name = []string{"elsewhere.example.com"}, "app"
		other.Spec.Hosts, other.Name = []string{"elsewhere.example.com"}, "app-auto"
		c.foreign.VirtualServices = []*networkingv1.VirtualService{vs, other}
		c.fixed("app-v1", "v1", 1)
		c.ready()
		c.advance(time.Minute)
		c.wrote()
		c.tells(api.RouteNameTaken)
	})
	t.Run("the second route's name is another Service's", func(t *testing.T) {
		c := twoVersions(t)
		c.names["app-gateway"] = true
		c.annotate("expose=true")
		c.settle()
		c.exposed("app-gateway-auto: *@demo/app; 80: demo/*")
	})
}

func TestSplitCanBeExposed(t *testing.T) {
	c := split(t)
	c.annotate("expose=true")
	c.settle()
	c.exposed("app-gateway: *@demo/app; 80: demo/*")
	if got := c.routes("app-gateway"); got != "-" {
		t.Errorf("app-gateway: %s", got)
	}
	c.has("v1 v2", "none")
	c.annotate("hosts=a.example.com")
	c.advance(time.Minute)
	c.exposed("app-gateway: a.example.com@demo/app; 80: demo/a.example.com")
	for _, vs := range c.existing.VirtualServices {
		if !slices.Equal(vs.Spec.Hosts, []string{"a.example.com"}) || !slices.Equal(vs.Spec.Gateways, []string{"demo/app"}) {
			t.Errorf("a split binds the mesh: %v %v", vs.Spec.Hosts, vs.Spec.Gateways)
		}
	}
}

func TestPortsChange(t *testing.T) {
	c := twoVersions(t)
	c.service.Spec.Ports[0].Port = 9999
	c.settle()
	c.wrote() // one port is never named
}

func TestNamesOfALoneRollingWorkload(t *testing.T) {
	c := newCluster(t)
	c.rolling("app", "v1", 2)
	c.ready()
	c.annotate("default-version=v1", "weights=v1=50,v9=50")
	c.advance(time.Minute)
	c.has("v1", "-")
	c.tells(api.RoutePendingVersions)
	c.writes = nil
	c.template("app", "v2")
	c.run("app", "v2", 2, 2)
	c.run("app", "v1", 0, 0)
	c.advance(10 * time.Minute)
	c.has("v2", "-")
	c.tells(api.RoutePendingVersions, api.RouteVersionSucceeded)
	if slices.Contains(c.writes, applyRoute) {
		t.Errorf("a rollout of a lone workload wrote the route: %v", c.writes)
	}
	c.fixed("next", "v9", 2)
	c.settle()
	c.has("v2 v9", "v2")
	c.advance(10 * time.Second)
	c.ready()
	c.settle()
	c.has("v2 v9", "v2")
	c.spread()
	c.has("v2 v9", "v2=50 v9=50")
}

func TestZeroDelaysKeepTheOrderOfWrites(t *testing.T) {
	c := newCluster(t)
	c.settings.Settle, c.settings.PropagationDelay, c.settings.SubsetRetention, c.settings.DefaultGoneWindow = 0, 0, 0, 0
	c.fixed("app-v1", "v1", 1)
	c.ready()
	c.settle()
	c.wrote(createRule, createRoute)
	c.remove("app-v1")
	c.gone("app-v1")
	c.fixed("app-v2", "v2", 1)
	c.ready()
	c.settle()
	c.has("v2", "v2")
	c.wrote(applyRule, applyRoute, applyRule) // what the route needs before it, what it gave up after it
}

func TestLabelsOfOthersOnOurObjectsAreTheirs(t *testing.T) {
	c := twoVersions(t)
	c.existing.DestinationRules[0].Labels[api.LabelKialiWizard] = "request_routing"
	c.existing.DestinationRules[0].Annotations["outrigger.dev/note"] = "mine"
	c.settle()
	c.wrote()
}
