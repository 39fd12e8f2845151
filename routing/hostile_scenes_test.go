// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"math/rand"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// state is how a walk begins.
type state struct {
	name string
	make func(c *cluster)
}

// hostileStates are the states in which another client begins to edit, each reached from an empty cluster. Walks go on from
// them with random steps, so that an edit also meets what follows from them.
var hostileStates = []state{
	{"nothing yet", func(*cluster) {}},
	{"two versions", func(c *cluster) { fixedVersions(c, "v1", "v2") }},
	{"no pod is ready", func(c *cluster) {
		c.fixed("a", "v1", 1)
		c.fixed("b", "v2", 1)
	}},
	{"one rolling workload", func(c *cluster) { rollingVersions(c, "v1") }},
	{"two rolling workloads", func(c *cluster) { rollingVersions(c, "v1", "v2") }},
	{"a rollout beside another workload", func(c *cluster) {
		rollingVersions(c, "v1", "v2")
		c.template("a", "v3")
		c.run("a", "v3", 1, 0)
	}},
	{"two workloads roll out at once", func(c *cluster) {
		rollingVersions(c, "v1", "v2")
		c.annotate("weights=v1=50,v2=50")
		c.advance(time.Minute)
		for name, version := range map[string]string{"a": "v3", "b": "1.2.3"} {
			c.template(name, version)
			c.run(name, version, 1, 1)
		}
	}},
	{"a rollout of the only workload", func(c *cluster) {
		rollingVersions(c, "v1")
		c.template("a", "v2")
		c.run("a", "v2", 1, 1)
	}},
	{"dotted versions", func(c *cluster) { fixedVersions(c, "1.2.3", "1-2-3") }},
	{"a shift in progress", func(c *cluster) {
		fixedVersions(c, "v1", "v2")
		c.annotate("weights=v1=90,v2=10")
	}},
	{"a shift that waits", func(c *cluster) {
		fixedVersions(c, "v1", "v2")
		c.annotate("weights=v1=50,v2=50")
		c.advance(time.Minute)
		c.run("b", "v2", 2, 0)
		c.annotate("weights=v1=10,v2=90")
	}},
	{"weights with a typo", func(c *cluster) {
		fixedVersions(c, "v1", "v2")
		c.annotate("weights=v1=90,v2=10")
		c.advance(time.Minute)
		c.annotate("weights=V1=90,v2=10")
	}},
	{"weights by the Namespace's default", func(c *cluster) {
		fixedVersions(c, "v1", "v2")
		c.annotate("default-version=v2")
		c.advance(time.Minute)
		c.annotate("default-version-")
	}},
	{"adopted shares", func(c *cluster) {
		fixedVersions(c, "v1", "v2")
		c.kiali("app", "v1=70", "v2=30")
	}},
	{"adopted shares of an exposed Service", func(c *cluster) {
		fixedVersions(c, "v1", "v2")
		c.annotate("expose=true", "hosts=a.example.com")
		c.advance(time.Minute)
		c.kiali("app", "v1=70", "v2=30")
	}},
	{"scaled to 0", func(c *cluster) {
		fixedVersions(c, "v1", "v2")
		c.annotate("weights=v1=90,v2=10")
		c.advance(time.Minute)
		c.workloads[c.ref("b")].Replicas = 0
		c.run("b", "v2", 0, 0)
	}},
	{"scaled to 0 and starting", func(c *cluster) {
		fixedVersions(c, "v1", "v2")
		c.annotate("weights=v1=90,v2=10")
		c.advance(time.Minute)
		c.workloads[c.ref("b")].Replicas = 0
		c.run("b", "v2", 0, 0)
		c.advance(time.Minute)
		c.workloads[c.ref("b")].Replicas = 2
		c.run("b", "v2", 2, 0)
	}},
	{"the default is deleted", func(c *cluster) {
		fixedVersions(c, "v1", "v2")
		c.remove("a")
		c.gone("a")
		c.advance(time.Minute)
		c.fixed("c", "v3", 2)
	}},
	{"the default failed", func(c *cluster) {
		fixedVersions(c, "v1", "v2")
		c.annotate("default-gone=next", "default-gone-after=10s")
		c.advance(2 * time.Minute)
		c.run("a", "v1", 2, 0)
	}},
	{"a match whose version is not ready", func(c *cluster) {
		fixedVersions(c, "v1", "v2", "v3")
		c.annotate("match=v2=header:end-user:jason;v3=cookie:a:b;v2=source:v1")
		c.advance(time.Minute)
		c.run("b", "v2", 2, 0)
	}},
	{"an invalid match", func(c *cluster) {
		fixedVersions(c, "v1", "v2", "v3")
		c.annotate("match=v2=header:end-user:jason;v3=cookie:a:b")
		c.advance(time.Minute)
		c.annotate("match=bad")
	}},
	{"a pending match", func(c *cluster) {
		fixedVersions(c, "v1", "v2")
		c.annotate("match=v2=header:end-user:jason")
		c.advance(time.Minute)
		c.annotate("match=v9=header:end-user:jason;v2=cookie:a:b")
	}},
	{"a mirror whose version is not ready", func(c *cluster) {
		fixedVersions(c, "v1", "v2", "v3")
		c.annotate("mirror=v2=10,v3=50")
		c.advance(time.Minute)
		c.run("b", "v2", 2, 0)
	}},
	{"an invalid mirror", func(c *cluster) {
		fixedVersions(c, "v1", "v2")
		c.annotate("mirror=v2=10")
		c.advance(time.Minute)
		c.annotate("mirror=v2")
	}},
	{"an invalid sticky", func(c *cluster) {
		fixedVersions(c, "v1", "v2")
		c.annotate("weights=v1=50,v2=50", "sticky=cookie:ver:1h")
		c.advance(time.Minute)
		c.annotate("sticky=ver")
	}},
	{"match, mirror and sticky at once", func(c *cluster) {
		fixedVersions(c, "v1", "v2", "v3")
		c.annotate("weights=v1=50,v2=50", "sticky=cookie:ver:1h", "match=v2=header:end-user:jason;v3=query:a:b", "mirror=v3=25")
	}},
	{"exposed", func(c *cluster) {
		fixedVersions(c, "v1", "v2")
		c.annotate("expose=true", "hosts=a.example.com,b.example.com", "path=/x", "path-rewrite=/")
	}},
	{"exposed for every host", func(c *cluster) {
		fixedVersions(c, "v1", "v2")
		c.annotate("expose=true", "weights=v1=90,v2=10", "match=v2=header:end-user:jason")
	}},
	{"the exposure changes", func(c *cluster) {
		fixedVersions(c, "v1", "v2")
		c.annotate("expose=true", "hosts=a.example.com")
		c.advance(time.Minute)
		c.annotate("hosts=b.example.com", "gateway-port=8066")
	}},
	{"an invalid exposure", func(c *cluster) {
		fixedVersions(c, "v1", "v2")
		c.annotate("expose=true", "hosts=a.example.com", "path=/x")
		c.advance(time.Minute)
		c.annotate("hosts=https://a.example.com/", "gateway-port=https")
	}},
	{"exposed at a Gateway of others", func(c *cluster) {
		fixedVersions(c, "v1", "v2")
		c.foreign.Gateways = append(c.foreign.Gateways, foreignGateway(c, "*", false))
		c.annotate("expose=true", "hosts=a.example.com", "gateway=other/theirs")
	}},
	{"tcp and http", func(c *cluster) {
		c.service.Spec.Ports = append(c.service.Spec.Ports, corev1.ServicePort{Name: "tcp-db", Port: 5432})
		fixedVersions(c, "v1", "v2")
		c.annotate("weights=v1=90,v2=10", "match=v2=source:v2")
	}},
	{"visible in some Namespaces", func(c *cluster) {
		c.service.Annotations["networking.istio.io/exportTo"] = ".,other"
		fixedVersions(c, "v1", "v2")
		c.advance(time.Minute)
		c.service.Annotations["networking.istio.io/exportTo"] = "."
	}},
	{"an inherited policy", func(c *cluster) {
		c.foreign.DestinationRules = append(c.foreign.DestinationRules, wideRule("istio-system", "wide", "*.local", 9))
		fixedVersions(c, "v1", "v2")
	}},
	{"rules of the user before ours", func(c *cluster) {
		c.foreign.VirtualServices = append(c.foreign.VirtualServices, extraRules())
		fixedVersions(c, "v1", "v2")
	}},
	{"a preexisting split", func(c *cluster) {
		c.service.Labels["outrigger.dev/routing"] = "disabled"
		fixedVersions(c, "v1", "v2")
		c.advance(time.Hour)
		delete(c.service.Labels, "outrigger.dev/routing")
	}},
	{"subsets only", func(c *cluster) {
		fixedVersions(c, "v1", "v2")
		c.service.Labels["outrigger.dev/routing"] = "subsets-only"
	}},
	{"the user routes in the mesh", func(c *cluster) {
		fixedVersions(c, "v1", "v2")
		c.foreign.VirtualServices = append(c.foreign.VirtualServices, foreignRoute("v2"))
	}},
	{"a subset of the user's in our DestinationRule", func(c *cluster) {
		fixedVersions(c, "v1", "v2")
		c.existing.DestinationRules[0].Spec.Subsets = append(c.existing.DestinationRules[0].Spec.Subsets, subset("theirs", "track", "x", nil))
	}},
	{"every version", func(c *cluster) {
		fixedVersions(c, "v1", "v2")
		c.annotate("default-version=@all")
	}},
	{"the Service was created again", func(c *cluster) {
		fixedVersions(c, "v1", "v2")
		c.annotate("default-version=v2")
		c.advance(time.Minute)
		c.createService()
	}},
}

func fixedVersions(c *cluster, versions ...string) {
	for i, version := range versions {
		c.fixed(string(rune('a'+i)), version, 2)
	}
	c.ready()
	c.advance(2 * time.Minute)
}

func rollingVersions(c *cluster, versions ...string) {
	for i, version := range versions {
		c.rolling(string(rune('a'+i)), version, 2)
		c.ready()
		c.advance(2 * time.Minute)
	}
}

// hostileState is the state in which a walk begins, with one of the three words about drift.
func hostileState(t testing.TB, seed int, random *rand.Rand) (*cluster, string) {
	return begin(newCluster(t), hostileStates[seed%len(hostileStates)], random)
}

func begin(c *cluster, state state, random *rand.Rand) (*cluster, string) {
	c.empty, c.quick = true, true
	drift := []string{"adopt", "adopt", "revert", "detach"}[random.Intn(4)]
	c.annotate("drift=" + drift)
	c.advance(5 * time.Second)
	state.make(c)
	c.advance(time.Duration(random.Intn(1<<uint(random.Intn(10)))) * time.Second)
	return c, state.name + ", drift=" + drift
}
