// SPDX-License-Identifier: Apache-2.0

// Package issuer runs cert-manager beside a control plane, for the tests whose certificates come from it. The program is
// built from ../certmanager, a module of its own.
package issuer

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"outrigger.dev/outrigger/hack/controlplane"
)

const module = "../certmanager"

// Start installs cert-manager's definitions, and runs its controllers and cainjector until the test ends.
func Start(t *testing.T, plane *controlplane.ControlPlane) {
	t.Helper()
	found, err := exec.Command("go", "-C", module, "list", "-m", "-f", "{{.Dir}}", "github.com/cert-manager/cert-manager").Output()
	if err != nil {
		t.Fatal(err)
	}
	definitions, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(found)), "deploy", "crds", "cert-manager.io_*.yaml"))
	if err != nil || len(definitions) == 0 {
		t.Fatalf("cert-manager's module has no definitions: %v", err)
	}
	for _, file := range definitions {
		if out, err := plane.Kubectl(t.Context(), nil, "apply", "--server-side", "-f", file); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		_, err := plane.Kubectl(t.Context(), nil, "get", "certificates,certificaterequests,issuers,clusterissuers", "-A")
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the kinds of cert-manager are not served within a minute: %v", err)
		}
	}
	binary := filepath.Join(t.TempDir(), "certmanager")
	build := exec.Command("go", "-C", module, "build", "-o", binary, ".")
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building cert-manager: %v\n%s", err, out)
	}
	var log bytes.Buffer
	program := exec.Command(binary, plane.Kubeconfig)
	program.Stdout, program.Stderr = &log, &log
	in, err := program.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close() // the program ends with its input
		if err := program.Wait(); err != nil || t.Failed() {
			t.Errorf("cert-manager ended with %v; it wrote\n%s", err, log.String())
		}
	})
}
