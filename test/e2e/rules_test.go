// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"slices"
	"testing"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
)

// wantRules waits until a VirtualService has http rules of these names, in their order, and returns it.
func wantRules(t *testing.T, ns, name string, want ...string) *networkingv1.VirtualService {
	t.Helper()
	var found *networkingv1.VirtualService
	eventually(t, fmt.Sprintf("VirtualService %s has rules %v", name, want), func() error {
		vs, err := virtualService(ns, name)
		if err != nil {
			return err
		}
		var names []string
		for _, http := range vs.Spec.Http {
			names = append(names, http.Name)
		}
		if found = vs; !slices.Equal(names, want) {
			return fmt.Errorf("they are %v", names)
		}
		return nil
	})
	return found
}

// Every word about rules, as the API server takes it and as a controller writes it once.
func TestEveryWordAboutRules(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t, injected)
	apply(t, ns, service("app")+fixed("app-v1", "app", "v1")+fixed("app-v2", "app", "v2")+fixed("app-v3", "app", "v3"))
	readyPods(t, ns, "app=app", 6)
	wantRoutes(t, ns, "app", "v1=100")
	kubectl(t, "-n", ns, "annotate", "service", "app", "networking.istio.io/exportTo=.,istio-system")
	annotate(t, ns, "app", "outrigger.dev/match=v2=header-prefix:x-c:can;v2=cookie:beta:1;v1=query:v:1;v2=source:v2", "outrigger.dev/mirror=v3=10",
		"outrigger.dev/weights=v1=90,v2=10", "outrigger.dev/sticky=cookie:version:1h", "outrigger.dev/expose=true", "outrigger.dev/gateway-port=8190",
		"outrigger.dev/hosts=rules.example.com", "outrigger.dev/path=/hello", "outrigger.dev/path-rewrite=/", "outrigger.dev/service-port=http")
	gateway := wantRules(t, ns, "app-gateway", "to-v2-gateway", "to-v2-gateway", "to-v1-gateway", "sticky-v1-gateway", "sticky-v2-gateway", "default-gateway")
	// A version is sent copies once the proxies know its pods, which may be after it is in a route.
	eventually(t, "VirtualService app copies 10 % of the requests to v3", func() error {
		vs, err := virtualService(ns, "app")
		if err != nil {
			return err
		}
		mirrors := vs.Spec.Http[len(vs.Spec.Http)-1].Mirrors
		if len(mirrors) != 1 || mirrors[0].Destination.Subset != "v3" || mirrors[0].Percentage.Value != 10 {
			return fmt.Errorf("mirrors: %v", mirrors)
		}
		return nil
	})
	vs := wantRules(t, ns, "app", "to-v2", "to-v2", "to-v1", "to-v2", "sticky-v1", "sticky-v2", "default")
	last := vs.Spec.Http[len(vs.Spec.Http)-1]
	if got := last.Route[1].GetHeaders().GetResponse().GetAdd()["Set-Cookie"]; got != "version=v2; Max-Age=3600; Path=/; HttpOnly" {
		t.Errorf("v2 gives the cookie %q", got)
	}
	if rewrite := gateway.Spec.Http[0].Rewrite; rewrite == nil || rewrite.Uri != "/" {
		t.Errorf("the gateway's first rule rewrites to %v", rewrite)
	}
	if got := fmt.Sprint(vs.Spec.ExportTo); got != "[. istio-system]" {
		t.Errorf("VirtualService app is exported to %s", got)
	}
	quiet(t, ns)
	before := versions(t, ns)
	kubectl(t, "-n", ns, "label", "service", "app", "touched=yes") // it is looked at again
	reconciledNow(t, ns)
	if after := versions(t, ns); fmt.Sprint(after) != fmt.Sprint(before) || len(before) != 4 {
		t.Errorf("what stands was written again: before %v, after %v", before, after)
	}
}

// A dry run writes nothing and says what it would; subsets-only takes the routes away and keeps the subsets true.
func TestModesOfRouting(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t, injected)
	apply(t, ns, service("app")+fixed("app-v1", "app", "v1")+fixed("app-v2", "app", "v2"))
	readyPods(t, ns, "app=app", 4)
	wantRoutes(t, ns, "app", "v1=100")
	quiet(t, ns)
	kubectl(t, "-n", ns, "label", "service", "app", "outrigger.dev/routing=observe")
	before := versions(t, ns)
	annotate(t, ns, "app", "outrigger.dev/weights=v1=50,v2=50")
	wantEvent(t, ns, "app", "ObservedOnly")
	if after := versions(t, ns); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("a dry run wrote: before %v, after %v", before, after)
	}
	says(t, cli(t, "explain", "service/app", "-n", ns), "v1=100 -> v1=50 v2=50", "Would be written")

	kubectl(t, "-n", ns, "label", "service", "app", "outrigger.dev/routing=subsets-only", "--overwrite")
	wantAbsent(t, &networkingv1.VirtualService{}, ns, "app")
	wantEvent(t, ns, "app", "WithoutEffect")
	apply(t, ns, fixed("app-v3", "app", "v3"))
	wantSubsets(t, ns, "app", "v1 v2 v3")
	kubectl(t, "-n", ns, "label", "service", "app", "outrigger.dev/routing-")
	wantRoutes(t, ns, "app", "v1=50 v2=50")
}
