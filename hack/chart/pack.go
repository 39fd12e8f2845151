// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
)

// Packed is what a packed chart says that the one in this repository leaves open.
type Packed struct {
	Version    string // of the chart and of Outrigger
	Repository string // of the image
	Digest     string // of the image, "sha256:…"; empty = by its tag
	Time       time.Time
}

// Pack returns the chart as a .tgz that Helm installs. Comments stay, and the same input gives the same bytes: both are not so
// with "helm package".
func (c *Chart) Pack(p Packed) ([]byte, error) {
	files := slices.Clone(c.loaded.Raw)
	slices.SortFunc(files, func(a, b *chart.File) int { return strings.Compare(a.Name, b.Name) })
	var packed bytes.Buffer
	compressed := gzip.NewWriter(&packed)
	w := tar.NewWriter(compressed)
	for _, file := range files {
		data, err := p.edit(file.Name, file.Data)
		if err != nil {
			return nil, err
		}
		header := &tar.Header{Name: c.loaded.Name() + "/" + file.Name, Mode: 0o644, Size: int64(len(data)), ModTime: p.Time.UTC(), Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(data); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(w.Close(), compressed.Close()); err != nil {
		return nil, err
	}
	_, err := LoadArchive(packed.Bytes())
	return packed.Bytes(), err
}

// edit returns a file of the chart with what the packed one says.
func (p Packed) edit(name string, data []byte) ([]byte, error) {
	switch name {
	case "Chart.yaml":
		return setLines(name, data, map[string]string{"version": p.Version, "appVersion": p.Version})
	case "values.yaml":
		set := map[string]string{"  repository": p.Repository}
		if p.Digest != "" {
			set["  digest"] = p.Digest
		}
		return setLines(name, data, set)
	}
	return data, nil
}

// setLines sets the values of keys that each have one line of a file, spaces in front of the key included.
func setLines(name string, data []byte, values map[string]string) ([]byte, error) {
	for key, value := range values {
		line := regexp.MustCompile(`(?m)^` + key + `:.*$`)
		if found := line.FindAll(data, -1); len(found) != 1 {
			return nil, fmt.Errorf("%s has %d lines with %s; want 1", name, len(found), strings.TrimSpace(key))
		}
		data = line.ReplaceAllLiteral(data, []byte(key+": "+value))
	}
	return data, nil
}

// LoadArchive reads a packed chart.
func LoadArchive(data []byte) (*Chart, error) {
	loaded, err := loader.LoadArchive(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("packed chart: %w", err)
	}
	if err := loaded.Validate(); err != nil {
		return nil, fmt.Errorf("packed chart: %w", err)
	}
	return &Chart{loaded}, nil
}

// Version returns what Chart.yaml says: the chart's version and appVersion.
func (c *Chart) Version() (chart, app string) {
	return c.loaded.Metadata.Version, c.loaded.Metadata.AppVersion
}

// Image returns the image that the chart runs with its default values.
func (c *Chart) Image() (string, error) {
	rendered, err := c.Render(nil)
	if err != nil {
		return "", err
	}
	found := regexp.MustCompile(`(?m)^\s+image: "(.+)"$`).FindAllStringSubmatch(rendered.Objects, -1)
	if len(found) == 0 {
		return "", errors.New("the chart renders no image")
	}
	for _, other := range found {
		if other[1] != found[0][1] {
			return "", fmt.Errorf("the chart renders two images, %s and %s", found[0][1], other[1])
		}
	}
	return found[0][1], nil
}
