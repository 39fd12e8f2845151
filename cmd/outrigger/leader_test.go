// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"
)

func TestLabelValue(t *testing.T) {
	for version, want := range map[string]string{
		"v1.2.3": "v1.2.3", "v0.0.0-20261129002655-f63dc4d134d9+dirty": "v0.0.0-20261129002655-f63dc4d134d9_dirty", "+x+": "x",
	} {
		got := labelValue(version)
		if faults := validation.IsValidLabelValue(got); got != want || len(faults) > 0 {
			t.Errorf("%s: want %s, got %s %v", version, want, got, faults)
		}
	}
}
