// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/routing"
)

// surroundings are what the address of a Service depends on beyond what its plan does.
type surroundings struct {
	gaps     gaps                    // what may not be read
	gateways []*networkingv1.Gateway // those that the routes name
	ingress  []ingress               // in their order
	node     string                  // an address of a node; empty if none may be read
}

// ingress are the Services that select the pods of one gateway.
type ingress struct{ services []*corev1.Service }

func (l *live) surroundings(ctx context.Context, s *snapshot, observed *routing.Observed) (surroundings, error) {
	paths := routing.InEffect(*observed, l.now())[1:]
	out := surroundings{gaps: s.gaps}
	if len(paths) == 0 {
		return out, nil
	}
	for _, gateway := range slices.Concat(observed.Standing.Gateways, observed.Foreign.Gateways) {
		if !slices.ContainsFunc(paths, func(p routing.Path) bool { return p.Gateway == gateway.Namespace+"/"+gateway.Name }) {
			continue
		}
		behind, err := ingressOf(ctx, s, gateway.Spec.Selector)
		if err != nil {
			return out, err
		}
		out.gateways, out.ingress = append(out.gateways, gateway), append(out.ingress, behind)
	}
	var nodes corev1.NodeList
	if err := s.List(ctx, &nodes); err != nil {
		return out, err
	}
	out.node = nodeAddress(nodes.Items)
	return out, nil
}

func ingressOf(ctx context.Context, s *snapshot, selector map[string]string) (ingress, error) {
	var out ingress
	if len(selector) == 0 {
		return out, nil
	}
	var pods corev1.PodList
	if err := s.List(ctx, &pods, client.MatchingLabels(selector)); err != nil {
		return out, err
	}
	seen := map[string]bool{}
	for i := range pods.Items {
		namespace := pods.Items[i].Namespace
		var services corev1.ServiceList
		if err := s.List(ctx, &services, client.InNamespace(namespace)); err != nil {
			return out, err
		}
		for j := range services.Items {
			service := &services.Items[j]
			if !seen[namespace+"/"+service.Name] && selects(service.Spec.Selector, pods.Items[i].Labels) {
				seen[namespace+"/"+service.Name] = true
				out.services = append(out.services, service)
			}
		}
	}
	slices.SortFunc(out.services, func(a, b *corev1.Service) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out, nil
}

// selects reports whether a Service's selector matches the labels of a pod. An empty one selects nothing.
func selects(selector, podLabels map[string]string) bool {
	for key, value := range selector {
		if is, has := podLabels[key]; !has || is != value {
			return false
		}
	}
	return len(selector) > 0
}

// nodeAddress returns an address under which a node is reached: of the first by name that is ready, from outside if it
// has such a one.
func nodeAddress(nodes []corev1.Node) string {
	nodes = slices.SortedFunc(slices.Values(nodes), func(a, b corev1.Node) int { return cmp.Compare(a.Name, b.Name) })
	for _, kind := range []corev1.NodeAddressType{corev1.NodeExternalIP, corev1.NodeInternalIP} {
		for i := range nodes {
			for _, address := range nodes[i].Status.Addresses {
				if address.Type == kind && nodeReady(&nodes[i]) {
					return address.Address
				}
			}
		}
	}
	return ""
}

func nodeReady(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}
