// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"strings"
	"testing"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// recordsWeights wants the weights in effect on both objects.
func (c *cluster) recordsWeights(want string) {
	c.t.Helper()
	for _, object := range c.existing.All() {
		if KindOf(object) == "Gateway" {
			continue
		}
		if got, _ := recordOf(object).Weights.MarshalText(); string(got) != want {
			c.t.Errorf("%v: %s %s records the weights %q as in effect, want %q", c.now, KindOf(object), object.GetName(), got, want)
		}
	}
}

// pends wants the plan to name what a setting waits for; without that, nothing may be pending.
func (c *cluster) pends(missing ...string) {
	c.t.Helper()
	var got []string
	for _, p := range Plan(c.observe(), c.now).Pending {
		got = append(got, p.Missing...)
	}
	if strings.Join(got, "; ") != strings.Join(missing, "; ") {
		c.t.Errorf("%v: pending are %q, want %q", c.now, got, missing)
	}
}

func (c *cluster) advises(text string) {
	c.t.Helper()
	c.settle()
	for _, p := range c.problems {
		if strings.Contains(p.String(), text) {
			return
		}
	}
	c.t.Errorf("%v: nothing says %q: %v", c.now, text, c.problems)
}

// Each case is one sentence of what weights do.
func TestWeightsTakeEffectAsAWhole(t *testing.T) {
	for _, test := range []struct {
		name string
		play func(c *cluster)
	}{
		{"a typo moves nothing", func(c *cluster) {
			c.annotate("weights=V1=95,v2=5")
			c.advance(time.Hour)
			c.has("v1 v2", "v1")
			c.pends(`unknown version "V1"; did you mean "v1"?`)
			c.advises("Example: kubectl annotate service -n demo app outrigger.dev/weights=v1=95,v2=5 --overwrite.")
			c.tells(api.RoutePendingVersions)
			c.annotate("weights=v1=95,v2=5")
			c.settle()
			c.has("v1 v2", "v1=95 v2=5")
			c.recordsWeights("v1=95,v2=5")
			c.tells()
		}},
		{"a typo beside a declared default moves nothing", func(c *cluster) {
			c.annotate("default-version=v1")
			c.settle()
			c.annotate("weights=V1=95,v2=5")
			c.advance(time.Hour)
			c.has("v1 v2", "v1")
		}},
		{"a typo moves nothing at the gateway", func(c *cluster) {
			c.annotate("expose=true")
			c.advance(time.Minute)
			c.annotate("weights=V1=95,v2=5")
			c.advance(time.Hour)
			if got := c.routes("app-gateway"); got != "v1" {
				c.t.Errorf("the gateway leads to %s", got)
			}
		}},
		{"a typo over weights in effect moves nothing", func(c *cluster) {
			c.annotate("weights=v1=80,v2=20")
			c.settle()
			c.annotate("weights=V1=95,v2=5")
			c.advance(time.Hour)
			c.has("v1 v2", "v1=80 v2=20")
			c.recordsWeights("v1=80,v2=20")
			c.advises("until then the route is v1=80 v2=20")
		}},
		{"only a share that grows must be ready for it", func(c *cluster) {
			c.annotate("weights=v1=50,v2=50")
			c.settle()
			c.run("app-v2", "v2", 2, 0) // it fails
			c.annotate("weights=v1=95,v2=5")
			c.settle()
			c.has("v1 v2", "v1=95 v2=5")
			c.annotate("weights=v1=90,v2=10")
			c.advance(time.Hour)
			c.has("v1 v2", "v1=95 v2=5")
			c.pends("v2 (0 of 2 pods ready)")
			c.annotate("weights=v1=100,v2=0") // nobody is trapped on it
			c.settle()
			c.has("v1 v2", "v1")
		}},
		{"the versions that are ready wait for the one that is not", func(c *cluster) {
			c.fixed("app-v3", "v3", 2)
			c.advance(time.Minute)
			c.annotate("weights=v1=40,v2=30,v3=30")
			c.advance(time.Hour)
			c.has("v1 v2 v3", "v1")
			c.pends("v3 (0 of 2 pods ready)")
			c.ready()
			c.spread()
			c.has("v1 v2 v3", "v1=40 v2=30 v3=30")
			c.pends()
		}},
		{"what is in effect stays, whatever is unready, under another leader, and without one of the objects", func(c *cluster) {
			c.annotate("weights=v1=70,v2=30")
			c.settle()
			c.run("app-v1", "v1", 2, 0)
			c.run("app-v2", "v2", 2, 0)
			c.advance(time.Hour)
			c.has("v1 v2", "v1=70 v2=30")
			c.existing.DestinationRules = nil
			c.since = map[string]time.Time{"v1": c.now.Add(-time.Hour), "v2": c.now.Add(-time.Hour)}
			c.advance(time.Minute)
			c.has("v1 v2", "v1=70 v2=30")
			c.existing.VirtualServices = nil
			c.run("app-v2", "v2", 2, 2)
			c.advance(time.Minute)
			c.has("v1 v2", "v1=70 v2=30")
			c.recordsWeights("v1=70,v2=30")
		}},
		{"shares set by hand stay until the weights that are written can be followed", func(c *cluster) {
			c.kiali("app", "v1=60", "v2=40")
			c.settle()
			c.annotate("weights=V1=95,v2=5")
			c.advance(time.Hour)
			c.has("v1 v2", "v1=60 v2=40")
			c.tells(api.RoutePendingVersions, api.RouteWeightsAdopted)
			c.annotate("weights-") // taken back: it never took effect
			c.advance(time.Hour)
			c.has("v1 v2", "v1=60 v2=40")
			c.annotate("default-version=v9")
			c.advance(time.Hour)
			c.has("v1 v2", "v1=60 v2=40")
			c.annotate("default-version-", "weights=v1=95,v2=5")
			c.settle()
			c.has("v1 v2", "v1=95 v2=5")
			c.tells()
		}},
		{"a default that cannot be followed changes nothing when the weights are removed with it", func(c *cluster) {
			c.annotate("weights=v1=90,v2=10")
			c.settle()
			c.annotate("weights-", "default-version=V2")
			c.advance(time.Hour)
			c.has("v1 v2", "v1=90 v2=10")
			c.advises(`unknown version "V2"; did you mean "v2"?`)
			c.annotate("default-version=v2")
			c.settle()
			c.has("v1 v2", "v2")
		}},
		{"the default takes over from removed weights when it is ready", func(c *cluster) {
			c.annotate("weights=v2=100")
			c.settle()
			c.run("app-v1", "v1", 2, 0)
			c.annotate("weights-")
			c.advance(time.Hour)
			c.has("v1 v2", "v2")
			c.pends("v1 (0 of 2 pods ready)")
			c.ready()
			c.spread()
			c.has("v1 v2", "v1")
			c.recordsWeights("")
		}},
		{"the default has the share of what is deleted, also where it is written with 0", func(c *cluster) {
			c.annotate("weights=v1=0,v2=100")
			c.settle()
			c.has("v1 v2", "v2")
			c.remove("app-v2")
			c.gone("app-v2")
			c.settle()
			c.has("v1 v2", "v1")
			c.advises("The workload of v2 was deleted or scaled to 0; the default, v1, receives its share until it is ready again.")
			c.fixed("app-v2", "v2", 2)
			c.advance(time.Hour)
			c.has("v1 v2", "v1")
			c.ready()
			c.spread()
			c.has("v1 v2", "v2")
			c.tells()
		}},
		{"what takes over from a failed default keeps that share while a later value is pending", func(c *cluster) {
			c.annotate("weights=v1=50,v2=50", "default-gone=next")
			c.settle()
			c.run("app-v1", "v1", 2, 0)
			c.advance(time.Minute)
			c.has("v1 v2", "v2")
			c.annotate("weights=v1=60,v2=40")
			c.advance(time.Hour)
			c.has("v1 v2", "v2")
			c.pends("v1 (0 of 2 pods ready)")
			c.ready()
			c.spread()
			c.has("v1 v2", "v1=60 v2=40")
		}},
		{"@all stays while what replaces it cannot be followed", func(c *cluster) {
			c.annotate("default-version=@all")
			c.settle()
			c.has("v1 v2", "-")
			c.annotate("default-version=v9")
			c.advance(time.Hour)
			c.has("v1 v2", "-")
			c.annotate("default-version=v2")
			c.settle()
			c.has("v1 v2", "v2")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := twoVersions(t)
			c.empty = true // a failing version keeps what it has
			test.play(c)
		})
	}
}

func TestAVersionRenamedInPlaceStillCounts(t *testing.T) {
	c := newCluster(t)
	c.empty = true
	c.rolling("stable", "v1", 2)
	c.ready()
	c.advance(time.Minute)
	c.rolling("canary", "v2", 2)
	c.annotate("weights=v1=75,v2=25")
	c.advance(time.Minute)
	c.pends("v2 (0 of 2 pods ready)")
	c.template("canary", "v2-fixed") // before it was ever ready
	c.run("canary", "v2", 0, 0)
	c.run("canary", "v2-fixed", 2, 2)
	c.spread()
	c.has("v1 v2-fixed v2", "v1=75 v2-fixed=25")
	c.recordsWeights("v1=75 Deployment/stable,v2=25 Deployment/canary")
	c.annotate("weights=v1=50,v2=50") // nothing carries the text any more: it still means the workload
	c.settle()
	c.has("v1 v2-fixed v2", "v1=50 v2-fixed=50")
}

func TestWeightsBeforeThereIsARoute(t *testing.T) {
	for _, test := range []struct {
		name    string
		weights string
		ready   []string // of app-v1, app-v2, app-v3
		first   string   // the first route
		last    string   // when all are ready
		note    string
	}{
		{"the default has everything", "v1=50,v2=50", []string{"app-v1"}, "v1", "v1=50 v2=50", "until then the route is v1=100"},
		{"also where nothing is ready", "v1=50,v2=50", []string{"none"}, "v1", "v1=50 v2=50", "until then the route is v1=100"},
		{"also where it is not weighed", "v2=50,v3=50", []string{"app-v1", "app-v2"}, "v1", "v2=50 v3=50", "until then the route is v1=100"},
		{"a default that is written with 0 gets none", "v1=0,v2=30,v3=70", []string{"app-v1", "app-v2"}, "v2", "v2=30 v3=70", "The default, v1, has the weight 0 and gets none."},
		{"a default without a ready pod gets none", "v1=40,v2=20,v3=40", []string{"app-v2", "app-v3"}, "v2=33 v3=67", "v1=40 v2=20 v3=40", "The default, v1, had no ready pod when that was written and gets none."},
		{"nobody gets what is written for others", "v1=0,v2=100", []string{"app-v1", "app-v3"}, "v2", "v2", "requests fail until one is"},
		{"not even under a name that nothing has", "v1=0,V2=100", []string{"app-v1", "app-v2", "app-v3"}, SubsetName("V2"), SubsetName("V2"), "requests fail until one is"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCluster(t)
			c.empty = true
			c.annotate("weights=" + test.weights)
			for _, version := range []string{"v1", "v2", "v3"} {
				c.fixed("app-"+version, version, 2)
			}
			c.ready(test.ready...)
			c.settle()
			c.advance(c.settings.Settle)
			c.advises(test.note)
			c.advance(time.Minute)
			if got := c.routes("app"); got != test.first {
				t.Errorf("the first route is %s, want %s", got, test.first)
			}
			c.pendsSome()
			c.ready()
			c.advance(time.Minute)
			if got := c.routes("app"); got != test.last {
				t.Errorf("the last route is %s, want %s", got, test.last)
			}
		})
	}
}

func (c *cluster) pendsSome() {
	c.t.Helper()
	if len(Plan(c.observe(), c.now).Pending) == 0 {
		c.t.Errorf("%v: nothing is pending", c.now)
	}
}

// asBefore is what a release left that recorded no weights.
func (c *cluster) asBefore() {
	for _, object := range c.existing.All() {
		r := recordOf(object)
		r.Weights, r.Adopted, r.Kept = nil, false, nil
		if KindOf(object) != "Gateway" {
			r.Revision = 0
			object.GetAnnotations()[api.AnnotationRecord] = r.text()
			delete(object.GetAnnotations(), api.AnnotationSeal)
			delete(object.GetAnnotations(), api.AnnotationSubsets)
		}
	}
}

// An upgrade from a release that did not record the weights in effect moves nothing.
func TestUpgradeTakesTheRouteForWhatIsInEffect(t *testing.T) {
	for _, test := range []struct {
		name, was, route, now string
		pending               bool
	}{
		{"all could be followed", "v1=90,v2=10", "v1=90 v2=10", "v1=90,v2=10", false},
		{"an unknown name was left out", "v2=5", "v2", "V1=95,v2=5", true},
		{"relative weights were scaled", "v1=1,v2=2", "v1=33 v2=67", "v1=1,v2=2", false},
		{"they were as the default", "v1=100", "v1", "v1=50,v9=50", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := twoVersions(t)
			c.empty = true
			c.annotate("weights=" + test.was)
			c.settle()
			c.has("v1 v2", test.route)
			c.asBefore()
			c.annotate("weights=" + test.now)
			for _, vs := range c.existing.VirtualServices {
				vs.Annotations[api.AnnotationWords] = `{"outrigger.dev/weights":"` + test.now + `"}`
			}
			c.run("app-v1", "v1", 2, 0) // unready at this very moment
			c.run("app-v2", "v2", 2, 0)
			c.advance(time.Hour)
			c.has("v1 v2", test.route)
			if pending := len(Plan(c.observe(), c.now).Pending) > 0; pending != test.pending {
				t.Errorf("pending: %t, want %t", pending, test.pending)
			}
			c.ready()
			c.advance(time.Hour)
			c.has("v1 v2", test.route)
		})
	}
	t.Run("adopted shares", func(t *testing.T) {
		c := twoVersions(t)
		c.kiali("app", "v1=60", "v2=40")
		c.settle()
		c.asBefore()
		c.advance(time.Hour)
		c.has("v1 v2", "v1=60 v2=40")
		c.tells(api.RouteWeightsAdopted)
		c.recordsWeights("v1=60,v2=40")
	})
	t.Run("a rolling workload between two versions", func(t *testing.T) {
		c := newCluster(t)
		c.fixed("stable", "v1", 4)
		c.ready()
		c.advance(time.Minute)
		c.rolling("canary", "v2", 4)
		c.ready()
		c.annotate("weights=v1=60,v2=40")
		c.advance(time.Minute)
		c.template("canary", "v3")
		c.run("canary", "v3", 2, 2)
		c.run("canary", "v2", 2, 2)
		c.advance(10 * time.Second)
		c.has("v1 v2 v3", "v1=60 v2=20 v3=20")
		c.asBefore()
		c.advance(time.Minute)
		c.has("v1 v2 v3", "v1=60 v2=20 v3=20")
		c.recordsWeights("v1=60,v2=40 Deployment/canary")
	})
}

func TestWeightsInASplitWaitAsAWhole(t *testing.T) {
	c := split(t)
	c.annotate("weights=v1=30,V2=70")
	c.advance(time.Hour)
	c.has("v1 v2", "none")
	c.tells(api.RoutePendingVersions, api.RoutePreexistingSplit)
	c.annotate("weights=v1=30,v2=70")
	c.settle()
	c.has("v1 v2", "v1=30 v2=70")
}

func TestNamespaceDefaultDoesNotMoveWhatWeightsHold(t *testing.T) {
	c := twoVersions(t)
	c.annotate("weights=v1=90,v2=10")
	c.settle()
	c.namespace.Annotations = map[string]string{api.AnnotationDefaultVersion: "v2"}
	c.advance(time.Hour)
	c.has("v1 v2", "v1=90 v2=10")
	c.namespace.Annotations[api.AnnotationDefaultVersion] = "v9"
	c.annotate("weights-")
	c.advance(time.Hour)
	c.has("v1 v2", "v1=90 v2=10") // nobody can say yet who the default is to be
	delete(c.namespace.Annotations, api.AnnotationDefaultVersion)
	c.settle()
	c.has("v1 v2", "v2")
}

// Without its record a route that a foreign VirtualService has displaced comes back as it was.
func TestWeightsOutliveAForeignRoute(t *testing.T) {
	c := twoVersions(t)
	c.annotate("weights=v1=80,v2=20")
	c.settle()
	c.foreign.VirtualServices = []*networkingv1.VirtualService{foreignRoute("v2")}
	c.advance(time.Minute)
	c.has("v1 v2", "none")
	c.annotate("weights=v1=80,V2=20")
	c.foreign = Objects{}
	c.advance(time.Minute)
	c.has("v1 v2", "v1=80 v2=20")
}
