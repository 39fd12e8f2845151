// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"debug/buildinfo"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

var hello = Recipe{
	Root: "testdata/hello", Package: ".", Repository: "registry.example/hello", Version: "1.2.3", Created: time.Unix(1_800_000_000, 0),
	Platforms: []v1.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64"}},
}

func written(t *testing.T, r Recipe) (folder string, digest v1.Hash) {
	t.Helper()
	folder = filepath.Join(t.TempDir(), "image")
	digest, err := r.Write(t.Context(), folder)
	if err != nil {
		t.Fatal(err)
	}
	return folder, digest
}

// images returns the images of a layout by their platforms, and its bills of materials by the images they are about.
func images(t *testing.T, folder string) (map[string]v1.Image, map[v1.Hash]cyclonedx.BOM) {
	t.Helper()
	top, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(top); err != nil {
		t.Errorf("the layout is not valid: %v", err)
	}
	manifest, err := top.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 1 {
		t.Fatalf("the layout has %d entries; want 1", len(manifest.Manifests))
	}
	entry := manifest.Manifests[0]
	if diff := cmp.Diff(map[string]string{tagAnnotation: hello.Tag(), nameAnnotation: "registry.example/hello:" + hello.Tag()}, entry.Annotations); diff != "" {
		t.Errorf("the annotations of the layout's entry:\n%s", diff)
	}
	index, err := top.ImageIndex(entry.Digest)
	if err != nil {
		t.Fatal(err)
	}
	platforms, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	found, boms := map[string]v1.Image{}, map[v1.Hash]cyclonedx.BOM{}
	for _, p := range platforms.Manifests {
		image, err := index.Image(p.Digest)
		if err != nil {
			t.Fatal(err)
		}
		if p.ArtifactType != "" {
			t.Errorf("the index says of %s that it has type %q; skopeo 1.9 drops that, and the digest changes", p.Digest, p.ArtifactType)
		}
		if p.Platform.String() != noPlatform.String() {
			found[p.Platform.String()] = image
			continue
		}
		about, bom := billOf(t, image)
		boms[about] = bom
	}
	return found, boms
}

func billOf(t *testing.T, artifact v1.Image) (about v1.Hash, bom cyclonedx.BOM) {
	t.Helper()
	manifest, err := artifact.Manifest()
	if err != nil || manifest.Subject == nil {
		t.Fatalf("an artifact without a subject: %v", err)
	}
	layers, err := artifact.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers: %v", len(layers), err)
	}
	text, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	if err := cyclonedx.NewBOMDecoder(text, cyclonedx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	return manifest.Subject.Digest, bom
}

// entries returns what is in the file system of an image.
func entries(t *testing.T, image v1.Image) (map[string]tar.Header, map[string][]byte) {
	t.Helper()
	headers, data := map[string]tar.Header{}, map[string][]byte{}
	stream := mutate.Extract(image)
	defer func() { _ = stream.Close() }()
	for header, content := range tarFiles(t, stream) {
		name := strings.TrimSuffix(header.Name, "/")
		headers[name], data[name] = *header, []byte(content)
	}
	return headers, data
}

func TestEveryPlatformHasItsImageAndItsBill(t *testing.T) {
	folder, digest := written(t, hello)
	if index, err := layout.ImageIndexFromPath(folder); err != nil {
		t.Fatal(err)
	} else if all, err := index.IndexManifest(); err != nil || all.Manifests[0].Digest != digest {
		t.Errorf("the digest that is printed is %s, of none: %v", digest, err)
	}
	found, boms := images(t, folder)
	if len(found) != 2 || len(boms) != 2 {
		t.Fatalf("%d images and %d bills, want 2 and 2", len(found), len(boms))
	}
	for name, machine := range map[string]string{"linux/amd64": "amd64", "linux/arm64": "arm64"} {
		image := found[name]
		if image == nil {
			t.Fatalf("no image for %s", name)
		}
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if config.OS != "linux" || config.Architecture != machine || !config.Created.Equal(hello.Created) {
			t.Errorf("%s: the configuration is of %s/%s, %s", name, config.OS, config.Architecture, config.Created)
		}
		headers, data := entries(t, image)
		for path, want := range map[string]struct {
			mode  int64
			owner int
		}{
			"outrigger":                         {0o755, 0},
			"usr/share/doc/outrigger/LICENSES":  {0o644, 0},
			"etc/passwd":                        {0o644, 0},
			"etc/group":                         {0o644, 0},
			"etc/ssl/certs/ca-certificates.crt": {0o644, 0},
			"home/nonroot":                      {0o700, user},
			"tmp":                               {0o1777, 0},
		} {
			if h, is := headers[path]; !is || h.Mode != want.mode || h.Uid != want.owner || h.Gid != want.owner {
				t.Errorf("%s: /%s is %v, mode %o, of %d:%d", name, path, is, h.Mode, h.Uid, h.Gid)
			}
		}
		info, err := buildinfo.Read(bytes.NewReader(data["outrigger"]))
		if err != nil {
			t.Fatal(err)
		}
		for _, setting := range info.Settings {
			if setting.Key == "GOARCH" && setting.Value != machine || setting.Key == "CGO_ENABLED" && setting.Value != "0" {
				t.Errorf("%s holds a binary of %s=%s", name, setting.Key, setting.Value)
			}
		}
		if !strings.Contains(string(data["etc/passwd"]), "nonroot:x:65532:65532:nonroot:/home/nonroot:") {
			t.Errorf("/etc/passwd is %q", data["etc/passwd"])
		}
		if pool := x509.NewCertPool(); !pool.AppendCertsFromPEM(data["etc/ssl/certs/ca-certificates.crt"]) {
			t.Error("there is no certificate in ca-certificates.crt")
		} else if count := bytes.Count(data["etc/ssl/certs/ca-certificates.crt"], []byte("BEGIN CERTIFICATE")); count < 50 {
			t.Errorf("there are %d certificates", count)
		}
		own, err := image.Digest()
		if err != nil {
			t.Fatal(err)
		}
		if bom := boms[own]; bom.Metadata == nil || bom.Metadata.Component.PackageURL != "pkg:golang/example.test/hello@1.2.3?goarch="+machine+"&goos=linux" {
			t.Errorf("%s: the bill is about something else: %+v", name, bom.Metadata)
		}
	}
}

func TestTheSameCommitGivesTheSameBytes(t *testing.T) {
	one, _ := written(t, hello)
	two, _ := written(t, hello)
	if diff := cmp.Diff(contents(t, one), contents(t, two)); diff != "" {
		t.Errorf("two runs differ:\n%s", diff)
	}
	newer := hello
	newer.Version = "1.2.4"
	three, _ := written(t, newer)
	if cmp.Equal(contents(t, one), contents(t, three)) {
		t.Error("another version has the same bytes")
	}
}

func contents(t *testing.T, folder string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(folder, path)
		out[name] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAnEarlierLayoutIsReplacedAndNothingElse(t *testing.T) {
	folder, _ := written(t, hello)
	before := contents(t, folder)
	if _, err := hello.Write(t.Context(), folder); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, contents(t, folder)); diff != "" {
		t.Errorf("written over itself:\n%s", diff)
	}
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "letter"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := hello.Write(t.Context(), other); err == nil || !strings.Contains(err.Error(), "left alone") {
		t.Errorf("into a folder of somebody's: %v", err)
	}
	if _, err := os.Stat(filepath.Join(other, "letter")); err != nil {
		t.Error(err)
	}
}

// The image that "docker build" makes and ours are one: same user, entrypoint, place of the binary and way to build it.
func TestTheDockerfileMakesTheSame(t *testing.T) {
	data, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(data), "\\\n", " ")
	last := text[strings.LastIndex(text, "\nFROM "):]
	line := func(in, word string) string {
		match := regexp.MustCompile(`(?m)^` + word + `\s+(.*)$`).FindStringSubmatch(in)
		if match == nil {
			t.Fatalf("the Dockerfile has no %s", word)
		}
		return match[1]
	}
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	if pinned := regexp.MustCompile(`(?m)^IMAGE_GO \?= go(.+)$`).FindSubmatch(makefile); pinned == nil || !strings.Contains(line(text, "FROM"), " golang:"+string(pinned[1])+" ") {
		t.Errorf("the Go of the Dockerfile, %s, is not the Makefile's IMAGE_GO, %s", line(text, "FROM"), pinned)
	}
	linux := hello
	linux.Platforms = hello.Platforms[:1]
	folder, _ := written(t, linux)
	found, _ := images(t, folder)
	config, err := found["linux/amd64"].ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if got := line(last, "USER"); got != config.Config.User {
		t.Errorf("USER is %s there, %s here", got, config.Config.User)
	}
	var start []string
	if err := json.Unmarshal([]byte(line(last, "ENTRYPOINT")), &start); err != nil || !slices.Equal(start, config.Config.Entrypoint) {
		t.Errorf("ENTRYPOINT is %v there, %v here: %v", start, config.Config.Entrypoint, err)
	}
	if strings.Contains(last, "\nCMD ") || len(config.Config.Cmd) > 0 {
		t.Error("neither has a CMD")
	}
	copied := strings.Fields(line(last, "COPY"))
	if place := copied[len(copied)-1]; place != entrypoint {
		t.Errorf("the binary is at %s there, at %s here", place, entrypoint)
	}
	if headers, _ := entries(t, found["linux/amd64"]); headers[strings.TrimPrefix(entrypoint, "/")].Mode != 0o755 {
		t.Errorf("there is no program at %s", entrypoint)
	}
	if build, want := line(text, "RUN CGO_ENABLED=0"), `go build -trimpath -ldflags "`+linkFlags+`$VERSION" -o /outrigger ./cmd/outrigger`; !strings.Contains(strings.Join(strings.Fields(build), " "), want) {
		t.Errorf("it is built there by %s; here by %s", build, want)
	}
}

// The binary that we ship is made of nothing but what we may pass on, and its bill names all of it.
func TestTheBillOfOutriggerNamesEveryModuleAndLicense(t *testing.T) {
	outrigger := Recipe{Root: "../..", Package: "./cmd/outrigger", Repository: hello.Repository, Version: hello.Version, Created: hello.Created, Platforms: []v1.Platform{{OS: "linux", Architecture: runtime.GOARCH}}}
	folder, _ := written(t, outrigger)
	found, boms := images(t, folder)
	image := found["linux/"+runtime.GOARCH]
	_, data := entries(t, image)
	info, err := buildinfo.Read(bytes.NewReader(data["outrigger"]))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"std " + strings.TrimPrefix(info.GoVersion, "go")}
	for _, dep := range info.Deps {
		want = append(want, dep.Path+" "+dep.Version)
		if named := dep.Path + " " + dep.Version + " (LICEN"; !bytes.Contains(data["usr/share/doc/outrigger/LICENSES"], []byte(named)) {
			t.Errorf("the license of %s is not in the image", dep.Path)
		}
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range *boms[digest].Components {
		got = append(got, c.Name+" "+c.Version)
		if len(*c.Licenses) == 0 || c.Hashes == nil && c.Name != "std" {
			t.Errorf("%s has no license or no hash in the bill", c.Name)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" || len(want) < 20 {
		t.Errorf("what was linked, and what the bill names:\n%s", diff)
	}
}

func TestLicensesThatMayNotBeShippedAreErrors(t *testing.T) {
	for name, test := range map[string]struct {
		file, text, want string
	}{
		"none":        {"README", "hello", "has no file with a known license"},
		"unknown":     {"LICENSE", "You may do nothing with this.", "has no file with a known license"},
		"not allowed": {"LICENSE", zeroBSD, "license 0BSD may not be shipped"},
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			if err := os.WriteFile(filepath.Join(folder, test.file), []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, _, err := licenses(folder); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v; want %q", err, test.want)
			}
		})
	}
	texts, ids, err := licenses("../..")
	if err != nil || len(texts) != 1 || !slices.Equal(ids, []string{ourLicense}) {
		t.Errorf("our own: %d texts, %v, %v", len(texts), ids, err)
	}
}

const zeroBSD = `Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted.

THE SOFTWARE IS PROVIDED "AS IS" AND THE AUTHOR DISCLAIMS ALL WARRANTIES WITH REGARD TO THIS SOFTWARE INCLUDING ALL IMPLIED
WARRANTIES OF MERCHANTABILITY AND FITNESS. IN NO EVENT SHALL THE AUTHOR BE LIABLE FOR ANY SPECIAL, DIRECT, INDIRECT, OR
CONSEQUENTIAL DAMAGES OR ANY DAMAGES WHATSOEVER RESULTING FROM LOSS OF USE, DATA OR PROFITS, WHETHER IN AN ACTION OF CONTRACT,
NEGLIGENCE OR OTHER TORTIOUS ACTION, ARISING OUT OF OR IN CONNECTION WITH THE USE OR PERFORMANCE OF THIS SOFTWARE.
`

// A package of another module than the repository's is shipped under the repository's license.
func TestPackageOfAnotherModule(t *testing.T) {
	other := hello
	other.Root, other.Module, other.Platforms = "../..", hello.Root, []v1.Platform{{OS: "linux", Architecture: runtime.GOARCH}}
	folder, _ := written(t, other)
	found, _ := images(t, folder)
	_, data := entries(t, found["linux/"+runtime.GOARCH])
	license, err := os.ReadFile("../../LICENSE")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(data["usr/share/doc/outrigger/LICENSES"], bytes.TrimSpace(license)) {
		t.Error("the image does not have the LICENSE of the repository")
	}
	if info, err := buildinfo.Read(bytes.NewReader(data["outrigger"])); err != nil || info.Main.Path == "outrigger.dev/outrigger" {
		t.Errorf("the program is %v of the wrong module: %v", info, err)
	}
}
