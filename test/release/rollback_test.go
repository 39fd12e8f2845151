// SPDX-License-Identifier: Apache-2.0

package release

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/hack/chart"
	"outrigger.dev/outrigger/hack/install"
	"outrigger.dev/outrigger/hack/istio"
)

// withOneRouteForMeshAndGateway is the last commit that binds the route of an exposed Service to mesh and Gateway at once
// and records no weights in effect.
const withOneRouteForMeshAndGateway = "b78e000737c3aed8ae49a99b7a4ed17373d85276"

const ingressGateway = `apiVersion: v1
kind: Namespace
metadata: {name: rollback-ingress}
---
apiVersion: v1
kind: Service
metadata: {name: ingress, namespace: rollback-ingress}
spec: {selector: {istio: ingressgateway}, ports: [{name: http2, port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: ingress, namespace: rollback-ingress}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  template:
    metadata: {labels: {istio: ingressgateway}}
    spec: {containers: [{name: app, image: "registry.example/app:1"}]}
`

// Decisions that were taken with today's version, and the records it keeps of them, mean the same to the version before it
// after "helm rollback", and again after the way forward. That holds whenever it is looked at, not only at the end.
func TestARollbackMovesNoTraffic(t *testing.T) {
	const namespace = "rolled-back"
	before, binary := releaseAt(t, withOneRouteForMeshAndGateway)
	installed, err := install.Prepare(t.Context(), cluster, install.Options{Values: settings, Images: map[string]string{"earlier": binary}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(installed.Close)
	t.Cleanup(func() {
		if out, err := cluster.Kubectl(context.Background(), nil, "delete", "namespace", namespace, "rollback-ingress", "--wait=false"); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		if err := installed.Uninstall(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := istio.Install(t.Context(), cluster, istio.Values{"global": map[string]any{"operatorManageWebhooks": true}}); err != nil {
		t.Fatal(err)
	}
	kubectl(t, ingressGateway, "apply", "-f", "-")
	args := func(verb, chart string) []string {
		return []string{verb, name, chart, "-n", system, "-f", installed.ValuesFile, "--wait", "--timeout", "2m"}
	}
	helm(t, append(args("install", before), "--create-namespace", "--set", "image.tag=earlier")...)
	kubectl(t, application(namespace), "apply", "-f", "-")
	routed := func(want ...string) {
		t.Helper()
		for _, text := range want {
			eventually(t, text, func() error {
				if routes := strings.Join(routesOf(t, namespace), "\n"); !strings.Contains(routes, text) {
					return fmt.Errorf("the routes are\n%s\nand the Events\n%s", routes, kubectl(t, "", "events", "-n", namespace, "--types=Warning"))
				}
				return nil
			})
		}
	}
	routed("mesh lone: v1=100", "mesh two: v1=100")

	today := chart.Folder(installed.Root)
	helm(t, args("upgrade", today)...)
	kubectl(t, "", "annotate", "service", "two", "-n", namespace, "outrigger.dev/weights=v1=70,v2=30", "outrigger.dev/match=v2=header:x-tester:yes",
		"outrigger.dev/expose=true", "outrigger.dev/hosts=two.example.test")
	routed("mesh two: [x-tester] v2=100", "mesh two: v1=70 v2=30", "gateway two.example.test: [x-tester] v2=100", "gateway two.example.test: v1=70 v2=30")

	decided := routesOf(t, namespace)
	moved := watchRoutes(t, namespace, decided)
	for n, change := range []struct {
		what string
		args []string
	}{
		{"the rollback", []string{"rollback", name, "1", "-n", system, "--wait", "--timeout", "2m"}},
		{"the way forward", args("upgrade", today)},
	} {
		helm(t, change.args...)
		// A route that was made after it shows that the version that is there now has looked at the Services.
		service := fmt.Sprintf("lone-%d", n)
		kubectl(t, strings.ReplaceAll(application(namespace), "lone", service), "apply", "-f", "-")
		routed("mesh " + service + ": v1=100")
		if diff := cmp.Diff(decided, routesOf(t, namespace, "lone-")); diff != "" {
			t.Errorf("after %s (-decided +now):\n%s", change.what, diff)
		}
	}
	for _, text := range moved() {
		t.Error(text)
	}
}

// routesOf are the rules of a namespace as proxies get them, sorted, as "mesh two: [x-tester] v2=100", without the Services
// whose names begin with one of these.
func routesOf(t *testing.T, namespace string, without ...string) []string {
	t.Helper()
	routes, err := readRoutes(t.Context(), namespace, without...)
	if err != nil {
		t.Fatal(err)
	}
	return routes
}

func readRoutes(ctx context.Context, namespace string, without ...string) ([]string, error) {
	subsets := map[string]string{}
	rules := &networkingv1.DestinationRuleList{}
	list := &networkingv1.VirtualServiceList{}
	// The routes first: what they name must be there afterwards.
	if err := errors.Join(kube.List(ctx, list, client.InNamespace(namespace)), kube.List(ctx, rules, client.InNamespace(namespace))); err != nil {
		return nil, err
	}
	for _, rule := range rules.Items {
		for _, subset := range rule.Spec.Subsets {
			subsets[subset.Name] = subset.Labels["version"]
		}
	}
	var out []string
	for _, vs := range list.Items {
		if slices.ContainsFunc(without, func(prefix string) bool { return strings.HasPrefix(vs.Name, prefix) }) {
			continue
		}
		for _, host := range vs.Spec.Hosts {
			host = strings.TrimSuffix(host, "."+namespace+".svc.cluster.local")
			for _, rule := range vs.Spec.Http {
				text := describe(rule, subsets)
				for _, gateway := range vs.Spec.Gateways {
					// The name of the Service leads nowhere at a gateway, and another host nowhere in the mesh.
					if (gateway == "mesh") == !strings.Contains(host, ".") {
						at := "gateway"
						if gateway == "mesh" {
							at = "mesh"
						}
						out = append(out, at+" "+host+": "+text)
					}
				}
				if len(vs.Spec.Gateways) == 0 {
					out = append(out, "mesh "+host+": "+text)
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil // two objects that say the same are one route
}

func describe(rule *networkingapi.HTTPRoute, subsets map[string]string) string {
	var words []string
	for _, match := range rule.Match {
		words = append(words, fmt.Sprint(slices.Sorted(maps.Keys(match.Headers))))
	}
	for _, to := range rule.Route {
		version, ok := subsets[to.Destination.Subset]
		if to.Destination.Subset != "" && !ok {
			version = "the missing subset " + to.Destination.Subset
		}
		weight := to.Weight
		if len(rule.Route) == 1 {
			weight = 100
		}
		words = append(words, fmt.Sprintf("%s=%d", version, weight))
	}
	return strings.Join(words, " ")
}

// watchRoutes compares the routes with these at every change, until the function that it returns is called: that tells
// what differed, each difference once.
func watchRoutes(t *testing.T, namespace string, want []string) func() []string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var watched sync.WaitGroup
	seen := map[string]bool{}
	watched.Go(func() {
		for ctx.Err() == nil {
			now, err := readRoutes(ctx, namespace, "lone-")
			if err != nil {
				continue // the API server answers again, or the test fails elsewhere
			}
			if diff := cmp.Diff(want, now); diff != "" {
				seen["a moment had other routes (-decided +now):\n"+diff] = true
			}
		}
	})
	return func() []string {
		cancel()
		watched.Wait()
		return slices.Sorted(maps.Keys(seen))
	}
}
