// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/licensecheck"
)

// ourLicense is the SPDX identifier of the LICENSE of this repository.
const ourLicense = "Apache-2.0"

// allowed are the licenses of what may be compiled in: each lets us pass the binary on with their texts beside it.
var allowed = []string{"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MPL-2.0", "Unicode-DFS-2016", "Unicode-3.0", "CC-BY-4.0"}

// modules are what a binary consists of.
type modules struct {
	goVersion string
	main      module
	parts     []module // in the order of their paths; the standard library is not among them
}

// module is one Go module of the binary.
type module struct {
	path, version string
	sum           string   // "h1:…", the hash of go.sum
	licenses      []string // SPDX identifiers
	texts         []text
}

// text is a file about licenses, as the module has it.
type text struct{ name, content string }

// modulesOf reads the modules of a binary from its build information, and their licenses from the folders of the modules.
func (r Recipe) modulesOf(ctx context.Context, platform v1.Platform, binary string) (modules, error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return modules{}, err
	}
	folders, err := r.folders(ctx, platform)
	if err != nil {
		return modules{}, err
	}
	out := modules{goVersion: strings.TrimPrefix(info.GoVersion, "go"), main: module{path: info.Main.Path, version: r.Version}}
	if out.main.texts, out.main.licenses, err = licenses(r.Root); err != nil {
		return modules{}, fmt.Errorf("our own license: %w", err)
	}
	var faults []error
	for _, dep := range info.Deps {
		if dep.Replace != nil {
			dep = dep.Replace
		}
		part := module{path: dep.Path, version: dep.Version, sum: dep.Sum}
		if part.texts, part.licenses, err = licenses(folders[dep.Path]); err != nil {
			faults = append(faults, fmt.Errorf("module %s %s: %w", dep.Path, dep.Version, err))
		}
		out.parts = append(out.parts, part)
	}
	slices.SortFunc(out.parts, func(a, b module) int { return strings.Compare(a.path, b.path) })
	return out, errors.Join(faults...)
}

// folders returns where the source of each module of the package is on this machine.
func (r Recipe) folders(ctx context.Context, platform v1.Platform) (map[string]string, error) {
	command := exec.CommandContext(ctx, "go", "list", "-deps", "-json=Module", r.Package)
	command.Dir, command.Env = r.module(), r.environment(platform)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w\n%s", err, stderr.Bytes())
	}
	folders := map[string]string{}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			Module *struct {
				Path, Dir string
				Replace   *struct{ Path, Dir string }
			}
		}
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return folders, nil
		} else if err != nil {
			return nil, err
		}
		if p.Module == nil { // the standard library
			continue
		}
		folders[p.Module.Path] = p.Module.Dir
		if p.Module.Replace != nil {
			folders[p.Module.Replace.Path] = p.Module.Dir
		}
	}
}

// aboutLicenses matches the names of files that must be passed on.
var aboutLicenses = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice)([.-].*)?$`)

// licenses returns the license texts in the top folder of a module and their SPDX identifiers. A module without a known license, or
// with one that may not be shipped, is an error.
func licenses(folder string) (texts []text, ids []string, err error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, nil, err
	}
	for _, entry := range entries { // in the order of names
		if entry.IsDir() || !aboutLicenses.MatchString(entry.Name()) || strings.HasSuffix(entry.Name(), ".go") {
			continue
		}
		content, err := os.ReadFile(filepath.Join(folder, entry.Name()))
		if err != nil {
			return nil, nil, err
		}
		texts = append(texts, text{entry.Name(), string(content)})
		for _, match := range licensecheck.Scan(content).Match {
			if !match.IsURL && !slices.Contains(ids, match.ID) {
				ids = append(ids, match.ID)
			}
		}
	}
	slices.Sort(ids)
	if len(ids) == 0 {
		return nil, nil, fmt.Errorf("%s has no file with a known license", folder)
	}
	for _, id := range ids {
		if !slices.Contains(allowed, id) {
			return nil, nil, fmt.Errorf("license %s may not be shipped; allowed are %s", id, strings.Join(allowed, ", "))
		}
	}
	return texts, ids, nil
}

// licenseTexts returns the texts of all modules, ours first. A text that several modules have is included once.
func (m modules) licenseTexts() []byte {
	var order []string
	owners := map[string][]string{}
	for _, part := range append([]module{m.main}, m.parts...) {
		for _, t := range part.texts {
			if _, is := owners[t.content]; !is {
				order = append(order, t.content)
			}
			owners[t.content] = append(owners[t.content], fmt.Sprintf("%s %s (%s)", part.path, part.version, t.name))
		}
	}
	var out bytes.Buffer
	for _, content := range order {
		fmt.Fprintf(&out, "%s\n%s\n\n%s\n\n", strings.Repeat("=", 80), strings.Join(owners[content], "\n"), strings.TrimSpace(content))
	}
	return out.Bytes()
}
