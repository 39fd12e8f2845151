// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/routing"
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
		behind, err := ingressOf(ctx, s, gateway.Spec.Selector)
		if err != nil {
			return out, err
		}
		out.Gateways, out.Ingress = append(out.Gateways, gateway), append(out.Ingress, behind)
	}
	var nodes corev1.NodeList
	if err := s.List(ctx, &nodes); err != nil {
		return out, err
	}
	out.Node = diagnose.NodeAddress(nodes.Items)
	return out, nil
}

// ingressOf returns the Services of the gateway whose pods a selector matches, as the controller counts them: of those that select any
// of the pods, the ones in the namespace of the oldest. A tenant may label pods like the gateway's, and select them later.
func ingressOf(ctx context.Context, s *snapshot, selector map[string]string) (diagnose.Ingress, error) {
	var out diagnose.Ingress
	if len(selector) == 0 {
		return out, nil
	}
	var pods corev1.PodList
	if err := s.List(ctx, &pods, client.MatchingLabels(selector)); err != nil {
		return out, err
	}
	seen := map[string]bool{}
	for i := range pods.Items {
		if phase := pods.Items[i].Status.Phase; phase == corev1.PodSucceeded || phase == corev1.PodFailed {
			continue
		}
		namespace := pods.Items[i].Namespace
		var services corev1.ServiceList
		if err := s.List(ctx, &services, client.InNamespace(namespace)); err != nil {
			return out, err
		}
		for j := range services.Items {
			service := &services.Items[j]
			if !seen[namespace+"/"+service.Name] && routing.Selects(service.Spec.Selector, pods.Items[i].Labels) {
				seen[namespace+"/"+service.Name] = true
				out.Services = append(out.Services, service)
			}
		}
	}
	if len(out.Services) == 0 {
		return out, nil
	}
	oldest := slices.MinFunc(out.Services, func(a, b *corev1.Service) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace))
	})
	out.Services = slices.DeleteFunc(out.Services, func(service *corev1.Service) bool { return service.Namespace != oldest.Namespace })
	slices.SortFunc(out.Services, func(a, b *corev1.Service) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}
