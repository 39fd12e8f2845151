// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

func TestEveryKindOfMatchLeadsToItsVersion(t *testing.T) {
	c := twoVersions(t)
	c.annotate("match=v2=header:end-user:jason;v2=header-prefix:x-c:can;v2=cookie:beta:1;v1=query:v:1;v2=source:v2")
	c.settle()
	c.has("v1 v2", "end-user=jason: v2; x-c=can*: v2; cookie beta=1: v2; ?v=1: v1; source version=v2: v2; v1")
	c.wrote(applyRule, applyRoute) // both record what is in effect
	c.tells()
	c.annotate("match=v2=cookie:beta:1")
	c.settle()
	c.has("v1 v2", "cookie beta=1: v2; v1")
	c.annotate("match=v2=cookie")
	c.tells(api.RouteInvalidAnnotation)
	c.has("v1 v2", "cookie beta=1: v2; v1") // what was said last stays
	c.annotate("match-")
	c.settle()
	c.has("v1 v2", "v1")
}

// Of two equal conditions the first counts that is in force: a pending version is as if unnamed.
func TestOfEqualMatchesTheFirstInForceCounts(t *testing.T) {
	c := twoVersions(t)
	c.annotate("match=v3=cookie:beta:1;v2=cookie:beta:1")
	c.tells(api.RouteWithoutEffect, api.RoutePendingVersions)
	c.has("v1 v2", "cookie beta=1: v2; v1")
	c.fixed("app-v3", "v3", 4)
	c.advance(time.Minute)
	c.has("v1 v2 v3", "cookie beta=1: v2; v1")
	c.ready()
	c.spread()
	c.tells(api.RouteWithoutEffect)
	c.has("v1 v2 v3", "cookie beta=1: v3; v1")
}

// Rules for callers are TCP's, too; conditions on requests are not.
func TestCallersAreKnownOnEveryPort(t *testing.T) {
	c := newCluster(t)
	c.service.Spec.Ports = []corev1.ServicePort{{Name: "tcp", Port: 5432}}
	c.fixed("app-v1", "v1", 1)
	c.fixed("app-v2", "v2", 1)
	c.ready()
	c.annotate("match=v2=query:v:2;v2=source:v2;v1=source:v1")
	c.advance(time.Minute)
	c.tells(api.RouteWithoutEffect)
	got := Read(c.existing, c.service, c.observe().Intent, c.settings).Rules
	want := []ReadRule{
		{Match: "source version=v2", To: []ReadShare{{"v2", 100}}}, {Match: "source version=v1", To: []ReadShare{{"v1", 100}}}, {To: []ReadShare{{"v1", 100}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A name that is decided about is in force from its first ready pod on, and means anew what carries it.
func TestDecidedAtNeedsOneReadyPodAndBindsAnew(t *testing.T) {
	c := twoVersions(t)
	c.fixed("app-v3", "v3", 10)
	c.run("app-v3", "v3", 10, 1)
	c.annotate("weights=v1=90,v3=10")
	c.advance(time.Minute)
	c.has("v1 v2 v3", "v1")
	c.tells(api.RoutePendingVersions)
	c.annotate("decided-at=2026-01-02T04:00:00Z")
	c.tells()
	c.has("v1 v2 v3", "v1=90 v3=10")

	c = newCluster(t)
	c.rolling("stable", "1.0", 2)
	c.ready()
	c.advance(10 * time.Minute)
	c.rolling("next", "1.1", 2)
	c.ready()
	c.advance(time.Minute)
	c.annotate("weights=1.0=90,1.1=10")
	c.settle()
	c.has("1-0 1-1", "1-0=90 1-1=10")
	c.template("next", "1.0") // the other workload rolls out what the first runs
	c.run("next", "1.1", 0, 0)
	c.run("next", "1.0", 2, 2)
	c.template("stable", "1.1")
	c.run("stable", "1.0", 0, 0)
	c.run("stable", "1.1", 2, 2)
	c.advance(time.Minute)
	c.has("1-0 1-1", "1-0=10 1-1=90") // the names mean the workloads
	c.annotate("decided-at=2026-01-02T05:00:00Z")
	c.advance(time.Minute)
	c.has("1-0 1-1", "1-0=90 1-1=10")
}
