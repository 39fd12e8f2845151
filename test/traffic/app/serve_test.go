// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"net/http/httptest"
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
	handler("v3").ServeHTTP(answered, httptest.NewRequest(http.MethodGet, "/hello", nil))
	if got := answered.Header().Get(load.VersionHeader); got != "v3" || answered.Body.String() != "v3\n" {
		t.Errorf("header %q, body %q; want v3", got, answered.Body)
	}
}
