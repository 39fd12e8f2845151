// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingk8s "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"outrigger.dev/outrigger/api"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Each case of testdata is an archive: what a user has (in.yaml), the objects that come of it in the end (objects.yaml)
// and what the user is told (problems). Deployments stand for their pods, all ready.
func TestGolden(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			observed, problems := readInput(t, section(archive, "in.yaml"))
			result := PlanOffline(observed, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
			got := &txtar.Archive{Comment: archive.Comment, Files: []txtar.File{
				{Name: "in.yaml", Data: section(archive, "in.yaml")},
				{Name: "objects.yaml", Data: printed(t, result.Objects)},
				{Name: "problems", Data: listed(append(problems, result.Problems...))},
			}}
			if *update {
				if err := os.WriteFile(path, txtar.Format(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(txtar.Format(archive)), string(txtar.Format(got))); diff != "" && !*update {
				t.Errorf("-want +got (go test -update writes it anew):\n%s", diff)
			}
			observed.Existing = result.Objects
			if again := Diff(observed.Existing, PlanOffline(observed, time.Date(2026, 1, 2, 4, 4, 5, 0, time.UTC)).Objects); len(again) > 0 {
				t.Errorf("the plan of a plan is not empty: %s %s", again[0].Action, again[0].Object.GetName())
			}
		})
	}
}

func section(archive *txtar.Archive, name string) []byte {
	for _, file := range archive.Files {
		if file.Name == name {
			return file.Data
		}
	}
	return nil
}

func readInput(t *testing.T, input []byte) (Observed, []api.RouteProblem) {
	t.Helper()
	o := Observed{RootNamespace: "istio-system", Settings: testSettings()}
	var routes []GatewayAPIRoute
	var grants []*unstructured.Unstructured
	var ingresses []*networkingk8s.Ingress
	for _, document := range bytes.Split(input, []byte("\n---\n")) {
		var head struct{ Kind string }
		decode(t, document, &head)
		switch head.Kind {
		case "Namespace":
			o.Namespace = &corev1.Namespace{}
			decode(t, document, o.Namespace)
		case "Service":
			o.Service = &corev1.Service{}
			decode(t, document, o.Service)
		case "Deployment":
			d := &appsv1.Deployment{}
			decode(t, document, d)
			o.Workloads = append(o.Workloads, Workload{WorkloadRef: deploymentRef(d.Name), Selector: d.Spec.Selector.MatchLabels, Labels: d.Spec.Template.Labels, Created: d.CreationTimestamp.Time})
		case "DestinationRule":
			rule := &networkingv1.DestinationRule{}
			decode(t, document, rule)
			o.Foreign.DestinationRules = append(o.Foreign.DestinationRules, rule)
		case "VirtualService":
			vs := &networkingv1.VirtualService{}
			decode(t, document, vs)
			o.Foreign.VirtualServices = append(o.Foreign.VirtualServices, vs)
		case "Gateway":
			gateway := &networkingv1.Gateway{}
			decode(t, document, gateway)
			o.Foreign.Gateways = append(o.Foreign.Gateways, gateway)
		case "HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute":
			object := &unstructured.Unstructured{}
			decode(t, document, &object.Object)
			routes = append(routes, GatewayAPIRouteOf(object, o.Settings.ClusterDomain))
		case "ReferenceGrant":
			object := &unstructured.Unstructured{}
			decode(t, document, &object.Object)
			grants = append(grants, object)
		case "Ingress":
			ingress := &networkingk8s.Ingress{}
			decode(t, document, ingress)
			ingresses = append(ingresses, ingress)
		default:
			t.Fatalf("a case has no use for kind %q", head.Kind)
		}
	}
	o.Bypasses = Bypasses(types.NamespacedName{Namespace: o.Service.Namespace, Name: o.Service.Name}, routes, grants)
	o.Ingresses = o.IngressController.ServedIngresses(ingresses, nil)
	var problems []api.RouteProblem
	o.Intent, problems = api.RouteIntentOf(o.Service, o.Namespace)
	for _, w := range o.Workloads {
		if Selects(o.Service.Spec.Selector, w.Labels) {
			o.Pods = append(o.Pods, PodGroup{Workload: w.WorkloadRef, Version: w.Labels[o.Intent.VersionLabel], Pods: 1, Created: w.Created})
		}
	}
	return o, problems
}

func decode(t testing.TB, document []byte, into any) {
	t.Helper()
	if err := yaml.Unmarshal(document, into); err != nil {
		t.Fatalf("%v in\n%s", err, document)
	}
}

func printed(t *testing.T, objects Objects) []byte {
	t.Helper()
	var out []byte
	for _, object := range objects.All() {
		text, err := yaml.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		text = bytes.ReplaceAll(text, []byte("status: {}\n"), nil)
		if len(out) > 0 {
			out = append(out, "---\n"...)
		}
		out = append(out, text...)
	}
	return out
}

func listed(problems []api.RouteProblem) []byte {
	var out []byte
	for _, p := range problems {
		out = append(out, string(p.Reason)+": "+p.String()+"\n"...)
	}
	return out
}
