// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// refused runs the outrigger command, which must fail, and returns what it says.
func refused(t *testing.T, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), outrigger.Binary, args...)
	command.Env = append(command.Environ(), "KUBECONFIG="+cluster.Kubeconfig)
	out, err := command.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatalf("outrigger %s was to fail: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// says fails the test unless all texts are in the output.
func says(t *testing.T, output string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(output, text) {
			t.Errorf("%q is not in what was printed:\n%s", text, output)
		}
	}
}

// cells squeezes the spaces of a table, so that a row can be looked for.
func cells(output string) string {
	var lines []string
	for _, line := range strings.Split(output, "\n") {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return strings.Join(lines, "\n")
}

func annotationsOf(t *testing.T, ns, name string) map[string]string {
	t.Helper()
	service := &corev1.Service{}
	if err := kube.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: name}, service); err != nil {
		t.Fatal(err)
	}
	return service.Annotations
}

// routesNow fails the test unless the route is so at this moment: what --wait has waited for needs no waiting.
func routesNow(t *testing.T, ns, name, want string) {
	t.Helper()
	vs, err := virtualService(ns, name)
	if err != nil {
		t.Fatal(err)
	}
	if got := routes(vs); got != want {
		t.Errorf("after --wait VirtualService %s routes to %q, not %q", name, got, want)
	}
}

func TestVersionsAreShiftedAndPromotedByCommand(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t, injected)
	apply(t, ns, service("app")+strings.Replace(service("app"), "name: app", "name: app-internal", 1)+fixed("app-v1", "app", "v1")+fixed("app-v2", "app", "v2"))
	wantRoutes(t, ns, "app", "v1=100")
	wantRoutes(t, ns, "app-internal", "v1=100")
	readyPods(t, ns, "app=app", 4)

	says(t, cells(cli(t, "status", "app", "-n", ns)), ns+" enabled - 1", "app routed v1 2/2 100 -", "app routed v2 2/2 0 -")

	// What makes no sense is refused, and nothing is written by it nor by a dry run.
	says(t, refused(t, "shift", "app", "v1=90", "v3=10", "-n", ns), "has no version v3; it has v1, v2", "--pending")
	says(t, refused(t, "shift", "app", "v1=ninety", "-n", ns), "ninety")
	says(t, refused(t, "promote", "ap", "v2", "-n", ns), "has no Service ap; it has app, app-internal")
	for _, mode := range []string{"client", "server"} {
		says(t, cli(t, "shift", "app", "v1=90", "v2=10", "-n", ns, "--dry-run="+mode, "--wait"), "service/app: v1=100 -> v1=90 v2=10", "dry run)")
	}
	if got := annotationsOf(t, ns, "app"); len(got["outrigger.dev/weights"])+len(got["outrigger.dev/decided-at"]) > 0 {
		t.Errorf("a dry run has written %v", got)
	}

	says(t, cli(t, "shift", "app", "v1=90", "v2=10", "-n", ns, "--wait"),
		"service/app: v1=100 -> v1=90 v2=10", "outrigger.dev/weights=v1=90,v2=10", "service/app annotated", "applied (waited ",
		"service/app-internal selects the same pods: v1=100")
	routesNow(t, ns, "app", "v1=90 v2=10")
	routesNow(t, ns, "app-internal", "v1=100")
	var report struct {
		Namespaces []struct {
			Services []struct {
				Name, State string
				Versions    []struct {
					Version string
					Weight  int
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(cli(t, "status", "app", "-n", ns, "-o", "json")), &report); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(report.Namespaces); got != "[{[{app routed [{v1 90} {v2 10}]}]}]" {
		t.Errorf("status -o json: %s", got)
	}

	says(t, cli(t, "promote", "app", "v2", "-n", ns, "--all-services", "--wait"), "service/app: v1=90 v2=10 -> v2=100", "service/app-internal: v1=100 -> v2=100", "applied (waited ")
	routesNow(t, ns, "app", "v2=100")
	routesNow(t, ns, "app-internal", "v2=100")
	if weights, written := annotationsOf(t, ns, "app")["outrigger.dev/weights"]; written {
		t.Errorf("promote has left the weights %s", weights)
	}
	var why struct {
		State, Default, DefaultBecause string
		Workloads                      []struct {
			Workload string
			Fixed    bool
		}
	}
	if err := json.Unmarshal([]byte(cli(t, "explain", "service/app", "-n", ns, "-o", "json")), &why); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(why); got != "{routed v2 an annotation decided it (default-version or weights) [{Deployment/app-v1 true} {Deployment/app-v2 true}]}" {
		t.Errorf("explain -o json: %s", got)
	}
	says(t, cli(t, "explain", "deployment/app-v1", "-n", ns, "-o", "yaml"), "kind: Deployment", "sidecar: injected into new pods")
	says(t, cli(t, "explain", "service/app", "-n", ns), "Default    v2, because an annotation decided it (default-version or weights)", "all requests   ->   v2", "Deployment/app-v1", "fixed")

	// A version that is to come is written when it is asked for, and the wait says what it waits for.
	says(t, refused(t, "shift", "app", "v2=50", "v9=50", "-n", ns, "--pending", "--wait", "--timeout=3s"), "v9 has no pods", "not applied within 3s", "v9 (no pods)")
	routesNow(t, ns, "app", "v2=100")

	says(t, cli(t, "__complete", "promote", "-n", ns, "app", ""), "v1\nv2\n")
	says(t, cli(t, "__complete", "shift", "-n", ns, "app", "v1=1", ""), "v2=\n")
	says(t, cli(t, "__complete", "explain", "-n", ns, ""), "service/app\n")
}

func TestStatusTellsWhereAServiceIsReachedAndWhatHasNoSidecar(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t)
	apply(t, ns, service("web")+fixed("web-v1", "web", "v1"))
	readyPods(t, ns, "app=web", 2)
	says(t, cells(cli(t, "status", "-n", ns)), "web off v1 2/2 by pods -")
	says(t, cli(t, "explain", "svc/web", "-n", ns), "outrigger enable "+ns)

	kubectl(t, "label", "namespace", ns, "istio-injection=enabled")
	annotate(t, ns, "web", "outrigger.dev/expose=true", "outrigger.dev/hosts=web.example.com", "outrigger.dev/path=/hello", "outrigger.dev/wegihts=v1=1", "outrigger.dev/gateway-port=8155", "outrigger.dev/gateway-selector=ingress="+ns)
	apply(t, ns, `
apiVersion: v1
kind: Service
metadata: {name: ingress}
spec:
  type: NodePort
  selector: {ingress: `+ns+`}
  ports: [{name: http, port: 8155}]
---`+deployment("ingress", "ingress", []string{"ingress=" + ns}, []string{"ingress=" + ns}))
	eventually(t, "status shows the gateway", func() error {
		out := cells(cli(t, "status", "web", "-n", ns, "-o", "wide"))
		ingress := &corev1.Service{}
		if err := kube.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "ingress"}, ingress); err != nil {
			return err
		}
		port := ingress.Spec.Ports[0].NodePort
		if want := fmt.Sprintf("web %s/web web.example.com 8155 - %d http://web.example.com:%d/hello", ns, port, port); !strings.Contains(out, want) {
			return fmt.Errorf("%q is not in\n%s", want, out)
		}
		return nil
	})
	says(t, cli(t, "status", "-n", ns), "Deployment/web-v1", "kubectl rollout restart deployment/web-v1 -n "+ns, "UnknownAnnotation: Service "+ns+"/web", "outrigger.dev/wegihts")
	says(t, cli(t, "status", "-A"), ns)
}

func TestNamespacesAreEnabledAndDisabledByCommand(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t)
	apply(t, ns, service("app")+fixed("app-v1", "app", "v1")+fixed("app-v2", "app", "v2"))
	readyPods(t, ns, "app=app", 4)
	says(t, cli(t, "enable", ns, "--wait"), "service/app: no route -> v1=100", "kubectl label namespace "+ns+" outrigger.dev/routing=enabled --overwrite", "namespace/"+ns+" labeled")
	routesNow(t, ns, "app", "v1=100")
	labels := &corev1.Namespace{}
	if err := kube.Get(t.Context(), client.ObjectKey{Name: ns}, labels); err != nil {
		t.Fatal(err)
	}
	if word, set := labels.Labels["istio-injection"]; set {
		t.Errorf("enable has written Istio's label: %s", word)
	}
	says(t, cli(t, "disable", ns, "--dry-run=client"), "service/app: begins to receive traffic: v2 (2 of 2 pods ready) (now v1=100)", "(dry run)")
	routesNow(t, ns, "app", "v1=100")
	cli(t, "disable", ns, "--wait")
	if _, err := virtualService(ns, "app"); !apierrors.IsNotFound(err) {
		t.Errorf("after disable --wait VirtualService app is there: %v", err)
	}
	wantAbsent(t, &networkingv1.DestinationRule{}, ns, "app")
}

// Not parallel: Outrigger must not run.
func TestRoutesAreUninstalledByCommand(t *testing.T) {
	needIstio(t)
	ns := namespace(t, injected)
	apply(t, ns, service("two")+fixed("two-v1", "two", "v1")+fixed("two-v2", "two", "v2")+service("one")+fixed("one-v1", "one", "v1"))
	wantRoutes(t, ns, "two", "v1=100")
	wantRoutes(t, ns, "one", "v1=100")
	says(t, refused(t, "uninstall-routes", "-n", ns), "runs and would recreate the routes")
	says(t, refused(t, "uninstall-routes", "-n", ns, "--system-namespace", "default"), "one is in namespace "+outriggerNamespace+"; nothing was removed")
	says(t, refused(t, "uninstall-routes", "-n", "nope-"+ns), "namespace nope-"+ns+" does not exist")
	scaleOutrigger(t, 0)
	defer scaleOutrigger(t, 2)

	says(t, cli(t, "uninstall-routes", "-n", ns), "service/two in namespace "+ns+" keeps its routes: without them v2 (2 of 2 pods ready) would begin to receive traffic",
		"virtualservice/one in namespace "+ns+" deleted\nwaiting ", "destinationrule/one in namespace "+ns+" deleted")
	routesNow(t, ns, "two", "v1=100")
	if _, err := virtualService(ns, "one"); !apierrors.IsNotFound(err) {
		t.Errorf("VirtualService one is there: %v", err)
	}
	says(t, cli(t, "uninstall-routes", "-n", ns, "--all"), "begins to receive traffic: v2")
	if _, err := destinationRule(ns, "two"); !apierrors.IsNotFound(err) {
		t.Errorf("DestinationRule two is there: %v", err)
	}
}
