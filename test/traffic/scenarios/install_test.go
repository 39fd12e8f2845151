// SPDX-License-Identifier: Apache-2.0

package scenarios

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sigs.k8s.io/yaml"
)

// system is the namespace that Outrigger is installed in.
const system = "outrigger-system"

var installation struct {
	sync.Mutex
	done bool
	err  error
}

// installed makes sure that Outrigger is installed.
func installed(t *testing.T) {
	t.Helper()
	installation.Lock()
	defer installation.Unlock()
	if !installation.done {
		installation.done, installation.err = true, install(root)
	}
	if installation.err != nil {
		t.Fatalf("install Outrigger: %v", installation.err)
	}
}

// install installs the chart as a user does. Its namespace enforces the Pod Security level restricted. Outrigger's webhook comes
// before istiod's, and matches only the namespaces of this run.
func install(ctx context.Context) error {
	if _, err := cluster.Command(ctx, nil, "kubectl", "create", "namespace", system); err != nil {
		return err
	}
	if _, err := cluster.Command(ctx, nil, "kubectl", "label", "namespace", system, runLabel+"="+cluster.Run, "pod-security.kubernetes.io/enforce=restricted"); err != nil {
		return err
	}
	_, err := cluster.Command(ctx, nil, "helm", append([]string{"install"}, release()...)...)
	return err
}

// release returns the arguments of "helm install" and "helm upgrade". More arguments follow it.
func release(more ...string) []string {
	values := map[string]any{
		"webhook": map[string]any{
			"name":              "aa-outrigger-traffic-test",
			"namespaceSelector": map[string]any{"matchLabels": map[string]any{runLabel: cluster.Run}},
		},
		// Versions that the scenarios create before the installation count as serving already.
		"routing": map[string]any{"splitAge": "10s", "metrics": canaryMetrics},
		// Certificates are replaced every 40 seconds while the scenarios run.
		"certificates": map[string]any{"leafDuration": "1m", "overlap": "2s"},
	}
	if cluster.Image != "" {
		repository, tag := cluster.Image, ""
		if at := strings.LastIndex(cluster.Image, ":"); at > strings.LastIndex(cluster.Image, "/") {
			repository, tag = cluster.Image[:at], cluster.Image[at+1:]
		}
		values["image"] = map[string]any{"repository": repository, "tag": tag}
	}
	text, err := yaml.Marshal(values)
	if err != nil {
		panic(err) // maps of text
	}
	file := filepath.Join(cluster.TempDir, "values.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		panic(fmt.Sprintf("the temporary folder of this process: %v", err))
	}
	return append([]string{"outrigger", "charts/outrigger", "-n", system, "--create-namespace", "--wait", "-f", file}, more...)
}
