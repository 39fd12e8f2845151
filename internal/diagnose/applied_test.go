// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

func TestPromotionThatLeavesOtherVersions(t *testing.T) {
	literal := api.RouteIntent{Default: api.DefaultIntent{Policy: api.DefaultLiteral, Version: "v1"}}
	weighed := literal
	weighed.Weights = []api.Weight{{Version: "v1", Weight: 50}, {Version: "v2", Weight: 50}}
	both := []routing.ReadShare{{Version: "v1", Weight: 50}, {Version: "v2", Weight: 50}}
	for name, test := range map[string]struct {
		intent api.RouteIntent
		to     []routing.ReadShare
		want   string
	}{
		"both versions":         {literal, both, "includes more than version v1, so the route is v1=50 v2=50. To send all requests to v1: outrigger shift app v1=1 -n demo"},
		"the version alone":     {literal, []routing.ReadShare{{Version: "v1", Weight: 100}}, ""},
		"weights are written":   {weighed, both, ""},
		"no version is written": {api.RouteIntent{}, both, ""},
	} {
		reading := routing.Reading{Default: "v1 Deployment/app-v2", Rules: []routing.ReadRule{{To: test.to}}}
		service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "app"}}
		got := defaultIncludesMore(service, reading, test.intent).String()
		if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}
