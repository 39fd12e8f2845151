// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"io"
	"log"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/registry"
)

// crane, oras, and skopeo push the layout to a registry under one digest, and the bills of materials arrive as referrers.
func TestToolsPushTheLayoutUnderOneDigest(t *testing.T) {
	folder, digest := written(t, hello)
	_, boms := images(t, folder)
	server := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")

	byCrane, byOras := host+"/crane/hello:1.2.3", host+"/oras/hello:1.2.3"
	tool(t, "crane", "push", folder, byCrane)
	tool(t, "oras", "cp", "--recursive", "--from-oci-layout", "--to-plain-http", folder+":1.2.3", byOras)
	all := []string{byCrane, byOras}
	if _, err := exec.LookPath("skopeo"); err == nil {
		bySkopeo := host + "/skopeo/hello:1.2.3"
		if out, err := exec.CommandContext(t.Context(), "skopeo", "--insecure-policy", "copy", "--all", "--dest-tls-verify=false", "oci:"+folder, "docker://"+bySkopeo).CombinedOutput(); err != nil {
			t.Fatalf("skopeo copy: %v\n%s", err, out)
		}
		all = append(all, bySkopeo)
	} else {
		t.Log("no skopeo on this machine; on Debian, \"apt-get install skopeo\" installs it")
	}
	for _, pushed := range all {
		if got := strings.TrimSpace(tool(t, "crane", "digest", pushed)); got != digest.String() {
			t.Errorf("%s is %s; want %s", pushed, got, digest)
		}
		if got := tool(t, "oras", "resolve", "--plain-http", pushed); strings.TrimSpace(got) != digest.String() {
			t.Errorf("oras resolves %s to %s; want %s", pushed, got, digest)
		}
		tool(t, "crane", "validate", "--remote", pushed)
		subjects := map[string]int{}
		for image := range boms {
			found := discover(t, "--plain-http", strings.TrimSuffix(pushed, ":1.2.3")+"@"+image.String())
			subjects[image.String()] = len(found)
		}
		for _, platform := range []string{"linux/amd64", "linux/arm64"} {
			if diff := cmp.Diff([]string{string(sbomType)}, discover(t, "--plain-http", "--platform", platform, pushed)); diff != "" {
				t.Errorf("the referrers of %s for %s:\n%s", pushed, platform, diff)
			}
		}
		for image, count := range subjects {
			if count != 1 {
				t.Errorf("%s has %d referrers of %s; want 1", pushed, count, image)
			}
		}
	}
	if diff := cmp.Diff([]string{string(sbomType)}, discover(t, "--oci-layout", "--platform", "linux/amd64", folder+":1.2.3")); diff != "" {
		t.Errorf("the referrers in the layout:\n%s", diff)
	}
}

// discover returns the types of an image's referrers, as oras lists them.
func discover(t *testing.T, args ...string) []string {
	t.Helper()
	var found struct {
		Referrers []struct{ ArtifactType string }
	}
	if err := json.Unmarshal([]byte(tool(t, "oras", append([]string{"discover", "--format", "json"}, args...)...)), &found); err != nil {
		t.Fatal(err)
	}
	var types []string
	for _, r := range found.Referrers {
		types = append(types, r.ArtifactType)
	}
	return types
}

// tool runs a command of hack/tools/oci, which the go command builds and caches, and returns what it writes.
func tool(t *testing.T, command string, args ...string) string {
	t.Helper()
	run := exec.CommandContext(t.Context(), "go", append([]string{"tool", command}, args...)...)
	run.Dir = filepath.Join("..", "tools", "oci")
	var stderr strings.Builder
	run.Stderr = &stderr
	out, err := run.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", command, strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}
