// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// ownConfig is the ConfigMap of the installation, as it was before the test, which restores it.
type ownConfig struct {
	t        *testing.T
	original string
}

func newOwnConfig(t *testing.T) ownConfig {
	t.Helper()
	configMap := &corev1.ConfigMap{}
	if err := kube.Get(t.Context(), client.ObjectKey{Namespace: outriggerNamespace, Name: outriggerName + "-config"}, configMap); err != nil {
		t.Fatal(err)
	}
	c := ownConfig{t, configMap.Data["config.yaml"]}
	t.Cleanup(func() {
		if err := c.write(context.Background(), c.original); err != nil {
			t.Error(err)
		}
	})
	return c
}

// write replaces the configuration.
func (c ownConfig) write(ctx context.Context, text string) error {
	configMap := &corev1.ConfigMap{}
	if err := kube.Get(ctx, client.ObjectKey{Namespace: outriggerNamespace, Name: outriggerName + "-config"}, configMap); err != nil {
		return err
	}
	configMap.Data["config.yaml"] = text
	return kube.Update(ctx, configMap)
}

// set replaces the configuration in the test.
func (c ownConfig) set(text string) {
	c.t.Helper()
	if err := c.write(c.t.Context(), text); err != nil {
		c.t.Fatal(err)
	}
}

// with returns the configuration with another value of routing.freeze.
func (c ownConfig) with(freeze any) string {
	c.t.Helper()
	tree := map[string]any{}
	if err := yaml.Unmarshal([]byte(c.original), &tree); err != nil {
		c.t.Fatal(err)
	}
	tree["routing"].(map[string]any)["freeze"] = freeze
	text, err := yaml.Marshal(tree)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(text)
}

// restartsByPod returns how often each pod of Outrigger has restarted, by name.
func restartsByPod(t *testing.T) map[string]int32 {
	t.Helper()
	out := map[string]int32{}
	for _, pod := range outriggerPods(t) {
		for _, status := range pod.Status.ContainerStatuses {
			out[pod.Name] += status.RestartCount
		}
	}
	return out
}

// canarySince returns when the step of the canary of app began.
func canarySince(t *testing.T, ns string) time.Time {
	t.Helper()
	var report struct {
		Namespaces []struct {
			Services []struct {
				Canary *struct{ Since time.Time }
			}
		}
	}
	out := cli(t, "status", "app", "-n", ns, "-o", "json")
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatal(err)
	}
	if len(report.Namespaces) != 1 || len(report.Namespaces[0].Services) != 1 || report.Namespaces[0].Services[0].Canary == nil {
		t.Fatalf("no canary in %s", out)
	}
	return report.Namespaces[0].Services[0].Canary.Since
}

// statusWithNotes returns both outputs of outrigger status.
func statusWithNotes(t *testing.T, ns string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), outrigger.Binary, "status", "-n", ns)
	command.Env = append(command.Environ(), "KUBECONFIG="+cluster.Kubeconfig)
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// routing.freeze in Outrigger's ConfigMap holds canaries and routes at once, without a restart. An invalid configuration changes nothing. The
// test is not parallel: the freeze is about all Services.
func TestFreezeFollowsTheConfigMap(t *testing.T) {
	needIstio(t)
	config := newOwnConfig(t)
	ns := namespace(t, injected)
	sameAsApp := func(name string) string { return strings.Replace(service("app"), "{name: app}", "{name: "+name+"}", 1) }
	apply(t, ns, service("app")+sameAsApp("web1")+sameAsApp("web2")+fixed("app-v1", "app", "v1")+fixed("app-v2", "app", "v2"))
	for _, name := range []string{"app", "web1", "web2"} {
		wantRoutes(t, ns, name, "v1=100")
	}
	readyPods(t, ns, "app=app", 4)
	before := restartsByPod(t)

	// Without data, the canary stays at its first step until the freeze has begun.
	canary := []string{"canary", "app", "v2", "-n", ns, "--steps", "20,50,100", "--interval", "10s", "--check", "error-rate<1%"}
	canaryMetrics.set(ns, "v1", "0.001")
	cli(t, canary...)
	wantRoutes(t, ns, "app", "v1=80 v2=20")
	config.set(config.with(true))
	wantEvent(t, ns, "app", "CanaryHeld")
	if out := cli(t, "status", "-n", ns); !strings.HasPrefix(strings.TrimSpace(out), "Routes are frozen (routing.freeze=true in namespace "+outriggerNamespace+")") {
		t.Errorf("status does not begin with the freeze:\n%s", out)
	}
	canaryMetrics.set(ns, "v2", "0.001")
	since := canarySince(t, ns)
	eventually(t, "the duration of the step has elapsed", func() error {
		if left := time.Until(since.Add(10 * time.Second)); left > 0 {
			return fmt.Errorf("%v are left", left)
		}
		return nil
	})
	kubectl(t, "annotate", "service", "app", "-n", ns, "outrigger.dev/match=v2=header:beta:1")
	wantEvent(t, ns, "app", "Frozen") // the controller has planned after the step
	routesNow(t, ns, "app", "v1=80 v2=20")
	says(t, refused(t, append(canary, "--wait")...), "routing is frozen", "canary v2 stays at 20% and continues when the freeze ends", "--reset-then-reuse-values --set routing.freeze=false")

	for name, text := range map[string]string{"web1": config.original + "\n\tfreeze: [", "web2": config.with("perhaps")} {
		const invalid = "the configuration was changed and is invalid; the values before apply"
		seen := strings.Count(outrigger.Logs(), invalid)
		config.set(text)
		eventually(t, "all pods report the invalid configuration", func() error {
			if is := strings.Count(outrigger.Logs(), invalid) - seen; is < len(before) {
				return fmt.Errorf("%d do", is)
			}
			return nil
		})
		kubectl(t, "annotate", "service", name, "-n", ns, "outrigger.dev/default-version=v2")
		wantEvent(t, ns, name, "Frozen")
		routesNow(t, ns, name, "v1=100")
		out := statusWithNotes(t, ns)
		says(t, out, "ConfigMap "+outriggerNamespace+"/"+outriggerName+"-config, config.yaml: ", "Outrigger keeps the previous values")
		if strings.Contains(out, "No Outrigger is installed") {
			t.Error(out)
		}
	}
	routesNow(t, ns, "app", "v1=80 v2=20")

	config.set(config.with(false))
	cli(t, append(canary, "--wait")...)
	routesNow(t, ns, "app", "beta=1: v2=100; v2=100")
	wantEvent(t, ns, "app", "CanarySucceeded")
	wantRoutes(t, ns, "web1", "v2=100")
	wantRoutes(t, ns, "web2", "v2=100")
	if diff := cmp.Diff(before, restartsByPod(t)); diff != "" {
		t.Errorf("pods of Outrigger restarted; -before +after:\n%s", diff)
	}
}
