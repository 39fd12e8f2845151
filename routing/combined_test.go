// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// loadCombined puts the objects of an earlier release into a cluster of two versions: until v0.1 one VirtualService served
// mesh and gateway wherever hosts were named. The files of testdata/combined were written by that release.
func loadCombined(t testing.TB, c *cluster, name string) {
	t.Helper()
	archive, err := txtar.ParseFile(filepath.Join("testdata", "combined", name+".txtar"))
	if err != nil {
		t.Fatal(err)
	}
	c.annotate(strings.Fields(string(section(archive, "annotations")))...)
	c.existing = Objects{}
	for _, document := range bytes.Split(section(archive, "objects.yaml"), []byte("\n---\n")) {
		var head struct{ Kind string }
		decode(t, document, &head)
		switch head.Kind {
		case "DestinationRule":
			c.existing.DestinationRules = []*networkingv1.DestinationRule{{}}
			decode(t, document, c.existing.DestinationRules[0])
		case "VirtualService":
			c.existing.VirtualServices = append(c.existing.VirtualServices, &networkingv1.VirtualService{})
			decode(t, document, c.existing.VirtualServices[len(c.existing.VirtualServices)-1])
		case "Gateway":
			c.existing.Gateways = []*networkingv1.Gateway{{}}
			decode(t, document, c.existing.Gateways[0])
		}
	}
	c.writes = nil
	c.changed()
}

// boundTo describes a VirtualService: "app.demo.svc.cluster.local@mesh".
func boundTo(vs *networkingv1.VirtualService) string {
	gateways := vs.Spec.Gateways
	if len(gateways) == 0 {
		gateways = []string{meshGateway}
	}
	return strings.Join(vs.Spec.Hosts, ",") + "@" + strings.Join(gateways, ",")
}

// Whatever an earlier release exposed stays exposed, with the same shares, and leaves the mesh one propagation delay later.
func TestUpgradeTakesExposedHostsOffTheMesh(t *testing.T) {
	const own = "app.demo.svc.cluster.local@mesh"
	for _, test := range []struct {
		name, gateway, routes string
	}{
		{"hosts", "a.example.com,b.example.com@demo/app", "v1"},
		{"adopted", "a.example.com@demo/app", "v1=80 v2=20"},
		{"weights-and-path", "a.example.com@demo/app", "end-user=jason: v2; v1=90 v2=10"},
		{"internal-wildcard", "*.victim.svc.cluster.local@demo/app", "v1"},
		{"internal-name", "payments.victim.svc.cluster.local@demo/app", "v1"},
		{"single-label-wildcard", "*.com@demo/app", "v1"},
		{"wildcard", "*.example.com@demo/app", "v1"},
		{"external-name", "api.stripe.example@demo/app", "v1"},
		{"closed-port", "a.example.com@demo/app", "v1"},
		{"shared-gateway", "a.example.com@other/theirs", "v1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := twoVersions(t)
			c.advance(11 * time.Minute)
			c.foreign.Gateways = []*networkingv1.Gateway{foreignGateway(c, "*", false)}
			c.foreign.Gateways[0].Spec.Servers[0].Port.Number = 8888 // in nobody's way
			loadCombined(t, c, test.name)
			combined := c.route("app").DeepCopy()
			gateways := bytesOf(t, c.existing.Gateways)
			c.settle()
			if recordOf(c.existing.DestinationRules[0]).Weights != nil {
				c.wrote(applyRule, "Create VirtualService app-gateway") // records the weights in effect
			} else {
				c.wrote("Create VirtualService app-gateway")
			}
			if diff := cmp.Diff(text(t, combined), text(t, c.route("app"))); diff != "" {
				t.Errorf("the mesh's VirtualService was changed before the gateway's had existed for a while:\n%s", diff)
			}
			if got := boundTo(c.route("app-gateway")); got != test.gateway {
				t.Errorf("the gateway serves %s, want %s", got, test.gateway)
			}
			c.advance(c.settings.PropagationDelay)
			c.wrote("Apply VirtualService app")
			if got := boundTo(c.route("app")); got != own {
				t.Errorf("the mesh's VirtualService is for %s, want %s", got, own)
			}
			if got := boundTo(c.route("app-gateway")); got != test.gateway {
				t.Errorf("the gateway serves %s, want %s", got, test.gateway)
			}
			if got := c.routes("app-gateway"); got != test.routes {
				t.Errorf("the gateway's route is %s, want %s", got, test.routes)
			}
			if now := bytesOf(t, c.existing.Gateways); !slices.Equal(gateways, now) {
				t.Errorf("the Gateway was changed:\n%s", cmp.Diff(string(gateways), string(now)))
			}
			c.advance(time.Hour)
			c.wrote()
			if at := claimedAt(c.route("app-gateway"), c.route("app-gateway").Spec.Hosts[0]); !at.Equal(combined.CreationTimestamp.Time) {
				t.Errorf("the host is claimed since %v, and was since %v", at, combined.CreationTimestamp)
			}
		})
	}
}

// Shares that were set by hand on the one VirtualService are those of both, also when they are set while the second is made.
func TestUpgradeKeepsAdoptedShares(t *testing.T) {
	c := twoVersions(t)
	c.advance(11 * time.Minute)
	loadCombined(t, c, "adopted")
	c.settle()
	c.kiali("app", "v1=60", "v2=40")
	c.settle()
	if got := c.routes("app-gateway"); got != "v1=60 v2=40" {
		t.Errorf("the gateway's route is %s", got)
	}
	c.advance(time.Minute)
	for _, name := range []string{"app", "app-gateway"} {
		if got := c.routes(name); got != "v1=60 v2=40" {
			t.Errorf("the route of %s is %s", name, got)
		}
	}
	c.tells(api.RouteWeightsAdopted)
}

// What did not serve the mesh is not written at all, nor is what somebody rebuilt by hand.
func TestUpgradeLeavesTheRest(t *testing.T) {
	for _, test := range []struct {
		name string
		told []api.RouteReason
	}{
		{"any-host", nil},
		{"any-host-closed-port", []api.RouteReason{api.RouteGatewayPortUnexposed}},
		{"detached", []api.RouteReason{api.RouteDrifted}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := twoVersions(t)
			c.advance(12 * time.Minute)
			loadCombined(t, c, test.name)
			before := bytesOf(t, c.existing)
			c.advance(time.Hour)
			c.wrote()
			if after := bytesOf(t, c.existing); !slices.Equal(before, after) {
				t.Errorf("it was written:\n%s", cmp.Diff(string(before), string(after)))
			}
			c.tells(test.told...)
		})
	}
}

// An exposure that ends while its hosts are still on the mesh ends everywhere at once.
func TestExposureEndsDuringTheUpgrade(t *testing.T) {
	c := twoVersions(t)
	c.advance(11 * time.Minute)
	loadCombined(t, c, "hosts")
	c.settle()
	c.annotate("expose-")
	c.settle()
	c.exposed("")
	c.has("v1 v2", "v1")
}

// In a split there is no route for the mesh: then the one VirtualService served the gateway alone.
func TestUpgradeOfAnExposedSplit(t *testing.T) {
	c := newCluster(t)
	c.namespace.Labels = nil
	c.fixed("app-v1", "v1", 2)
	c.run("app-v1", "v1", 2, 2)
	c.fixed("app-v2", "v2", 2)
	c.ready()
	c.advance(time.Hour)
	c.namespace.Labels = map[string]string{"istio-injection": "enabled"}
	c.advance(11 * time.Minute)
	loadCombined(t, c, "split")
	c.settle()
	c.wrote("Create VirtualService app-gateway")
	c.advance(time.Hour)
	c.wrote("Delete VirtualService app")
	c.exposed("app-gateway: a.example.com@demo/app; 80: demo/a.example.com")
	c.tells(api.RoutePreexistingSplit)
}
