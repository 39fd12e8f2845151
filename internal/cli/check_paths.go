// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/routing"
)

// bypassReasons are those of paths on which requests reach every version of a Service.
var bypassReasons = []api.RouteReason{
	api.RouteGatewayBypasses, api.RouteDelegateBypasses, api.RouteMeshBypasses, api.RouteGatewayAPIBypasses, api.RouteIngressBypasses,
}

// bypasses lists the objects that route past the versions of the Services in the namespace. It returns no finding where the
// release keeps no routes, and where the Services may not be read.
func (c *checker) bypasses(ctx context.Context) []diagnose.Finding {
	if c.live == nil || !c.config.Routing.Enabled {
		return nil
	}
	s := c.live.snapshot(c.namespace, false)
	var services corev1.ServiceList
	if err := s.List(ctx, &services, client.InNamespace(c.namespace)); err != nil {
		return []diagnose.Finding{diagnose.Note("paths that bypass the versions are not known: %v", err)}
	}
	var out []diagnose.Finding
	looker := c.live.looker(s)
	for i := range services.Items {
		observed, _, err := looker.Look(ctx, client.ObjectKeyFromObject(&services.Items[i]))
		if err != nil {
			return []diagnose.Finding{diagnose.Note("paths that bypass the versions are not known: %v", err)}
		}
		if observed == nil {
			continue // it is being deleted
		}
		for _, problem := range routing.Plan(*observed, c.live.now()).Problems {
			if slices.Contains(bypassReasons, problem.Reason) {
				out = append(out, diagnose.Warned("%s (%s)", problem, problem.Reason))
			}
		}
	}
	return out
}

// leavingMesh lists the hosts that an earlier release bound to the mesh, and that this release will serve at gateways alone.
func (c *checker) leavingMesh(ctx context.Context) []diagnose.Finding {
	if !c.config.Routing.Enabled {
		return nil // such a release may not read routes
	}
	var list networkingv1.VirtualServiceList
	err := c.client.List(ctx, &list, client.MatchingLabels{api.LabelManagedBy: api.ManagedBy})
	switch {
	case meta.IsNoMatchError(err) || apierrors.IsNotFound(err) || isForbidden(err):
		return nil
	case err != nil:
		return []diagnose.Finding{diagnose.Note("cannot list the hosts that leave the mesh: %v", err)}
	}
	var out []diagnose.Finding
	for _, vs := range list.Items {
		if hosts := routing.HostsLeavingMesh(vs, c.config.Routing.ClusterDomain); len(hosts) > 0 {
			out = append(out, diagnose.Note("VirtualService %s/%s binds %s to the mesh; from this release on, only gateways serve these hosts, unless the object was edited by hand and is left to its author (Drifted). Callers in the mesh then reach them through DNS and the ingress; use %s.%s instead",
				vs.Namespace, vs.Name, strings.Join(hosts, ", "), vs.Labels[api.LabelService], vs.Namespace))
		}
	}
	slices.SortFunc(out, func(a, b diagnose.Finding) int { return strings.Compare(a.Text, b.Text) })
	return out
}
