// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"
)

// What a container is started as. The Dockerfile says the same; a test compares them.
const (
	user       = 65532
	entrypoint = "/outrigger"
)

// sbomType is the media type of a bill of materials, and the type of the artifact that contains one.
const sbomType types.MediaType = "application/vnd.cyclonedx+json"

// Annotations of the layout's only entry. Tools that read layouts look the tag up by the first; containerd and Podman name
// the loaded image by the second.
const (
	tagAnnotation  = "org.opencontainers.image.ref.name"
	nameAnnotation = "io.containerd.image.name"
)

// noPlatform keeps container engines from choosing a bill of materials as an image to run.
var noPlatform = v1.Platform{OS: "unknown", Architecture: "unknown"}

// Recipe says what an image is made from.
type Recipe struct {
	Root       string // folder of the repository, which contains the LICENSE
	Module     string // folder of the Go module with the package; Root if empty
	Package    string // main package, "./cmd/outrigger"
	Repository string // name of the image without its tag, "outrigger.dev/outrigger"
	Version    string
	Created    time.Time
	Platforms  []v1.Platform
	Stamp      bool      // whether the binary names the commit
	Progress   io.Writer // what is being done, a line at a time; nil = none
}

// module returns the folder that the go command runs in.
func (r Recipe) module() string { return cmp.Or(r.Module, r.Root) }

// Tag returns the tag of the image: the version without its build metadata, since a tag cannot contain "+".
func (r Recipe) Tag() string {
	tag, _, _ := strings.Cut(r.Version, "+")
	return tag
}

// Write writes the layout to a folder, replaces what the folder contains, and returns the digest of the index of all platforms. A
// module whose license is not known, or not one of those that may be shipped, is an error.
//
// The layout has one entry, so that every tool pushes and names the same digest. The bills of materials are in that index
// next to the images that they refer to: whatever copies all platforms copies them too, and a registry then lists them as
// referrers of the images.
func (r Recipe) Write(ctx context.Context, folder string) (v1.Hash, error) {
	scratch, err := os.MkdirTemp("", "outrigger-image-")
	if err != nil {
		return v1.Hash{}, err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	programs, err := r.compile(ctx, scratch)
	if err != nil {
		return v1.Hash{}, err
	}
	images, boms := make([]v1.Image, len(programs)), make([]v1.Image, len(programs))
	group, _ := errgroup.WithContext(ctx)
	for i, p := range programs {
		group.Go(func() (err error) {
			if images[i], boms[i], err = r.forPlatform(p); err != nil {
				return fmt.Errorf("%s: %w", p.platform, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return v1.Hash{}, err
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for i, image := range images {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: untyped{image}, Descriptor: v1.Descriptor{Platform: &programs[i].platform}})
	}
	for _, bom := range boms {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: untyped{bom}, Descriptor: v1.Descriptor{Platform: &noPlatform}})
	}
	index = mutate.Annotations(index, r.labels()).(v1.ImageIndex)
	if err := r.writeLayout(folder, index); err != nil {
		return v1.Hash{}, err
	}
	return index.Digest()
}

// untyped keeps an index from repeating the type of a manifest as artifactType. An image has no such type, and skopeo 1.9, which
// does not know the field, writes an index without it, under another digest.
type untyped struct{ v1.Image }

func (untyped) ArtifactType() (string, error) { return "", nil }

func (r Recipe) writeLayout(folder string, index v1.ImageIndex) error {
	if err := replaceLayout(folder); err != nil {
		return err
	}
	written, err := layout.Write(folder, empty.Index)
	if err != nil {
		return err
	}
	return written.AppendIndex(index, layout.WithAnnotations(map[string]string{
		tagAnnotation:  r.Tag(),
		nameAnnotation: r.Repository + ":" + r.Tag(),
	}))
}

// replaceLayout removes an earlier layout, and nothing that is none.
func replaceLayout(folder string) error {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(folder, "oci-layout")); err != nil {
		return fmt.Errorf("%s is neither empty nor an OCI layout; it is left alone", folder)
	}
	return os.RemoveAll(folder)
}

// forPlatform returns the image of one platform and its bill of materials.
func (r Recipe) forPlatform(p program) (image, bom v1.Image, err error) {
	start := time.Now()
	base, err := layer(append(accounts(), rootCertificates()...))
	if err != nil {
		return nil, nil, err
	}
	data, err := os.ReadFile(p.binary)
	if err != nil {
		return nil, nil, err
	}
	own, err := layer([]file{
		{path: strings.TrimPrefix(entrypoint, "/"), mode: 0o755, data: data},
		{path: "usr/share/doc/" + path.Base(entrypoint) + "/LICENSES", mode: 0o644, data: p.modules.licenseTexts()},
	})
	if err != nil {
		return nil, nil, err
	}
	if image, err = r.assemble(p.platform, base, own); err != nil {
		return nil, nil, err
	}
	text, err := p.modules.bom(r, p.platform)
	if err != nil {
		return nil, nil, err
	}
	if bom, err = attached(image, p.platform, text); err != nil {
		return nil, nil, err
	}
	r.report("%s: image assembled in %s", p.platform, time.Since(start).Round(time.Second))
	return image, bom, nil
}

// assemble lays the layers over each other and says how they are run.
func (r Recipe) assemble(platform v1.Platform, layers ...v1.Layer) (v1.Image, error) {
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for i, comment := range []string{"certificates, accounts", "program, licenses"} {
		var err error
		if image, err = mutate.Append(image, mutate.Addendum{
			Layer: layers[i], MediaType: types.OCILayer,
			History: v1.History{Created: v1.Time{Time: r.Created}, CreatedBy: "make image", Comment: comment},
		}); err != nil {
			return nil, err
		}
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Variant = platform.OS, platform.Architecture, platform.Variant
	config.Created = v1.Time{Time: r.Created}
	config.Config = v1.Config{
		User:       fmt.Sprintf("%d:%d", user, user),
		Entrypoint: []string{entrypoint},
		Env:        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		WorkingDir: "/" + home,
		Labels:     r.labels(),
	}
	return mutate.ConfigFile(image, config)
}

func (r Recipe) labels() map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":    path.Base(entrypoint),
		"org.opencontainers.image.version":  r.Version,
		"org.opencontainers.image.created":  r.Created.UTC().Format(time.RFC3339),
		"org.opencontainers.image.licenses": ourLicense,
	}
}

// attached returns the bill of materials as an artifact that refers to the image.
func attached(image v1.Image, platform v1.Platform, text []byte) (v1.Image, error) {
	subject, err := partial.Descriptor(image)
	if err != nil {
		return nil, err
	}
	artifact := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), sbomType)
	artifact, err = mutate.Append(artifact, mutate.Addendum{
		Layer: static.NewLayer(text, sbomType), MediaType: sbomType,
		Annotations: map[string]string{"org.opencontainers.image.title": fmt.Sprintf("%s-%s-%s.cdx.json", path.Base(entrypoint), platform.OS, platform.Architecture)},
	})
	if err != nil {
		return nil, err
	}
	return mutate.Subject(artifact, v1.Descriptor{MediaType: subject.MediaType, Size: subject.Size, Digest: subject.Digest}).(v1.Image), nil
}

// commitTime returns when the commit that is checked out was made, which every build of it has in common;
// SOURCE_DATE_EPOCH in the environment says otherwise.
func commitTime(ctx context.Context, root string) (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		command := exec.CommandContext(ctx, "git", "log", "-1", "--format=%ct")
		command.Dir = root
		out, err := command.Output()
		if err != nil {
			return time.Time{}, fmt.Errorf("the time of the commit (SOURCE_DATE_EPOCH says it where there is no git): %w", err)
		}
		text = strings.TrimSpace(string(out))
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	return time.Unix(seconds, 0).UTC(), nil
}
