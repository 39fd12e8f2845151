// SPDX-License-Identifier: Apache-2.0

package answers

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"istio.io/istio/operator/pkg/manifest"
	"istio.io/istio/operator/pkg/render"
)

// configMapsRequest says how Istio is to be installed.
type configMapsRequest struct {
	Operator string `json:"operator"` // an IstioOperator document, as istioctl's -f takes it; may be empty
}

// configMapsAnswer holds the three texts that an injector reads.
type configMapsAnswer struct {
	Config string `json:"config"`
	Values string `json:"values"`
	Mesh   string `json:"mesh"`
}

// configMaps renders Istio's charts as "istioctl manifest generate" does and takes the injector's ConfigMaps out of it.
func configMaps(r configMapsRequest) (*configMapsAnswer, error) {
	file, err := os.CreateTemp("", "operator-*.yaml")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(file.Name()) }()
	_, err = file.WriteString(r.Operator)
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	sets, _, err := render.GenerateManifest([]string{file.Name()}, nil, false, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("rendering Istio's charts: %w", err)
	}
	answer := &configMapsAnswer{}
	for _, set := range sets {
		for _, m := range set.Manifests {
			if m.GetKind() == "ConfigMap" {
				answer.take(m)
			}
		}
	}
	if answer.Config == "" || answer.Values == "" || answer.Mesh == "" {
		return nil, fmt.Errorf("ConfigMaps istio-sidecar-injector and istio are not among those rendered")
	}
	return answer, nil
}

// take keeps the texts of an injector's ConfigMap, that of a revision included, and leaves others alone.
func (a *configMapsAnswer) take(m manifest.Manifest) {
	data, _, _ := unstructured.NestedStringMap(m.Object, "data")
	switch name := m.GetName(); {
	case strings.HasPrefix(name, "istio-sidecar-injector"):
		a.Config, a.Values = data["config"], data["values"]
	case name == "istio" || strings.HasPrefix(name, "istio-") && data["mesh"] != "":
		a.Mesh = data["mesh"]
	}
}
