package main

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// bypassReasons are those of paths on which requests reach every version of a Service.
var bypassReasons = []api.RouteReason{
	api.RouteGatewayBypasses, api.RouteDelegateBypasses, api.RouteMeshBypasses, api.RouteGatewayAPIBypasses, api.RouteIngressBypasses,
}

// bypasses lists the objects that route past the versions of the Services in the namespace. It returns no finding where the
// release keeps no routes, and where the Services may not be read.
func (c *checker) bypasses(ctx context.Context) []finding {
	if c.live == nil || !c.config.Routing.Enabled {
		return nil
	}
	s := c.live.snapshot(c.namespace, false)
	var services corev1.ServiceList
	if err := s.List(ctx, &services, client.InNamespace(c.namespace)); err != nil {
		return []finding{note("paths that bypass the versions are not known: %v", err)}
	}
	var out []finding
	looker := c.live.looker(s)
	for i := range services.Items {
		observed, _, err := looker.Look(ctx, client.ObjectKeyFromObject(&services.Items[i]))
		if err != nil {
			return []finding{note("paths that bypass the versions are not known: %v", err)}
		}
		if observed == nil {
			continue // it is being deleted
		}
		for _, problem := range routing.Plan(*observed, c.live.now()).Problems {
			if slices.Contains(bypassReasons, problem.Reason) {
				out = append(out, warned("%s (%s)", problem, problem.Reason))
			}
		}
	}
	return out
}
