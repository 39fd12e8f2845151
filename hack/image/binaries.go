// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// WriteBinaries compiles the package for each platform and packs it with the licenses, as .tar.gz, or as .zip for Windows.
// Beside each archive is the bill of materials of its binary.
func (r Recipe) WriteBinaries(ctx context.Context, folder string) error {
	scratch, err := os.MkdirTemp("", "outrigger-binaries-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	programs, err := r.compile(ctx, scratch)
	if err != nil {
		return err
	}
	license, err := os.ReadFile(filepath.Join(r.Root, "LICENSE"))
	if err != nil {
		return err
	}
	for _, p := range programs {
		binary, err := os.ReadFile(p.binary)
		if err != nil {
			return err
		}
		name := path.Base(entrypoint)
		if p.platform.OS == "windows" {
			name += ".exe"
		}
		if err := r.pack(filepath.Join(folder, r.archiveName(p.platform)), []file{
			{path: "LICENSE", mode: 0o644, data: license},
			{path: "THIRD-PARTY-LICENSES", mode: 0o644, data: p.modules.licenseTexts()},
			{path: name, mode: 0o755, data: binary},
		}); err != nil {
			return err
		}
		bom, err := p.modules.bom(r, p.platform)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, r.baseName(p.platform)+".cdx.json"), bom, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (r Recipe) baseName(platform v1.Platform) string {
	return fmt.Sprintf("%s_%s_%s_%s", path.Base(entrypoint), r.Version, platform.OS, platform.Architecture)
}

func (r Recipe) archiveName(platform v1.Platform) string {
	if platform.OS == "windows" {
		return r.baseName(platform) + ".zip"
	}
	return r.baseName(platform) + ".tar.gz"
}

// pack writes an archive, with the commit's time on each file.
func (r Recipe) pack(to string, files []file) error {
	var packed bytes.Buffer
	var err error
	if filepath.Ext(to) == ".zip" {
		err = r.zip(&packed, files)
	} else {
		err = r.tarGz(&packed, files)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", to, err)
	}
	return os.WriteFile(to, packed.Bytes(), 0o644)
}

func (r Recipe) zip(to io.Writer, files []file) error {
	w := zip.NewWriter(to)
	for _, f := range files {
		header := &zip.FileHeader{Name: f.path, Method: zip.Deflate, Modified: r.Created.UTC()}
		header.SetMode(os.FileMode(f.mode))
		entry, err := w.CreateHeader(header)
		if err != nil {
			return err
		}
		if _, err := entry.Write(f.data); err != nil {
			return err
		}
	}
	return w.Close()
}

func (r Recipe) tarGz(to io.Writer, files []file) error {
	compressed := gzip.NewWriter(to)
	w := tar.NewWriter(compressed)
	for _, f := range files {
		header := &tar.Header{Name: f.path, Mode: f.mode, Size: int64(len(f.data)), ModTime: r.Created, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		if _, err := w.Write(f.data); err != nil {
			return err
		}
	}
	return errors.Join(w.Close(), compressed.Close())
}
