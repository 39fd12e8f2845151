// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"
	"strings"
	"testing"
	"time"

	"outrigger.dev/outrigger/api"
)

// A problem about a setting names the object that it is set on: the Namespace, unless the Service has one of its own. On the Namespace
// it also names the Service that it affects.
func TestProblemsNameTheNamespaceOfADefault(t *testing.T) {
	for _, c := range []struct {
		key, value string
		reason     api.RouteReason
		around     func(*cluster)
	}{
		{api.AnnotationGateway, "istio-system/none", api.RouteGatewayNotFound, nil},
		{api.AnnotationGateway, "istio-system/none", api.RouteGatewayNotAllowed, func(c *cluster) { c.settings.Gateways = []string{"other/*"} }},
		{api.AnnotationGateway, "istio-system/none", api.RouteStillExposed, func(c *cluster) { c.advance(time.Minute) }},
		{api.AnnotationGatewaySelector, "istio=none", api.RouteGatewayUnmatched, func(c *cluster) { c.ingress = nil }},
		{api.AnnotationGatewayPort, "9999", api.RouteGatewayPortUnexposed, nil},
		{api.AnnotationGatewayPort, "9999", api.RouteGatewayNotAllowed, func(c *cluster) { c.settings.GatewayPorts = []string{"80"} }},
		{api.AnnotationDefaultVersion, "v9", api.RoutePendingVersions, nil},
		{api.AnnotationVersionLabel, "example.com/none", api.RouteVersionLabelHeld, nil},
	} {
		for _, kind := range []string{"Namespace", "Service"} {
			t.Run(c.key+" "+string(c.reason)+" on a "+kind, func(t *testing.T) {
				s := twoVersions(t)
				s.annotate("expose=true")
				if c.around != nil {
					c.around(s)
				}
				if s.namespace.Annotations = map[string]string{c.key: c.value}; kind == "Service" {
					s.namespace.Annotations[c.key], s.service.Annotations[c.key] = "other", c.value
				}
				problems := Plan(s.observe(), s.now).Problems
				at := slices.IndexFunc(problems, func(p api.RouteProblem) bool { return p.Reason == c.reason })
				if at < 0 {
					t.Fatalf("no %s in %v", c.reason, problems)
				}
				p := problems[at]
				if p.Object.Kind != kind || p.Field != api.AnnotationField(c.key) || strings.HasSuffix(p.Message, AffectedService("app")) != (kind == "Namespace") {
					t.Error(p)
				}
			})
		}
	}
}

func TestSubsetsOnlyOfANamespaceNamesIt(t *testing.T) {
	c := twoVersions(t)
	c.namespace.Labels[api.LabelRouting] = string(api.RoutingSubsetsOnly)
	c.annotate("weights=v1=90,v2=10")
	problems := Plan(c.observe(), c.now).Problems
	if len(problems) != 1 || problems[0].Object != (api.ObjectRef{Kind: "Namespace", Name: "demo"}) || !strings.HasSuffix(problems[0].Message, AffectedService("app")) {
		t.Error(problems)
	}
}
