// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"flag"
	"fmt"
	"math/rand"
	"strings"
	"testing"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
)

var walks = flag.Int("walks", defaultWalks, "how many random walks to take")

// Whatever users do, in whatever order: the plan comes to rest, a shuffled input gives the same plan, and no route ever
// names a subset that is not there or has not been there long enough.
func TestRandomWalks(t *testing.T) {
	for seed := range *walks {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewSource(int64(seed)))
			c := newCluster(t)
			c.empty = true
			if seed%2 == 1 {
				c.opensHTTPS()
			}
			var steps []string
			for range 60 {
				steps = append(steps, step(c, random))
				c.settle()
				c.advance(time.Duration(random.Intn(1<<uint(random.Intn(10)))) * time.Second)
				if t.Failed() {
					t.Fatalf("after:\n%s", strings.Join(steps, "\n"))
				}
			}
		})
	}
}

func step(c *cluster, random *rand.Rand) string {
	pick := func(words ...string) string { return words[random.Intn(len(words))] }
	version, name := pick("v1", "v2", "v3", "1.2.3", "1-2-3", ""), pick("a", "b", "c")
	switch random.Intn(23) {
	case 0, 1:
		c.gone(name)
		if random.Intn(2) == 0 && version != "" {
			c.fixed(name, version, 1+random.Intn(3))
			return "fixed " + name + " " + version
		}
		c.rolling(name, version, 1+random.Intn(3))
		return "rolling " + name + " " + version
	case 2:
		c.remove(name)
		return "remove " + name
	case 3:
		if c.workloads[deploymentRef(name)] == nil {
			c.gone(name)
		}
		return "pods of a removed workload go: " + name
	case 4, 5, 6:
		w := c.workloads[deploymentRef(name)]
		if w == nil {
			return "nothing"
		}
		if fixed := w.Selector["version"]; fixed != "" {
			version = fixed
		} else if version != "" {
			c.template(name, version)
		}
		pods := random.Intn(4)
		ready := random.Intn(pods + 1)
		c.run(name, version, pods, ready)
		return fmt.Sprintf("run %s %s %d/%d", name, version, ready, pods)
	case 7, 8:
		c.ready()
		return "all ready"
	case 9:
		word := pick("default-version=v1", "default-version=v2", "default-version=@highest", "default-version=@all", "default-version=1.2.3", "default-version-", "default-version=!")
		c.annotate(word)
		return word
	case 10:
		word := pick("weights=v1=90,v2=10", "weights=v2=1", "weights=1.2.3=1,v1=999", "weights=v3=50,v1=50", "weights-", "weights=bad")
		c.annotate(word)
		return word
	case 11:
		word := pick("match=v2=header:end-user:jason", "match=v1=header:a:b;1-2-3=header:a:c", "match=v3=cookie:a:b;v2=cookie:a:b;v1=query:a:b;v2=source:v1", "match=v2=header-prefix:a:b;v3=header:a:bc", "decided-at=2026-01-02T03:04:05Z", "match-", "match=bad")
		c.annotate(word)
		return word
	case 12:
		if c.https && random.Intn(2) == 0 {
			word := pick("tls-credential=web-tls", "tls-credential=web-tls", "tls-credential=other-tls", "tls-credential-", "tls-credential=a/b", "https-redirect=true", "https-redirect=true", "https-redirect-", "gateway-port=8443", "gateway-port=443", "gateway-port-", "expose=true")
			c.annotate(word)
			return word
		}
		word := pick("expose=true", "expose=true", "expose-", "hosts=a.example.com", "hosts=b.example.com,c.example.com", "hosts-", "gateway-port=8066", "gateway-port-", "path=/x", "path-", "path-rewrite=/", "path-rewrite=/y", "path-rewrite-", "service-port=http", "service-port=admin", "service-port-", "expose=perhaps", "gateway=istio-system/shared", "gateway-")
		c.annotate(word)
		return word
	case 13:
		word := pick("", "", "", "", "disabled", "enabled", "subsets-only", "observe")
		c.service.Labels[api.LabelRouting] = word
		return "routing=" + word
	case 14:
		if random.Intn(3) == 0 {
			c.createService()
			return "the Service is created again"
		}
		c.service.Spec.Selector["slot"] = pick("blue", "green")
		return "selector"
	case 17:
		word := pick("default-gone=next", "default-gone=next", "default-gone=all", "default-gone=hold", "default-gone-", "default-gone=v2", "default-gone-after=10s", "default-gone-after-", "subset-retention=90s", "subset-retention-")
		c.annotate(word)
		return word
	case 16:
		to := pick(".", "*", "other", "other,.", "~")
		if c.service.Annotations[api.AnnotationExportTo] = to; to == "~" {
			delete(c.service.Annotations, api.AnnotationExportTo)
		}
		return "exportTo=" + to
	case 18, 19:
		return handEdit(c, random)
	case 20:
		word := pick("drift=adopt", "drift=revert", "drift=revert", "drift=detach", "drift-", "eager=false", "eager=true", "eager-", "inherit-policy=false", "inherit-policy-")
		c.annotate(word)
		return word
	case 21:
		c.several = random.Intn(3) == 0
		return fmt.Sprint("several clusters: ", c.several)
	case 15:
		word := pick("mirror=v2=10", "mirror=v1=100,v3=0", "mirror=1.2.3=33,v2=100", "mirror-", "mirror=v2", "sticky=cookie:ver:1h", "sticky=cookie:ver:1h", "sticky-", "sticky=ver")
		c.annotate(word)
		return word
	}
	return foreignStep(c, pick)
}

// handEdit changes one of our objects as people do: shares of subsets that stand, or more.
func handEdit(c *cluster, random *rand.Rand) string {
	if len(c.existing.DestinationRules) > 0 && random.Intn(4) == 0 {
		c.existing.DestinationRules[0].Spec.TrafficPolicy = connections(int32(random.Intn(3)))
		return "edit: another policy"
	}
	if len(c.existing.VirtualServices) == 0 {
		return "nothing"
	}
	at := random.Intn(len(c.existing.VirtualServices))
	vs := c.existing.VirtualServices[at]
	if random.Intn(8) == 0 {
		c.existing.VirtualServices = append(c.existing.VirtualServices[:at:at], c.existing.VirtualServices[at+1:]...)
		return "edit: delete VirtualService " + vs.Name
	}
	vs.ResourceVersion += "e"
	if random.Intn(4) == 0 {
		vs.Spec.Http[0].Retries = &networkingapi.HTTPRetry{Attempts: int32(random.Intn(3))}
		return "edit: retries in VirtualService " + vs.Name
	}
	var shares []string
	for _, name := range sortedKeys(c.since) {
		if c.now.Sub(c.since[name]) >= c.settings.PropagationDelay && random.Intn(2) == 0 {
			shares = append(shares, fmt.Sprintf("%s=%d", name, random.Intn(3)))
		}
	}
	if len(shares) == 0 {
		return "nothing"
	}
	c.kiali(vs.Name, shares...)
	return "edit: VirtualService " + vs.Name + " to " + strings.Join(shares, ",")
}

func foreignStep(c *cluster, pick func(...string) string) string {
	c.foreign = Objects{}
	what := pick("none", "none", "none", "route", "policy", "supplied", "clash", "gateway", "delegate", "wide", "a Rollout")
	c.managedBy = ""
	switch what {
	case "delegate":
		c.foreign.VirtualServices = append(c.foreign.VirtualServices, extraRules())
	case "wide":
		c.foreign.DestinationRules = append(c.foreign.DestinationRules, wideRule(pick("demo", "istio-system", "other"), "wide", pick("*.local", "*", "*.demo.svc.cluster.local"), 9))
	case "a Rollout":
		c.managedBy = "Rollout demo/app"
	case "route":
		vs := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "mine"}}
		vs.Spec.Hosts = []string{"app"}
		vs.Spec.Http = []*networkingapi.HTTPRoute{{Route: []*networkingapi.HTTPRouteDestination{{Destination: &networkingapi.Destination{Host: "app", Subset: "v2"}}}}}
		c.foreign.VirtualServices = append(c.foreign.VirtualServices, vs)
	case "policy", "clash":
		rule := &networkingv1.DestinationRule{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "app"}}
		rule.Spec.Host = "app"
		if what == "clash" {
			rule.Spec.Subsets = []*networkingapi.Subset{{Name: "v1", Labels: map[string]string{"track": "stable"}}}
		}
		if len(c.existing.DestinationRules) > 0 {
			rule.Name = "mine"
		}
		c.foreign.DestinationRules = append(c.foreign.DestinationRules, rule)
	case "gateway":
		gateway := &networkingv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "theirs", CreationTimestamp: metav1.NewTime(c.now)}}
		gateway.Spec.Selector = map[string]string{"istio": "ingressgateway"}
		gateway.Spec.Servers = []*server{{Port: &networkingapi.Port{Number: 80}, Hosts: []string{pick("*", "a.example.com")}}}
		c.foreign.Gateways = append(c.foreign.Gateways, gateway)
	}
	return "foreign: " + what
}
