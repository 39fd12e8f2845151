// SPDX-License-Identifier: Apache-2.0

package inject

import "testing"

func TestIngressController(t *testing.T) {
	for mesh, want := range map[string]IngressController{
		"":                         {"STRICT", "istio", "ingressgateway"},
		"ingressControllerMode: 3": {"STRICT", "istio", "ingressgateway"},
		"ingressControllerMode: DEFAULT\ningressClass: edge": {"DEFAULT", "edge", "ingressgateway"},
		"ingressControllerMode: \"OFF\"":                     {"OFF", "istio", "ingressgateway"},
		"ingressSelector: mine\ningressService: other":       {"STRICT", "istio", "mine"},
		"ingressService: other":                              {"STRICT", "istio", "other"},
		"ingressService: istio-ingressgateway":               {"STRICT", "istio", "ingressgateway"},
		`ingressService: ""`:                                 {"STRICT", "istio", "ingressgateway"},
	} {
		config := parsed(t, func(s *Source) { s.Mesh = mesh })
		if got := config.IngressController(); got != want {
			t.Errorf("%q: %v, want %v", mesh, got, want)
		}
	}
}
