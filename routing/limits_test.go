// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"strings"
	"testing"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// A release whose rules refuse what an earlier one accepted moves nothing: the recorded texts stay in effect, through
// rollouts too, until the user writes something that is accepted.
func TestUpgradeOverRefusedAnnotationsMovesNothing(t *testing.T) {
	c := twoVersions(t)
	long := strings.Repeat("q", 1025)
	c.accepts = map[string]bool{api.AnnotationMatch: true, api.AnnotationPath: true}
	c.annotate("weights=v1=90,v2=10", "match=v2=header:method:x;v1=query:"+long+":1", "expose=true", "hosts=a.example.com,b.example.com", "path=/a\x01b")
	c.advance(time.Minute)
	was, before := copyObjects(c.existing), string(bytesOf(t, c.existing))
	for _, holds := range []string{`"prefix":"/a\u0001b"`, `"method":{"exact":"x"}`, long, "b.example.com"} {
		if !strings.Contains(before, holds) {
			t.Fatalf("no %q in\n%s", holds, before)
		}
	}

	c.accepts = nil
	c.settings.Limits = api.RouteLimits{AnnotationBytes: 30, MatchItems: 1, Hosts: 1}
	c.writes = nil
	c.advance(time.Minute)
	c.tells(api.RouteInvalidAnnotation, api.RouteStillExposed)
	c.wrote(applyRule, applyRoute, "Apply VirtualService app-gateway") // all record what is in effect
	c.sameSpecs(was)

	c.annotate("expose-", "hosts-", "path-", "match=v2=header:x:y", "weights=v2=1")
	c.advance(time.Minute)
	c.tells()
	c.has("v1 v2", "x=y: v2; v2")
}

// manyVersions is a cluster at rest with so many fixed versions, v0 first.
func manyVersions(t *testing.T, limit, versions int) *cluster {
	t.Helper()
	c := newCluster(t)
	c.settings.MaxVersions = limit
	for i := range versions {
		version := fmt.Sprintf("v%d", i)
		c.fixed("app-"+version, version, 2)
		c.ready()
		c.advance(10 * time.Minute)
	}
	return c
}

func (c *cluster) subsets() []string {
	var out []string
	for _, rule := range c.existing.DestinationRules {
		for _, subset := range rule.Spec.Subsets {
			out = append(out, subset.Name)
		}
	}
	return out
}

// The limit keeps what exists, holds what is new, and lets a decision for what is left out wait.
func TestVersionsBeyondTheLimitWait(t *testing.T) {
	c := manyVersions(t, 3, 5)
	c.has("v0 v1 v2", "v0")
	c.tells(api.RouteTooManyVersions)
	c.annotate("weights=v0=90,v4=10")
	c.advance(time.Minute)
	c.tells(api.RoutePendingVersions, api.RouteTooManyVersions)
	if !strings.Contains(fmt.Sprint(c.problems), "v4 (no subset: there are 3 of at most 3, routing.maxVersions)") {
		t.Errorf("problems %v", c.problems)
	}
	c.has("v0 v1 v2", "v0")

	// A lower limit drops nothing.
	c.settings.MaxVersions = 1
	c.advance(10 * time.Minute)
	c.has("v0 v1 v2", "v0")
	c.settings.MaxVersions = 3

	// What drains keeps its place until its retention ends; then the version that is named comes before others.
	c.remove("app-v1")
	c.gone("app-v1")
	c.advance(30 * time.Second)
	c.has("v0 v1 v2", "v0")
	c.advance(5 * time.Minute)
	c.has("v0 v2 v4", "v0=90 v4=10")
	c.tells(api.RouteTooManyVersions)
}

// The version that the default's workload rolls out has its subset although the limit is reached.
func TestTheDefaultsRolloutIsNotHeldByTheLimit(t *testing.T) {
	c := newCluster(t)
	c.settings.MaxVersions = 2
	c.rolling("app", "1.0", 4)
	c.ready()
	c.advance(10 * time.Minute)
	c.fixed("other", "2.0", 2)
	c.ready()
	c.advance(10 * time.Minute)
	c.fixed("third", "3.0", 2)
	c.ready()
	c.advance(10 * time.Minute)
	c.has("1-0 2-0", "1-0")
	c.template("app", "1.1")
	c.run("app", "1.1", 2, 2)
	c.run("app", "1.0", 2, 2)
	c.advance(10 * time.Second)
	c.has("1-0 1-1 2-0", "1-0=50 1-1=50")
	c.run("app", "1.0", 0, 0)
	c.run("app", "1.1", 4, 4)
	c.advance(10 * time.Minute)
	c.has("1-1 2-0", "1-1")
}

// What is made at once keeps the limit as well, those that are named first.
func TestLimitOfWhatIsMadeAtOnce(t *testing.T) {
	c := newCluster(t)
	c.settings.MaxVersions = 3
	for i := range 6 {
		c.fixed(fmt.Sprintf("app-%d", i), fmt.Sprintf("v%d", i), 1)
	}
	c.annotate("weights=v5=50,v4=50", "default-version=v4")
	result := PlanOffline(c.observe(), c.now)
	c.existing = result.Objects
	if got := strings.Join(c.subsets(), " "); got != "v0 v4 v5" {
		t.Errorf("subsets %s", got)
	}
	if got := c.routes("app"); got != "v4=50 v5=50" {
		t.Errorf("routes %s", got)
	}
}

// An object that would be too large is not written; what exists stays, may change within its size, and a DestinationRule
// gets its subsets back.
func TestObjectsBeyondTheLimitAreNotWritten(t *testing.T) {
	c := twoVersions(t)
	c.settings.MaxObjectBytes = 3000
	c.annotate("match=" + manyMatches(40))
	c.advance(time.Minute)
	c.tells(api.RouteObjectTooLarge)
	c.has("v1 v2", "v1")

	c.settings.MaxObjectBytes = 256 << 10
	c.advance(time.Minute)
	large := c.routes("app")
	if strings.Count(large, ";") != 40 {
		t.Fatalf("routes %s", large)
	}
	c.settings.MaxObjectBytes = 100 // as if an earlier release had written all of it
	c.writes = nil
	c.advance(time.Minute)
	c.wrote()
	c.annotate("match=" + manyMatches(60))
	c.advance(time.Minute)
	c.tells(api.RouteObjectTooLarge)
	c.has("v1 v2", large)

	c.existing.DestinationRules[0].Spec.Subsets = c.existing.DestinationRules[0].Spec.Subsets[:1]
	c.settle()
	c.has("v1 v2", large)
	c.annotate("match=" + manyMatches(20))
	c.advance(time.Minute)
	if got := c.routes("app"); strings.Count(got, ";") != 20 {
		t.Errorf("a smaller one is not written: %s", got)
	}
}

func manyMatches(count int) string {
	items := make([]string, count)
	for i := range items {
		items[i] = fmt.Sprintf("v2=header:x-tenant:%s%d", strings.Repeat("t", 60), i)
	}
	return strings.Join(items, ";")
}

func TestNothingIsWrittenForTheFirstTimeBeyondTheLimit(t *testing.T) {
	c := newCluster(t)
	c.settings.MaxObjectBytes = 1500
	c.fixed("app-v1", "v1", 2)
	c.fixed("app-v2", "v2", 2)
	c.ready()
	c.annotate("match="+manyMatches(40), "default-version=v1", "expose=true")
	c.advance(10 * time.Minute)
	c.tells(api.RouteObjectTooLarge)
	c.has("v1 v2", "none")
	if len(c.existing.VirtualServices) > 0 {
		t.Errorf("VirtualServices %v", c.existing.VirtualServices)
	}
}

// Istio lets a VirtualService name no Gateway whose name is longer than a DNS label.
func TestAGatewayHasANameThatARouteMayUse(t *testing.T) {
	c := twoVersions(t)
	c.existing, c.writes = Objects{}, nil
	c.service.Name = strings.Repeat("a", 60)
	c.names[c.service.Name] = true
	theirs := &networkingv1.Gateway{}
	theirs.Namespace, theirs.Name = "demo", c.service.Name
	c.foreign.Gateways = append(c.foreign.Gateways, theirs)
	c.annotate("expose=true")
	c.advance(time.Minute)
	c.tells(api.RouteNameTaken, api.RoutePreexistingSplit)
	if len(c.existing.Gateways) > 0 {
		t.Errorf("Gateway %s", c.existing.Gateways[0].Name)
	}
}
