// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"debug/macho"
	"debug/pe"
	"errors"
	"io"
	"io/fs"
	"iter"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func TestBinariesArePackedWithLicensesAndBills(t *testing.T) {
	commands := hello
	commands.Platforms = []v1.Platform{linuxAMD64, {OS: "windows", Architecture: "amd64"}, {OS: "darwin", Architecture: "arm64"}}
	one, two := t.TempDir(), t.TempDir()
	for _, folder := range []string{one, two} {
		if err := commands.WriteBinaries(t.Context(), folder); err != nil {
			t.Fatal(err)
		}
	}
	files := contents(t, one)
	if diff := cmp.Diff(files, contents(t, two)); diff != "" {
		t.Errorf("two runs differ:\n%.2000s", diff)
	}
	if len(files) != 6 {
		t.Errorf("there are %d files; want an archive and a bill for each platform", len(files))
	}
	for platform, packed := range map[string]map[string]packedFile{
		"linux_amd64":   untar(t, files["outrigger_1.2.3_linux_amd64.tar.gz"]),
		"windows_amd64": unzip(t, files["outrigger_1.2.3_windows_amd64.zip"]),
		"darwin_arm64":  untar(t, files["outrigger_1.2.3_darwin_arm64.tar.gz"]),
	} {
		system, architecture, _ := strings.Cut(platform, "_")
		program := "outrigger"
		if system == "windows" {
			program += ".exe"
		}
		if packed[program].mode.Perm() != 0o755 || packed["LICENSE"].mode.Perm() != 0o644 || !strings.Contains(packed["THIRD-PARTY-LICENSES"].data, "example.test/hello 1.2.3 (LICENSE)") || len(packed) != 3 {
			t.Errorf("%s: the archive has %v", platform, slices.Sorted(maps.Keys(packed)))
		}
		if got := executableFor(t, packed[program].data); got != platform {
			t.Errorf("%s: the binary is for %s", platform, got)
		}
		var bom cyclonedx.BOM
		if err := cyclonedx.NewBOMDecoder(strings.NewReader(files["outrigger_1.2.3_"+platform+".cdx.json"]), cyclonedx.BOMFileFormatJSON).Decode(&bom); err != nil {
			t.Fatal(err)
		}
		if want := "pkg:golang/example.test/hello@1.2.3?goarch=" + architecture + "&goos=" + system; bom.Metadata.Component.PackageURL != want {
			t.Errorf("%s: the bill is about %s; want %s", platform, bom.Metadata.Component.PackageURL, want)
		}
	}
}

// executableFor returns the platform that an executable is for, by its format and machine.
func executableFor(t *testing.T, data string) string {
	t.Helper()
	file := strings.NewReader(data)
	if f, err := elf.NewFile(file); err == nil {
		return "linux_" + map[elf.Machine]string{elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64"}[f.Machine]
	}
	if f, err := pe.NewFile(file); err == nil {
		return "windows_" + map[uint16]string{pe.IMAGE_FILE_MACHINE_AMD64: "amd64", pe.IMAGE_FILE_MACHINE_ARM64: "arm64"}[f.Machine]
	}
	if f, err := macho.NewFile(file); err == nil {
		return "darwin_" + map[macho.Cpu]string{macho.CpuAmd64: "amd64", macho.CpuArm64: "arm64"}[f.Cpu]
	}
	return "no known system"
}

// packedFile is a file in an archive. Its time is that of the commit; whoever reads it fails otherwise.
type packedFile struct {
	mode fs.FileMode
	data string
}

func untar(t *testing.T, archive string) map[string]packedFile {
	t.Helper()
	uncompressed, err := gzip.NewReader(strings.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]packedFile{}
	for header, data := range tarFiles(t, uncompressed) {
		if !header.ModTime.Equal(hello.Created) {
			t.Errorf("%s has the time %s", header.Name, header.ModTime)
		}
		out[filepath.ToSlash(header.Name)] = packedFile{header.FileInfo().Mode(), data}
	}
	return out
}

// tarFiles yields each file of an archive with its content.
func tarFiles(t *testing.T, archive io.Reader) iter.Seq2[*tar.Header, string] {
	t.Helper()
	return func(yield func(*tar.Header, string) bool) {
		for r := tar.NewReader(archive); ; {
			header, err := r.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			if !yield(header, string(data)) {
				return
			}
		}
	}
}

func unzip(t *testing.T, archive string) map[string]packedFile {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader([]byte(archive)), int64(len(archive)))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]packedFile{}
	for _, file := range r.File {
		opened, err := file.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(opened)
		if err != nil || !file.Modified.Equal(hello.Created) {
			t.Errorf("%s has the time %s: %v", file.Name, file.Modified, err)
		}
		out[file.Name] = packedFile{file.Mode(), string(data)}
	}
	return out
}
