package main

import (
	"fmt"

	"istio.io/istio/operator/pkg/render"
)

// configMapsRequest says how Istio is to be installed.
type configMapsRequest struct {
	Set []string `json:"set"` // as istioctl's --set: "hub=registry.example/istio", "values.pilot.cni.enabled=true"
}

// configMapsAnswer holds the three texts that an injector reads.
type configMapsAnswer struct {
	Config string `json:"config"`
	Values string `json:"values"`
	Mesh   string `json:"mesh"`
}

// configMaps renders Istio's charts as "istioctl manifest generate" does and takes the injector's ConfigMaps out of it.
func configMaps(r configMapsRequest) (*configMapsAnswer, error) {
	sets, _, err := render.GenerateManifest(nil, r.Set, false, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("rendering Istio's charts: %w", err)
	}
	found := map[string]map[string]string{}
	for _, set := range sets {
		for _, m := range set.Manifests {
			if m.GetKind() != "ConfigMap" {
				continue
			}
			data := map[string]string{}
			object, _ := m.Object["data"].(map[string]any)
			for key, value := range object {
				data[key], _ = value.(string)
			}
			found[m.GetName()] = data
		}
	}
	injector, mesh := found["istio-sidecar-injector"], found["istio"]
	if injector == nil || mesh == nil {
		return nil, fmt.Errorf("ConfigMaps istio-sidecar-injector and istio are not among those rendered")
	}
	return &configMapsAnswer{Config: injector["config"], Values: injector["values"], Mesh: mesh["mesh"]}, nil
}
