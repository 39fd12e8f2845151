// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An unreachable cluster is the first thing that each command reports, without what it attempted there.
func TestEachCommandReportsAnUnreachableClusterFirst(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "https://" + closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	t.Setenv("KUBECONFIG", write("config", fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: dead
contexts: [{name: dead, context: {cluster: dead, user: me}}]
clusters: [{name: dead, cluster: {server: %q}}]
users: [{name: me}]
`, address)))
	app := write("app.yaml", fmt.Sprintf(deploymentText, 1))
	want := "the cluster is unreachable at " + address + ": dial tcp " + closed.Addr().String() + ": connect: connection refused. To test the connection: kubectl cluster-info"
	for _, line := range []string{
		"status", "status -A", "status web -o json", "coverage", "explain service/web", "explain deployment/web", "explain -f " + app, "shift web v1=100",
		"promote web v1", "undo web", "enable demo", "disable demo", "uninstall-routes", "check", "check -n demo", "inject -f " + app, "diff -f " + app,
	} {
		status, _, stderr := commandLine(t, strings.Fields(line)...)
		if wanted := map[bool]int{true: diffFailed, false: statusFailed}[strings.HasPrefix(line, "diff")]; status != wanted || !strings.HasPrefix(stderr, "Error: "+want+"\n") {
			t.Errorf("outrigger %s: status %d, and %q", line, status, stderr)
		}
	}
	if _, _, stderr := commandLine(t, "status", "--context=dead", "--kubeconfig", os.Getenv("KUBECONFIG")); !strings.Contains(stderr, "kubectl cluster-info --context=dead --kubeconfig="+os.Getenv("KUBECONFIG")+"\n") {
		t.Errorf("with a context: %q", stderr)
	}
	if _, stdout, _ := commandLine(t, "version"); !strings.Contains(stdout, "controller unknown: "+want+"\n") {
		t.Errorf("version: %q", stdout)
	}
}
