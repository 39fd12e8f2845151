// SPDX-License-Identifier: Apache-2.0

package api

import "testing"

func TestNearestRoutingKey(t *testing.T) {
	for _, c := range []struct{ key, want string }{
		{"outrigger.dev/weights", AnnotationWeights},
		{"outrigger.dev/wegihts", AnnotationWeights},
		{"outrigger.dev/weight", AnnotationWeights},
		{"outrigger.dev/Weights", AnnotationWeights},
		{"outriger.dev/weights", AnnotationWeights},
		{"outrigger.io/weights", AnnotationWeights},
		{"outrigger.dev/default", AnnotationDefaultVersion},
		{"outrigger.dev/defaultversion", AnnotationDefaultVersion},
		{"outrigger.dev/hots", AnnotationHosts},
		{"outrigger.dev/gateway", AnnotationGateway},
		{"outrigger.dev/rooting", LabelRouting},
		{"outrigger.dev/miror", AnnotationMirror},
		{"outrigger.dev/path-rewrit", AnnotationPathRewrite},
		{"outrigger.dev/default-gon", AnnotationUnreadyPolicy},
		{"outrigger.dev/default-gone-afer", AnnotationUnreadyAfter},
		{"outrigger.dev/servce-port", AnnotationServicePort},
		{"outrigger.dev/matches", AnnotationMatch},
		{"outrigger.dev/team", ""},
		{"outrigger.dev/", ""},
		{"example.com/weights", ""},
		{"weights", ""},
	} {
		got, found := NearestRoutingKey(c.key)
		if got.Key != c.want || found != (c.want != "") {
			t.Errorf("%s: %q, want %q", c.key, got.Key, c.want)
		}
	}
}
