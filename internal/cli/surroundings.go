// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/routing"
	"outrigger.dev/outrigger/routing/controller"
)

func (l *live) surroundings(ctx context.Context, s *snapshot, observed *routing.Observed) (diagnose.Surroundings, error) {
	paths := routing.InEffect(*observed, l.now())[1:]
	out := diagnose.Surroundings{Gaps: s.gaps}
	if len(paths) == 0 {
		return out, nil
	}
	for _, gateway := range slices.Concat(observed.Existing.Gateways, observed.Foreign.Gateways) {
		if !slices.ContainsFunc(paths, func(p routing.Path) bool { return p.Gateway == gateway.Namespace+"/"+gateway.Name }) {
			continue
		}
		services, err := controller.GatewayServices(ctx, s, gateway.Spec.Selector)
		if err != nil {
			return out, err
		}
		out.Gateways, out.Ingress = append(out.Gateways, gateway), append(out.Ingress, diagnose.Ingress{Services: services})
	}
	var nodes corev1.NodeList
	if err := s.List(ctx, &nodes); err != nil {
		return out, err
	}
	out.Node = diagnose.NodeAddress(nodes.Items)
	return out, nil
}
