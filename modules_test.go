// SPDX-License-Identifier: Apache-2.0

package outrigger

import (
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// Each Go module of the repository is kept up to date by Dependabot, and the modules that contain our code are linted.
func TestEveryModuleIsUpdatedAndLinted(t *testing.T) {
	var modules []string
	for _, file := range trackedFiles(t, "go.mod", "*/go.mod") {
		if strings.Contains(file, "testdata/") {
			continue
		}
		modules = append(modules, "/"+strings.TrimPrefix(filepath.ToSlash(filepath.Dir(file)), "."))
	}
	slices.Sort(modules)
	var config struct {
		Updates []struct {
			Ecosystem   string   `json:"package-ecosystem"`
			Directories []string `json:"directories"`
		} `json:"updates"`
	}
	if err := yaml.Unmarshal([]byte(read(t, ".github/dependabot.yml")), &config); err != nil {
		t.Fatal(err)
	}
	var patterns []string
	for _, update := range config.Updates {
		if update.Ecosystem == "gomod" {
			patterns = append(patterns, update.Directories...)
		}
	}
	used := map[string]bool{}
	for _, folder := range modules {
		covered := false
		for _, pattern := range patterns {
			if matches, err := path.Match(pattern, folder); err != nil {
				t.Fatal(err)
			} else if matches {
				covered, used[pattern] = true, true
			}
		}
		if !covered {
			t.Errorf(".github/dependabot.yml does not list the module %s", folder)
		}
	}
	for _, pattern := range patterns {
		if !used[pattern] {
			t.Errorf(".github/dependabot.yml lists %s, where no module is", pattern)
		}
	}

	list := regexp.MustCompile(`(?m)^MODULES := (.*)$`).FindStringSubmatch(read(t, "Makefile"))
	if list == nil {
		t.Fatal("the Makefile has no list MODULES")
	}
	var linted, withCode []string
	for folder := range strings.FieldsSeq(list[1]) {
		linted = append(linted, "/"+strings.TrimPrefix(folder, "."))
	}
	for _, module := range modules {
		if !strings.HasPrefix(module, "/hack/tools/") {
			withCode = append(withCode, module)
		}
	}
	slices.Sort(linted)
	if diff := cmp.Diff(withCode, linted); diff != "" {
		t.Errorf("MODULES of the Makefile and the modules with code of ours (-modules +Makefile):\n%s", diff)
	}
}
