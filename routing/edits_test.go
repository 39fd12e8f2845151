// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"maps"
	"testing"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
)

func versionLabel(version string) map[string]string { return map[string]string{"version": version} }

// Whoever edits the labels of our subsets changes neither what a route means nor what a subset's name means: the edit is
// reverted by one write, and called what it is.
func TestSubsetsEditedByHand(t *testing.T) {
	edits := map[string]func(rule *networkingapi.DestinationRule){
		"v1 means v2": func(rule *networkingapi.DestinationRule) { rule.Subsets[0].Labels = versionLabel("v2") },
		"v1 and v2 swap": func(rule *networkingapi.DestinationRule) {
			rule.Subsets[0].Labels, rule.Subsets[1].Labels = versionLabel("v2"), versionLabel("v1")
		},
		"other labels": func(rule *networkingapi.DestinationRule) {
			rule.Subsets[0].Labels = map[string]string{"track": "stable"}
		},
		"one more label": func(rule *networkingapi.DestinationRule) { rule.Subsets[0].Labels["track"] = "stable" },
		"v1 is renamed":  func(rule *networkingapi.DestinationRule) { rule.Subsets[0].Name = "stable" },
		"v1 is removed":  func(rule *networkingapi.DestinationRule) { rule.Subsets = rule.Subsets[1:] },
		"none is left":   func(rule *networkingapi.DestinationRule) { rule.Subsets = nil },
		"another host":   func(rule *networkingapi.DestinationRule) { rule.Host = "other.demo.svc.cluster.local" },
	}
	for what, edit := range edits {
		for _, drift := range []string{"adopt", "revert", "detach"} {
			t.Run(what+", "+drift, func(t *testing.T) {
				c := twoVersions(t)
				c.annotate("drift=" + drift)
				c.advance(time.Minute)
				c.writes, c.told = nil, map[api.RouteReason]bool{}
				edit(&c.existing.DestinationRules[0].Spec)
				c.settle()
				c.wrote(applyRule)
				if c.routes("app") != "v1" {
					t.Errorf("the route is %s", c.routes("app"))
				}
				for _, version := range []string{"v1", "v2"} {
					if subset := findSubset(c.existing.DestinationRules[0], version); subset == nil || !maps.Equal(subset.Labels, versionLabel(version)) {
						t.Errorf("subset %s is %v", version, subset)
					}
				}
				c.onceTold(api.RouteEditReverted)
				if len(c.told) > 1 {
					t.Errorf("also told: %v", c.told)
				}
				c.tells()
				c.annotate("default-version=v2")
				c.advance(5 * time.Second)
				if c.routes("app") != "v2" {
					t.Errorf("v2 was chosen, and the route is %s", c.routes("app"))
				}
			})
		}
	}
}

// A subset name that says no version by itself keeps its meaning as well.
func TestSubsetOfADottedVersionKeepsItsMeaning(t *testing.T) {
	c := newCluster(t)
	c.fixed("app-1", "1.2.3", 2)
	c.fixed("app-2", "1-2-3", 2)
	c.ready()
	c.advance(10 * time.Minute)
	before := c.existing.DestinationRules[0].Spec.DeepCopy()
	subsets := c.existing.DestinationRules[0].Spec.Subsets
	subsets[0].Labels, subsets[1].Labels = subsets[1].Labels, subsets[0].Labels
	c.settle()
	if after := c.existing.DestinationRules[0].Spec.DeepCopy(); after.String() != before.String() {
		t.Errorf("the subsets are %v, and were %v", after, before)
	}
}

// A short host means the full one: nobody who applies it again and again is contradicted.
func TestShortHostsAreNotWrittenBack(t *testing.T) {
	c := twoVersions(t)
	c.writes = nil
	c.existing.DestinationRules[0].Spec.Host = "app"
	vs := c.route("app")
	vs.Spec.Hosts = []string{"app"}
	vs.Spec.Http[0].Route[0].Destination.Host = "app"
	c.tells()
	c.has("v1 v2", "v1")
	c.advance(time.Hour)
	c.wrote()
}

// The record that another client edited on one object is repaired from the other; edited on both, it decides nothing.
func TestEditedRecords(t *testing.T) {
	edit := func(o Object) {
		o.GetAnnotations()[api.AnnotationRecord] = `{"default":"v2","by":"word"}`
	}
	c := twoVersions(t)
	c.writes = nil
	edit(c.existing.DestinationRules[0])
	c.settle()
	c.wrote(applyRule)
	c.onceTold(api.RouteRecordEdited)
	c.tells()
	c.has("v1 v2", "v1")

	edit(c.route("app"))
	c.settle()
	c.wrote(applyRoute)
	c.tells()
	c.has("v1 v2", "v1")

	edit(c.existing.DestinationRules[0])
	edit(c.route("app"))
	c.fixed("app-v3", "v3", 1)
	c.advance(time.Hour)
	c.wrote()
	c.tells(api.RouteRecordEdited)
	c.has("v1 v2", "v1")
	c.ready()
	c.annotate("default-version=v2")
	c.advance(time.Minute)
	c.has("v1 v2 v3", "v2")
	c.tells()
}

// An older copy that a backup brought back is known by its revision.
func TestRestoredRecordIsOutdated(t *testing.T) {
	c := twoVersions(t)
	backup := c.existing.DestinationRules[0].DeepCopy()
	c.annotate("default-version=v2")
	c.advance(time.Minute)
	c.has("v1 v2", "v2")
	c.annotate("default-version-")
	c.settle()
	backup.ResourceVersion = c.existing.DestinationRules[0].ResourceVersion
	c.existing.DestinationRules[0] = backup
	c.settle()
	c.has("v1 v2", "v2")
	c.onceTold(api.RouteRecordEdited)
	c.tells()
}

// Objects that a release without seal and revision wrote are read as they are, and sealed with the next change.
func TestRecordsOfEarlierReleasesAreRead(t *testing.T) {
	c := twoVersions(t)
	c.annotate("default-version=v2")
	c.advance(time.Minute)
	for _, o := range c.existing.All() {
		annotations := o.GetAnnotations()
		delete(annotations, api.AnnotationSeal)
		delete(annotations, api.AnnotationSubsets)
		annotations[api.AnnotationRecord] = `{"default":"v2","by":"word","selector":"` + recordOf(o).Selector + `"}`
	}
	delete(c.existing.DestinationRules[0].Annotations, api.AnnotationWritten)
	c.writes = nil
	c.advance(time.Hour)
	c.tells()
	c.has("v1 v2", "v2")
	c.wrote()
	c.annotate("default-version=v1")
	c.settle()
	c.has("v1 v2", "v1")
	for _, o := range c.existing.All() {
		if trustOf(o) != sealed {
			t.Errorf("%s %s has no seal", KindOf(o), o.GetName())
		}
	}
}

// usersFiles are those of a tutorial: a VirtualService for every host at a Gateway of its own, which pins v1.
func usersFiles() Objects {
	vs := foreignRoute("v1")
	vs.Name, vs.Spec.Hosts, vs.Spec.Gateways = "front", []string{"*"}, []string{"front"}
	gateway := &networkingv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "front"}}
	gateway.Spec.Selector = map[string]string{"istio": "ingressgateway"}
	gateway.Spec.Servers = []*server{{Port: &networkingapi.Port{Number: 80, Name: "http", Protocol: "HTTP"}, Hosts: []string{"*"}}}
	return Objects{VirtualServices: []*networkingv1.VirtualService{vs}, Gateways: []*networkingv1.Gateway{gateway}}
}

// Where the user routes at the gateway, ours steps back; the mesh, which they do not cover, keeps its route. When they
// delete their files, the exposure returns by itself, in either order.
func TestTheUsersGatewayRouteGoesBeforeOurs(t *testing.T) {
	const ours = "app-gateway: *@demo/app; 80: demo/*"
	for _, first := range []bool{false, true} {
		c := twoVersions(t)
		if first {
			c.foreign = usersFiles()
		}
		c.annotate("expose=true")
		c.advance(time.Minute)
		if !first {
			c.exposed(ours)
			c.foreign = usersFiles()
			c.advance(time.Minute)
		}
		c.exposed("")
		c.has("v1 v2", "v1")
		c.tells(api.RouteRouteConflict)
		if others := Overriding(c.observe(), c.now); len(others) > 0 {
			t.Errorf("%v routes as is wanted", others)
		}
		c.annotate("default-version=v2")
		c.advance(time.Minute)
		others := Overriding(c.observe(), c.now)
		if len(others) != 1 || others[0].String() != "VirtualService demo/front routes v1=100 at gateway demo/front" {
			t.Errorf("overriding: %v", others)
		}
		c.foreign = Objects{}
		c.advance(time.Minute)
		c.exposed(ours)
		c.has("v1 v2", "v2")
		c.tells()
	}
}

// Where nothing may be decided, an edit of the subsets is still reverted.
func TestSubsetsAreRestoredBesideAClash(t *testing.T) {
	c := twoVersions(t)
	c.foreign.DestinationRules = []*networkingv1.DestinationRule{subsetRule("demo", "app", nil, subset("v1", "track", "x", nil))}
	c.settle()
	c.writes = nil
	c.existing.DestinationRules[0].Spec.Subsets[0].Labels = versionLabel("v2")
	c.settle()
	c.wrote(applyRule)
	if !maps.Equal(findSubset(c.existing.DestinationRules[0], "v1").Labels, versionLabel("v1")) {
		t.Error("v1 means v2")
	}
	c.onceTold(api.RouteEditReverted)
}
