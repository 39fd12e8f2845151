// SPDX-License-Identifier: Apache-2.0

// Package chart renders charts/outrigger with Helm's engine, as "helm template" does, without a cluster and without a
// helm command.
package chart

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/releaseutil"
)

// The release that is rendered if no other is named.
const (
	Release   = "outrigger"
	Namespace = "outrigger-system"
)

// kubeVersion is the cluster version for which the chart is rendered, that of package controlplane.
const kubeVersion = "v1.37.2"

// Values are those of the chart, nested as in values.yaml.
type Values = map[string]any

// Rendered is a rendered chart.
type Rendered struct {
	Objects string // YAML documents in the order in which Helm makes them
	Hooks   string // those that Helm runs as hooks, in the same form
	Notes   string // NOTES.txt
}

// Chart is a chart that was read once and can be rendered often.
type Chart struct{ loaded *chart.Chart }

// Own loads the chart of this repository.
func Own() (*Chart, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	return Load(Folder(root))
}

// Load reads the chart in a folder.
func Load(dir string) (*Chart, error) {
	loaded, err := loader.LoadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("chart %s: %w", dir, err)
	}
	return &Chart{loaded}, nil
}

// Root returns the folder of this repository: the nearest one above the working folder that holds the chart.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(Folder(at), "Chart.yaml")); err == nil {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("%s is not inside this repository: no folder above it has charts/outrigger/Chart.yaml", dir)
		}
	}
}

// Folder returns the chart's folder in that of the repository.
func Folder(root string) string { return filepath.Join(root, "charts", "outrigger") }

// Defaults returns what values.yaml says.
func (c *Chart) Defaults() Values { return c.loaded.Values }

// Render renders the chart as release Release in Namespace. Values that the schema refuses are an error.
func (c *Chart) Render(values Values) (Rendered, error) { return c.RenderOn(kubeVersion, values) }

// RenderOn renders the chart for another version of Kubernetes.
func (c *Chart) RenderOn(kubeVersion string, values Values) (Rendered, error) {
	version, err := chartutil.ParseKubeVersion(kubeVersion)
	if err != nil {
		return Rendered{}, err
	}
	capabilities := chartutil.DefaultCapabilities.Copy()
	capabilities.KubeVersion = *version
	options := chartutil.ReleaseOptions{Name: Release, Namespace: Namespace, Revision: 1, IsInstall: true}
	all, err := chartutil.ToRenderValues(c.loaded, values, options, capabilities)
	if err != nil {
		return Rendered{}, err
	}
	files, err := engine.Render(c.loaded, all)
	if err != nil {
		return Rendered{}, err
	}
	var out Rendered
	maps.DeleteFunc(files, func(name, text string) bool {
		if isNotes := strings.HasSuffix(name, "NOTES.txt"); isNotes {
			out.Notes = text
			return true
		}
		return false
	})
	hooks, objects, err := releaseutil.SortManifests(files, capabilities.APIVersions, releaseutil.InstallOrder)
	if err != nil {
		return Rendered{}, fmt.Errorf("what the chart renders: %w", err)
	}
	for _, object := range objects {
		out.Objects += document(object.Content)
	}
	slices.SortStableFunc(hooks, func(a, b *release.Hook) int { return strings.Compare(a.Path, b.Path) })
	for _, hook := range hooks {
		out.Hooks += document(hook.Manifest)
	}
	return out, nil
}

func document(text string) string { return "---\n" + strings.TrimSpace(text) + "\n" }

// Manifest returns what "kubectl apply" takes in place of Helm: the namespace and the objects of the chart, without hooks.
// The one that is shipped has no values.
func (c *Chart) Manifest(values Values) (string, error) {
	rendered, err := c.Render(values)
	if err != nil {
		return "", err
	}
	if strings.Contains(rendered.Objects, "kind: Namespace") {
		return "", errors.New("the chart makes a Namespace itself")
	}
	return fmt.Sprintf(manifestHead, c.loaded.Metadata.AppVersion, Namespace) + rendered.Objects, nil
}

const manifestHead = `# Outrigger %s without Helm:
#
#     kubectl apply -f outrigger.yaml
#
# The Helm chart with its default values; a chart with other values is rendered by "helm template --no-hooks".
---
apiVersion: v1
kind: Namespace
metadata:
  name: %s
  labels:
    pod-security.kubernetes.io/enforce: restricted
`
