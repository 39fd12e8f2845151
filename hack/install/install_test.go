// SPDX-License-Identifier: Apache-2.0

package install

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"outrigger.dev/outrigger/hack/controlplane"
)

// standin builds the program that takes outrigger's place here. That the chart works with the real one is for the
// end-to-end tests.
func standin(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "outrigger")
	if out, err := exec.Command("go", "build", "-o", path, "./testdata/standin").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

func start(t *testing.T) *controlplane.ControlPlane {
	t.Helper()
	plane, err := controlplane.Start(t.Context(), controlplane.Options{Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := plane.Stop(); err != nil {
			t.Error(err)
		}
	})
	return plane
}

func TestTheChartIsInstalledChangedAndRemoved(t *testing.T) {
	plane := start(t)
	installed, err := Outrigger(t.Context(), plane, Options{Binary: standin(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer installed.Close()
	if got := answering(t, installed, 2); len(got) != 2 {
		t.Errorf("%d pods answer at the webhook's address, want 2: %q", len(got), got)
	}
	for _, want := range []string{"argument: serve\n", "argument: --address=POD_IP\n", "kind: Configuration\n", "- 127.0.0.1\n"} {
		if !strings.Contains(installed.Logs(), want) {
			t.Errorf("the pods were not given %q; they say\n%s", want, installed.Logs())
		}
	}
	webhook, err := plane.Kubectl(t.Context(), nil, "get", "mutatingwebhookconfiguration", "outrigger-sidecar-injector", "-o", "jsonpath={.webhooks[*].clientConfig.url}")
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range strings.Fields(webhook) {
		if want := "https://" + installed.Webhook.Address() + "/inject"; url != want {
			t.Errorf("the API server is told to ask %s, want %s", url, want)
		}
	}

	if err := installed.Upgrade(t.Context(), map[string]any{"replicaCount": 3}); err != nil {
		t.Fatal(err)
	}
	answering(t, installed, 3)

	if err := installed.Uninstall(t.Context()); err != nil {
		t.Fatal(err)
	}
	pods, err := plane.Kubectl(t.Context(), nil, "get", "pods", "-n", installed.Namespace, "-o", "name")
	if err != nil || pods != "" {
		t.Errorf("pods after the removal: %q, %v", pods, err)
	}
	if got := strings.Count(installed.Logs(), "heard terminated"); got != 3 {
		t.Errorf("%d of 3 pods heard SIGTERM", got)
	}
}

// answering waits until so many pods answer at the webhook's address, and returns their names.
func answering(t *testing.T, installed *Installed, count int) []string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		var names []string
		for range 2 * count {
			response, err := client.Get("http://" + installed.Webhook.Address())
			if err != nil {
				names = append(names, "error")
				continue
			}
			name, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, string(name))
		}
		slices.Sort(names)
		names = slices.Compact(names)
		if len(names) == count && !slices.Contains(names, "error") {
			return names
		}
		if time.Now().After(deadline) {
			t.Fatalf("not %d pods answer, but %q, at %q", count, names, installed.Webhook.Endpoints())
		}
	}
}

func TestABrokenBinaryIsExplained(t *testing.T) {
	_, err := Outrigger(t.Context(), start(t), Options{Binary: standin(t), Timeout: 3 * time.Second, Values: map[string]any{
		"replicaCount": 1, "extraEnv": []any{map[string]any{"name": "FAIL", "value": "fail"}},
	}})
	if err == nil {
		t.Fatal("a pod that ends at once was installed without an error")
	}
	for _, want := range []string{"helm install", "restarts", "this cannot work"} {
		if !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
}

func TestValuesAreMergedAsHelmDoes(t *testing.T) {
	base := map[string]any{"webhook": map[string]any{"url": "u", "port": 1}, "tolerations": []any{"a"}, "image": map[string]any{"tag": "local"}}
	more := map[string]any{"webhook": map[string]any{"port": 2}, "tolerations": []any{"b"}, "replicaCount": 1, "image": nil}
	want := map[string]any{"webhook": map[string]any{"url": "u", "port": 2}, "tolerations": []any{"b"}, "replicaCount": 1, "image": nil}
	if diff := cmp.Diff(want, over(base, more)); diff != "" {
		t.Errorf("merged (-want +got):\n%s", diff)
	}
	if base["webhook"].(map[string]any)["port"] != 1 {
		t.Error("the argument was changed")
	}
}

// A build that is installed names itself as "make build" does: release, or next version and commit.
func TestABuildHasTheVersionOfItsTree(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	if got := describe(t.Context(), root); !regexp.MustCompile(`^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9a-f]{12}(\.dirty)?)?$`).MatchString(got) {
		t.Errorf("the version is %q", got)
	}
}

func TestRootIsFoundFromBelow(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(root)
	if again, err := Root(); err != nil || again != root {
		t.Errorf("Root() = %q, %v in the root itself", again, err)
	}
	t.Chdir(t.TempDir())
	if outside, err := Root(); err == nil {
		t.Errorf("Root() = %q outside the repository", outside)
	}
}
