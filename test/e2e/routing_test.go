// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const injected = "istio-injection=enabled"

func annotate(t *testing.T, namespace, service string, annotations ...string) {
	t.Helper()
	kubectl(t, append([]string{"-n", namespace, "annotate", "service", service, "--overwrite"}, annotations...)...)
}

func TestShiftHeaderAndPromotionByAnnotation(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t, injected)
	apply(t, ns, service("app")+fixed("app-v1", "app", "v1")+fixed("app-v2", "app", "v2"))
	readyPods(t, ns, "app=app", 4)
	wantSubsets(t, ns, "app", "v1 v2")
	wantRoutes(t, ns, "app", "v1=100")

	annotate(t, ns, "app", "outrigger.dev/weights=v1=90,v2=10")
	wantRoutes(t, ns, "app", "v1=90 v2=10")
	annotate(t, ns, "app", "outrigger.dev/match=v2=header:end-user:jason")
	wantRoutes(t, ns, "app", "end-user=jason: v2=100; v1=90 v2=10")
	annotate(t, ns, "app", "outrigger.dev/default-version=v2", "outrigger.dev/weights-")
	wantRoutes(t, ns, "app", "end-user=jason: v2=100; v2=100")
	annotate(t, ns, "app", "outrigger.dev/match-")
	wantRoutes(t, ns, "app", "v2=100")

	// A version that is not there is accepted and waits.
	annotate(t, ns, "app", "outrigger.dev/weights=v2=50,v3=50")
	wantEvent(t, ns, "app", "PendingVersions")
	wantRoutes(t, ns, "app", "v2=100")
	apply(t, ns, fixed("app-v3", "app", "v3"))
	wantRoutes(t, ns, "app", "v2=50 v3=50")
}

func TestWeightsThatDoNotParseLeaveTheRoute(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t, injected)
	apply(t, ns, service("app")+fixed("app-v1", "app", "v1")+fixed("app-v2", "app", "v2"))
	annotate(t, ns, "app", "outrigger.dev/weights=v1=80,v2=20")
	wantRoutes(t, ns, "app", "v1=80 v2=20")
	before := generations(t, ns)
	annotate(t, ns, "app", "outrigger.dev/weights=v1:50;v2:50")
	wantEvent(t, ns, "app", "InvalidAnnotation")
	if after := generations(t, ns); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("a weights annotation that does not parse changed the objects: before %v, after %v", before, after)
	}
}

func TestExposeOnAnyHostThenOnNames(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t, injected)
	apply(t, ns, service("app")+fixed("app-v1", "app", "v1")+fixed("app-v2", "app", "v2"))
	wantRoutes(t, ns, "app", "v1=100")
	annotate(t, ns, "app", "outrigger.dev/expose=true", "outrigger.dev/gateway-port=8101")
	wantRoutes(t, ns, "app-gateway", "v1=100")
	gw, err := gateway(ns, "app")
	if err != nil {
		t.Fatal(err)
	}
	server := gw.Spec.Servers[0]
	if got := fmt.Sprint(gw.Spec.Selector, server.Port.Number, " ", server.Port.Protocol, " ", server.Hosts); got != fmt.Sprintf("map[istio:ingressgateway] 8101 HTTP [%s/*]", ns) {
		t.Errorf("Gateway: %s", got)
	}
	vs, err := virtualService(ns, "app-gateway")
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(vs.Spec.Hosts, vs.Spec.Gateways); got != fmt.Sprintf("[*] [%s/app]", ns) {
		t.Errorf("VirtualService app-gateway: %s", got)
	}
	annotate(t, ns, "app", "outrigger.dev/weights=v1=75,v2=25")
	wantRoutes(t, ns, "app-gateway", "v1=75 v2=25")
	wantRoutes(t, ns, "app", "v1=75 v2=25")

	// Names instead of "*": the mesh keeps a VirtualService of its own.
	annotate(t, ns, "app", "outrigger.dev/hosts=app.example.com", "outrigger.dev/path=/hello")
	wantBound(t, ns, "app-gateway", fmt.Sprintf("[app.example.com] [%s/app]", ns))
	wantBound(t, ns, "app", fmt.Sprintf("[app.%s.svc.cluster.local] []", ns))

	annotate(t, ns, "app", "outrigger.dev/expose-")
	wantAbsent(t, &networkingv1.Gateway{}, ns, "app")
	wantRoutes(t, ns, "app", "v1=75 v2=25")
}

// wantBound waits until a VirtualService has these hosts and gateways.
func wantBound(t *testing.T, ns, name, want string) {
	t.Helper()
	eventually(t, "VirtualService "+name+" with "+want, func() error {
		vs, err := virtualService(ns, name)
		if err != nil {
			return err
		}
		if got := fmt.Sprint(vs.Spec.Hosts, vs.Spec.Gateways); got != want {
			return fmt.Errorf("it has %s", got)
		}
		return nil
	})
}

func TestSecondWildcardOnTheSamePortIsRefused(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t, injected)
	apply(t, ns, service("one")+fixed("one-v1", "one", "v1"))
	annotate(t, ns, "one", "outrigger.dev/expose=true", "outrigger.dev/gateway-port=8102")
	wantRoutes(t, ns, "one-gateway", "v1=100")
	apply(t, ns, service("two")+fixed("two-v1", "two", "v1"))
	annotate(t, ns, "two", "outrigger.dev/expose=true", "outrigger.dev/gateway-port=8102")
	wantEvent(t, ns, "two", "HostConflict")
	wantRoutes(t, ns, "two", "v1=100")
	if _, err := gateway(ns, "two"); !apierrors.IsNotFound(err) {
		t.Errorf("a Gateway was made for a host that is taken: %v", err)
	}
	if _, err := gateway(ns, "one"); err != nil {
		t.Errorf("the Gateway that was there first is gone: %v", err)
	}
}

func TestAllowedHostsBind(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t, injected)
	kubectl(t, "annotate", "namespace", ns, "outrigger.dev/allowed-hosts=*.shop.example.com")
	apply(t, ns, service("app")+fixed("app-v1", "app", "v1"))
	annotate(t, ns, "app", "outrigger.dev/expose=true", "outrigger.dev/gateway-port=8103", "outrigger.dev/hosts=bank.example.com")
	wantEvent(t, ns, "app", "HostNotAllowed")
	if _, err := gateway(ns, "app"); !apierrors.IsNotFound(err) {
		t.Errorf("a Gateway was made for a host that the Namespace does not allow: %v", err)
	}
	annotate(t, ns, "app", "outrigger.dev/hosts=cart.shop.example.com")
	eventually(t, "Gateway for the allowed host", func() error {
		gw, err := gateway(ns, "app")
		if err == nil && fmt.Sprint(gw.Spec.Servers[0].Hosts) != fmt.Sprintf("[%s/cart.shop.example.com]", ns) {
			err = fmt.Errorf("hosts are %v", gw.Spec.Servers[0].Hosts)
		}
		return err
	})
}

func TestLabelOffKeepsRoutesAndKeepsThemTrue(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t, injected)
	apply(t, ns, service("app")+fixed("app-v1", "app", "v1")+fixed("app-v2", "app", "v2"))
	wantRoutes(t, ns, "app", "v1=100")
	kubectl(t, "label", "namespace", ns, "istio-injection=disabled", "--overwrite")
	apply(t, ns, fixed("app-v3", "app", "v3"))
	wantSubsets(t, ns, "app", "v1 v2 v3")
	wantRoutes(t, ns, "app", "v1=100")
	for _, pod := range readyPods(t, ns, "version=v3", 2) {
		if hasSidecar(&pod) {
			t.Errorf("pod %s was injected in a namespace labeled disabled", pod.Name)
		}
	}
}

func TestDisabledRemovesRouteBeforeSubsets(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t, injected)
	apply(t, ns, service("app")+fixed("app-v1", "app", "v1")+fixed("app-v2", "app", "v2"))
	wantRoutes(t, ns, "app", "v1=100")
	stop := make(chan struct{})
	watched := during(stop, func() error { return everyRouteHasItsSubset(ns, "app") })
	kubectl(t, "-n", ns, "label", "service", "app", "outrigger.dev/routing=disabled")
	wantAbsent(t, &networkingv1.VirtualService{}, ns, "app")
	wantAbsent(t, &networkingv1.DestinationRule{}, ns, "app")
	close(stop)
	if err := <-watched; err != nil {
		t.Error(err)
	}
}

// everyRouteHasItsSubset reads the VirtualService first, so that a subset which it names must be in what is read next,
// unless both were changed in between; then it looks again.
func everyRouteHasItsSubset(ns, name string) error {
	vs, err := virtualService(ns, name)
	if apierrors.IsNotFound(err) {
		return nil
	} else if err != nil {
		return err
	}
	dr, drErr := destinationRule(ns, name)
	if again, err := virtualService(ns, name); err != nil || again.ResourceVersion != vs.ResourceVersion {
		return nil // it changed while we looked; the next look sees it
	}
	if drErr != nil {
		return fmt.Errorf("a VirtualService stands without its DestinationRule: %w", drErr)
	}
	have := " " + subsets(dr) + " "
	for _, http := range vs.Spec.Http {
		for _, route := range http.Route {
			if subset := route.Destination.Subset; subset != "" && !strings.Contains(have, " "+subset+" ") {
				return fmt.Errorf("the route names subset %s, the DestinationRule has%s", subset, have)
			}
		}
	}
	return nil
}

func TestServiceDeletedAndCreatedAgain(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t, injected)
	apply(t, ns, service("app")+fixed("app-v1", "app", "v1"))
	wantRoutes(t, ns, "app", "v1=100")
	kubectl(t, "-n", ns, "delete", "service", "app")
	wantAbsent(t, &networkingv1.VirtualService{}, ns, "app")
	wantAbsent(t, &networkingv1.DestinationRule{}, ns, "app")
	apply(t, ns, service("app"))
	wantRoutes(t, ns, "app", "v1=100")
	wantSubsets(t, ns, "app", "v1")
}

func TestVersionAddedAndRemoved(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t, injected)
	apply(t, ns, service("app")+fixed("app-v1", "app", "v1"))
	wantRoutes(t, ns, "app", "v1=100")
	route, err := virtualService(ns, "app")
	if err != nil {
		t.Fatal(err)
	}
	apply(t, ns, fixed("app-v2", "app", "v2"))
	wantSubsets(t, ns, "app", "v1 v2")
	kubectl(t, "-n", ns, "delete", "deployment", "app-v2")
	wantSubsets(t, ns, "app", "v1")
	after, err := virtualService(ns, "app")
	if err != nil {
		t.Fatal(err)
	}
	if after.ResourceVersion != route.ResourceVersion {
		t.Errorf("adding and removing a version that has no traffic wrote the VirtualService: %s", routes(after))
	}
}

// setVersion changes the version label in the pod template of a Deployment. A template that is stuck asks for a node
// that is not there, so that its rollout stands still half way.
func setVersion(t *testing.T, ns, name, version string, stuck bool) {
	t.Helper()
	node := "null"
	if stuck {
		node = `{"no-such":"node"}`
	}
	kubectl(t, "-n", ns, "patch", "deployment", name, "-p",
		fmt.Sprintf(`{"spec":{"template":{"metadata":{"labels":{"version":%q}},"spec":{"nodeSelector":%s}}}}`, version, node))
}

func TestInPlaceRolloutWritesNoRoute(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t, injected)
	apply(t, ns, service("app")+rolling("app", "app", "v1"))
	readyPods(t, ns, "app=app,version=v1", 2)
	wantSubsets(t, ns, "app", "v1")
	wantRoutes(t, ns, "app", "-=100")
	route, err := virtualService(ns, "app")
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	watched := during(stop, func() error {
		vs, err := virtualService(ns, "app")
		if err != nil {
			return err
		}
		if vs.ResourceVersion != route.ResourceVersion {
			return fmt.Errorf("the VirtualService was written during an in-place rollout: %s", routes(vs))
		}
		return nil
	})
	setVersion(t, ns, "app", "v2", true)
	wantSubsets(t, ns, "app", "v1 v2")
	kubectl(t, "-n", ns, "rollout", "undo", "deployment", "app")
	readyPods(t, ns, "app=app,version=v1", 2)
	setVersion(t, ns, "app", "v2", false)
	readyPods(t, ns, "app=app,version=v2", 2)
	wantSubsets(t, ns, "app", "v2")
	close(stop)
	if err := <-watched; err != nil {
		t.Error(err)
	}
}

func TestSecondWorkloadPinsBeforeItsFirstPodIsReady(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t, injected)
	apply(t, ns, service("app")+rolling("app", "app", "v1"))
	readyPods(t, ns, "app=app", 2)
	wantRoutes(t, ns, "app", "-=100")
	wantSubsets(t, ns, "app", "v1")
	next := strings.Replace(rolling("next", "app", "v2"), "      containers:", "      nodeSelector: {no-such: node}\n      containers:", 1)
	apply(t, ns, next)
	wantRoutes(t, ns, "app", "v1=100")
	wantSubsets(t, ns, "app", "v1 v2")
	kubectl(t, "-n", ns, "patch", "deployment", "next", "-p", `{"spec":{"template":{"spec":{"nodeSelector":null}}}}`)
	readyPods(t, ns, "version=v2", 2)
	wantRoutes(t, ns, "app", "v1=100")

	// The second one goes: the first is alone again, and its rollouts need no route.
	kubectl(t, "-n", ns, "delete", "deployment", "next")
	wantRoutes(t, ns, "app", "-=100")
}

func TestSelectorPatchedFromBlueToGreen(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t, injected)
	slot := func(name, version string) string {
		return deployment(name, "app", []string{"slot=" + name, "version=" + version}, []string{"slot=" + name, "version=" + version})
	}
	apply(t, ns, service("app", "slot=blue")+slot("blue", "v1")+slot("green", "v2"))
	readyPods(t, ns, "app=app", 4)
	wantRoutes(t, ns, "app", "v1=100")
	wantSubsets(t, ns, "app", "v1")
	kubectl(t, "-n", ns, "patch", "service", "app", "-p", `{"spec":{"selector":{"slot":"green"}}}`)
	wantRoutes(t, ns, "app", "v2=100")
}

func TestDefaultsWorkloadDeleted(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t, injected)
	apply(t, ns, service("app")+fixed("app-v1", "app", "v1")+fixed("app-v2", "app", "v2"))
	readyPods(t, ns, "app=app", 4)
	wantRoutes(t, ns, "app", "v1=100")
	kubectl(t, "-n", ns, "delete", "deployment", "app-v1")
	wantRoutes(t, ns, "app", "v2=100")

	// Created again within the window, it is the default again.
	apply(t, ns, fixed("app-v1", "app", "v1"))
	wantRoutes(t, ns, "app", "v1=100")

	// Gone for longer than the window, it is one version among others.
	kubectl(t, "-n", ns, "delete", "deployment", "app-v1")
	wantRoutes(t, ns, "app", "v2=100")
	wantEvent(t, ns, "app", "DefaultMoved")
	apply(t, ns, fixed("app-v1", "app", "v1"))
	readyPods(t, ns, "version=v1", 2)
	wantSubsets(t, ns, "app", "v1 v2")
	wantRoutes(t, ns, "app", "v2=100")
}

func TestTwoVersionsThatServeAlreadyStaySplit(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t)
	apply(t, ns, service("app")+fixed("app-v1", "app", "v1")+fixed("app-v2", "app", "v2"))
	readyPods(t, ns, "app=app", 4)
	waitUntilOlder(t, ns, "app-v2", splitAge)
	kubectl(t, "label", "namespace", ns, injected)
	wantSubsets(t, ns, "app", "v1 v2")
	wantEvent(t, ns, "app", "PreexistingSplit")
	assertNoRoute := func() {
		t.Helper()
		if _, err := virtualService(ns, "app"); !apierrors.IsNotFound(err) {
			t.Fatalf("a route was written over a split that serves: %v", err)
		}
	}
	assertNoRoute()
	kubectl(t, "-n", ns, "scale", "deployment", "app-v2", "--replicas=0")
	eventually(t, "v2 has no pods", func() error {
		pods := &corev1.PodList{}
		if err := kube.List(t.Context(), pods, client.InNamespace(ns), client.MatchingLabels{"version": "v2"}); err != nil {
			return err
		}
		if len(pods.Items) > 0 {
			return fmt.Errorf("it has %d", len(pods.Items))
		}
		return nil
	})
	reconciledNow(t, ns)
	assertNoRoute()
	kubectl(t, "-n", ns, "scale", "deployment", "app-v2", "--replicas=2")
	readyPods(t, ns, "app=app", 4)
	annotate(t, ns, "app", "outrigger.dev/default-version=v2")
	wantRoutes(t, ns, "app", "v2=100")
}

// waitUntilOlder waits until a Deployment was created longer ago than age.
func waitUntilOlder(t *testing.T, ns, name string, age time.Duration) {
	t.Helper()
	d := &appsv1.Deployment{}
	if err := kube.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: name}, d); err != nil {
		t.Fatal(err)
	}
	eventually(t, name+" is old enough", func() error {
		if is := time.Since(d.CreationTimestamp.Time); is < age+time.Second {
			return fmt.Errorf("it is %v old", is)
		}
		return nil
	})
}

// reconciledNow makes a new Service and waits for its objects: what happened before was seen by then.
func reconciledNow(t *testing.T, ns string) {
	t.Helper()
	name := fmt.Sprintf("probe-%d", time.Now().UnixNano()%1e9)
	apply(t, ns, service(name)+fixed(name, name, "v1"))
	wantRoutes(t, ns, name, "v1=100")
	kubectl(t, "-n", ns, "delete", "service/"+name, "deployment/"+name)
	wantAbsent(t, &networkingv1.DestinationRule{}, ns, name)
}

func TestForeignVirtualServiceTakesTheRoute(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t, injected)
	apply(t, ns, service("app")+fixed("app-v1", "app", "v1")+fixed("app-v2", "app", "v2"))
	wantRoutes(t, ns, "app", "v1=100")
	apply(t, ns, `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: mine}
spec:
  hosts: [app]
  http: [{route: [{destination: {host: app, subset: v2}}]}]
`)
	wantAbsent(t, &networkingv1.VirtualService{}, ns, "app")
	wantEvent(t, ns, "app", "RouteConflict")
	wantSubsets(t, ns, "app", "v1 v2")
	mine, err := virtualService(ns, "mine")
	if err != nil {
		t.Fatal(err)
	}
	if mine.Generation != 1 || routes(mine) != "v2=100" {
		t.Errorf("the hand-written VirtualService was changed: %s", routes(mine))
	}
	kubectl(t, "-n", ns, "delete", "virtualservice", "mine")
	wantRoutes(t, ns, "app", "v1=100")
}

func TestForeignDestinationRules(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t, injected)
	foreign := func(name, subsets string) string {
		return fmt.Sprintf(`
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: %s-mine}
spec:
  host: %s
  trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}
%s
---`, name, name, subsets)
	}
	t.Run("without subsets, ours is complete beside it", func(t *testing.T) {
		apply(t, ns, foreign("policy", "")+service("policy")+fixed("policy-v1", "policy", "v1"))
		wantSubsets(t, ns, "policy", "v1")
		wantRoutes(t, ns, "policy", "v1=100")
		wantEvent(t, ns, "policy", "PolicyShared")
		dr, err := destinationRule(ns, "policy")
		if err != nil {
			t.Fatal(err)
		}
		if dr.Spec.TrafficPolicy != nil {
			t.Errorf("ours carries a traffic policy beside a foreign one: %v", dr.Spec.TrafficPolicy)
		}
	})
	t.Run("with a subset of our name and other labels, nothing is written", func(t *testing.T) {
		apply(t, ns, foreign("clash", "  subsets: [{name: v1, labels: {track: stable}}]")+service("clash")+fixed("clash-v1", "clash", "v1"))
		wantEvent(t, ns, "clash", "SubsetConflict")
		if _, err := virtualService(ns, "clash"); !apierrors.IsNotFound(err) {
			t.Errorf("a route was written: %v", err)
		}
		if _, err := destinationRule(ns, "clash"); !apierrors.IsNotFound(err) {
			t.Errorf("a DestinationRule was written: %v", err)
		}
	})
}

func TestHandEditsAndTrafficPolicy(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t, injected)
	apply(t, ns, service("app")+fixed("app-v1", "app", "v1")+fixed("app-v2", "app", "v2"))
	wantRoutes(t, ns, "app", "v1=100")
	kubectl(t, "-n", ns, "patch", "destinationrule", "app", "--type=merge", "-p", `{"spec":{"trafficPolicy":{"connectionPool":{"tcp":{"maxConnections":7}}},"subsets":[]}}`)
	wantSubsets(t, ns, "app", "v1 v2")
	kubectl(t, "-n", ns, "patch", "virtualservice", "app", "--type=json", "-p", `[{"op":"replace","path":"/spec/http/0/route/0/destination/subset","value":"v2"}]`)
	wantEvent(t, ns, "app", "WeightsAdopted")
	wantRoutes(t, ns, "app", "v2=100")
	kubectl(t, "-n", ns, "annotate", "service", "app", "outrigger.dev/weights=v1=1")
	wantRoutes(t, ns, "app", "v1=100")
	kubectl(t, "-n", ns, "patch", "virtualservice", "app", "--type=json", "-p", `[{"op":"replace","path":"/spec/http/0/route/0/destination/subset","value":"v2"}]`)
	wantEvent(t, ns, "app", "EditReverted")
	wantRoutes(t, ns, "app", "v1=100")
	kubectl(t, "-n", ns, "patch", "virtualservice", "app", "--type=json", "-p", `[{"op":"add","path":"/spec/hosts/-","value":"app.example.com"}]`)
	wantEvent(t, ns, "app", "Drifted")
	dr, err := destinationRule(ns, "app")
	if err != nil {
		t.Fatal(err)
	}
	if got := dr.Spec.GetTrafficPolicy().GetConnectionPool().GetTcp().GetMaxConnections(); got != 7 {
		t.Errorf("the user's trafficPolicy is lost: maxConnections %d", got)
	}
}
