// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// The corpus is only worth something if Istio itself takes of it what the files say it takes.
func TestIstioAnswersTheCorpus(t *testing.T) {
	istio := Start(t)
	var refused []string
	injected := 0
	i := installations[0]
	texts := i.configMaps(t, istio)
	for _, s := range corpus(t) {
		verdict, err := istio.Inject(i.review(texts, "enabled", s, s.raw(t)))
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		switch {
		case !verdict.Allowed && !strings.HasPrefix(s.name, "invalid.yaml/"):
			refused = append(refused, s.name)
		case verdict.Allowed && strings.HasPrefix(s.name, "invalid.yaml/"):
			t.Errorf("%s: allowed, but the file is of refused ones", s.name)
		case len(verdict.Patch) > 0:
			injected++
		}
	}
	want := []string{
		"hostile.yaml/metadata-with-quote", "hostile.yaml/metadata-with-backslash", "hostile.yaml/metadata-ends-in-backslash",
		"hostile.yaml/bootstrap-adds-volume", "hostile.yaml/container-name-adds-annotation",
		"prometheus.yaml/on-reserved-port", "prometheus.yaml/port-by-name", "prometheus.yaml/port-out-of-range",
		"templates.yaml/extra", "templates.yaml/extra-before", "templates.yaml/extra-alone", // only where they exist
		"templates.yaml/alias", "templates.yaml/functions",
	}
	if diff := cmp.Diff(want, refused); diff != "" {
		t.Errorf("pods that Istio refuses as installed (-want +got):\n%s", diff)
	}
	if injected < 100 {
		t.Errorf("only %d pods of the corpus are injected", injected)
	}
}

func TestAnalyzersSpeakAndKeepSilent(t *testing.T) {
	const cluster = `
apiVersion: v1
kind: Namespace
metadata: {name: demo, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: demo}
spec: {selector: {app: reviews}, ports: [{port: 9080, name: http}]}
---
apiVersion: v1
kind: Pod
metadata: {name: reviews-v1-1, namespace: demo, labels: {app: reviews, version: v1}}
spec: {containers: [{name: reviews, image: "registry.example/reviews:1"}, {name: istio-proxy, image: "registry.example/proxyv2:1"}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: demo}
spec: {host: reviews.demo.svc.cluster.local, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: demo}
spec:
  hosts: [reviews.demo.svc.cluster.local]
  http: [{route: [{destination: {host: reviews.demo.svc.cluster.local, subset: SUBSET}}]}]
`
	istio := Start(t)
	for _, c := range []struct {
		behaviour, subset string
		want              []Finding
	}{
		{behaviour: "a route to a subset that is there is clean", subset: "v1"},
		{behaviour: "a route to a subset that is not there is an error", subset: "v2", want: []Finding{{
			Code: "IST0101", Level: "Error", Resource: "VirtualService demo/reviews",
			Message: `Referenced host+subset in destinationrule not found: "reviews.demo.svc.cluster.local+v2"`,
		}}},
	} {
		t.Run(c.behaviour, func(t *testing.T) {
			got, err := istio.AnalyzeYAML(strings.Replace(cluster, "SUBSET", c.subset, 1))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

// What surrounds an application must be clean by itself, or a finding could not be blamed on the objects made for it.
func TestExamplesAreCleanByThemselves(t *testing.T) {
	istio := Start(t)
	for _, file := range examples(t) {
		t.Run(file, func(t *testing.T) {
			application, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			cluster, err := Cluster("demo", application)
			if err != nil {
				t.Fatal(err)
			}
			found, err := istio.AnalyzeYAML(cluster)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range found {
				t.Error(f)
			}
		})
	}
}

func TestAnalyzersFindAGatewayOnAPortThatIsNotOpen(t *testing.T) {
	istio := Start(t)
	application, err := os.ReadFile("../../examples/springbootapp/app.yaml")
	if err != nil {
		t.Fatal(err)
	}
	gateway := func(port int) any {
		return map[string]any{
			"apiVersion": "networking.istio.io/v1", "kind": "Gateway",
			"metadata": map[string]any{"name": "springbootapp", "namespace": "demo"},
			"spec": map[string]any{
				"selector": map[string]any{"istio": "ingressgateway"},
				"servers": []any{map[string]any{
					"hosts": []any{"demo/*"},
					"port":  map[string]any{"number": port, "name": "http", "protocol": "HTTP"},
				}},
			},
		}
	}
	for port, want := range map[int]string{80: "", 8066: "", 8067: "IST0162"} {
		cluster, err := Cluster("demo", application, gateway(port))
		if err != nil {
			t.Fatal(err)
		}
		found, err := istio.AnalyzeYAML(cluster)
		if err != nil {
			t.Fatal(err)
		}
		codes := ""
		for _, f := range found {
			codes += f.Code
		}
		if codes != want {
			t.Errorf("port %d: findings %v, want %q", port, found, want)
		}
	}
}
