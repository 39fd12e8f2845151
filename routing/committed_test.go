// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"
	"strings"
	"testing"
	"time"

	"outrigger.dev/outrigger/api"
)

// With observe, what "outrigger routes" printed and the user applied is no conflict, and the dry run reports how it differs from
// what Outrigger would write. A workload that is older than the committed default does not change it.
func TestCommittedObjectsAreComparedWithTheDryRun(t *testing.T) {
	printed := func(c *cluster) Objects {
		out := copyObjects(PlanOffline(c.observe(), c.now).Objects)
		for _, object := range out.All() {
			object.SetAnnotations(nil)
			object.SetOwnerReferences(nil)
		}
		return out
	}
	told := func(c *cluster, objects Objects) string {
		observed := c.observe()
		observed.Divide(objects)
		var out []string
		for _, p := range Plan(observed, c.now).Problems {
			out = append(out, string(p.Reason)+": "+p.Message)
		}
		return strings.Join(out, "\n")
	}
	setUp := func(mode api.RoutingMode) *cluster {
		c := newCluster(t)
		c.fixed("app-v2", "v2", 2) // the older one
		c.advance(time.Minute)
		c.fixed("app-v1", "v1", 2)
		c.ready()
		c.mode(mode)
		c.now = c.now.Add(time.Hour)
		return c
	}
	c := setUp(api.RoutingObserve)
	c.annotate("default-version=v1", "weights=v1=90,v2=10", "match=v2=header:end-user:jason", "expose=true", "hosts=a.example.com")
	if got := told(c, printed(c)); got != "" {
		t.Errorf("all annotations: %s", got)
	}

	c = setUp(api.RoutingObserve)
	c.annotate("default-version=v1")
	objects := printed(c)
	c.annotate("default-version-")
	if got := told(c, objects); got != "" {
		t.Errorf("without annotations: %s", got)
	}
	c.fixed("app-v3", "v3", 1)
	c.ready()
	if got, want := told(c, objects), "ObservedOnly: Dry run (outrigger.dev/routing=observe): Outrigger would change DestinationRule app (subsets v1, v2, v3)."; got != want {
		t.Errorf("a new version:\n%s\nwant\n%s", got, want)
	}
	c.annotate("weights=v1=50,v3=50")
	if got, want := told(c, objects), "change VirtualService app (v1=100 -> v1=50 v3=50)."; !strings.HasSuffix(got, want) {
		t.Errorf("a decision:\n%s\nwant\n%s", got, want)
	}

	c = setUp(api.RoutingEnabled)
	observed := c.observe()
	observed.Divide(objects)
	if !observed.Existing.IsEmpty() || !slices.ContainsFunc(Plan(observed, c.now).Problems, func(p api.RouteProblem) bool { return p.Reason == api.RouteRouteConflict }) {
		t.Error("with routing enabled, the user's objects are not taken over")
	}
}
