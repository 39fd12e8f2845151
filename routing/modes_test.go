// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"
	"strings"
	"testing"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
)

func (c *cluster) mode(mode api.RoutingMode) { c.service.Labels[api.LabelRouting] = string(mode) }

// subsets-only is a word about routes: they go, the subsets stay true. What flows then flows on afterwards.
func TestSubsetsOnly(t *testing.T) {
	c := twoVersions(t)
	c.annotate("weights=v1=90,v2=10", "expose=true")
	c.advance(time.Minute)
	c.writes = nil
	c.mode(api.RoutingSubsetsOnly)
	c.settle()
	c.has("v1 v2", "none")
	c.exposed("")
	c.wrote(applyRule, "Delete VirtualService app", "Delete VirtualService app-gateway", "Delete Gateway app")
	c.tells(api.RouteWithoutEffect)
	c.annotate("weights-", "expose-")
	c.tells()

	c.fixed("app-v3", "v3", 1)
	c.settle()
	c.has("v1 v2 v3", "none")
	c.remove("app-v3")
	c.gone("app-v3")
	c.advance(5 * time.Minute)
	c.has("v1 v2", "none")
	mine := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "mine"}}
	mine.Spec.Hosts = []string{"app"}
	mine.Spec.Http = []*networkingapi.HTTPRoute{{Route: []*networkingapi.HTTPRouteDestination{{Destination: &networkingapi.Destination{Host: "app", Subset: "v2"}}}}}
	c.foreign.VirtualServices = append(c.foreign.VirtualServices, mine)
	c.run("app-v2", "v2", 0, 0)
	c.advance(10 * time.Minute)
	c.has("v1 v2", "none") // a route names it
	c.tells()
	c.foreign.VirtualServices = nil
	c.run("app-v2", "v2", 2, 2)
	c.writes = nil
	c.advance(10 * time.Minute)
	c.wrote()

	c.mode(api.RoutingUnset)
	c.tells(api.RoutePreexistingSplit)
	c.has("v1 v2", "none")
	c.annotate("default-version=v2")
	c.settle()
	c.has("v1 v2", "v2")
	c.tells()
}

func TestSubsetsOnlyFromTheBeginning(t *testing.T) {
	c := newCluster(t)
	delete(c.namespace.Labels, "istio-injection")
	c.namespace.Labels[api.LabelRouting] = string(api.RoutingSubsetsOnly)
	c.settle()
	c.wrote()
	c.rolling("app", "v1", 1)
	c.ready()
	c.advance(time.Minute)
	c.has("v1", "none")
	c.template("app", "v2")
	c.run("app", "v1", 0, 0)
	c.run("app", "v2", 1, 1)
	c.advance(time.Minute + time.Second)
	c.has("v2", "none")
	c.mode(api.RoutingEnabled) // the Service's own word
	c.advance(time.Minute)
	c.has("v2", "-")
	c.tells()
}

// A dry run names the label that causes it: where it is, and as it is written.
func TestObservedOnlyNamesTheLabel(t *testing.T) {
	for _, value := range []string{"observe", "on"} {
		for _, kind := range []string{"Service", "Namespace"} {
			c := newCluster(t)
			c.fixed("app-v1", "v1", 2)
			c.ready()
			observed := c.observe()
			observed.Service, observed.Namespace = observed.Service.DeepCopy(), observed.Namespace.DeepCopy()
			observed.Service.Labels, observed.Namespace.Labels = nil, nil
			if labels := map[string]string{api.LabelRouting: value}; kind == "Service" {
				observed.Service.Labels = labels
			} else {
				observed.Namespace.Labels = labels
			}
			observed.Intent, _ = api.RouteIntentOf(observed.Service, observed.Namespace)
			problems := Plan(observed, c.now.Add(time.Hour)).Problems
			at := slices.IndexFunc(problems, func(p api.RouteProblem) bool { return p.Reason == api.RouteObservedOnly })
			if at < 0 {
				t.Errorf("%s on %s: %v", value, kind, problems)
				continue
			}
			if p := problems[at]; p.Object.Kind != kind || p.Value != value || !strings.Contains(p.Message, "Outrigger would create") || kind == "Namespace" && !strings.Contains(p.Message, "Dry run of Service app ") {
				t.Errorf("%s on %s: %v", value, kind, p)
			}
		}
	}
}

// observe writes nothing and takes nothing away, and says what would be there in the end.
func TestObserve(t *testing.T) {
	told := func(c *cluster) string {
		c.t.Helper()
		c.settle()
		for _, p := range c.problems {
			if p.Reason == api.RouteObservedOnly {
				return p.Message
			}
		}
		return ""
	}
	c := newCluster(t)
	c.mode(api.RoutingObserve)
	c.fixed("app-v1", "v1", 2)
	c.fixed("app-v2", "v2", 2)
	c.ready()
	c.settle()
	c.wrote()
	want := "Dry run (outrigger.dev/routing=observe): Outrigger would create DestinationRule app (subsets v1, v2), create VirtualService app (v1=100)."
	if got := told(c); got != want {
		t.Errorf("it says %s\nwant    %s", got, want)
	}
	c.annotate("weights=v1=90,v2=10", "match=v2=cookie:beta:1", "mirror=v2=5", "expose=true", "hosts=a.example.com")
	want = "Dry run (outrigger.dev/routing=observe): Outrigger would create DestinationRule app (subsets v1, v2), create Gateway app (hosts demo/a.example.com), " +
		"create VirtualService app (cookie beta=1: v2=100; v1=90 v2=10 (copied to v2=5%)), create VirtualService app-gateway (cookie beta=1: v2=100; v1=90 v2=10 (copied to v2=5%))."
	if got := told(c); got != want {
		t.Errorf("it says %s\nwant    %s", got, want)
	}
	c.advance(time.Hour)
	if got := told(c); !strings.Contains(got, "create VirtualService app") {
		t.Errorf("an hour later it says %q", got)
	}
	c.wrote()

	c = twoVersions(t)
	c.mode(api.RoutingObserve)
	if got := told(c); got != "" {
		t.Errorf("nothing would be written, and it says %s", got)
	}
	c.annotate("default-version=v2")
	want = "Dry run (outrigger.dev/routing=observe): Outrigger would change VirtualService app (v1=100 -> v2=100)."
	if got := told(c); got != want {
		t.Errorf("it says %s\nwant    %s", got, want)
	}
	c.remove("app-v2") // what stands stays, even if nothing serves it
	c.gone("app-v2")
	c.advance(time.Hour)
	c.wrote()
	c.has("v1 v2", "v1")
	if got, want := told(c), "Dry run (outrigger.dev/routing=observe): Outrigger would change DestinationRule app (subsets v1)."; got != want {
		t.Errorf("it says %s\nwant    %s", got, want)
	}
	c.mode(api.RoutingUnset)
	c.advance(5 * time.Minute)
	c.has("v1", "v1")
}
