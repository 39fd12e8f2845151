// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"text/template"

	networkingv1beta1 "istio.io/client-go/pkg/apis/networking/v1beta1"
	corev1 "k8s.io/api/core/v1"
)

// common holds what most pods have in common under one configuration: pods without settings for their proxy get the mesh's
// ProxyConfig, and none of the annotations that a template reads. It is computed in advance and immutable.
type common struct {
	effective *effective
	root      *networkingv1beta1.ProxyConfig // the resource that effective comes from; nil if there is none
	data      data                           // only commonFields are set
	templates map[*parsedTemplate]commonTemplate
}

// commonTemplate is a template that was specialized for pods without the annotations in absent.
type commonTemplate struct {
	*template.Template
	absent map[string]bool
}

// computeCommon returns what most pods have in common, or the current value if the facts do not change it. It returns nil
// if the configuration is unavailable.
func (c *Config) computeCommon() *common {
	if c.unavailable != nil {
		return nil
	}
	native, root := c.native(&corev1.Pod{}), c.rootResource()
	if c.common != nil && c.common.data.NativeSidecars == native && c.common.root == root {
		return c.common
	}
	effective, err := c.mergeLevels("", false, []*networkingv1beta1.ProxyConfig{root, nil, nil})
	if err != nil {
		return nil
	}
	d := c.newData(&corev1.Pod{}, Request{Namespace: &corev1.Namespace{}}, effective.config, native)
	out := &common{effective: effective, root: root, data: *d, templates: map[*parsedTemplate]commonTemplate{}}
	for _, name := range c.expand(c.defaultTemplates) {
		t := c.templates[name]
		if t == nil || t.sideEffects {
			continue
		}
		if specialized, absent, err := specialize(t.Template, d); err == nil {
			out.templates[t] = commonTemplate{specialized, absent}
		}
	}
	return out
}

// templateFor returns a template that prints the same as t for this data: the specialized one if the pod has what most pods
// have in common.
func (c *common) templateFor(t *parsedTemplate, d *data) *template.Template {
	if c == nil || d.ProxyConfig != c.data.ProxyConfig || d.NativeSidecars != c.data.NativeSidecars ||
		d.ProxyImage != c.data.ProxyImage || d.ProxyInitImage != c.data.ProxyInitImage || d.ProxyUID != c.data.ProxyUID || d.ProxyGID != c.data.ProxyGID {
		return t.Template
	}
	specialized, has := c.templates[t]
	if !has {
		return t.Template
	}
	for key := range d.ObjectMeta.Annotations {
		if specialized.absent[key] {
			return t.Template
		}
	}
	return specialized.Template
}
