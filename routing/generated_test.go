// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	networkingapi "istio.io/api/networking/v1alpha3"
	"sigs.k8s.io/yaml"

	"outrigger.dev/outrigger/api"
)

var (
	generations = flag.Int("generations", 400, "how many inputs to generate")
	generated   = flag.String("generated", "", "write the generated inputs without foreign objects, and what comes of them, to this file, for test/oracle")
)

// vocabulary are the annotations that generated Services carry, each with texts that parse.
var vocabulary = map[string][]string{
	api.AnnotationDefaultVersion: {"@first", "@lowest", "@highest", "@all", "v1", "v2", "1.2.3", "v9"},
	api.AnnotationWeights:        {"v1=90,v2=10", "v1=1,v2=1,1.2.3=1", "v2=7", "v1=999,v2=1", "v1=3,v9=5", "1.2.3=50,1-2-3=50", "v1=0,v2=1"},
	api.AnnotationMatch: {
		"v2=header:end-user:jason", "v2=cookie:beta:1;v1=query:v:3;v2=header-prefix:x-c:can;v1=source:v2", "v9=header:a:b;v1=header:a:b",
		"1.2.3=header:x:a%3Bb", "v1=query:a:b;v1=query:a:b",
	},
	api.AnnotationMirror:        {"v2=10", "v1=100,v2=50", "v9=1"},
	api.AnnotationSticky:        {"cookie:ver:1h", "cookie:x-v:30s"},
	api.AnnotationExpose:        {"true", "true", "true", "false"},
	api.AnnotationHosts:         {"a.example.com", "a.example.com,b.example.com", "*", "*.example.com,a.example.com"},
	api.AnnotationGatewayPort:   {"80", "8066"},
	api.AnnotationTLSCredential: {"app-tls", "other-tls"},
	api.AnnotationHTTPSRedirect: {"true", "true", "false"},
	api.AnnotationPath:          {"/", "/hello", "/hello/"},
	api.AnnotationPathRewrite:   {"/", "/other"},
	api.AnnotationServicePort:   {"http", "http-admin", "8080"},
	api.AnnotationUnversioned:   {"all", "ignore"},
	api.AnnotationDrift:         {"adopt", "revert", "detach"},
	api.AnnotationUnreadyPolicy: {"hold", "next", "all"},
	api.AnnotationExportTo:      {"*", ".", "other,."},
	api.AnnotationInheritPolicy: {"true", "false"},
	api.AnnotationVersionLabel:  {"version", "version", "version", "app.kubernetes.io/version"},
}

// portLists are the ports of generated Services.
var portLists = []string{
	`[{name: http, port: 8080}]`,
	`[{name: http, port: 8080}, {name: http-admin, port: 9090}]`,
	`[{name: grpc-api, port: 7000}, {name: tcp-db, port: 5432}, {name: stats, port: 8125, protocol: UDP}]`,
	`[{port: 8080}]`,
	`[{name: tcp, port: 5432}]`,
	`[{name: http, port: 8080}, {name: https, port: 443}, {name: web, port: 3000}]`,
	`[{name: https, port: 443}]`,
}

// generate writes down a user's Namespace, Service and Deployments.
func generate(random *rand.Rand) string {
	pick := func(words []string) string { return words[random.Intn(len(words))] }
	annotations := map[string]string{}
	for _, key := range sortedKeys(vocabulary) {
		if random.Intn(3) == 0 {
			annotations[key] = pick(vocabulary[key])
		}
	}
	text, err := yaml.Marshal(annotations)
	if err != nil {
		panic(err) // a map of texts
	}
	out := fmt.Sprintf(`apiVersion: v1
kind: Namespace
metadata:
  name: demo
  labels: {istio-injection: enabled}
---
apiVersion: v1
kind: Service
metadata:
  name: app
  namespace: demo
  uid: "1"
  annotations:
    %s
spec:
  clusterIP: 10.0.0.1
  selector: {app: app}
  ports: %s
`, strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", "\n    "), pick(portLists))
	label := annotations[api.AnnotationVersionLabel]
	if label == "" {
		label = "version"
	}
	for i := range 1 + random.Intn(4) {
		version := pick([]string{"v1", "v1", "v2", "v2", "1.2.3", "1-2-3", "V3_x", ""})
		labels := `app: app, workload: "` + fmt.Sprint(i) + `"`
		if version != "" {
			labels = fmt.Sprintf("%s, %s: %q", labels, label, version)
		}
		selector := labels
		if random.Intn(3) == 0 {
			selector = fmt.Sprintf("app: app, workload: %q", fmt.Sprint(i))
		}
		out += fmt.Sprintf(`---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: app-%d
  namespace: demo
spec:
  selector: {matchLabels: {%s}}
  template: {metadata: {labels: {%s}}}
`, i, selector, labels)
	}
	return out
}

// generateForeign puts up to four of the foreign objects of a walk beside each other.
func generateForeign(random *rand.Rand, at time.Time) Objects {
	var out Objects
	for i := range random.Intn(5) {
		c := &cluster{now: at.Add(-time.Duration(random.Intn(3)) * time.Hour)}
		foreignStep(c, func(words ...string) string { return words[random.Intn(len(words))] })
		for _, object := range c.foreign.All() {
			object.SetName(fmt.Sprintf("%s-%d", object.GetName(), i))
		}
		out.DestinationRules = append(out.DestinationRules, c.foreign.DestinationRules...)
		out.VirtualServices = append(out.VirtualServices, c.foreign.VirtualServices...)
		out.Gateways = append(out.Gateways, c.foreign.Gateways...)
	}
	return out
}

// Whatever a user writes: the same input in another order gives the same bytes, the plan of a plan is empty, and every
// rule is one that Istio takes.
func TestGeneratedInputs(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	archive := &txtar.Archive{}
	for seed := range *generations {
		random := rand.New(rand.NewSource(int64(seed)))
		input := generate(random)
		observed, _ := readInput(t, []byte(input))
		if seed%2 == 1 {
			observed.Foreign = generateForeign(random, at)
		}
		result := PlanOffline(observed, at)
		again := observed
		again.Existing, again.Foreign = copyObjects(observed.Existing), copyObjects(observed.Foreign)
		if other := PlanOffline(shuffled(again, random), at); !bytes.Equal(bytesOf(t, result), bytesOf(t, other)) {
			t.Errorf("%s\nanother order gives another plan:\n%s", input, cmp.Diff(text(t, result), text(t, other)))
		}
		again.Existing = copyObjects(result.Objects)
		if next := PlanOffline(again, at.Add(time.Hour)).Objects; len(Diff(again.Existing, next)) > 0 {
			t.Errorf("%s\nthe plan of a plan is not empty:\n%s", input, cmp.Diff(text(t, result.Objects), text(t, next)))
		}
		for _, fault := range unsound(result.Objects, observed.Foreign) {
			t.Errorf("%s\n%s\n%s", input, fault, text(t, result.Objects))
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
		if seed%2 == 0 {
			archive.Files = append(archive.Files,
				txtar.File{Name: fmt.Sprintf("%d/in.yaml", seed), Data: []byte(input)},
				txtar.File{Name: fmt.Sprintf("%d/objects.yaml", seed), Data: printed(t, result.Objects)})
		}
	}
	if *generated != "" {
		if err := os.WriteFile(*generated, txtar.Format(archive), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// unsound says what is wrong with settled objects: a subset that is not there, a destination that stands twice in a rule,
// a share that is none.
func unsound(made, foreign Objects) []string {
	var out []string
	subsets := map[string]bool{"": true}
	for _, rule := range append(made.DestinationRules, foreign.DestinationRules...) {
		for _, subset := range rule.Spec.Subsets {
			subsets[subset.Name] = true
		}
	}
	for _, vs := range made.VirtualServices {
		for _, d := range DestinationsOf(vs) {
			if !subsets[d.Subset] {
				out = append(out, fmt.Sprintf("VirtualService %s names subset %s, which is not there", vs.Name, d.Subset))
			}
		}
		for _, http := range vs.Spec.Http {
			out = append(out, unsoundRoute(vs.Name+" "+http.Name, http.Route)...)
		}
	}
	return out
}

func unsoundRoute(name string, route []*networkingapi.HTTPRouteDestination) []string {
	var out []string
	var sum int32
	seen := map[string]bool{}
	for _, d := range route {
		if seen[d.Destination.Subset] {
			out = append(out, fmt.Sprintf("%s leads to subset %q twice", name, d.Destination.Subset))
		}
		seen[d.Destination.Subset] = true
		sum += d.Weight
		if len(route) > 1 && d.Weight <= 0 {
			out = append(out, fmt.Sprintf("%s leads to subset %q with weight %d", name, d.Destination.Subset, d.Weight))
		}
	}
	if len(route) == 1 && sum != 0 {
		out = append(out, fmt.Sprintf("%s has one destination, with a weight", name))
	}
	return out
}
