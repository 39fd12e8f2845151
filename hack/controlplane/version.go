// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// Kubernetes returns the version of Kubernetes that Build builds: what the environment variable KUBERNETES names, such as
// v1.30.14, or KubernetesVersion.
func Kubernetes() string {
	if version := os.Getenv("KUBERNETES"); version != "" {
		return version
	}
	return KubernetesVersion
}

var release = regexp.MustCompile(`^v1\.(\d+\.\d+)$`)

// kubernetesModule writes a module that requires a release of Kubernetes other than the pinned one into folder/kubernetes.
// k8s.io/kubernetes replaces its staging modules with folders of its repository; here, each is replaced with its release.
// Its go.sum is the start; the go command adds the staging modules, which it checks with the checksum database.
func kubernetesModule(ctx context.Context, folder, version string) error {
	match := release.FindStringSubmatch(version)
	if match == nil {
		return fmt.Errorf("KUBERNETES=%s is not a release of Kubernetes. Example: KUBERNETES=v1.30.14", version)
	}
	command := exec.CommandContext(ctx, "go", "mod", "download", "-json", "k8s.io/kubernetes@"+version)
	command.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	command.Dir = os.TempDir() // outside of any module
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	var module struct{ Dir, GoMod, Error string }
	if jsonErr := json.Unmarshal(out, &module); jsonErr != nil || err != nil || module.Error != "" {
		return fmt.Errorf("download Kubernetes %s: %w\n%s", version, errors.Join(err, jsonErr), strings.TrimSpace(module.Error+stderr.String()))
	}
	published, err := os.ReadFile(module.GoMod)
	if err != nil {
		return err
	}
	sums, err := os.ReadFile(filepath.Join(module.Dir, "go.sum"))
	if err != nil {
		return err
	}
	place := filepath.Join(folder, "kubernetes")
	if err := os.MkdirAll(place, 0o755); err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(place, "go.mod"), []byte(requireKubernetes(string(published), version, "v0."+match[1])), 0o644),
		os.WriteFile(filepath.Join(place, "go.sum"), sums, 0o644))
}

var (
	goVersion = regexp.MustCompile(`(?m)^go (\S+)$`)
	staging   = regexp.MustCompile(`(?m)^(?:replace)?\s*(k8s\.io/\S+) => \./staging/\S+$`)
)

// requireKubernetes returns the go.mod of a module that requires Kubernetes, from the go.mod that Kubernetes publishes.
func requireKubernetes(published, version, stagingVersion string) string {
	var out strings.Builder
	out.WriteString("module outrigger.dev/outrigger/hack/tools/kubernetes\n\n")
	if match := goVersion.FindString(published); match != "" {
		out.WriteString(match + "\n\n")
	}
	out.WriteString("require k8s.io/kubernetes " + version + "\n\nreplace (\n")
	for _, match := range staging.FindAllStringSubmatch(published, -1) {
		fmt.Fprintf(&out, "\t%s => %s %s\n", match[1], match[1], stagingVersion)
	}
	out.WriteString(")\n")
	return out.String()
}
