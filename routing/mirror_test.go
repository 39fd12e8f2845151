// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

func TestMirrorWaitsForItsVersionAndGoesWithIt(t *testing.T) {
	c := twoVersions(t)
	c.annotate("mirror=v3=10")
	c.tells(api.RoutePendingVersions)
	c.has("v1 v2", "v1")
	c.wrote(applyRoute) // the words
	c.fixed("app-v3", "v3", 4)
	c.run("app-v3", "v3", 4, 2)
	c.advance(time.Minute)
	c.has("v1 v2 v3", "v1")
	c.ready()
	c.tells()
	c.has("v1 v2 v3", "v1 +v3=10")
	c.run("app-v3", "v3", 4, 0) // copies that nobody answers do no harm
	c.settle()
	c.has("v1 v2 v3", "v1 +v3=10")
	c.wrote(applyRule, applyRule, applyRoute) // the subset; then both record the copies
	c.run("app-v3", "v3", 0, 0)
	c.tells(api.RoutePendingVersions)
	c.has("v1 v2 v3", "v1")
	c.remove("app-v3")
	c.advance(10 * time.Minute)
	c.has("v1 v2", "v1")
}

// A version that copies went to is no version that has traffic: it needs its ready pods before it gets a share.
func TestMirroredVersionIsNotInTheRoute(t *testing.T) {
	c := twoVersions(t)
	c.annotate("mirror=v2=100")
	c.settle()
	c.has("v1 v2", "v1 +v2=100")
	c.run("app-v2", "v2", 2, 0)
	c.annotate("weights=v1=90,v2=10")
	c.tells(api.RoutePendingVersions)
	c.has("v1 v2", "v1 +v2=100")
	c.ready()
	c.spread()
	c.has("v1 v2", "v1=90 v2=10 +v2=100")
	c.annotate("weights=v2=1")
	c.tells(api.RouteWithoutEffect)
	c.has("v1 v2", "v2")
}

// A rule that a match claims is not mirrored; a name means the workload that carries it.
func TestMirrorOfARollingWorkload(t *testing.T) {
	c := newCluster(t)
	c.rolling("app", "1.0", 2)
	c.ready()
	c.annotate("mirror=1.0=50")
	c.advance(10 * time.Minute)
	c.has("1-0", "-")
	c.tells(api.RouteWithoutEffect) // it has all the pods
	c.rolling("next", "1.1", 4)
	c.ready()
	c.annotate("mirror=1.1=10", "match=1.1=header:a:b")
	c.advance(time.Minute)
	c.has("1-0 1-1", "a=b: 1-1; 1-0 +1-1=10")
	c.template("next", "1.2")
	c.run("next", "1.2", 3, 3)
	c.run("next", "1.1", 2, 1)
	c.advance(time.Minute)
	c.has("1-0 1-1 1-2", "a=b: 1-1=25 1-2=75; 1-0 +1-1=2.5 +1-2=7.5")
	c.tells(api.RouteRolloutBesideOthers)
	c.run("next", "1.1", 0, 0)
	c.advance(10 * time.Minute)
	c.has("1-0 1-2", "a=b: 1-2; 1-0 +1-2=10")
	c.tells(api.RouteVersionSucceeded)
	c.annotate("match-")
	c.remove("next")
	c.gone("next")
	c.settle()
	c.has("1-0 1-2", "1-0") // the subset outlives the copies
	c.advance(10 * time.Minute)
	c.has("1-0", "-")
	c.tells(api.RoutePendingVersions)
}

func TestTCPIsNotMirrored(t *testing.T) {
	c := twoVersions(t)
	c.service.Spec.Ports = []corev1.ServicePort{{Name: "tcp", Port: 5432}}
	c.annotate("mirror=v2=10")
	c.tells(api.RouteWithoutEffect)
}
