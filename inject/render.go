// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	meshconfig "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"outrigger.dev/outrigger/api"
)

const (
	annotationTemplates = "inject.istio.io/templates"
	maxRendered         = 1 << 20 // bytes
)

// data is the input of a template. Istio defines the names of the fields.
type data struct {
	TypeMeta                 metav1.TypeMeta
	DeploymentMeta           types.NamespacedName
	ObjectMeta               metav1.ObjectMeta
	Spec                     corev1.PodSpec
	ProxyConfig              *meshconfig.ProxyConfig
	MeshConfig               *meshconfig.MeshConfig
	Values                   map[string]any
	Revision                 string
	NativeSidecars           bool
	ProxyImage               string
	ProxyInitImage           string
	ProxyUID, ProxyGID       int64
	InboundTrafficPolicyMode string
	CompliancePolicy         string
}

func (c *Config) newData(pod *corev1.Pod, request Request, config *meshconfig.ProxyConfig, native bool) *data {
	kind, name := workloadOf(pod)
	d := &data{
		TypeMeta: kind, DeploymentMeta: name, ObjectMeta: pod.ObjectMeta, Spec: pod.Spec,
		ProxyConfig: config, MeshConfig: c.mesh, Values: c.values.tree,
		Revision: c.settings.Revision, NativeSidecars: native,
		ProxyImage:               c.image(c.values.typed.Global.Proxy.Image, pod.Annotations, config),
		ProxyInitImage:           c.image(c.values.typed.Global.ProxyInit.Image, pod.Annotations, nil),
		InboundTrafficPolicyMode: c.inboundTrafficPolicyMode(),
		CompliancePolicy:         c.compliancePolicy(),
	}
	d.ProxyUID, d.ProxyGID = c.proxyUser(request.Namespace)
	return d
}

func (c *Config) inboundTrafficPolicyMode() string {
	if c.mesh.GetInboundTrafficPolicy().GetMode() == meshconfig.MeshConfig_InboundTrafficPolicy_LOCALHOST {
		return "localhost"
	}
	return "passthrough"
}

// clone returns a deep copy that a template may change.
func (d *data) clone() *data {
	c := *d
	c.ObjectMeta, c.Spec = *d.ObjectMeta.DeepCopy(), *d.Spec.DeepCopy()
	c.ProxyConfig = proto.Clone(d.ProxyConfig).(*meshconfig.ProxyConfig)
	c.MeshConfig = proto.Clone(d.MeshConfig).(*meshconfig.MeshConfig)
	c.Values = runtime.DeepCopyJSON(d.Values)
	return &c
}

// chosen returns the names of the templates of the pod's annotation, or of the default templates, with aliases replaced.
func (j *job) chosen() ([]string, error) {
	names := j.defaultTemplates
	text, written := j.pod.Annotations[annotationTemplates]
	if written {
		names = nil
		for _, name := range strings.Split(text, ",") {
			names = append(names, strings.TrimSpace(name))
		}
	}
	names = j.expand(names)
	if len(names) > maxTemplates {
		return nil, refuse(problemOf(j.pod, api.InjectTooLarge, api.AnnotationField(annotationTemplates), text,
			fmt.Sprintf("it names %d templates; at most %d are allowed.", len(names), maxTemplates), "Name each template once."))
	}
	for _, name := range names {
		if j.templates[name] == nil {
			return nil, refuse(problemOf(j.pod, api.InjectUnknownTemplate, api.AnnotationField(annotationTemplates), text,
				fmt.Sprintf("requested template %q not found; have %s.", name, strings.Join(j.templateNames(), ",")), "Name templates of Istio's configuration, separated by commas."))
		}
	}
	return names, nil
}

func (j *job) render(name string) (rendered, error) { return j.renderData(name, j.data) }

func (j *job) renderData(name string, d *data) (rendered, error) {
	t := j.templates[name]
	if t.sideEffects {
		d = d.clone()
	}
	printed := recorders.Get().(*recorder)
	defer recorders.Put(printed)
	printed.reset()
	if err := j.common.templateFor(t, d).Execute(printed, d); err != nil {
		printed.reset() // the error must be that of the template as written
		if err := t.Execute(printed, d); err != nil {
			return rendered{}, err
		}
	}
	return j.parse(name, printed)
}

func (j *job) refuseTemplate(name string, err error) error {
	return refuse(problemOf(j.pod, api.InjectTemplateFailed, "", "",
		fmt.Sprintf("failed to run injection template: template %q: %v.", name, err), "Fix the annotation that it uses, or the template in Istio's configuration."))
}
