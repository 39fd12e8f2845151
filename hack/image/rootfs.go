// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// home is the folder of the user, without the slash in front.
const home = "home/nonroot"

// file is one entry of a layer; without data and with a mode of a folder it is a folder.
type file struct {
	path   string // without a slash in front
	mode   int64
	data   []byte
	owner  int
	folder bool
}

// accounts are the users that exist, as in the usual images without a distribution: root, and the one that we run as.
func accounts() []file {
	return []file{
		{path: "etc/passwd", mode: 0o644, data: fmt.Appendf(nil,
			"root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:%d:%d:nonroot:/%s:/sbin/nologin\n", user, user, home)},
		{path: "etc/group", mode: 0o644, data: fmt.Appendf(nil, "root:x:0:\nnonroot:x:%d:\n", user)},
		{path: home, mode: 0o700, owner: user, folder: true},
		{path: "tmp", mode: 0o1777, folder: true},
	}
}

// rootCertificates are those of public authorities, for connections that leave the cluster, such as to a collector of
// traces. They are Mozilla's as package bundle has them, of the version in our go.mod, and not those of the machine that
// builds: the same commit must give the same image. Left out are those that Mozilla trusts under a condition, which a file
// of certificates cannot say.
func rootCertificates() []file {
	var text bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue
		}
		certificate, err := x509.ParseCertificate(root.Certificate)
		if err != nil {
			panic(err) // the package's own data, and its tests parse it
		}
		fmt.Fprintf(&text, "# %s\n", certificate.Subject)
		_ = pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // a buffer takes everything
	}
	return []file{{path: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, data: text.Bytes()}}
}

// layer packs files, and the folders above them, in the order of their paths and without a time.
func layer(files []file) (v1.Layer, error) {
	all := map[string]file{}
	for _, f := range files {
		for dir := path.Dir(f.path); dir != "."; dir = path.Dir(dir) {
			if _, is := all[dir]; !is {
				all[dir] = file{path: dir, mode: 0o755, folder: true}
			}
		}
	}
	for _, f := range files {
		all[f.path] = f
	}
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	for _, f := range sorted(all) {
		header := &tar.Header{Name: f.path, Mode: f.mode, Uid: f.owner, Gid: f.owner, Typeflag: tar.TypeReg, Size: int64(len(f.data)), Format: tar.FormatUSTAR}
		if f.folder {
			header.Typeflag, header.Name = tar.TypeDir, f.path+"/"
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(gzip.BestCompression), tarball.WithCompressedCaching)
}

func sorted(files map[string]file) []file {
	var out []file
	for _, f := range files {
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b file) int { return strings.Compare(a.path, b.path) })
	return out
}
