package main

import (
	"context"
	"errors"
	"fmt"
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
)

// What a container is started as. The Dockerfile says the same; a test compares them.
const (
	user       = 65532
	entrypoint = "/outrigger"
	linkFlags  = "-s -w -X main.version="
)

// sbomType is the media type of a bill of materials, and so the type of the artifact that holds one.
const sbomType types.MediaType = "application/vnd.cyclonedx+json"

// Recipe says what an image is made from.
type Recipe struct {
	Root      string // folder of the Go module that holds the package; its LICENSE is ours
	Package   string // main package, "./cmd/outrigger"
	Version   string
	Created   time.Time
	Platforms []v1.Platform
	Stamp     bool // whether the binary names the commit
}

// Write makes the layout in a folder, in place of what is there, and returns the digest of the index of all platforms. A
// module whose licence is not known, or not one of those that may be shipped, is an error.
func (r Recipe) Write(ctx context.Context, folder string) (v1.Hash, error) {
	scratch, err := os.MkdirTemp("", "outrigger-image-")
	if err != nil {
		return v1.Hash{}, err
	}
	defer func() { _ = os.RemoveAll(scratch) }()

	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	var boms []v1.Image
	for _, platform := range r.Platforms {
		image, bom, err := r.forPlatform(ctx, platform, scratch)
		if err != nil {
			return v1.Hash{}, fmt.Errorf("%s: %w", platform, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &platform}})
		boms = append(boms, bom)
	}
	index = mutate.Annotations(index, r.labels()).(v1.ImageIndex)

	if err := replaceLayout(folder); err != nil {
		return v1.Hash{}, err
	}
	written, err := layout.Write(folder, empty.Index)
	if err != nil {
		return v1.Hash{}, err
	}
	if err := written.AppendIndex(index, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": r.Version})); err != nil {
		return v1.Hash{}, err
	}
	for _, bom := range boms {
		if err := written.AppendImage(bom); err != nil {
			return v1.Hash{}, err
		}
	}
	return index.Digest()
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
func (r Recipe) forPlatform(ctx context.Context, platform v1.Platform, scratch string) (image, bom v1.Image, err error) {
	binary := filepath.Join(scratch, platform.OS+"-"+platform.Architecture)
	if err := r.build(ctx, platform, binary); err != nil {
		return nil, nil, err
	}
	parts, err := r.modulesOf(ctx, platform, binary)
	if err != nil {
		return nil, nil, err
	}
	base, err := layer(append(accounts(), rootCertificates()...))
	if err != nil {
		return nil, nil, err
	}
	program, err := os.ReadFile(binary)
	if err != nil {
		return nil, nil, err
	}
	own, err := layer([]file{
		{path: strings.TrimPrefix(entrypoint, "/"), mode: 0o755, data: program},
		{path: "usr/share/doc/" + path.Base(entrypoint) + "/LICENSES", mode: 0o644, data: parts.licenceTexts()},
	})
	if err != nil {
		return nil, nil, err
	}
	if image, err = r.assemble(platform, base, own); err != nil {
		return nil, nil, err
	}
	text, err := parts.bom(r, platform)
	if err != nil {
		return nil, nil, err
	}
	bom, err = attached(image, platform, text)
	return image, bom, err
}

// build compiles the package as the Dockerfile does.
func (r Recipe) build(ctx context.Context, platform v1.Platform, binary string) error {
	args := []string{"build", "-trimpath", "-ldflags", linkFlags + r.Version, "-o", binary}
	if !r.Stamp {
		args = append(args, "-buildvcs=false")
	}
	command := exec.CommandContext(ctx, "go", append(args, r.Package)...)
	command.Dir, command.Env = r.Root, r.environment(platform)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", r.Package, err, out)
	}
	return nil
}

func (r Recipe) environment(platform v1.Platform) []string {
	return append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOOS="+platform.OS, "GOARCH="+platform.Architecture)
}

// assemble lays the layers over each other and says how they are run.
func (r Recipe) assemble(platform v1.Platform, layers ...v1.Layer) (v1.Image, error) {
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for i, comment := range []string{"certificates, accounts", "program, licences"} {
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
		"org.opencontainers.image.licenses": ourLicence,
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
