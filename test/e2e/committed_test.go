// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What routes prints is committed and applied, with outrigger.dev/routing=observe, in a namespace that Outrigger never wrote in and in
// one that it did: no conflict, and the dry run names what a new version changes.
func TestCommittedRoutesAreNoConflict(t *testing.T) {
	t.Parallel()
	needIstio(t)
	for name, before := range map[string]string{"never enabled": "", "enabled before": "outrigger.dev/routing=enabled"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := namespace(t)
			app := service("app") + fixed("app-v1", "app", "v1") + fixed("app-v2", "app", "v2")
			apply(t, ns, app)
			readyPods(t, ns, "app=app", 4)
			if before != "" {
				kubectl(t, "label", "namespace", ns, before)
				wantRoutes(t, ns, "app", "v1=100")
			}
			kubectl(t, "label", "namespace", ns, "outrigger.dev/routing=observe", "--overwrite")
			file := filepath.Join(t.TempDir(), "app.yaml")
			if err := os.WriteFile(file, []byte(app), 0o600); err != nil {
				t.Fatal(err)
			}
			apply(t, ns, cli(t, "routes", "-f", file, "-n", ns))
			out := cli(t, "status", "-n", ns)
			says(t, cells(out), "app routed v1 2/2 100")
			if strings.Contains(out, "RouteConflict") || strings.Contains(out, "ObservedOnly") {
				t.Errorf("the committed objects differ or conflict:\n%s", out)
			}
			apply(t, ns, fixed("app-v3", "app", "v3"))
			eventually(t, "the dry run names the new version", func() error {
				if out := cli(t, "status", "-n", ns); !strings.Contains(out, "Outrigger would change DestinationRule app (subsets v1, v2, v3).") {
					return errors.New(out)
				}
				return nil
			})
		})
	}
}
