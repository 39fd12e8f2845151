// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func (c *cluster) reading() Reading { return readExisting(c.observe()) }

func TestReadSaysWhatStands(t *testing.T) {
	t.Run("weights, a header, a gateway", func(t *testing.T) {
		c := twoVersions(t)
		c.fixed("app-v3", "1.2.3", 1)
		c.ready()
		c.annotate("weights=v1=90,v2=10", "match=1.2.3=header:end-user:jason;v2=header:beta:1", "mirror=1.2.3=5", "expose=true", "hosts=app.example.com", "path=/hello")
		c.advance(time.Minute)
		want := Reading{
			Default: "v1", By: "first", Mesh: true,
			Rules: []ReadRule{
				{Match: "end-user=jason", To: []ReadShare{{"1.2.3", 100}}},
				{Match: "beta=1", To: []ReadShare{{"v2", 100}}},
				{To: []ReadShare{{"v1", 90}, {"v2", 10}}, Mirror: []ReadMirror{{"1.2.3", 5}}},
			},
			Hosts: []string{"app.example.com"}, Gateways: []string{"demo/app"},
			Subsets: map[string]string{"1.2.3": "1-2-3", "v1": "v1", "v2": "v2"},
		}
		got := c.reading()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		if diff := cmp.Diff([]string{"v1", "1.2.3", "v2"}, got.Names()); diff != "" {
			t.Errorf("names, -want +got:\n%s", diff)
		}
		if weight, named := got.WeightOf("v2"); weight != 10 || !named || got.String() != "v1=90 v2=10" {
			t.Errorf("v2 has %d (%v) of %s", weight, named, got)
		}
		if percent := got.MirrorOf("1.2.3"); percent != 5 || got.MirrorOf("v2") != 0 {
			t.Errorf("%v%% are copied to 1.2.3", percent)
		}
		if diff := cmp.Diff([]string{"beta=1"}, got.MatchesOf("v2")); diff != "" {
			t.Errorf("matches, -want +got:\n%s", diff)
		}
	})
	t.Run("a lone rolling workload", func(t *testing.T) {
		c := newCluster(t)
		c.rolling("app", "v1", 1)
		c.ready()
		c.advance(time.Minute)
		got := c.reading()
		if _, named := got.WeightOf("v1"); named || got.String() != "every pod" || got.Default != "Deployment/app" {
			t.Errorf("%s, default %s, v1 named: %v", got, got.Default, named)
		}
	})
	t.Run("a gateway alone", func(t *testing.T) {
		c := twoVersions(t)
		c.annotate("expose=true")
		c.advance(time.Minute)
		if got := c.reading(); !got.Mesh || got.String() != "v1=100" || !cmp.Equal(got.Hosts, []string{"*"}) {
			t.Errorf("%+v", got)
		}
		c.existing.VirtualServices = c.existing.VirtualServices[1:]
		if got := c.reading(); got.Mesh || got.String() != "v1=100" {
			t.Errorf("without the route for the mesh: %+v", got)
		}
	})
	t.Run("nothing", func(t *testing.T) {
		if got := newCluster(t).reading(); got.String() != "no route" || got.Names() != nil || got.Default != "" {
			t.Errorf("%+v", got)
		}
	})
}

func TestLosingForeseesWhatNothingWouldReceive(t *testing.T) {
	exposedTo := func(annotations ...string) func(c *cluster) {
		return func(c *cluster) { c.annotate(annotations...) }
	}
	three := func(c *cluster) { c.fixed("app-v3", "v3", 1); c.ready() }
	for name, c := range map[string]struct {
		change  func(*cluster)
		ref     string
		deleted bool
		want    StrandedTraffic
	}{
		"the default is scaled to 0":                    {ref: "app-v1", want: StrandedTraffic{Versions: []string{"v1"}, Now: "v1=100", Others: []string{"v2"}}},
		"the default is scaled to 0, and others follow": {change: exposedTo("default-gone=next", "default-gone-after=1h"), ref: "app-v1"},
		"the default is deleted, one other is left":     {ref: "app-v1", deleted: true, want: StrandedTraffic{Now: "v1=100", Others: []string{"v2"}, To: []string{"v2"}}},
		"the default is deleted, and its route is held": {change: exposedTo("default-deleted=hold"), ref: "app-v1", deleted: true, want: StrandedTraffic{Versions: []string{"v1"}, Now: "v1=100", Others: []string{"v2"}}},
		"the default is deleted, two are left":          {change: three, ref: "app-v1", deleted: true, want: StrandedTraffic{Versions: []string{"v1"}, Now: "v1=100", Others: []string{"v2", "v3"}}},
		"a version without traffic":                     {ref: "app-v2", deleted: true},
		"a weighed version beside the default":          {change: exposedTo("weights=v1=90,v2=10"), ref: "app-v2"},
		"a version of a header":                         {change: exposedTo("match=v2=header:end-user:jason"), ref: "app-v2", want: StrandedTraffic{Versions: []string{"v2"}, Now: "v1=100", Others: []string{"v1"}, Matches: []string{"end-user=jason"}}},
		"the last one":                                  {change: func(c *cluster) { c.remove("app-v2"); c.gone("app-v2") }, ref: "app-v1"},
		"another workload of the version": {change: func(c *cluster) { c.fixed("app-v1-spot", "v1", 1); c.ready() },
			ref: "app-v1"},
		"an unknown workload": {ref: "nothing", deleted: true},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := twoVersions(t)
			if c.change != nil {
				c.change(cluster)
			}
			cluster.advance(time.Minute)
			got, lost := PredictStrandedTraffic(cluster.observe(), deploymentRef(c.ref), c.deleted, cluster.now)
			if lost != (len(c.want.Versions)+len(c.want.To) > 0) {
				t.Errorf("lost: %v", lost)
			}
			if !lost {
				got = StrandedTraffic{}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
