// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

// krewPlatform is the archive of one platform, as krew's index describes it.
type krewPlatform struct {
	Selector struct {
		MatchLabels map[string]string `json:"matchLabels"`
	} `json:"selector"`
	URI    string `json:"uri"`
	SHA256 string `json:"sha256"`
	Bin    string `json:"bin"`
}

// krew returns the manifest with which krew installs the command as "kubectl outrigger".
func (r Release) krew(folder string) (string, error) {
	prefix := "outrigger_" + r.Version + "_"
	archives, err := filepath.Glob(filepath.Join(folder, prefix+"*"))
	if err != nil {
		return "", err
	}
	var platforms []krewPlatform
	for _, archive := range archives { // in the order of their names
		platform, isTar := strings.CutSuffix(strings.TrimPrefix(filepath.Base(archive), prefix), ".tar.gz")
		platform, isZip := strings.CutSuffix(platform, ".zip")
		system, architecture, both := strings.Cut(platform, "_")
		if !isTar && !isZip || !both {
			continue
		}
		p := krewPlatform{URI: fmt.Sprintf("%s/v%s/%s", r.Downloads, r.Version, filepath.Base(archive)), Bin: "outrigger"}
		if system == "windows" {
			p.Bin += ".exe"
		}
		p.Selector.MatchLabels = map[string]string{"os": system, "arch": architecture}
		if p.SHA256, err = sha256Of(archive); err != nil {
			return "", err
		}
		platforms = append(platforms, p)
	}
	if len(platforms) == 0 {
		return "", fmt.Errorf("%s has no archive %sOS_ARCH", folder, prefix)
	}
	text, err := yaml.Marshal(map[string]any{
		"apiVersion": "krew.googlecontainertools.github.com/v1alpha2",
		"kind":       "Plugin",
		"metadata":   map[string]any{"name": "outrigger"},
		"spec": map[string]any{
			"version":          "v" + r.Version,
			"homepage":         "https://outrigger.dev",
			"shortDescription": "Explain Istio sidecars and shift traffic",
			"description": "Explains why a pod has, or does not have, an Istio sidecar, previews injection,\n" +
				"and shows and changes how traffic is divided between the versions of a Service.\n" +
				"Routing commands need Outrigger in the cluster.\n",
			"platforms": platforms,
		},
	})
	return string(text), err
}
