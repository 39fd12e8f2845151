// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"maps"
	"text/template"

	networkingv1beta1 "istio.io/client-go/pkg/apis/networking/v1beta1"
	corev1 "k8s.io/api/core/v1"
)

// Most pods say nothing about their proxy: they have the mesh's ProxyConfig and none of the annotations that a template
// asks for. For them the templates are specialised once more.

// usual is what the pods that say nothing have in common under one configuration. It is never changed.
type usual struct {
	effective *effective
	root      *networkingv1beta1.ProxyConfig // the resource that it comes from; nil if there is none
	data      data                           // of which only constantFields and usualFields are set
	templates map[*parsedTemplate]usualTemplate
}

// usualTemplate is a template for pods that have none of the annotations in asked.
type usualTemplate struct {
	*template.Template
	asked map[string]bool
}

// usualFields are the fields of a template's data that the usual pods have in common.
var usualFields = map[string]bool{"ProxyConfig": true, "NativeSidecars": true, "ProxyImage": true, "ProxyInitImage": true, "ProxyUID": true, "ProxyGID": true}

// usualPods works out what the usual pods have in common, or returns what was worked out before if it is the same. It is
// nil where that cannot be told; then every pod is an unusual one.
func (c *Config) usualPods() *usual {
	if c.unavailable != nil {
		return nil
	}
	native, root := c.native(&corev1.Pod{}), c.rootResource()
	if c.usual != nil && c.usual.data.NativeSidecars == native && c.usual.root == root {
		return c.usual
	}
	effective, err := c.layLevels("", false, []*networkingv1beta1.ProxyConfig{root, nil, nil})
	if err != nil {
		return nil
	}
	d := c.newData(&corev1.Pod{}, Request{Namespace: &corev1.Namespace{}}, effective.config, native)
	u := &usual{effective: effective, root: root, data: *d, templates: map[*parsedTemplate]usualTemplate{}}
	fields := maps.Clone(constantFields)
	maps.Copy(fields, usualFields)
	for _, name := range c.expand(c.defaultTemplates) {
		t := c.templates[name]
		if t == nil || t.sideEffects {
			continue
		}
		s := newSpecialiser(c.functions(), d, fields)
		s.withoutAnnotations = true
		if copied, err := s.template(t.Template); err == nil {
			u.templates[t] = usualTemplate{copied, s.asked}
		}
	}
	return u
}

// of returns the template that prints for this data what t prints, the specialised one where the pod is a usual one.
func (u *usual) of(t *parsedTemplate, d *data) *template.Template {
	if u == nil || d.ProxyConfig != u.data.ProxyConfig || d.NativeSidecars != u.data.NativeSidecars ||
		d.ProxyImage != u.data.ProxyImage || d.ProxyInitImage != u.data.ProxyInitImage || d.ProxyUID != u.data.ProxyUID || d.ProxyGID != u.data.ProxyGID {
		return t.Template
	}
	special, is := u.templates[t]
	if !is {
		return t.Template
	}
	for key := range d.ObjectMeta.Annotations {
		if special.asked[key] {
			return t.Template
		}
	}
	return special.Template
}
