// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"outrigger.dev/outrigger/hack/chart"
)

// pinned is an action by its commit, with the version that the commit has.
var pinned = regexp.MustCompile(`^[\w-]+/[\w/-]+@[0-9a-f]{40} # v[0-9.]+$`)

// Workflows use actions by commit, and read where to publish from release.env.
func TestWorkflowsArePinnedAndNameNoRegistry(t *testing.T) {
	places := publishedAt(t)
	files, err := filepath.Glob(filepath.Join(root, ".github", "workflows", "*.yml"))
	if err != nil || len(files) < 3 {
		t.Fatalf("workflows %v: %v", files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(file)
		for _, line := range strings.Split(string(data), "\n") {
			if _, action, is := strings.Cut(line, "uses: "); is && !pinned.MatchString(action) {
				t.Errorf("%s uses %s, which is not a commit with its version", name, action)
			}
		}
		for key, place := range places {
			if host, _, _ := strings.Cut(strings.TrimPrefix(place, "https://"), "/"); strings.Contains(string(data), host) {
				t.Errorf("%s names %s; read %s of release.env instead", name, host, key)
			}
		}
	}
	release, err := os.ReadFile(filepath.Join(root, ".github", "workflows", "release.yml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"release.env", "make release", "crane push", "helm push", "cosign sign ", "cosign sign-blob", "attest-build-provenance@", "gh release create", "release check"} {
		if !strings.Contains(string(release), want) {
			t.Errorf("release.yml has no %q", want)
		}
	}
}

// The chart runs the image from where release.env says it is published.
func TestTheChartAndReleaseEnvNameOneRepository(t *testing.T) {
	own, err := chart.Own()
	if err != nil {
		t.Fatal(err)
	}
	image, err := own.Image()
	if err != nil {
		t.Fatal(err)
	}
	if want := publishedAt(t)["IMAGE_REPOSITORY"]; !strings.HasPrefix(image, want+":") {
		t.Errorf("the chart runs %s; IMAGE_REPOSITORY is %s", image, want)
	}
}

// publishedAt returns the variables of release.env.
func publishedAt(t *testing.T) map[string]string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "release.env"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		if key, value, is := strings.Cut(line, "="); is && !strings.HasPrefix(line, "#") {
			out[key] = value
		}
	}
	for _, key := range []string{"IMAGE_REPOSITORY", "CHART_REPOSITORY", "DOWNLOAD_URL"} {
		if out[key] == "" {
			t.Fatalf("release.env has no %s", key)
		}
	}
	return out
}
