// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// Cases that walks of the hostile editor found, each with its mechanism.

// editRoute changes a VirtualService of ours as another client does.
func (c *cluster) editRoute(name string, change func(vs *networkingv1.VirtualService)) {
	c.t.Helper()
	was := c.route(name)
	edited := was.DeepCopy()
	change(edited)
	edited.ResourceVersion += "h"
	c.replaceObject(was, edited)
	c.editedRoutes = map[string]bool{name: true}
}

// A route that is replaced before its subset has existed for the propagation delay continues at once: it named the subset
// already, and without it every version would receive requests.
func TestARouteIsReplacedInTheFirstSeconds(t *testing.T) {
	c := newCluster(t)
	c.fixed("a", "v1", 1)
	c.fixed("b", "v2", 1)
	c.settle()
	c.has("v1 v2", "v1")
	c.ready()
	c.editRoute("app", func(vs *networkingv1.VirtualService) { vs.Spec.Hosts = []string{"mine.example.com"} })
	c.settle()
	if got := c.routes("app-auto"); got != "v1" {
		t.Errorf("app-auto routes to %s", got)
	}
	c.onceTold(api.RouteObjectReplaced)
}

// With drift=revert, a route whose hosts were edited is written back, also while its default has no ready pod and another
// version has: it is not a route that would be created.
func TestEditedHostsAreRevertedDuringAnOutage(t *testing.T) {
	c := twoVersions(t)
	c.annotate("drift=revert")
	c.empty = true
	c.advance(time.Minute)
	c.run("app-v1", "v1", 0, 0)
	c.advance(time.Minute)
	c.editRoute("app", func(vs *networkingv1.VirtualService) { vs.Spec.Hosts = []string{"v3"} })
	c.settle()
	if got := c.routes("app"); got != "v1" {
		t.Fatalf("app routes to %s", got)
	}
	if hosts := c.route("app").Spec.Hosts; !slices.Equal(hosts, []string{"app.demo.svc.cluster.local"}) {
		t.Errorf("its hosts are %v", hosts)
	}
	c.onceTold(api.RouteEditReverted)
}

// An edit of the VirtualService for the gateway does not hide the objects that the mesh and the gateway use.
func TestAnEditOfTheExposureHidesNothing(t *testing.T) {
	for name, test := range map[string]struct {
		edit func(vs *networkingv1.VirtualService)
		told api.RouteReason
	}{
		"hosts":         {func(vs *networkingv1.VirtualService) { vs.Spec.Hosts = []string{"nosuch"} }, api.RouteDrifted},
		"annotations":   {func(vs *networkingv1.VirtualService) { vs.Annotations[api.AnnotationWritten] = "app" }, api.RouteRecordEdited},
		"no annotation": {func(vs *networkingv1.VirtualService) { vs.Annotations = nil }, ""}, // as Kiali saves it
	} {
		for _, refused := range []string{"gateway=istio-system/nosuch", "gateway=other/theirs"} {
			t.Run(name+", "+refused, func(t *testing.T) {
				c := twoVersions(t)
				c.foreign.Gateways = append(c.foreign.Gateways, foreignGateway(c, "*", false))
				c.annotate("expose=true", "hosts=a.example.com")
				if refused == "gateway=other/theirs" {
					c.annotate(refused)
				}
				c.advance(time.Minute)
				c.foreign.Gateways = nil
				c.annotate(refused)
				c.advance(time.Minute)
				c.editRoute("app-gateway", test.edit)
				edited := c.route("app-gateway").DeepCopy()
				c.settle()
				for _, exportTo := range [][]string{c.route("app").Spec.ExportTo, c.existing.DestinationRules[0].Spec.ExportTo} {
					if !slices.Equal(exportTo, []string{"*"}) {
						t.Errorf("exported to %v", exportTo)
					}
				}
				if test.told != "" {
					c.onceTold(test.told)
				}
				if test.told == api.RouteDrifted {
					return
				}
				// As the message says, the annotations are written back.
				if now := c.route("app-gateway"); !sameSpecExactly(now, edited) || trustOf(now) != sealed {
					t.Errorf("app-gateway is\n%s", text(t, now))
				}
				c.told = map[api.RouteReason]bool{}
				c.advance(time.Hour)
				if c.told[api.RouteRecordEdited] {
					t.Errorf("the repaired record is still reported: %v", c.problems)
				}
			})
		}
	}
}

// Shares that divide a rolling workload's share among its own versions decide nothing: that share follows its ready pods. Such
// an edit is reverted and not reported as adopted.
func TestSharesWithinARollout(t *testing.T) {
	c := newCluster(t)
	rollingVersions(c, "v1", "v2")
	c.template("a", "v3")
	c.run("a", "v3", 1, 1)
	c.run("a", "v1", 3, 3)
	c.advance(time.Minute)
	before := c.routes("app")
	if before != "v1=75 v3=25" {
		t.Fatalf("app routes to %s", before)
	}
	c.told = map[api.RouteReason]bool{}
	c.kiali("app", "v1=100", "v3=0", "v2=0")
	c.settle()
	if got := c.routes("app"); got != before {
		t.Errorf("app routes to %s, and to %s before the edit", got, before)
	}
	c.onceTold(api.RouteEditReverted)
	if c.told[api.RouteWeightsAdopted] {
		t.Error("the shares are reported as adopted")
	}
	// A share for another workload is a decision; within the workload that rolls out, its share follows the pods.
	c.kiali("app", "v1=50", "v3=0", "v2=50")
	c.settle()
	if got := c.routes("app"); got != "v1=38 v2=50 v3=12" {
		t.Errorf("app routes to %s", got)
	}
	c.onceTold(api.RouteWeightsAdopted)
}

// A route that another client edits to name a subset which is gone gets that subset by the write that answers the edit.
func TestAnEditNamesASubsetThatIsGone(t *testing.T) {
	for name, drifted := range map[string]bool{"an older copy": false, "a tls rule": true} {
		t.Run(name, func(t *testing.T) {
			c := twoVersions(t)
			c.annotate("weights=v1=50,v2=50")
			c.advance(time.Minute)
			older := c.route("app").DeepCopy()
			c.workloads[c.ref("app-v2")].Replicas = 0
			c.run("app-v2", "v2", 0, 0)
			c.advance(time.Hour)
			c.has("v1", "v1")
			c.writes, c.before = nil, map[string]*networkingv1.VirtualService{}
			c.editRoute("app", func(vs *networkingv1.VirtualService) {
				if !drifted {
					vs.Spec, vs.Annotations = *older.Spec.DeepCopy(), maps.Clone(older.Annotations)
					return
				}
				vs.Spec.Tls = []*networkingapi.TLSRoute{{
					Match: []*networkingapi.TLSMatchAttributes{{SniHosts: slices.Clone(vs.Spec.Hosts)}},
					Route: []*networkingapi.RouteDestination{{Destination: &networkingapi.Destination{Host: c.route("app").Spec.Hosts[0], Subset: "v2"}}},
				}}
			})
			c.settle()
			if c.writes[0] != applyRule || findSubset(c.existing.DestinationRules[0], "v2") == nil {
				t.Errorf("writes: %v", c.writes)
			}
			if strings.Contains(c.routes("app"), "v2") {
				t.Errorf("app routes to %s", c.routes("app"))
			}
			if drifted {
				c.onceTold(api.RouteDrifted)
			} else {
				c.onceTold(api.RouteRecordEdited)
			}
		})
	}
}

// Two copies of the record with one revision and different content, each as Outrigger sealed it, decide nothing: neither is taken.
// Everything stays until the Service says where requests go.
func TestCopiesThatDisagreeHoldEverything(t *testing.T) {
	for _, edited := range []string{"DestinationRule", "VirtualService"} {
		t.Run(edited, func(t *testing.T) {
			c := twoVersions(t)
			c.annotate("weights=v1=90,v2=10")
			c.advance(time.Minute)
			for _, object := range c.existing.All() {
				if KindOf(object) == edited {
					annotations := object.GetAnnotations()
					annotations[api.AnnotationRecord] = strings.Replace(annotations[api.AnnotationRecord], "v1=90,v2=10", "v1=10,v2=90", 1)
					annotations[api.AnnotationSeal] = seal(annotations)
				}
			}
			was := copyObjects(c.existing)
			c.writes = nil
			c.annotate("weights-") // not a decision about all requests
			c.run("app-v2", "v2", 2, 0)
			c.run("app-v2", "v2", 2, 2)
			c.advance(time.Hour)
			c.wrote()
			c.sameSpecs(was)
			c.tells(api.RouteRecordEdited)
			c.annotate("default-version=v2")
			c.advance(time.Minute)
			c.has("v1 v2", "v2")
			c.tells()
		})
	}
}
