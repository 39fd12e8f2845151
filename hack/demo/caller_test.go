// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// Requests follow the weights of the rule without a match.
func TestSharesAreThoseOfTheRoute(t *testing.T) {
	for text, want := range map[string]map[string]int{
		"{kind: VirtualService}": nil,
		"{kind: VirtualService, spec: {http: [{route: [{destination: {subset: v1}}]}]}}":                                                                                                           {"v1": 100},
		"{kind: VirtualService, spec: {http: [{match: [{}], route: [{destination: {subset: v2}}]}, {route: [{destination: {subset: v1}, weight: 80}, {destination: {subset: v2}, weight: 20}]}]}}": {"v1": 80, "v2": 20},
	} {
		route := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), route); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, percentagesOf(route)); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

// Of each hundred requests, every version gets its percentage, and a change of the route applies at once.
func TestRequestsAreSpreadEvenly(t *testing.T) {
	var s shares
	if version := s.next(); version != "" {
		t.Errorf("without a route, a request goes to %q", version)
	}
	for _, percentages := range []map[string]int{{"v1": 100}, {"v1": 80, "v2": 20}, {"v1": 1, "v2": 33, "v3": 66}, {"v1": 100, "v2": 0}} {
		s = s.with(percentages)
		got := map[string]int{}
		for range 100 {
			got[s.next()]++
		}
		for version, percent := range percentages {
			if got[version] != percent {
				t.Errorf("%v: got %v", percentages, got)
				break
			}
		}
		s.next()
		if before := s.credits; !cmp.Equal(before, s.with(percentages).credits) {
			t.Errorf("reading the same route again restarts the cycle: %v", before)
		}
	}
}

// Responses are counted by version and status; without an address, no request is sent.
func TestCallerCountsResponses(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }))
	defer server.Close()
	c := &caller{responses: map[string]int{}, addresses: map[string]string{"v2": strings.TrimPrefix(server.URL, "http://"), "v3": "127.0.0.1:1"}}
	for _, version := range []string{"v1", "v2", "v3"} {
		c.shares = c.shares.with(map[string]int{version: 100})
		if to, url := c.next(); url != "" {
			c.send(t.Context(), to, url)
		}
	}
	if want := "v2 500: 1, v3 no response: 1"; c.String() != want {
		t.Errorf("got %q; want %q", c, want)
	}
}

// The metrics server's address is in the settings once, where the demo replaces it.
func TestMetricsSettingsHaveTheAddress(t *testing.T) {
	if strings.Count(metricsSettings, metricsAddress) != 1 {
		t.Errorf("metrics.yaml has %s not exactly once", metricsAddress)
	}
}
