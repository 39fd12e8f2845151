// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

const twoRules = `
kind: VirtualService
metadata: {name: app}
spec:
  hosts: [app.demo.svc.cluster.local]
  gateways: [mesh]
  http:
  - match:
    - {gateways: [mesh], headers: {end-user: {exact: jason}}}
    - {gateways: [demo/app], uri: {prefix: /}, headers: {end-user: {exact: jason}}}
    route: [{destination: {host: app, subset: v2}}]
  - route: [{destination: {host: app, subset: v1}, weight: 90}, {destination: {host: app, subset: v2}, weight: 10}]
`

const pair = `
kind: List
items:
- kind: DestinationRule
  metadata: {name: app}
  spec: {host: app, subsets: [{name: v2}, {name: v1}]}
- kind: VirtualService
  metadata: {name: app}
  spec: {http: [{route: [{destination: {host: app}}]}]}
- kind: Gateway
  metadata: {name: app}
  spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80}, hosts: [demo/*]}]}
`

const table = `NAME   READY   STATUS    RESTARTS   AGE   VERSION
a-1    2/2     Running   0          5s    v1
a-2    2/2     Running   0          5s    v2
`

func TestChecks(t *testing.T) {
	tests := map[string]struct {
		output string
		check  check
		wrong  string // what the error must hold; empty if there must be none
	}{
		"rules and weights":                   {twoRules, routes("app", "end-user=jason: v2=100; v1=90 v2=10"), ""},
		"another weight is wrong":             {twoRules, routes("app", "end-user=jason: v2=100; v1=80 v2=20"), "v1=90 v2=10"},
		"another name is wrong":               {twoRules, routes("other", "v1=100"), "no VirtualService other"},
		"hosts and gateways":                  {twoRules, boundTo("app", "app.demo.svc.cluster.local", "mesh"), ""},
		"no subset":                           {pair, routes("app", "-=100"), ""},
		"a route without subset is not to v1": {pair, routes("app", "v1=100"), `"-=100", not "v1=100"`},
		"subsets of one of a list":            {pair, subsets("app", "v1 v2"), ""},
		"a subset too few":                    {pair, subsets("app", "v1"), `"v1 v2", not "v1"`},
		"gateway":                             {pair, gateway("app", 80, "demo/*"), ""},
		"gateway with another port":           {pair, gateway("app", 8066, "demo/*"), "8066"},
		"not YAML":                            {"Error: :", subsets("app", "v1"), "YAML"},
		"pods":                                {table, pods(2, "2/2"), ""},
		"a pod too few":                       {table, pods(3, "2/2"), "2 pods, not 3"},
		"a pod without sidecar":               {strings.Replace(table, "2/2", "1/1", 1), pods(2, "2/2"), "pod a-1"},
		"a pod that waits":                    {strings.Replace(table, "Running", "Pending", 1), pods(2, "2/2"), "pod a-1"},
		"no pods":                             {"No resources found\n", pods(2, "2/2"), "0 pods"},
		"a word in every row":                 {table, everyRow("Running"), ""},
		"a word in one row":                   {table, everyRow("v1"), "a-2"},
		"no row for a word":                   {"NAME\n", everyRow("v1"), "no row"},
		"contains":                            {"a b", contains("a", "b"), ""},
		"contains not":                        {"a b", contains("a", "c"), `"c"`},
		"lacks":                               {"a b", lacks("c"), ""},
		"lacks not":                           {"a b", lacks("b"), `"b"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := test.check(test.output)
			switch {
			case test.wrong == "" && err != nil:
				t.Error(err)
			case test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)):
				t.Errorf("the error is %v, and should name %s", err, test.wrong)
			}
		})
	}
}

func TestVersionsOfARollout(t *testing.T) {
	if got := versionsOf(table); got != "v1 v2" {
		t.Errorf("versionsOf = %q", got)
	}
}

func TestRouteWritten(t *testing.T) {
	const heading = "NAME WRITTEN HOSTS TO SUBSET\n"
	if got, err := routeWritten(heading + "orders 57 orders.x orders.x <none>\n"); got != "57" || err != nil {
		t.Errorf("routeWritten = %q, %v", got, err)
	}
	for _, output := range []string{heading, heading + "orders 57 orders.x orders.x v1\n", "Error from server\nnot found"} {
		if got, err := routeWritten(output); err == nil {
			t.Errorf("routeWritten(%q) = %q", output, got)
		}
	}
}
