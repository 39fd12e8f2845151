// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"testing"
	"time"

	"outrigger.dev/outrigger/api"
)

// autoOf is a cluster at rest with the default v1, v2 beside it, and canary=auto.
func autoOf(t *testing.T) *cluster {
	t.Helper()
	c := canaryOf(t, "canary=auto")
	c.settle()
	c.advance(time.Minute)
	c.isCanary("none", "v1") // what there is starts nothing
	return c
}

// appears creates a workload with ready pods.
func (c *cluster) appears(version string) {
	c.t.Helper()
	c.fixed("app-"+version, version, 2)
	c.templates["app-"+version] = "template-" + version
	c.ready()
	c.settle()
	c.advance(3 * time.Second)
}

func TestAutoStartsACanaryForANewWorkload(t *testing.T) {
	c := autoOf(t)
	c.appears("v3")
	c.isCanary("v3 progressing 1/3 25%", "v1=75 v3=25")
	c.advance(5 * time.Minute)
	c.isCanary("v3 succeeded", "v3")
	c.appears("v4")
	c.isCanary("v4 progressing 1/3 25%", "v3=75 v4=25")
	c.annotate("canary-")
	c.settle()
	c.has("v1 v2 v3 v4", "v3")
}

func TestAutoStartsNothing(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(c *cluster)
	}{
		{"the default is recreated", func(c *cluster) {
			c.remove("app-v1")
			c.gone("app-v1")
			c.settle()
			c.advance(time.Minute)
			c.appears("v1")
		}},
		{"a known version is recreated", func(c *cluster) {
			c.remove("app-v2")
			c.gone("app-v2")
			c.settle()
			c.advance(10 * time.Minute)
			c.appears("v2")
		}},
		{"weights named the version before it appeared", func(c *cluster) {
			c.annotate("weights=v1=100,v3=0")
			c.settle()
			c.appears("v3")
			c.annotate("weights-")
		}},
		{"a match names the version", func(c *cluster) {
			c.annotate("match=v3=header:a:b")
			c.settle()
			c.appears("v3")
			c.annotate("match-")
		}},
		{"a known workload is scaled", func(c *cluster) { c.run("app-v2", "v2", 9, 9) }},
		{"a known workload changes its template", func(c *cluster) { c.templates["app-v2"] = "t9" }},
		{"it appears while the default is deleted", func(c *cluster) {
			c.annotate("default-deleted=hold")
			c.empty = true
			c.remove("app-v1")
			c.gone("app-v1")
			c.settle()
			c.fixed("app-v3", "v3", 2)
			c.settle()
			c.appears("v1")
			c.ready()
		}},
		{"the cluster is restored", func(c *cluster) {
			c.createService()
			c.annotate("canary=auto")
			c.existing = Objects{}
			c.since, c.left = map[string]time.Time{}, map[string]time.Time{}
			for _, w := range c.workloads {
				w.Created = c.now
			}
			c.settle()
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := autoOf(t)
			test.change(c)
			c.settle()
			c.advance(10 * time.Minute)
			if status := Plan(c.observe(), c.now).Canary; status != nil {
				t.Errorf("%+v", status)
			}
		})
	}
}

func TestAutoSkipsOlderVersions(t *testing.T) {
	c := autoOf(t)
	c.appears("v3")
	c.isCanary("v3 progressing 1/3 25%", "v1=75 v3=25")
	c.appears("v4")
	c.appears("v5")
	c.isCanary("v3 progressing 1/3 25%", "v1=75 v3=25")
	c.tellsAlso(api.RouteCanarySkipped, "Version v4 gets no canary")
	c.advance(4 * time.Minute)
	c.isCanary("v5 progressing 1/3 25%", "v3=75 v5=25")
	c.advance(10 * time.Minute)
	c.isCanary("v5 succeeded", "v5")
}

// A version that never becomes ready does not keep the one with the fix from starting.
func TestAutoSkipsAVersionThatIsNotReady(t *testing.T) {
	c := autoOf(t)
	c.fixed("app-v3", "v3", 2)
	c.settle()
	c.advance(time.Minute)
	c.isCanary("v3 waiting", "v1")
	c.fixed("app-v4", "v4", 2)
	c.ready("app-v4")
	c.settle()
	c.advance(3 * time.Second)
	c.isCanary("v4 progressing 1/3 25%", "v1=75 v4=25")
}

func TestAutoAbortsAndRetries(t *testing.T) {
	c := autoOf(t)
	c.appears("v3")
	c.run("app-v3", "v3", 2, 0)
	c.settle()
	c.advance(time.Minute)
	c.run("app-v3", "v3", 2, 2)
	c.settle()
	c.advance(time.Hour)
	c.isCanary("v3 aborted", "v1")
	c.annotate(c.decidedAt())
	c.settle()
	c.isCanary("v3 progressing 1/3 25%", "v1=75 v3=25")
}

func TestAutoOnANamespace(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		c := canaryOf(t)
		c.settings.Canary.AutoOnNamespaces = allowed
		c.namespace.Annotations = map[string]string{api.AnnotationCanary: "auto"}
		c.settle()
		c.appears("v3")
		if allowed {
			c.isCanary("v3 progressing 1/3 25%", "v1=75 v3=25")
			continue
		}
		c.isCanary("none", "v1")
		c.tellsAlso(api.RouteWithoutEffect, "The installation does not allow auto on a Namespace (routing.canary.autoOnNamespaces)")
	}
}

// A version label that is followed renames the versions that start nothing. While a canary progresses, none is followed.
func TestAutoFollowsTheVersionLabel(t *testing.T) {
	c := autoOf(t)
	c.appears("v3")
	c.annotate("version-label=" + labelAlias)
	c.tellsAlso(api.RouteVersionLabelHeld, "canary v3 progresses")
	c.isCanary("v3 progressing 1/3 25%", "v1=75 v3=25")
	c.run("app-v3", "v3", 2, 0)
	c.settle()
	c.advance(time.Minute)
	c.run("app-v3", "v3", 2, 2)
	c.settle()
	c.advance(10 * time.Minute)
	c.isCanary("release-v3 aborted", "v1")
}

// A version that exists starts a canary once, however many versions there were.
func TestAutoKeepsTheVersionsThatExist(t *testing.T) {
	auto := &autoCanaries{}
	for i := range maxKnown + 5 {
		auto = auto.without(fmt.Sprint("v", i))
	}
	got := auto.forget(func(version string) bool { return version == "v0" || version == "v2" })
	if len(got.Known) != maxKnown || got.Known[0] != "v0" || got.Known[1] != "v2" || got.Known[2] != "v7" {
		t.Errorf("%d: %v", len(got.Known), got.Known[:3])
	}
	if all := auto.forget(func(string) bool { return true }); len(all.Known) != maxKnown+5 {
		t.Errorf("%d versions that exist", len(all.Known))
	}
}
