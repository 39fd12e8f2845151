// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"fmt"
	"strings"

	"sigs.k8s.io/yaml"
)

// values are Istio's values: the whole document for the templates, and the fields that the injector itself reads.
type values struct {
	tree  map[string]any
	typed typedValues
}

// typedValues are the fields of the values that the injector reads.
type typedValues struct {
	Global struct {
		Hub          string `json:"hub"`
		Tag          any    `json:"tag"`
		Variant      string `json:"variant"`
		Network      string `json:"network"`
		Platform     string `json:"platform"`
		MultiCluster struct {
			ClusterName string `json:"clusterName"`
		} `json:"multiCluster"`
		Proxy struct {
			Image                           string `json:"image"`
			HoldApplicationUntilProxyStarts *bool  `json:"holdApplicationUntilProxyStarts"`
			ClusterDomain                   any    `json:"clusterDomain"`
		} `json:"proxy"`
		ProxyInit struct {
			Image string `json:"image"`
		} `json:"proxy_init"`
	} `json:"global"`
	SidecarInjectorWebhook struct {
		RewriteAppHTTPProbe *bool `json:"rewriteAppHTTPProbe"`
	} `json:"sidecarInjectorWebhook"`
	Pilot struct {
		Env map[string]any `json:"env"`
	} `json:"pilot"`
}

// parseValues parses the values. An empty text is an empty document.
func parseValues(text string) (values, error) {
	v := values{tree: map[string]any{}}
	if strings.TrimSpace(text) == "" {
		return v, nil
	}
	if err := yaml.Unmarshal([]byte(text), &v.tree); err != nil {
		return values{}, fmt.Errorf("not a YAML or JSON document: %w", err)
	}
	if err := yaml.Unmarshal([]byte(text), &v.typed); err != nil {
		return values{}, fmt.Errorf("a field has the wrong type: %w", err)
	}
	if v.tree == nil {
		v.tree = map[string]any{}
	}
	return v, nil
}

func (v values) tag() string {
	if v.typed.Global.Tag == nil {
		return ""
	}
	return fmt.Sprint(v.typed.Global.Tag)
}

func (v values) clusterDomain() string {
	domain, _ := v.typed.Global.Proxy.ClusterDomain.(string)
	return domain
}

func (v values) hold() bool {
	hold := v.typed.Global.Proxy.HoldApplicationUntilProxyStarts
	return hold != nil && *hold
}

func (v values) rewriteProbes() bool {
	rewrite := v.typed.SidecarInjectorWebhook.RewriteAppHTTPProbe
	return rewrite != nil && *rewrite
}

// env returns a variable of istiod's environment from pilot.env, and whether it is set there. It never reads the environment of this
// process.
func (v values) env(key string) (string, bool) {
	value, found := v.typed.Pilot.Env[key]
	if !found || value == nil {
		return "", false
	}
	return fmt.Sprint(value), true
}
