// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestVersionsAreThoseOfTheModules(t *testing.T) {
	t.Setenv("KUBERNETES", "")
	for _, tool := range tools() {
		data, err := os.ReadFile(filepath.Join("..", "tools", tool.module, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		// The module of a package is the longest required one that begins its path.
		var module, version string
		for _, match := range regexp.MustCompile(`(?m)^(?:require|\t)\s*(\S+) (v\S+)`).FindAllStringSubmatch(string(data), -1) {
			if (tool.pkg == match[1] || strings.HasPrefix(tool.pkg, match[1]+"/")) && len(match[1]) > len(module) {
				module, version = match[1], match[2]
			}
		}
		if version != tool.version {
			t.Errorf("%s: hack/tools/%s/go.mod requires %s %s, the package says %s", tool.name, tool.module, module, version, tool.version)
		}
		if !strings.Contains(string(data), tool.pkg+"\n") {
			t.Errorf("%s: hack/tools/%s/go.mod has no tool %s", tool.name, tool.module, tool.pkg)
		}
	}
}

// source writes the module "hello", whose command does what the Go statement says, and returns the folder that holds it.
func source(t *testing.T, statement string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":  "module hello\n\ngo 1.26.0\n",
		"main.go": "package main\n\nvar version string\n\nfunc main() { " + statement + " }\n",
	} {
		if err := os.MkdirAll(filepath.Join(dir, "hello"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "hello", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestABuiltToolIsWhole(t *testing.T) {
	cache := t.TempDir()
	hello := tool{"hello", "hello", "v1.2.3", ".", "-X main.version=v1.2.3"}

	err := hello.build(t.Context(), source(t, "nonsense()"), cache, true, new(bytes.Buffer))
	if err == nil || !strings.Contains(err.Error(), "build hello from ") || !strings.Contains(err.Error(), "undefined: nonsense") {
		t.Errorf("a program that does not compile: %v", err)
	}
	if executable(hello.path(cache)) {
		t.Error("a failed build left a command")
	}
	if err := hello.build(t.Context(), source(t, "print(version)"), cache, true, new(bytes.Buffer)); err != nil {
		t.Fatal(err)
	}
	if !executable(hello.path(cache)) || !strings.Contains(hello.path(cache), "hello-v1.2.3-") {
		t.Errorf("no command at %s", hello.path(cache))
	}
	left, err := os.ReadDir(filepath.Dir(hello.path(cache)))
	if err != nil || len(left) != 1 {
		t.Errorf("beside the command: %v, %v", left, err)
	}
}

func TestGivenAssetsAreUsed(t *testing.T) {
	cache, given := t.TempDir(), t.TempDir()
	t.Setenv("KUBEBUILDER_ASSETS", given)
	for _, name := range []string{"etcd", "kube-apiserver"} {
		if err := os.WriteFile(filepath.Join(given, name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(given, "kubectl"), nil, 0o644); err != nil { // no command
		t.Fatal(err)
	}
	assets, missing := find(cache)
	if want := filepath.Join(given, "etcd"); assets["etcd"] != want {
		t.Errorf("etcd: %q, want %q", assets["etcd"], want)
	}
	var names []string
	for _, tool := range missing {
		names = append(names, tool.name)
	}
	if want := []string{"kube-controller-manager", "kube-scheduler", "kubectl", "kwok", "helm"}; !slices.Equal(names, want) {
		t.Errorf("to build: %v, want %v", names, want)
	}
}

func TestOneProcessBuilds(t *testing.T) {
	cache := t.TempDir()
	unlock, err := lock(t.Context(), cache, new(bytes.Buffer))
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := lock(short, cache, &said); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second builder: %v", err)
	}
	if !strings.Contains(said.String(), "another process builds") {
		t.Errorf("a second builder says %q", said.String())
	}
	unlock()
	unlock, err = lock(t.Context(), cache, &said)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestProgressIsToldWhileItGoesOn(t *testing.T) {
	var output goOutput
	for _, part := range []string{"go: downloading a v1\ngo: down", "loading b v1\nmain.go:1: broken\n"} {
		if _, err := output.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if output.downloads.Load() != 2 || output.rest.String() != "main.go:1: broken\n" {
		t.Errorf("%d downloads, the rest is %q", output.downloads.Load(), output.rest.String())
	}
	told := make(chan time.Duration, 100)
	stop := everySome(time.Millisecond, func(since time.Duration) { told <- since })
	<-told
	<-told
	stop()
}
