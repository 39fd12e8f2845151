// SPDX-License-Identifier: Apache-2.0

package outrigger

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestExamplesUsePublishedImages checks that the examples run as they are, and that the one variable their READMEs name
// replaces the registry of every image.
func TestExamplesUsePublishedImages(t *testing.T) {
	image := regexp.MustCompile(`(?m)^\s+image: (\S+)$`)
	for _, example := range []struct {
		dir, published string
		images         []string
	}{
		{"springbootapp", "xjk27400861/springbootapp", []string{":42", ":43"}},
		{"bookinfo", "registry.istio.io/release", []string{
			"/examples-bookinfo-details-v1:1.20.3", "/examples-bookinfo-productpage-v1:1.20.3", "/examples-bookinfo-ratings-v1:1.20.3",
			"/examples-bookinfo-reviews-v1:1.20.3", "/examples-bookinfo-reviews-v2:1.20.3", "/examples-bookinfo-reviews-v3:1.20.3",
		}},
	} {
		manifests, err := filepath.Glob(filepath.Join("examples", example.dir, "*.yaml"))
		if err != nil || len(manifests) == 0 {
			t.Fatalf("examples/%s has no manifests: %v", example.dir, err)
		}
		var images []string
		for _, file := range manifests {
			for _, match := range image.FindAllStringSubmatch(read(t, file), -1) {
				rest, published := strings.CutPrefix(match[1], example.published)
				if !published {
					t.Errorf("%s: image %s does not begin with %s", file, match[1], example.published)
				}
				images = append(images, rest)
			}
		}
		slices.Sort(images)
		if images = slices.Compact(images); !slices.Equal(images, example.images) {
			t.Errorf("examples/%s has the images %q of %s, want %q", example.dir, images, example.published, example.images)
		}
		if readme := read(t, filepath.Join("examples", example.dir, "README.md")); !strings.Contains(readme, `sed "s|`+example.published+`|$`) {
			t.Errorf("examples/%s/README.md does not show how to replace %s", example.dir, example.published)
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
