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

func (c *cluster) route(name string) *networkingv1.VirtualService {
	c.t.Helper()
	at := slices.IndexFunc(c.existing.VirtualServices, func(vs *networkingv1.VirtualService) bool { return vs.Name == name })
	if at < 0 {
		c.t.Fatalf("there is no VirtualService %s", name)
	}
	return c.existing.VirtualServices[at]
}

// kiali saves shares as Kiali's traffic shifting does: all http rules anew, without names and ports, versions as they are
// in the labels, also those of weight 0.
func (c *cluster) kiali(name string, shares ...string) {
	c.t.Helper()
	vs := c.route(name)
	rule := &networkingapi.HTTPRoute{}
	for _, share := range shares {
		version, weight, _ := strings.Cut(share, "=")
		d := &networkingapi.HTTPRouteDestination{Destination: &networkingapi.Destination{Host: "app.demo.svc.cluster.local", Subset: version}}
		if _, err := fmt.Sscan(weight, &d.Weight); err != nil {
			c.t.Fatal(err)
		}
		rule.Route = append(rule.Route, d)
	}
	vs.Spec.Http = []*networkingapi.HTTPRoute{rule}
	vs.Labels[api.LabelKialiWizard] = "traffic_shifting"
	vs.ResourceVersion += "k"
}

// A save by Kiali as a whole: it takes all annotations off the DestinationRule, and names the versions that run anew.
func TestAWholeSaveByKiali(t *testing.T) {
	c := newCluster(t)
	c.annotate("expose=true", "hosts=a.example.com")
	c.foreign.DestinationRules = []*networkingv1.DestinationRule{wideRule("istio-system", "mesh", "*.local", 99)}
	c.fixed("app-v1", "v1", 2)
	c.fixed("app-v2", "v2", 2)
	c.ready()
	c.advance(10 * time.Minute)
	c.has("v1 v2", "v1")
	c.kiali("app", "v1=90", "v2=10")
	rule := c.existing.DestinationRules[0]
	rule.Annotations, rule.Spec.TrafficPolicy = nil, nil
	rule.Labels[api.LabelKialiWizard] = "traffic_shifting"
	c.advance(time.Minute)
	c.has("v1 v2", "v1=90 v2=10")
	c.limits(99)
	c.tells(api.RouteWeightsAdopted, api.RoutePolicyInherited)
	c.exposed("app-gateway: a.example.com@demo/app; 80: demo/a.example.com")
	c.writes = nil
	c.advance(time.Hour)
	c.wrote()
	// Its record is whole again: subsets go when they should.
	c.annotate("default-version=v1")
	c.remove("app-v2")
	c.gone("app-v2")
	c.advance(time.Hour)
	c.has("v1", "v1")
}

func TestSharesSetByHandHold(t *testing.T) {
	c := twoVersions(t)
	c.kiali("app", "v1=70", "v2=30")
	c.settle()
	c.has("v1 v2", "v1=70 v2=30")
	c.wrote(applyRule, applyRoute)
	if rule := c.route("app").Spec.Http[0]; rule.Name != "default" {
		t.Errorf("the rule is not written as ours: %v", rule)
	}
	c.tells(api.RouteWeightsAdopted)
	c.fixed("app-v3", "v3", 2)
	c.ready()
	c.advance(time.Hour)
	c.has("v1 v2 v3", "v1=70 v2=30")
	// All to another version, as a slider at its end saves it.
	c.kiali("app", "v1=0", "v2=100", "v3=0")
	c.settle()
	c.has("v1 v2 v3", "v2")
	c.tells(api.RouteWeightsAdopted)
	// The next word about shares ends it.
	c.annotate("default-version=v3")
	c.settle()
	c.has("v1 v2 v3", "v3")
	c.tells()
	c.kiali("app", "v1=50", "v3=50")
	c.settle()
	c.has("v1 v2 v3", "v1=50 v3=50")
	c.annotate("weights=v2=1,v3=1")
	c.settle()
	c.has("v1 v2 v3", "v2=50 v3=50")
	c.annotate("weights-")
	c.settle()
	c.has("v1 v2 v3", "v3")
	c.tells()
	// So does a command that says the same again.
	c.annotate("default-version=v3")
	c.settle()
	c.kiali("app", "v1=50", "v3=50")
	c.settle()
	c.annotate("decided-at=2026-01-02T03:04:05Z")
	c.settle()
	c.has("v1 v2 v3", "v3")
	// The end of the VirtualService does not: the shares are recorded on the DestinationRule, too.
	c.kiali("app", "v1=50", "v3=50")
	c.settle()
	c.existing.VirtualServices = nil
	c.settle()
	c.has("v1 v2 v3", "v1=50 v3=50")
	c.tells(api.RouteWeightsAdopted)
}

func TestAWordThatComesWithAnEditWins(t *testing.T) {
	c := twoVersions(t)
	c.kiali("app", "v1=70", "v2=30")
	c.annotate("default-version=v2")
	c.settle()
	c.has("v1 v2", "v2")
	c.onceTold(api.RouteEditReverted)
	c.tells()
}

func TestDeclaredWeightsWinOverAnEdit(t *testing.T) {
	c := twoVersions(t)
	c.annotate("weights=v1=90,v2=10")
	c.settle()
	c.writes = nil
	c.kiali("app", "v1=50", "v2=50")
	c.settle()
	c.has("v1 v2", "v1=90 v2=10")
	c.wrote(applyRoute)
	c.onceTold(api.RouteEditReverted)
	c.tells()
	// The same shares in other numbers are no edit.
	c.kiali("app", "v1=9", "v2=1")
	c.told = map[api.RouteReason]bool{}
	c.settle()
	if len(c.told) > 0 {
		t.Errorf("told %v", c.told)
	}
}

func TestARebuiltRouteIsItsAuthors(t *testing.T) {
	structure := map[string]func(vs *networkingv1.VirtualService){
		"another rule": func(vs *networkingv1.VirtualService) {
			vs.Spec.Http = append([]*networkingapi.HTTPRoute{{
				Match: []*networkingapi.HTTPMatchRequest{{Headers: map[string]*networkingapi.StringMatch{"end-user": exact("jason")}}},
				Route: []*networkingapi.HTTPRouteDestination{{Destination: &networkingapi.Destination{Host: "app", Subset: "v2"}}},
			}}, vs.Spec.Http...)
		},
		"another host":   func(vs *networkingv1.VirtualService) { vs.Spec.Hosts = append(vs.Spec.Hosts, "app.example.com") },
		"a timeout":      func(vs *networkingv1.VirtualService) { vs.Spec.Http[0].Retries = &networkingapi.HTTPRetry{Attempts: 3} },
		"a foreign host": func(vs *networkingv1.VirtualService) { vs.Spec.Http[0].Route[0].Destination.Host = "other" },
		"a strange name": func(vs *networkingv1.VirtualService) { vs.Spec.Http[0].Route[0].Destination.Subset = "theirs" },
		"every version":  func(vs *networkingv1.VirtualService) { vs.Spec.Http[0].Route[0].Destination.Subset = "" },
		"a tcp rule":     func(vs *networkingv1.VirtualService) { vs.Spec.Tcp = []*networkingapi.TCPRoute{{}} },
		"a request header": func(vs *networkingv1.VirtualService) {
			vs.Spec.Http[0].Route[0].Headers = &networkingapi.Headers{Request: &networkingapi.Headers_HeaderOperations{Set: map[string]string{"x": "y"}}}
		},
	}
	for what, change := range structure {
		t.Run(what, func(t *testing.T) {
			c := twoVersions(t)
			c.foreign.DestinationRules = []*networkingv1.DestinationRule{{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "mine"},
				Spec: networkingapi.DestinationRule{Host: "app", Subsets: []*networkingapi.Subset{{Name: "theirs", Labels: map[string]string{"track": "x"}}}}}}
			c.settle()
			c.advance(time.Minute)
			c.writes = nil
			c.empty, c.since["theirs"] = true, c.now.Add(-time.Hour) // what the user makes may lead nowhere
			change(c.route("app"))
			c.settle()
			theirs := routesOf(c.route("app"))
			c.wrote(applyRule) // the record says whose route it is
			c.tells(api.RouteDrifted, api.RoutePolicyShared)
			// We follow with subsets, and prune none that it names.
			c.fixed("app-v3", "v3", 1)
			c.annotate("weights=v1=1,v3=1")
			c.ready()
			c.advance(time.Hour)
			c.has("v1 v2 v3", theirs)
			c.remove("app-v2")
			c.gone("app-v2")
			c.advance(time.Hour)
			c.has(map[bool]string{true: "v1 v2 v3", false: "v1 v3"}[strings.Contains(theirs, "v2")], theirs)
			c.tells(api.RouteDrifted, api.RoutePolicyShared)
			// Until the user wants ours again.
			c.annotate("drift=revert")
			c.settle()
			c.onceTold(api.RouteEditReverted)
			c.has(map[bool]string{true: "v1 v2 v3", false: "v1 v3"}[strings.Contains(theirs, "v2")], "v1=50 v3=50")
			change(c.route("app"))
			c.annotate("drift-")
			c.settle()
			c.tells(api.RouteDrifted, api.RoutePolicyShared)
			c.existing.VirtualServices = nil
			c.settle()
			c.tells(api.RoutePolicyShared)
			if got := c.routes("app"); got != "v1=50 v3=50" {
				t.Errorf("the route that was deleted comes back as %s", got)
			}
		})
	}
}

func TestDriftDetachLeavesAlsoShares(t *testing.T) {
	c := twoVersions(t)
	c.annotate("drift=detach")
	c.settle()
	c.writes = nil
	c.kiali("app", "v1=50", "v2=50")
	c.advance(time.Hour)
	c.has("v1 v2", "v1=50 v2=50")
	c.wrote(applyRule) // the record says whose route it is
	c.tells(api.RouteDrifted)
	c.annotate("drift-") // adopt: from now on they hold
	c.settle()
	c.has("v1 v2", "v1=50 v2=50")
	c.tells(api.RouteWeightsAdopted)
}

func TestAdoptedSharesHoldForBothRoutes(t *testing.T) {
	c := twoVersions(t)
	c.annotate("expose=true")
	c.advance(time.Minute)
	c.writes = nil
	c.kiali("app", "v1=20", "v2=80")
	c.settle()
	c.has("v1 v2", "v1=20 v2=80")
	if got := c.routes("app-gateway"); got != "v1=20 v2=80" {
		t.Errorf("the gateway's route: %s", got)
	}
	c.tells(api.RouteWeightsAdopted)
	c.route("app-gateway").Spec.Http[0].Route[0].Weight = 99
	c.route("app-gateway").Spec.Http[0].Route[1].Weight = 1
	c.settle()
	if got := c.routes("app-gateway"); got != "v1=20 v2=80" {
		t.Errorf("the gateway's route after an edit: %s", got)
	}
	c.onceTold(api.RouteEditReverted)
	c.tells(api.RouteWeightsAdopted)
	// A rebuilt gateway's route is its author's; the mesh's goes on.
	c.route("app-gateway").Spec.Http[0].Retries = &networkingapi.HTTPRetry{Attempts: 3}
	c.annotate("weights=v2=1")
	c.settle()
	c.has("v1 v2", "v2")
	if got := c.routes("app-gateway"); got != "v1=20 v2=80" {
		t.Errorf("the gateway's route is written: %s", got)
	}
	c.tells(api.RouteDrifted)
	c.service.Labels[api.LabelRouting] = "disabled"
	c.advance(time.Hour)
	c.has("", "none")
}

// Kiali names subsets by the raw value of the label, in DestinationRule and VirtualService.
func TestKialisNamesBecomeOurs(t *testing.T) {
	c := newCluster(t)
	c.fixed("app-1", "V1", 2)
	c.fixed("app-2", "V2", 2)
	c.ready()
	c.advance(10 * time.Minute)
	one, two := SubsetName("V1"), SubsetName("V2")
	c.has(one+" "+two, one)
	c.writes = nil
	rule := c.existing.DestinationRules[0]
	rule.Spec.Subsets = []*networkingapi.Subset{{Name: "V1", Labels: map[string]string{"version": "V1"}}, {Name: "V2", Labels: map[string]string{"version": "V2"}}}
	rule.Labels[api.LabelKialiWizard] = "traffic_shifting"
	c.since = map[string]time.Time{"V1": c.now.Add(-time.Hour), "V2": c.now.Add(-time.Hour)} // the gap is the user's
	c.kiali("app", "V1=60", "V2=40")
	c.empty = true
	c.settle()
	c.has(one+" "+two+" V1 V2", "V1=60 V2=40")
	c.advance(3 * time.Second)
	c.has(one+" "+two+" V1 V2", one+"=60 "+two+"=40")
	c.tells(api.RouteWeightsAdopted)
	c.advance(time.Hour)
	c.wrote(applyRule, applyRoute)
}

// A tutorial's own files, applied over ours of the same name.
func TestATutorialsFilesOverOurs(t *testing.T) {
	c := twoVersions(t)
	vs := c.route("app")
	vs.Spec = networkingapi.VirtualService{Hosts: []string{"app"}, Http: []*networkingapi.HTTPRoute{{
		Route: []*networkingapi.HTTPRouteDestination{{Destination: &networkingapi.Destination{Host: "app", Subset: "v1"}}},
	}}}
	rule := c.existing.DestinationRules[0]
	rule.Spec.Host = "app"
	rule.Spec.TrafficPolicy = &networkingapi.TrafficPolicy{Tls: &networkingapi.ClientTLSSettings{Mode: networkingapi.ClientTLSSettings_ISTIO_MUTUAL}}
	c.tells() // it means what ours did
	c.has("v1 v2", "v1")
	c.wrote(applyRoute)
	if c.existing.DestinationRules[0].Spec.TrafficPolicy.GetTls() == nil {
		t.Error("the user's trafficPolicy is gone")
	}
	vs = c.route("app")
	vs.Spec.Http = []*networkingapi.HTTPRoute{{Route: []*networkingapi.HTTPRouteDestination{
		{Destination: &networkingapi.Destination{Host: "app", Subset: "v1"}, Weight: 50}, {Destination: &networkingapi.Destination{Host: "app", Subset: "v2"}, Weight: 50},
	}}}
	c.tells(api.RouteWeightsAdopted)
	c.has("v1 v2", "v1=50 v2=50")
}

func TestALoneWorkloadsShareIsEverything(t *testing.T) {
	c := loneWorkload(t)
	c.kiali("app", "v1=100")
	c.settle()
	c.has("v1", "-")
	c.template("app", "v2")
	c.run("app", "v2", 2, 2)
	c.run("app", "v1", 0, 0)
	c.advance(10 * time.Minute)
	c.has("v2", "-")
}

func TestAnEditOfAPortThatSpeaksEither(t *testing.T) {
	for _, kept := range []bool{true, false} {
		c := newCluster(t)
		c.service.Spec.Ports[0].Name = "web"
		c.fixed("app-v1", "v1", 2)
		c.fixed("app-v2", "v2", 2)
		c.ready()
		c.advance(10 * time.Minute)
		c.kiali("app", "v1=50", "v2=50")
		if !kept {
			c.route("app").Spec.Tcp = nil
		}
		c.settle()
		c.tells(api.RouteWeightsAdopted)
		c.has("v1 v2", "v1=50 v2=50")
		if tcp := c.route("app").Spec.Tcp; len(tcp) != 1 || len(tcp[0].Route) != 2 || tcp[0].Route[0].Weight != 50 {
			t.Errorf("tcp: %v", tcp)
		}
	}
}

func TestSharesThatDifferByPortAreTheirAuthors(t *testing.T) {
	c := newCluster(t)
	c.service.Spec.Ports[0].Name = "http-a"
	c.service.Spec.Ports = append(c.service.Spec.Ports, c.service.Spec.Ports[0])
	c.service.Spec.Ports[1].Name, c.service.Spec.Ports[1].Port = "http-b", 9090
	c.fixed("app-v1", "v1", 2)
	c.fixed("app-v2", "v2", 2)
	c.ready()
	c.advance(10 * time.Minute)
	c.has("v1 v2", "v1; v1")
	for _, rule := range c.route("app").Spec.Http {
		rule.Route[0].Destination.Subset = "v2"
	}
	c.tells(api.RouteWeightsAdopted)
	c.has("v1 v2", "v2; v2")
	c.route("app").Spec.Http[0].Route[0].Destination.Subset = "v1"
	c.tells(api.RouteDrifted, api.RouteWeightsAdopted)
	c.has("v1 v2", "v1; v2")
}

// What we wrote is known by the managed fields as well: a digest that is none of ours makes no edit of it.
func TestManagedFieldsAcquit(t *testing.T) {
	entry := func(manager, fields string) metav1.ManagedFieldsEntry {
		operation := metav1.ManagedFieldsOperationUpdate // an edit: what others apply is theirs
		if manager == api.FieldManager {
			operation = metav1.ManagedFieldsOperationApply
		}
		return metav1.ManagedFieldsEntry{Manager: manager, Operation: operation, FieldsV1: metav1.NewFieldsV1(fields)}
	}
	ours := entry(api.FieldManager, `{"f:metadata":{},"f:spec":{"f:http":{}}}`)
	for _, test := range []struct {
		what   string
		fields []metav1.ManagedFieldsEntry
		told   []api.RouteReason
	}{
		{"ours alone", []metav1.ManagedFieldsEntry{ours, entry("kubectl", `{"f:metadata":{"f:labels":{}}}`)}, nil},
		{"somebody else's hosts", []metav1.ManagedFieldsEntry{ours, entry("kubectl", `{"f:spec":{"f:hosts":{}}}`)}, []api.RouteReason{api.RouteDrifted}},
		{"none of ours", []metav1.ManagedFieldsEntry{entry("kubectl", `{"f:spec":{"f:http":{}}}`)}, []api.RouteReason{api.RouteDrifted}},
	} {
		t.Run(test.what, func(t *testing.T) {
			c := twoVersions(t)
			vs := c.route("app")
			vs.Annotations[api.AnnotationWritten] = `{"shape":"00000000","to":"v1=1"}`
			vs.Annotations[api.AnnotationSeal] = seal(vs.Annotations)
			vs.ManagedFields = test.fields
			c.tells(test.told...)
		})
	}
}

func TestASplitIsNotEndedByAnEdit(t *testing.T) {
	c := split(t)
	c.annotate("expose=true")
	c.advance(time.Minute)
	c.route("app-gateway").Spec.Http[0].Route[0].Destination.Subset = "v1"
	c.tells(api.RouteDrifted, api.RoutePreexistingSplit)
	c.has("v1 v2", "none")
}

// Our Gateway holds nothing that could be adopted: an edit of it is written back, or left where that is wanted.
func TestGatewayEditedByHand(t *testing.T) {
	applyGateway := "Apply Gateway app"
	edit := func(c *cluster) {
		server := c.existing.Gateways[0].Spec.Servers[0]
		server.Hosts = append(server.Hosts, "demo/more.example.com")
	}
	for _, test := range []struct {
		mode  string
		tells api.RouteReason
		wrote []string
		hosts int
	}{
		{"adopt", api.RouteEditReverted, []string{applyGateway}, 1},
		{"revert", api.RouteEditReverted, []string{applyGateway}, 1},
		{"detach", api.RouteDrifted, nil, 2},
	} {
		t.Run(test.mode, func(t *testing.T) {
			c := twoVersions(t)
			c.annotate("expose=true", "hosts=a.example.com", "drift="+test.mode)
			c.advance(time.Minute)
			c.tells()
			c.writes, c.told = nil, map[api.RouteReason]bool{}
			edit(c)
			c.settle()
			c.onceTold(test.tells)
			c.wrote(test.wrote...)
			if hosts := c.existing.Gateways[0].Spec.Servers[0].Hosts; len(hosts) != test.hosts {
				t.Errorf("the Gateway serves %v", hosts)
			}
			c.annotate("weights=v1=90,v2=10")
			c.settle()
			c.has("v1 v2", "v1=90 v2=10")
			c.annotate("drift=revert")
			c.settle()
			c.tells()
			if hosts := c.existing.Gateways[0].Spec.Servers[0].Hosts; len(hosts) != 1 {
				t.Errorf("written back, the Gateway serves %v", hosts)
			}
		})
	}
}
