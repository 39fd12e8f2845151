// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/routing"
)

// byHand is what a user writes for bookinfo: subsets for the versions, and a route for each service. %s stands for the
// rules of reviews.
const byHand = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: productpage, namespace: demo}
spec: {host: productpage, subsets: [{name: only, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: details, namespace: demo}
spec: {host: details, subsets: [{name: only, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ratings, namespace: demo}
spec: {host: ratings, subsets: [{name: only, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: demo}
spec:
  host: reviews
  subsets:
  - {name: no-stars, labels: {version: v1}}
  - {name: black-stars, labels: {version: v2}}
  - {name: red-stars, labels: {version: v3}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: productpage, namespace: demo}
spec: {hosts: [productpage], http: [{route: [{destination: {host: productpage, subset: only}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: details, namespace: demo}
spec: {hosts: [details], http: [{route: [{destination: {host: details, subset: only}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ratings, namespace: demo}
spec: {hosts: [ratings], http: [{route: [{destination: {host: ratings, subset: only}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: demo}
spec:
  hosts: [reviews]
  http:
%s
`

// Labels and annotations mean what is written by hand for bookinfo: every call of one reaches the same versions, with the
// same shares, as the same call of the other.
func TestBookinfoMeansWhatIsWrittenByHand(t *testing.T) {
	istio, binary := Start(t), outrigger(t)
	for _, c := range []struct {
		meaning  string
		annotate map[string]string // of reviews, keys without the domain
		rules    string            // of reviews, by hand
		plain    string            // where a call of reviews goes
		jason    string            // and one with the header end-user: jason
	}{
		{"all to v1", nil,
			"  - route: [{destination: {host: reviews, subset: no-stars}}]",
			"v1", "v1"},
		{"half of reviews to v3", map[string]string{"weights": "v1=50,v3=50"},
			"  - route:\n    - {destination: {host: reviews, subset: no-stars}, weight: 50}\n    - {destination: {host: reviews, subset: red-stars}, weight: 50}",
			"v1=50 v3=50", "v1=50 v3=50"},
		{"jason to v2", map[string]string{"match": "v2=header:end-user:jason"},
			"  - match: [{headers: {end-user: {exact: jason}}}]\n    route: [{destination: {host: reviews, subset: black-stars}}]\n  - route: [{destination: {host: reviews, subset: no-stars}}]",
			"v1", "v2"},
		{"reviews promoted to v3", map[string]string{"default-version": "v3"},
			"  - route: [{destination: {host: reviews, subset: red-stars}}]",
			"v3", "v3"},
	} {
		t.Run(c.meaning, func(t *testing.T) {
			application := annotated(t, "../../examples/bookinfo/app.yaml", "reviews", c.annotate)
			ours, err := documentsOf(routes(t, binary, application))
			if err != nil {
				t.Fatal(err)
			}
			got := bookinfoCalls(t, istio, application, ours)
			theirs := bookinfoCalls(t, istio, application, []string{fmt.Sprintf(byHand, c.rules)})
			if diff := cmp.Diff(theirs, got); diff != "" {
				t.Errorf("-by hand +ours:\n%s", diff)
			}
			for call, want := range map[string]string{"demo reviews": c.plain, "demo reviews jason": c.jason, "other reviews": c.plain, "demo ratings": "v1"} {
				if got[call] != want {
					t.Errorf("%s goes to %s, want %s", call, got[call], want)
				}
			}
		})
	}
}

// bookinfoCalls calls every service from two namespaces, as anybody and as jason, and says where each call goes.
func bookinfoCalls(t *testing.T, istio *Oracle, application []byte, configuration []string) map[string]string {
	t.Helper()
	var services []*corev1.Service
	var deployments []*appsv1.Deployment
	for _, fields := range objectsOf(t, application) {
		encoded, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		switch fields["kind"] {
		case "Service":
			service := &corev1.Service{}
			if err := json.Unmarshal(encoded, service); err != nil {
				t.Fatal(err)
			}
			service.Namespace, service.Spec.ClusterIP = "demo", fmt.Sprintf("10.0.0.%d", len(services)+1)
			services = append(services, service)
		case "Deployment":
			deployment := &appsv1.Deployment{}
			if err := json.Unmarshal(encoded, deployment); err != nil {
				t.Fatal(err)
			}
			deployments = append(deployments, deployment)
		}
	}
	book := newAddressBook()
	documents := []string{surroundings}
	var names []string
	var calls []Call
	for _, service := range services {
		var pods []routing.PodGroup
		for _, d := range deployments {
			if labels := d.Spec.Template.Labels; labels["app"] == service.Spec.Selector["app"] {
				pods = append(pods, routing.PodGroup{Workload: routing.WorkloadRef{Kind: "Deployment", Name: d.Name}, Version: labels["version"], Pods: 2, Ready: 2})
			}
		}
		running, err := book.running(service, "version", pods)
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, running...)
		for _, from := range []Caller{beside, elsewhere} {
			for _, who := range []string{"", "jason", "jasmine"} {
				call := Call{From: from, Address: service.Spec.ClusterIP, Port: 9080, Host: service.Name + ".demo.svc.cluster.local"}
				if who != "" {
					call.Headers = map[string]string{"end-user": who}
				}
				names = append(names, strings.TrimSpace(strings.Join([]string{from.Namespace, service.Name, who}, " ")))
				calls = append(calls, call)
			}
		}
	}
	outcomes, err := istio.Reach(strings.Join(slices.Concat(documents, configuration), "---\n"), calls)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for i, name := range names {
		out[name] = book.text(outcomes[i])
	}
	return out
}
