// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"slices"
	"strings"

	networkingv1beta1 "istio.io/client-go/pkg/apis/networking/v1beta1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/inject"
)

// facts returns what injection depends on besides Istio's configuration. An error means that it is still unknown: a pod must not
// depend on the moment it was created in.
func (c *IstioConfiguration) facts(ctx context.Context) (inject.Facts, error) {
	var facts inject.Facts
	if c.nodes != nil {
		nodes, err := c.nodes.objects()
		if err != nil {
			return facts, err
		}
		facts.Nodes = map[string]string{}
		for _, node := range nodes {
			facts.Nodes[node.(*corev1.Node).Name] = node.(*corev1.Node).Status.NodeInfo.KubeletVersion
		}
	}
	crd, err := c.crd.object()
	if err != nil {
		return facts, err
	}
	if err := c.followProxyConfigs(ctx, crd != nil); err != nil || crd == nil {
		return facts, err
	}
	resources, err := c.proxyConfigs.objects()
	if err != nil {
		return facts, err
	}
	for _, resource := range resources {
		facts.ProxyConfigs = append(facts.ProxyConfigs, resource.(*networkingv1beta1.ProxyConfig))
	}
	slices.SortFunc(facts.ProxyConfigs, func(a, b *networkingv1beta1.ProxyConfig) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	return facts, nil
}

// followProxyConfigs watches ProxyConfig resources while their CRD exists.
func (c *IstioConfiguration) followProxyConfigs(ctx context.Context, wanted bool) error {
	if wanted == (c.proxyConfigs != nil) {
		return nil
	}
	if !wanted {
		c.stopProxyConfigs()
		c.proxyConfigs = nil
		return nil
	}
	ctx, c.stopProxyConfigs = context.WithCancel(ctx)
	c.proxyConfigs = watchedBy(c, "ProxyConfig resources", c.options.Istio, c.options.Istio.NetworkingV1beta1().ProxyConfigs(metav1.NamespaceAll),
		&networkingv1beta1.ProxyConfig{}, "", nil)
	return c.follow(ctx, c.proxyConfigs)
}
