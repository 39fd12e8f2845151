// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"outrigger.dev/outrigger/hack/chart"
)

const (
	digest     = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	repository = "registry.example/team/outrigger"
)

// completed returns the files of a release. Its archives stand for those that hack/image writes, which its tests look into.
func completed(t *testing.T) (files map[string]string, said string) {
	t.Helper()
	t.Setenv("SOURCE_DATE_EPOCH", "1800000000")
	folder, layout := t.TempDir(), t.TempDir()
	for file, text := range map[string]string{
		filepath.Join(layout, "index.json"):                            `{"manifests": [{"digest": "` + digest + `"}]}`,
		filepath.Join(folder, "outrigger_1.2.3_linux_amd64.tar.gz"):    "linux",
		filepath.Join(folder, "outrigger_1.2.3_linux_amd64.cdx.json"):  "bill",
		filepath.Join(folder, "outrigger_1.2.3_windows_arm64.zip"):     "windows",
		filepath.Join(folder, "outrigger-image_1.2.3_linux_amd64.tar"): "image",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if err := run([]string{"complete", "-version", "1.2.3", "-repository", repository, "-downloads", "https://downloads.example", "-layout", layout, "-o", folder}, &out); err != nil {
		t.Fatal(err)
	}
	files = map[string]string{}
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(folder, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[entry.Name()] = string(data)
	}
	return files, out.String()
}

func TestARelease(t *testing.T) {
	files, said := completed(t)
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{
		"checksums.txt", "krew-outrigger.yaml", "outrigger-1.2.3.tgz", "outrigger-image_1.2.3_linux_amd64.tar", "outrigger.yaml",
		"outrigger_1.2.3_linux_amd64.cdx.json", "outrigger_1.2.3_linux_amd64.tar.gz", "outrigger_1.2.3_windows_arm64.zip", "release-notes.md",
	}, names); diff != "" {
		t.Errorf("the files of a release:\n%s", diff)
	}

	packed, err := chart.LoadArchive([]byte(files["outrigger-1.2.3.tgz"]))
	if err != nil {
		t.Fatal(err)
	}
	if version, app := packed.Version(); version != "1.2.3" || app != "1.2.3" {
		t.Errorf("the chart has version %s and appVersion %s", version, app)
	}
	if image, err := packed.Image(); err != nil || image != repository+"@"+digest {
		t.Errorf("the chart runs %s: %v", image, err)
	}
	if manifest := files["outrigger.yaml"]; !strings.Contains(manifest, repository+"@"+digest) || !strings.Contains(manifest, "# Outrigger 1.2.3 without Helm") {
		t.Errorf("the manifest is of another image or version:\n%.300s", manifest)
	}
	if notes := files["release-notes.md"]; !strings.Contains(notes, repository+":1.2.3@"+digest) || strings.HasPrefix(notes, "## ") {
		t.Errorf("the release notes are\n%s", notes)
	}
	if !strings.Contains(said, "no heading for 1.2.3") || !strings.Contains(said, "@"+digest) {
		t.Errorf("the command prints\n%s", said)
	}

	for _, line := range strings.Split(strings.TrimSpace(files["checksums.txt"]), "\n") {
		sum, name, _ := strings.Cut(line, "  ")
		if want := sha256.Sum256([]byte(files[name])); sum != hex.EncodeToString(want[:]) {
			t.Errorf("the checksum of %s is %s; want %x", name, sum, want)
		}
		names = slices.DeleteFunc(names, func(n string) bool { return n == name })
	}
	if diff := cmp.Diff([]string{"checksums.txt"}, names); diff != "" {
		t.Errorf("files without a checksum:\n%s", diff)
	}
}

func TestTheKrewManifestNamesEachArchive(t *testing.T) {
	files, _ := completed(t)
	var plugin struct {
		APIVersion, Kind string
		Metadata         struct{ Name string }
		Spec             struct {
			Version, ShortDescription string
			Platforms                 []krewPlatform
		}
	}
	if err := yaml.Unmarshal([]byte(files["krew-outrigger.yaml"]), &plugin); err != nil {
		t.Fatal(err)
	}
	if plugin.Kind != "Plugin" || plugin.Metadata.Name != "outrigger" || plugin.Spec.Version != "v1.2.3" || len(plugin.Spec.ShortDescription) > 50 {
		t.Errorf("the plugin is %+v", plugin)
	}
	sum := func(name string) string { s := sha256.Sum256([]byte(files[name])); return hex.EncodeToString(s[:]) }
	var want [2]krewPlatform
	for i, w := range []struct{ os, arch, file, bin string }{
		{"linux", "amd64", "outrigger_1.2.3_linux_amd64.tar.gz", "outrigger"},
		{"windows", "arm64", "outrigger_1.2.3_windows_arm64.zip", "outrigger.exe"},
	} {
		want[i] = krewPlatform{URI: "https://downloads.example/v1.2.3/" + w.file, SHA256: sum(w.file), Bin: w.bin}
		want[i].Selector.MatchLabels = map[string]string{"os": w.os, "arch": w.arch}
	}
	if diff := cmp.Diff(want[:], plugin.Spec.Platforms); diff != "" {
		t.Errorf("the platforms:\n%s", diff)
	}
}

func TestAReleaseIsTheSameTwice(t *testing.T) {
	one, _ := completed(t)
	two, _ := completed(t)
	if diff := cmp.Diff(one, two); diff != "" {
		t.Errorf("two runs differ:\n%s", diff)
	}
}

// A chart between releases has the commit in its version, which a tag cannot contain.
func TestAChartBetweenReleasesNamesItsImage(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1800000000")
	folder := t.TempDir()
	var out bytes.Buffer
	if err := run([]string{"chart", "-version", "1.3.0-dev+0123456789ab", "-repository", repository, "-o", folder}, &out); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(folder, "outrigger-1.3.0-dev+0123456789ab.tgz"))
	if err != nil {
		t.Fatal(err)
	}
	packed, err := chart.LoadArchive(data)
	if err != nil {
		t.Fatal(err)
	}
	if image, err := packed.Image(); err != nil || image != repository+":1.3.0-dev" || !strings.Contains(out.String(), image) {
		t.Errorf("the chart runs %s, and prints %q: %v", image, out.String(), err)
	}
	rendered, err := packed.Render(nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := `app.kubernetes.io/version: "1.3.0-dev_0123456789ab"`; !strings.Contains(rendered.Objects, want) {
		t.Errorf("the chart renders no label %s", want)
	}
}

func TestAReleaseIsRefused(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1800000000")
	layout := t.TempDir()
	if err := os.WriteFile(filepath.Join(layout, "index.json"), []byte(`{"manifests": [{"digest": "sha256:a"}, {"digest": "sha256:b"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"want a command":           {},
		"unknown command":          {"publish", "-version", "1.2.3"},
		"-version is required":     {"chart"},
		"has 2 entries; want 1":    {"complete", "-version", "1.2.3", "-layout", layout, "-o", t.TempDir()},
		"no such file":             {"complete", "-version", "1.2.3", "-layout", t.TempDir(), "-o", t.TempDir()},
		"packed chart: validation": {"chart", "-version", "one", "-repository", repository, "-o", t.TempDir()},
	} {
		if err := run(args, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v; want %q", args, err, want)
		}
	}
	t.Setenv("SOURCE_DATE_EPOCH", "")
	if err := run([]string{"chart", "-version", "1.2.3"}, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "SOURCE_DATE_EPOCH") {
		t.Errorf("without a time: %v", err)
	}
}
