// SPDX-License-Identifier: Apache-2.0

// Package e2e tests the whole on a real control plane: the chart, installed by Helm, its pods running as processes.
package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/hack/controlplane"
	"outrigger.dev/outrigger/hack/install"
	"outrigger.dev/outrigger/hack/istio"
	"outrigger.dev/outrigger/test/dashboard"
)

const (
	outriggerNamespace = "outrigger-system"
	outriggerName      = "outrigger"
)

// The waiting times of routing in these tests: long enough to be seen, short enough to wait for. A creationTimestamp
// cannot be set back, so what is "old" must be seconds.
const (
	propagationDelay = 500 * time.Millisecond
	subsetRetention  = 3 * time.Second
	splitAge         = 12 * time.Second
)

// settings are the values of the chart beside those of a user.
var settings = map[string]any{"routing": map[string]any{
	"settle":            "200ms",
	"propagationDelay":  propagationDelay.String(),
	"subsetRetention":   subsetRetention.String(),
	"splitAge":          splitAge.String(),
	"defaultGoneWindow": "15s",
	"defaultGoneAfter":  "2s",
	"gatewayPorts":      []any{"1-65535"}, // no gateway runs here, so none has a Service with ports
}, "coverage": map[string]any{"interval": "500ms"}}

var (
	cluster   *controlplane.ControlPlane
	outrigger *install.Installed
	kube      client.Client
	traces    *traceReceiver

	canaryMetrics *metricsServer
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "outrigger-e2e-")
	if err != nil {
		return 1, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	args, err := apiServerArgs(dir)
	if err != nil {
		return 1, err
	}
	cluster, err = controlplane.Start(ctx, controlplane.Options{Progress: os.Stderr, APIServerArgs: args})
	if err != nil {
		return 1, err
	}
	defer func() {
		if stopErr := cluster.Stop(); stopErr != nil && err == nil {
			code, err = 1, stopErr
		}
	}()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, networkingv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return 1, err
		}
	}
	if kube, err = client.New(cluster.Config, client.Options{Scheme: scheme}); err != nil {
		return 1, err
	}
	traces = newTraceReceiver()
	defer traces.Close()
	canaryMetrics = newMetricsServer()
	defer canaryMetrics.Close()
	routes := settings["routing"].(map[string]any)
	routes["metrics"] = map[string]any{"prometheusURL": canaryMetrics.URL, "scrapeInterval": "1s"}
	routes["canary"] = map[string]any{"evaluationInterval": "1s"}
	settings["tracing"] = map[string]any{"endpoint": traces.URL}
	if toAPIServer, err = newLink(cluster.Config.Host); err != nil {
		return 1, err
	}
	defer func() { _ = toAPIServer.listener.Close() }()
	outrigger, err = install.Outrigger(ctx, cluster, install.Options{Values: settings, APIServer: toAPIServer.URL()})
	if err != nil {
		return 1, err
	}
	defer outrigger.Close()
	defer dashboard.Stop()
	code = m.Run()
	if code != 0 {
		if path := os.Getenv("OUTRIGGER_E2E_LOG"); path != "" {
			_ = os.WriteFile(path, []byte(outrigger.Logs()), 0o600)
		}
	}
	return code, nil
}

var installIstio = sync.OnceValue(func() error {
	// Istio's own webhook is left out, as an installation that lets Outrigger inject does.
	return istio.Install(context.Background(), cluster, istio.Values{"global": map[string]any{"operatorManageWebhooks": true}})
})

// needIstio installs Istio's CRDs and ConfigMaps once, and waits until Outrigger injects from them.
func needIstio(t *testing.T) {
	t.Helper()
	if err := installIstio(); err != nil {
		t.Fatal(err)
	}
	waitForIstio.Do(func() {
		ns := &corev1.Namespace{}
		ns.Name, ns.Labels = "istio-is-used", map[string]string{"istio-injection": "enabled"}
		if err := kube.Create(t.Context(), ns); err != nil {
			t.Fatal(err)
		}
		eventually(t, "Outrigger injects from the new ConfigMaps", func() error {
			pod := &corev1.Pod{}
			pod.Namespace, pod.GenerateName = ns.Name, "p-"
			pod.Spec.Containers = []corev1.Container{{Name: "app", Image: "registry.example/app:1"}}
			if err := kube.Create(t.Context(), pod, client.DryRunAll); err != nil {
				return err
			}
			if !hasSidecar(pod) {
				return fmt.Errorf("the pod has no sidecar")
			}
			return nil
		})
	})
}

var waitForIstio sync.Once

func istioIsThere() bool {
	err := kube.Get(context.Background(), injectorConfigMap, &corev1.ConfigMap{})
	return err == nil
}

// outriggerPods returns the pods of Outrigger that do not end.
func outriggerPods(t *testing.T) []corev1.Pod {
	t.Helper()
	list := &corev1.PodList{}
	if err := kube.List(t.Context(), list, client.InNamespace(outriggerNamespace), client.MatchingLabels{"app.kubernetes.io/name": outriggerName}); err != nil {
		t.Fatal(err)
	}
	var pods []corev1.Pod
	for _, pod := range list.Items {
		if pod.DeletionTimestamp == nil {
			pods = append(pods, pod)
		}
	}
	return pods
}

func restartsOfOutrigger(t *testing.T) int32 {
	t.Helper()
	restarts := int32(0)
	for _, pod := range outriggerPods(t) {
		for _, status := range pod.Status.ContainerStatuses {
			restarts += status.RestartCount
		}
	}
	return restarts
}

// restartOutrigger replaces every pod of Outrigger, and waits until only the new ones are there.
func restartOutrigger(t *testing.T) {
	t.Helper()
	kubectl(t, "-n", outriggerNamespace, "rollout", "restart", "deployment", outriggerName)
	kubectl(t, "-n", outriggerNamespace, "rollout", "status", "deployment", outriggerName, "--timeout", patience.String())
	waitForPodsOfOutrigger(t, 2)
}

func scaleOutrigger(t *testing.T, replicas int) {
	t.Helper()
	kubectl(t, "-n", outriggerNamespace, "scale", "deployment", outriggerName, fmt.Sprintf("--replicas=%d", replicas))
	waitForPodsOfOutrigger(t, replicas)
}

func waitForPodsOfOutrigger(t *testing.T, count int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d pods of Outrigger", count), func() error {
		list := &corev1.PodList{}
		if err := kube.List(t.Context(), list, client.InNamespace(outriggerNamespace), client.MatchingLabels{"app.kubernetes.io/name": outriggerName}); err != nil {
			return err
		}
		ready := 0
		for _, pod := range list.Items {
			if isReady(&pod) {
				ready++
			}
		}
		if ready != count || len(list.Items) != count {
			return fmt.Errorf("%d of %d are ready", ready, len(list.Items))
		}
		return nil
	})
}

// leaderOfRouting returns the name of the pod that keeps the routes.
func leaderOfRouting(t *testing.T) string {
	t.Helper()
	return holderOf(t, "outrigger-routing")
}

// holderOf returns the name of the pod that holds a Lease.
func holderOf(t *testing.T, name string) string {
	t.Helper()
	var holder string
	eventually(t, "a pod of Outrigger holds Lease "+name, func() error {
		lease := &coordinationv1.Lease{}
		if err := kube.Get(t.Context(), client.ObjectKey{Namespace: outriggerNamespace, Name: name}, lease); err != nil {
			return err
		}
		for _, pod := range outriggerPods(t) {
			if strings.HasPrefix(ptr.Deref(lease.Spec.HolderIdentity, ""), pod.Name+"_") {
				holder = pod.Name
				return nil
			}
		}
		return fmt.Errorf("it names none of %d pods", len(outriggerPods(t)))
	})
	return holder
}

// quiet waits until the objects of a namespace have not changed for longer than every waiting time of routing.
func quiet(t *testing.T, ns string) {
	t.Helper()
	last, since := fmt.Sprint(versions(t, ns)), time.Now()
	eventually(t, "no more writes in "+ns, func() error {
		if now := fmt.Sprint(versions(t, ns)); now != last {
			last, since = now, time.Now()
		}
		if is := time.Since(since); is < subsetRetention+2*time.Second {
			return fmt.Errorf("the last write is %v ago", is)
		}
		return nil
	})
}
