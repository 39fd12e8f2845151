// SPDX-License-Identifier: Apache-2.0

// Package istio has what Outrigger needs of an Istio installation for tests and the demo: Istio's own charts, as a
// release would ship them, rendered by Helm's engine. Nothing of Istio is copied into this repository, and istiod
// itself is not run.
package istio

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"istio.io/istio/manifests"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"
)

// The release that the charts are made to name. The sources name a development hub, and only release builds replace it.
const (
	Hub       = "docker.io/istio"
	Tag       = "1.31.1"
	Namespace = "istio-system"
)

// kubeVersion is the cluster version for which charts are rendered, that of package controlplane.
const kubeVersion = "v1.37.2"

// charts are the directories of the charts, by the names that Istio's chart repository gives them.
var charts = map[string]string{
	"base":    "charts/base",
	"istiod":  "charts/istio-control/istio-discovery",
	"gateway": "charts/gateway",
}

// Values are those of a chart, as with helm's --values.
type Values = map[string]any

// Manifest is one rendered object.
type Manifest struct {
	Kind, Namespace, Name string
	YAML                  []byte
}

// WriteChart writes one of the charts "base", "istiod" or "gateway", as the release Tag would ship it, to the folder
// dir/name for the helm command, and returns that folder.
func WriteChart(dir, name string) (string, error) {
	files, err := chartFiles(name)
	if err != nil {
		return "", err
	}
	folder := filepath.Join(dir, name)
	for _, file := range files {
		place := filepath.Join(folder, filepath.FromSlash(file.Name))
		if err := os.MkdirAll(filepath.Dir(place), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(place, file.Data, 0o644); err != nil {
			return "", err
		}
	}
	return folder, nil
}

// chartFiles returns the files of a chart with what a release build changes in them.
func chartFiles(name string) ([]*loader.BufferedFile, error) {
	root, known := charts[name]
	if !known {
		return nil, fmt.Errorf("no chart %q: there are base, istiod and gateway", name)
	}
	var files []*loader.BufferedFile
	err := fs.WalkDir(manifests.FS, root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := manifests.FS.ReadFile(file)
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(file, root+"/")
		if data, err = released(name, data); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		files = append(files, &loader.BufferedFile{Name: name, Data: data})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("chart %s: %w", name, err)
	}
	return files, nil
}

// released does to a file what Istio's release build does: versions into Chart.yaml, hub and tag into values.yaml.
func released(name string, data []byte) ([]byte, error) {
	switch name {
	case "Chart.yaml":
		for _, key := range []string{"version", "appVersion"} {
			var err error
			if data, err = replaceLine(data, key+": 1.0.0", key+": "+Tag); err != nil {
				return nil, err
			}
		}
	case "values.yaml":
		if !bytes.Contains(data, []byte("registry.istio.io/testing")) {
			return data, nil // not all charts have images
		}
		var err error
		if data, err = replaceLine(data, "hub: registry.istio.io/testing", "hub: "+Hub); err != nil {
			return nil, err
		}
		return replaceLine(data, "tag: latest", "tag: "+Tag)
	}
	return data, nil
}

// replaceLine replaces the text of all lines that hold exactly old beside their indentation; there must be one.
func replaceLine(data []byte, old, replacement string) ([]byte, error) {
	lines, found := strings.Split(string(data), "\n"), false
	for i, line := range lines {
		if strings.TrimSpace(line) == old {
			lines[i], found = strings.Replace(line, old, replacement, 1), true
		}
	}
	if !found {
		return nil, fmt.Errorf("no line %q: Istio's sources have changed", old)
	}
	return []byte(strings.Join(lines, "\n")), nil
}

// render renders a chart as "helm install RELEASE CHART -n istio-system" would, in the order of kind and name.
func render(name, release string, values Values) ([]Manifest, error) {
	files, err := chartFiles(name)
	if err != nil {
		return nil, err
	}
	loaded, err := loader.LoadFiles(files)
	if err != nil {
		return nil, fmt.Errorf("chart %s: %w", name, err)
	}
	all, err := renderValues(loaded, release, values)
	if err != nil {
		return nil, fmt.Errorf("chart %s: %w", name, err)
	}
	rendered, err := engine.Render(loaded, all)
	if err != nil {
		return nil, fmt.Errorf("chart %s: %w", name, err)
	}
	var out []Manifest
	for file, text := range rendered {
		if path.Ext(file) != ".yaml" {
			continue // notes
		}
		found, err := split([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("chart %s: %s: %w", name, file, err)
		}
		out = append(out, found...)
	}
	slices.SortFunc(out, func(a, b Manifest) int {
		return strings.Compare(a.Kind+"/"+a.Namespace+"/"+a.Name, b.Kind+"/"+b.Namespace+"/"+b.Name)
	})
	return out, nil
}

func renderValues(loaded *chart.Chart, release string, values Values) (chartutil.Values, error) {
	version, err := chartutil.ParseKubeVersion(kubeVersion)
	if err != nil {
		return nil, err
	}
	capabilities := chartutil.DefaultCapabilities.Copy()
	capabilities.KubeVersion = *version
	options := chartutil.ReleaseOptions{Name: release, Namespace: Namespace, Revision: 1, IsInstall: true}
	return chartutil.ToRenderValues(loaded, values, options, capabilities)
}

// split returns the objects of a stream of YAML documents, each encoded with sorted keys.
func split(text []byte) ([]Manifest, error) {
	var out []Manifest
	decoder := yaml.NewYAMLToJSONDecoder(bytes.NewReader(text))
	for {
		object := unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); err != nil {
			if errors.Is(err, io.EOF) {
				return out, nil
			}
			return nil, err
		}
		if len(object.Object) == 0 {
			continue
		}
		data, err := sigsyaml.Marshal(object.Object)
		if err != nil {
			return nil, err
		}
		out = append(out, Manifest{Kind: object.GetKind(), Namespace: object.GetNamespace(), Name: object.GetName(), YAML: data})
	}
}

// Join returns the manifests as one stream of YAML documents.
func Join(manifests []Manifest) []byte {
	var out bytes.Buffer
	for _, m := range manifests {
		out.WriteString("---\n")
		out.Write(m.YAML)
	}
	return out.Bytes()
}
