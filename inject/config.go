// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"text/template"

	meshconfig "istio.io/api/mesh/v1alpha1"
	networkingv1beta1 "istio.io/client-go/pkg/apis/networking/v1beta1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"outrigger.dev/outrigger/api"
)

// Config is Istio's configuration, parsed and tested once. It is immutable and keeps nothing from the pods that it is used
// for; With returns a changed copy.
type Config struct {
	unavailable *api.InjectProblem // why there is no configuration; nil if there is one
	source      Source

	policy            string
	defaultTemplates  []string
	templates         map[string]*parsedTemplate
	aliases           map[string][]string
	always, never     []labels.Selector
	injectAnnotations map[string]string

	values   values
	mesh     *meshconfig.MeshConfig
	release  release
	settings Settings
	facts    Facts
	common   *common // what most pods have in common, computed in advance
}

// Facts are what injection depends on in the cluster, besides Istio's ConfigMaps.
type Facts struct {
	// Nodes maps node names to kubelet versions, to detect support for native sidecars. Nil means that nodes are unknown.
	Nodes        map[string]string
	ProxyConfigs []*networkingv1beta1.ProxyConfig
}

// injectorConfig is the document under the key "config". Other keys are ignored: Istio's chart writes one that only old releases
// fail on.
type injectorConfig struct {
	Policy               string                 `json:"policy"`
	DefaultTemplates     []string               `json:"defaultTemplates"`
	Templates            map[string]string      `json:"templates"`
	Aliases              map[string][]string    `json:"aliases"`
	AlwaysInjectSelector []metav1.LabelSelector `json:"alwaysInjectSelector"`
	NeverInjectSelector  []metav1.LabelSelector `json:"neverInjectSelector"`
	InjectedAnnotations  map[string]string      `json:"injectedAnnotations"`
}

// With returns the configuration with facts about the cluster. It returns the configuration itself if the facts change
// nothing for any pod, such as one more node with the same kubelet version.
func (c *Config) With(facts Facts) *Config {
	changed := *c
	changed.facts = facts
	if c.hasSameFacts(&changed) {
		return c
	}
	changed.common = changed.computeCommon()
	return &changed
}

// Unavailable returns a configuration that denies every pod that needs a sidecar, with this problem.
func Unavailable(problem api.InjectProblem) *Config { return &Config{unavailable: &problem} }

// Parse parses Istio's configuration, and tests it by rendering the templates for a minimal pod. The problems are warnings. An
// error rejects the whole configuration.
func Parse(source Source) (*Config, []api.InjectProblem, error) {
	values, err := parseValues(source.Values)
	if err != nil {
		return nil, nil, fmt.Errorf("values: %w", err)
	}
	running := findRelease(source, values)
	mesh, err := parseMesh(source.Mesh, running)
	if err != nil {
		return nil, nil, fmt.Errorf("mesh: %w", err)
	}
	var raw injectorConfig
	if err := yaml.Unmarshal([]byte(source.Config), &raw); err != nil {
		return nil, nil, fmt.Errorf("config is not the YAML of Istio's injector: %w", err)
	}
	c := &Config{
		policy: raw.Policy, defaultTemplates: raw.DefaultTemplates, aliases: raw.Aliases, injectAnnotations: raw.InjectedAnnotations,
		values: values, mesh: mesh, release: running, settings: source.Settings, source: source,
	}
	if len(c.defaultTemplates) == 0 {
		c.defaultTemplates = []string{"sidecar"}
	}
	if len(raw.Templates) == 0 {
		return nil, nil, errors.New("config has no templates; the key \"templates\" must map names to Go templates")
	}
	if c.templates, err = c.parseTemplates(raw.Templates); err != nil {
		return nil, nil, err
	}
	c.always, c.never = selectors(raw.AlwaysInjectSelector), selectors(raw.NeverInjectSelector)
	warnings, err := c.testRender()
	if err != nil {
		return nil, nil, err
	}
	c.common = c.computeCommon()
	return c, warnings, nil
}

// parseTemplates parses all templates. A template that does not parse fails the whole configuration, even if it is not used.
func (c *Config) parseTemplates(texts map[string]string) (map[string]*parsedTemplate, error) {
	functions := c.functions()
	out := make(map[string]*parsedTemplate, len(texts))
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		parsed, err := template.New(name).Funcs(functions).Parse(texts[name])
		if err != nil {
			return nil, explainUndefined(fmt.Errorf("parse template %q: %w", name, err), c.release)
		}
		c.release.withhold(parsed)
		out[name] = newParsedTemplate(parsed)
	}
	return out, nil
}

// selectors returns the selectors that are valid and not empty. An empty selector selects nothing here.
func selectors(raw []metav1.LabelSelector) []labels.Selector {
	var out []labels.Selector
	for i := range raw {
		selector, err := metav1.LabelSelectorAsSelector(&raw[i])
		if err == nil && !selector.Empty() {
			out = append(out, selector)
		}
	}
	return out
}

// testRender renders every template for a minimal pod. A default template must render; others may need an annotation.
func (c *Config) testRender() ([]api.InjectProblem, error) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "proof", Namespace: "default"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "registry.example/app:1"}}},
	}
	defaults := c.expand(c.defaultTemplates)
	for _, name := range defaults {
		if c.templates[name] == nil {
			return nil, fmt.Errorf("defaultTemplates names %q, which is not defined; defined: %s", name, strings.Join(c.templateNames(), ", "))
		}
	}
	var warnings []api.InjectProblem
	for _, name := range c.templateNames() {
		if gatewayDeploymentTemplates[name] && !slices.Contains(defaults, name) {
			continue // rendered by istiod's Gateway controller with other data, never for pods
		}
		err := c.proveTemplate(name, pod)
		if err == nil {
			continue
		}
		err = explainUndefined(fmt.Errorf("template %q does not render: %w", name, err), c.release)
		if slices.Contains(defaults, name) {
			return nil, err
		}
		warnings = append(warnings, api.InjectProblem{
			Object: api.ObjectRef{Kind: "ConfigMap", Name: "istio-sidecar-injector"}, Field: "data.config", Reason: api.InjectIstioConfigurationWarning,
			Message: err.Error() + ".", Advice: "Pods that name this template will be denied, unless they have an annotation that it needs.",
		})
	}
	return warnings, nil
}

// gatewayDeploymentTemplates are rendered by istiod's Gateway controller for Deployments, not for pods.
var gatewayDeploymentTemplates = map[string]bool{"waypoint": true, "kube-gateway": true, "agentgateway": true, "agentgateway-waypoint": true}

func (c *Config) proveTemplate(name string, pod *corev1.Pod) error {
	job, err := c.newJob(Request{Pod: pod, Namespace: &corev1.Namespace{}})
	if err != nil {
		return err
	}
	r, err := job.render(name)
	if err != nil {
		return err
	}
	_, err = r.mergedInto(pod)
	return err
}

// Go's error messages for an undefined field or function: one that a later release of Istio defines, and any other.
var (
	laterField    = regexp.MustCompile(`can't evaluate field (\w+) of Istio (1\.\d+)`)
	undefinedWord = regexp.MustCompile(`can't evaluate field (\w+)|function "(\w+)" not defined`)
)

// explainUndefined adds why a template uses an undefined field or function: the template is from a later release of Istio than the
// running one, or, most likely, from an older one.
func explainUndefined(err error, running release) error {
	if found := laterField.FindStringSubmatch(err.Error()); found != nil {
		return laterThan(running, found[1], found[2], err)
	}
	found := undefinedWord.FindStringSubmatch(err.Error())
	if found == nil {
		return err
	}
	name := found[1] + found[2]
	if since := functionsSince[name]; running.isBefore(since) {
		return laterThan(running, name, since.String(), err)
	}
	return fmt.Errorf("it uses %q, which Istio 1.24 and later do not define; the template is from an older release, or the name is misspelled: upgrade Istio's configuration, or correct the name (%w)", name, err)
}

func laterThan(running release, name, since string, err error) error {
	return fmt.Errorf("it uses %q, which Istio defines since %s; this is Istio %s: upgrade Istio, or use the templates of its release (%w)", name, since, running, err)
}

// ClusterDomain returns Istio's value global.proxy.clusterDomain, the DNS domain of the cluster; empty if it is not set.
func (c *Config) ClusterDomain() string { return c.values.clusterDomain() }

// IngressController is Istio's configuration for Ingresses: which ones istiod serves, and on which gateway pods.
type IngressController struct {
	Mode    string // OFF, STRICT or DEFAULT
	Class   string // the value of the annotation kubernetes.io/ingress.class
	Gateway string // the value of the label "istio" of the gateway pods
}

// IngressController returns what the mesh configuration says about Ingresses, as istiod reads it: without ingressSelector, the
// gateway pods are those labeled as ingressService is named, and the name istio-ingressgateway means "ingressgateway".
func (c *Config) IngressController() IngressController {
	out := IngressController{Mode: c.mesh.IngressControllerMode.String(), Class: c.mesh.IngressClass, Gateway: "ingressgateway"}
	switch service := c.mesh.IngressService; {
	case c.mesh.IngressSelector != "":
		out.Gateway = c.mesh.IngressSelector
	case service != "" && service != "istio-ingressgateway":
		out.Gateway = service
	}
	return out
}

func (c *Config) templateNames() []string { return slices.Sorted(maps.Keys(c.templates)) }

// expand replaces aliases by their templates, once.
func (c *Config) expand(names []string) []string {
	var out []string
	for _, name := range names {
		if aliased, is := c.aliases[name]; is {
			out = append(out, aliased...)
			continue
		}
		out = append(out, name)
	}
	return out
}
