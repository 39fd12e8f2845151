// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"outrigger.dev/outrigger/test/oracle"
)

const ingressNamespace = "tenant-ingress"

// meshState is what istiod sees of a test's namespaces: objects of Kubernetes as documents, and all of Istio's.
type meshState struct {
	namespaces []string
	documents  []string
	objects    []json.RawMessage
	owners     map[string]string // namespaces by the address of their pods
	gateway    oracle.Caller     // zero unless the ingress gateway runs
}

// meshOf reads the namespaces that a test created and that of the ingress gateway.
func meshOf(t *testing.T) *meshState {
	t.Helper()
	s := &meshState{owners: map[string]string{}}
	namespaces := &corev1.NamespaceList{}
	list(t, namespaces)
	for _, ns := range namespaces.Items {
		isOurs := strings.HasPrefix(ns.Name, namespaceName(t)) || ns.Name == ingressNamespace || ns.Name == "istio-system"
		if isOurs && ns.DeletionTimestamp.IsZero() {
			s.namespaces = append(s.namespaces, ns.Name)
			s.document(t, "v1", "Namespace", &ns)
		}
	}
	services, pods, slices := &corev1.ServiceList{}, &corev1.PodList{}, &discoveryv1.EndpointSliceList{}
	for _, ns := range s.namespaces {
		list(t, services, client.InNamespace(ns))
		for _, service := range services.Items {
			s.document(t, "v1", "Service", &service)
		}
		list(t, pods, client.InNamespace(ns))
		for _, pod := range pods.Items {
			s.document(t, "v1", "Pod", &pod)
			if pod.Status.PodIP != "" {
				s.owners[pod.Status.PodIP] = ns
			}
			if ns == ingressNamespace && pod.Status.PodIP != "" && pod.DeletionTimestamp.IsZero() {
				s.gateway = oracle.Caller{Gateway: true, Namespace: ns, Address: pod.Status.PodIP, Labels: pod.Labels}
			}
		}
		list(t, slices, client.InNamespace(ns))
		for _, slice := range slices.Items {
			s.document(t, discoveryv1.SchemeGroupVersion.String(), "EndpointSlice", &slice)
		}
	}
	for _, kind := range istioKinds(t) {
		objects := &unstructured.UnstructuredList{}
		objects.SetGroupVersionKind(kind)
		for _, ns := range s.namespaces {
			list(t, objects, client.InNamespace(ns))
			for _, object := range objects.Items {
				s.objects = append(s.objects, mustJSON(t, object.Object))
			}
		}
	}
	return s
}

// list works after the test, too, when t.Context has ended.
func list(t *testing.T, into client.ObjectList, options ...client.ListOption) {
	t.Helper()
	if err := kube.List(context.Background(), into, options...); err != nil {
		t.Fatal(err)
	}
}

// document adds an object of a list, which has no kind of its own.
func (s *meshState) document(t *testing.T, version, kind string, object client.Object) {
	t.Helper()
	object.GetObjectKind().SetGroupVersionKind(schema.FromAPIVersionAndKind(version, kind))
	object.SetManagedFields(nil)
	s.documents = append(s.documents, string(mustJSON(t, object)))
}

// istioKinds returns every kind of Istio's that the API server serves and that configures proxies.
func istioKinds(t *testing.T) []schema.GroupVersionKind {
	t.Helper()
	server, err := discovery.NewDiscoveryClientForConfig(cluster.Config)
	if err != nil {
		t.Fatal(err)
	}
	lists, err := server.ServerPreferredResources()
	if err != nil {
		t.Fatal(err)
	}
	var out []schema.GroupVersionKind
	for _, resources := range lists {
		if !strings.HasPrefix(resources.GroupVersion, "networking.istio.io/") {
			continue
		}
		for _, resource := range resources.APIResources {
			if slices.Contains(resource.Verbs, "list") {
				out = append(out, schema.FromAPIVersionAndKind(resources.GroupVersion, resource.Kind))
			}
		}
	}
	if len(out) < 3 {
		t.Fatalf("the API server serves only %v", out)
	}
	return out
}

// sidecar is a pod with a proxy in a namespace.
func sidecar(ns string) oracle.Caller {
	return oracle.Caller{Namespace: ns, Address: "10.9.0.1", Labels: map[string]string{"app": "caller"}}
}

// wantValid fails if Istio's validation rejects an object in the test's namespaces, or if Envoy would reject what istiod's
// discovery server generates for a sidecar in one of them or for the ingress gateway.
func wantValid(t *testing.T) {
	t.Helper()
	begun := time.Now()
	s := meshOf(t)
	if len(s.objects) == 0 {
		t.Log("nothing to validate: no object of networking.istio.io exists in the test's namespaces")
		return
	}
	var callers []oracle.Caller
	for _, ns := range s.namespaces {
		if ns != ingressNamespace && ns != "istio-system" {
			callers = append(callers, sidecar(ns))
		}
	}
	if s.gateway.Gateway {
		callers = append(callers, s.gateway)
	}
	validity, err := oracle.Start(t).Envoy(strings.Join(s.documents, "\n---\n"), s.objects, callers)
	if err != nil {
		t.Fatalf("validating the generated objects: %v", err)
	}
	for _, fault := range validity.Faults() {
		t.Error(fault)
	}
	if validity.Routes == 0 || validity.Clusters == 0 || validity.Listeners == 0 {
		t.Errorf("%d objects: checked only %d listeners, %d clusters and %d route configurations", len(s.objects), validity.Listeners, validity.Clusters, validity.Routes)
	}
	t.Logf("validated in %v: %d objects, and of %d proxies %d listeners, %d clusters, %d route configurations",
		time.Since(begun).Round(time.Millisecond), len(s.objects), len(callers), validity.Listeners, validity.Clusters, validity.Routes)
}

// A meshCall is a request by a proxy, and the namespace whose pods receive it: "" if none must, "*" if any may but the attacker's.
type meshCall struct {
	from oracle.Caller
	host string
	to   string
}

// misrouted follows calls through the configuration that istiod sends, and returns what is wrong with where they go.
func misrouted(t *testing.T, s *meshState, attacker string, calls []meshCall) []string {
	t.Helper()
	documents := slices.Clone(s.documents)
	for _, object := range s.objects {
		document, err := yaml.JSONToYAML(object)
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, string(document))
	}
	asked := make([]oracle.Call, len(calls))
	for i, c := range calls {
		asked[i] = oracle.Call{From: c.from, Address: "192.0.2.9", Port: 8080, Host: c.host}
	}
	outcomes, err := oracle.Start(t).Reach(strings.Join(documents, "\n---\n"), asked)
	if err != nil {
		t.Fatalf("following calls: %v", err)
	}
	var faults []string
	for i, c := range calls {
		reached := s.reached(outcomes[i])
		var want []string
		if c.to != "" {
			want = []string{c.to}
		}
		if c.to != "*" && !slices.Equal(reached, want) || c.to == "*" && slices.Contains(reached, attacker) {
			faults = append(faults, fmt.Sprintf("a call from %s (gateway: %t) to %s reaches pods of %q, want %q: %+v", c.from.Namespace, c.from.Gateway, c.host, reached, c.to, outcomes[i]))
		}
	}
	return faults
}

// reached returns the namespaces whose pods receive a call or a copy of it.
func (s *meshState) reached(o oracle.Outcome) []string {
	var out []string
	for _, portion := range append(slices.Clone(o.To), o.Mirrors...) {
		for _, address := range portion.Endpoints {
			out = append(out, cmp.Or(s.owners[address], address))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
