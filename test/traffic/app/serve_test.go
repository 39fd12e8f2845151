// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"outrigger.dev/outrigger/test/traffic/load"
)

// The tags of the image are those of the quick start, and a pod's own label wins.
func TestVersionIsThatOfTheLabelOrTheImage(t *testing.T) {
	defer func(before string) { version = before }(version)
	for tag, want := range map[string]string{"42": "v1", "43": "v2", "7": "7"} {
		version = tag
		if got := ownVersion(); got != want {
			t.Errorf("the image with the tag %s is version %s; want %s", tag, got, want)
		}
	}
	t.Setenv("VERSION", "v9")
	if got := ownVersion(); got != "v9" {
		t.Errorf("with VERSION=v9 it is %s", got)
	}
}

func TestResponsesNameTheVersion(t *testing.T) {
	answered := httptest.NewRecorder()
	handler("v3", faults{}).ServeHTTP(answered, httptest.NewRequest(http.MethodGet, "/hello", nil))
	if got := answered.Header().Get(load.VersionHeader); got != "v3" || answered.Body.String() != "v3\n" {
		t.Errorf("header %q, body %q; want v3", got, answered.Body)
	}
}

// Errors are as frequent as the variable says, name the version, and are counted.
func TestErrorsAreSpreadEvenly(t *testing.T) {
	is, err := faultsOf("5", "1ms")
	if err != nil {
		t.Fatal(err)
	}
	serves := handler("v2", is)
	errors := 0
	for n := 1; n <= 40; n++ {
		answered := httptest.NewRecorder()
		serves.ServeHTTP(answered, httptest.NewRequest(http.MethodGet, "/hello", nil))
		if answered.Code == http.StatusInternalServerError && answered.Header().Get(load.VersionHeader) == "v2" {
			errors++
		}
		if want := n / 20; errors != want {
			t.Fatalf("%d of %d responses are errors; want %d", errors, n, want)
		}
	}
	metrics := httptest.NewRecorder()
	serves.ServeHTTP(metrics, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{
		`traffic_app_requests_total{code="200",version="v2"} 38`, `traffic_app_requests_total{code="500",version="v2"} 2`, `traffic_app_request_duration_seconds_count{version="v2"} 40`,
	} {
		if !strings.Contains(metrics.Body.String(), want+"\n") {
			t.Errorf("no %s in\n%s", want, metrics.Body)
		}
	}
	for _, invalid := range [][2]string{{"101", ""}, {"-1", ""}, {"x", ""}, {"", "-1s"}, {"", "3"}} {
		if _, err := faultsOf(invalid[0], invalid[1]); err == nil {
			t.Errorf("ERRORS=%s DELAY=%s is accepted", invalid[0], invalid[1])
		}
	}
}
