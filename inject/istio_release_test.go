// SPDX-License-Identifier: Apache-2.0

package inject

import "testing"

func TestReleaseOfTheConfigMap(t *testing.T) {
	for name, test := range map[string]struct {
		labels map[string]string
		want   string
	}{
		"none":          {nil, ""},
		"version":       {map[string]string{"app.kubernetes.io/version": "1.31.1", "helm.sh/chart": "istiod-1.30.0"}, "1.31.1"},
		"chart":         {map[string]string{"helm.sh/chart": "istiod-1.30.0"}, "1.30.0"},
		"another chart": {map[string]string{"helm.sh/chart": "base-1.30.0"}, ""},
		"source tree":   {map[string]string{"app.kubernetes.io/version": "1.0.0"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := ReleaseOf(test.labels); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
