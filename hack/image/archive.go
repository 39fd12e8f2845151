// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/match"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Archive writes a layout as one tar file that container engines load without a registry. containerd and Podman read the
// layout in it, with all platforms. "docker load" without containerd's image store reads manifest.json, which names the
// image of one platform.
func Archive(folder, to string, docker v1.Platform) error {
	manifest, err := dockerManifest(folder, docker)
	if err != nil {
		return err
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	w := tar.NewWriter(out)
	err = errors.Join(
		addFile(w, "manifest.json", manifest),
		addLayout(w, folder),
		w.Close(),
		out.Close(),
	)
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", to, err), os.Remove(to))
	}
	return nil
}

// dockerManifest returns what "docker load" reads: the files of one platform's image, and its name.
func dockerManifest(folder string, platform v1.Platform) ([]byte, error) {
	top, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		return nil, err
	}
	entries, err := top.IndexManifest()
	if err != nil {
		return nil, err
	}
	if len(entries.Manifests) != 1 {
		return nil, fmt.Errorf("%s has %d entries; want 1", folder, len(entries.Manifests))
	}
	index, err := top.ImageIndex(entries.Manifests[0].Digest)
	if err != nil {
		return nil, err
	}
	platforms, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	for _, entry := range platforms.Manifests {
		if !match.Platforms(platform)(entry) {
			continue
		}
		image, err := index.Image(entry.Digest)
		if err != nil {
			return nil, err
		}
		manifest, err := image.Manifest()
		if err != nil {
			return nil, err
		}
		described := tarball.Descriptor{Config: blob(manifest.Config.Digest), RepoTags: []string{entries.Manifests[0].Annotations[nameAnnotation]}}
		for _, layer := range manifest.Layers {
			described.Layers = append(described.Layers, blob(layer.Digest))
		}
		return json.Marshal(tarball.Manifest{described})
	}
	return nil, fmt.Errorf("%s has no image for %s", folder, platform)
}

// blob returns where a layout has what a digest names.
func blob(digest v1.Hash) string { return path.Join("blobs", digest.Algorithm, digest.Hex) }

// addLayout adds the files of a layout in the order of their names.
func addLayout(w *tar.Writer, folder string) error {
	return fs.WalkDir(os.DirFS(folder), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		file, err := os.Open(filepath.Join(folder, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }()
		info, err := file.Stat()
		if err != nil {
			return err
		}
		return addStream(w, name, info.Size(), file)
	})
}

func addFile(w *tar.Writer, name string, data []byte) error {
	return addStream(w, name, int64(len(data)), strings.NewReader(string(data)))
}

// addStream adds a file without a time or an owner, which would differ from machine to machine.
func addStream(w *tar.Writer, name string, size int64, data io.Reader) error {
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}); err != nil {
		return err
	}
	_, err := io.Copy(w, data)
	return err
}
