// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

var linuxAMD64, linuxARM64 = v1.Platform{OS: "linux", Architecture: "amd64"}, v1.Platform{OS: "linux", Architecture: "arm64"}

// archived writes the archive of a layout for "docker load" on a platform.
func archived(t *testing.T, folder string, platform v1.Platform) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := Archive(folder, file, platform); err != nil {
		t.Fatal(err)
	}
	return file
}

// "docker load" finds the image of the platform under its full name, and everything that the layout has is in the archive.
func TestArchiveHoldsTheImageForDockerAndTheLayout(t *testing.T) {
	folder, _ := written(t, hello)
	found, _ := images(t, folder)
	full, err := name.NewTag("registry.example/hello:1.2.3", name.StrictValidation)
	if err != nil {
		t.Fatal(err)
	}
	for _, platform := range []v1.Platform{linuxAMD64, linuxARM64} {
		file := archived(t, folder, platform)
		loaded, err := tarball.ImageFromPath(file, &full)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Image(loaded); err != nil {
			t.Errorf("%s: %v", platform, err)
		}
		// Docker's identifier of an image is the digest of its configuration.
		got, err := loaded.ConfigName()
		if err != nil {
			t.Fatal(err)
		}
		if want, err := found[platform.String()].ConfigName(); err != nil || got != want {
			t.Errorf("%s: docker loads image %s; want %s: %v", platform, got, want, err)
		}
		unpacked := unpack(t, file)
		if manifest, err := tarball.LoadManifest(func() (io.ReadCloser, error) { return os.Open(file) }); err != nil || len(manifest) != 1 || !slices.Equal(manifest[0].RepoTags, []string{full.Name()}) {
			t.Errorf("%s: manifest.json is %v: %v", platform, manifest, err)
		}
		delete(unpacked, "manifest.json")
		if diff := cmp.Diff(contents(t, folder), unpacked); diff != "" {
			t.Errorf("%s: the layout, and what is in the archive:\n%s", platform, diff)
		}
	}
	if err := Archive(folder, filepath.Join(t.TempDir(), "image.tar"), v1.Platform{OS: "linux", Architecture: "s390x"}); err == nil || !strings.Contains(err.Error(), "no image for linux/s390x") {
		t.Errorf("for a platform without an image: %v", err)
	}
}

// A layout without an image for this machine has an archive, too: the nodes of a cluster may be of another architecture.
func TestTheArchiveLoadsABuiltPlatform(t *testing.T) {
	own := v1.Platform{OS: "linux", Architecture: runtime.GOARCH}
	other := linuxARM64
	if own.Equals(other) {
		other = linuxAMD64
	}
	for _, c := range []struct {
		named string
		built []v1.Platform
		want  v1.Platform
	}{
		{"", []v1.Platform{other, own}, own},
		{"", []v1.Platform{other}, other},
		{other.String(), []v1.Platform{own, other}, other},
		{"linux/s390x", []v1.Platform{own}, v1.Platform{OS: "linux", Architecture: "s390x"}}, // Archive rejects it
	} {
		if got, err := dockerPlatform(c.named, c.built); err != nil || !got.Equals(c.want) {
			t.Errorf("named %q, built %v: %v, %v; want %v", c.named, c.built, got, err, c.want)
		}
	}
}

func TestArchivesOfOneLayoutAreEqual(t *testing.T) {
	folder, _ := written(t, hello)
	one, err := os.ReadFile(archived(t, folder, linuxAMD64))
	if err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(filepath.Join(folder, "index.json"), later, later); err != nil {
		t.Fatal(err)
	}
	two, err := os.ReadFile(archived(t, folder, linuxAMD64))
	if err != nil || !slices.Equal(one, two) {
		t.Errorf("the same layout gives two archives, of %d and %d bytes: %v", len(one), len(two), err)
	}
}

func unpack(t *testing.T, file string) map[string]string {
	t.Helper()
	opened, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = opened.Close() }()
	out := map[string]string{}
	for header, data := range tarFiles(t, opened) {
		out[header.Name] = data
	}
	return out
}

// ctr imports the archive as kind, k3d, and k3s do. The image has the name and the digest that the chart requests.
func TestContainerdImportsTheArchive(t *testing.T) {
	ctr := containerd(t)
	folder, digest := written(t, hello)
	archive := archived(t, folder, linuxAMD64)
	ctr("images", "import", "--all-platforms", archive)
	ctr("--namespace", "own-platform", "images", "import", archive)
	if list := strings.Fields(ctr("--namespace", "own-platform", "images", "list", "-q")); !slices.Equal(list, []string{"registry.example/hello:1.2.3"}) {
		t.Errorf("without --all-platforms, containerd has images %v", list)
	}
	if list := ctr("images", "list", "name==registry.example/hello:1.2.3"); !strings.Contains(list, digest.String()) || !strings.Contains(list, "linux/amd64") || !strings.Contains(list, "linux/arm64") {
		t.Errorf("containerd lists the image as\n%s", list)
	}
	if list := strings.Fields(ctr("images", "list", "-q")); !slices.Equal(list, []string{"registry.example/hello:1.2.3"}) {
		t.Errorf("containerd has images %v", list)
	}
	mounted := filepath.Join(t.TempDir(), "mounted")
	if err := os.Mkdir(mounted, 0o755); err != nil {
		t.Fatal(err)
	}
	ctr("images", "mount", "--snapshotter", "native", "registry.example/hello:1.2.3", mounted)
	t.Cleanup(func() { ctr("images", "unmount", "--snapshotter", "native", mounted) })
	if out, err := exec.CommandContext(t.Context(), filepath.Join(mounted, "outrigger")).CombinedOutput(); err != nil {
		t.Errorf("the program in the image: %v\n%s", err, out)
	}
}

// containerd starts one that has its own folders, and returns what runs ctr against it.
func containerd(t *testing.T) func(args ...string) string {
	t.Helper()
	for _, command := range []string{"containerd", "ctr"} {
		if _, err := exec.LookPath(command); err != nil {
			t.Skip("no containerd on this machine; on Debian, \"apt-get install containerd\" installs it")
		}
	}
	if os.Getuid() != 0 {
		t.Skip("containerd must be started by root; run \"sudo go test ./...\" in hack/image")
	}
	dir, err := os.MkdirTemp("", "outrigger-ctr-") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	file := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(file, []byte("version = 2\nroot = \""+dir+"/root\"\nstate = \""+dir+"/state\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\"]\n[grpc]\naddress = \""+socket+"\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	daemon := exec.Command("containerd", "--log-level", "warn", "--config", file)
	daemon.Stdout, daemon.Stderr = &log, &log
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = daemon.Process.Signal(os.Interrupt)
		_ = daemon.Wait()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("containerd's log:\n%s", log.String())
		}
	})
	run := func(args ...string) ([]byte, error) {
		return exec.Command("ctr", append([]string{"--address", socket}, args...)...).CombinedOutput()
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if out, err := run("version"); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("containerd does not answer: %v\n%s", err, out)
		}
	}
	return func(args ...string) string {
		t.Helper()
		out, err := run(args...)
		if err != nil {
			t.Fatalf("ctr %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
}
