// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// ownerVariable makes this test binary the owner of a control plane that another test kills.
const ownerVariable = "CONTROLPLANE_TEST_OWNER"

func TestMain(m *testing.M) {
	if os.Getenv(ownerVariable) != "" {
		own()
	}
	code := m.Run()
	if shared.plane != nil {
		if err := shared.plane.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// own starts a control plane, says so and waits to be killed.
func own() {
	c, err := Start(context.Background(), Options{Progress: os.Stderr})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(c.Dir)
	select {}
}

// shared is the control plane of all tests that do not stop one; TestMain stops it.
var shared struct {
	once  sync.Once
	plane *ControlPlane
	err   error
}

func sharedPlane(t *testing.T) *ControlPlane {
	t.Helper()
	shared.once.Do(func() { shared.plane, shared.err = Start(context.Background(), Options{Progress: os.Stderr}) })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.plane
}

// namespace creates one for the test and deletes it afterwards.
func namespace(t *testing.T, c *ControlPlane) string {
	t.Helper()
	name := strings.ToLower(t.Name())
	kubectl(t, c, "", "create", "namespace", name)
	eventually(t, func() error { // the ServiceAccount plugin refuses pods until the account is there
		_, err := c.Kubectl(t.Context(), nil, "get", "serviceaccount", "default", "-n", name)
		return err
	})
	t.Cleanup(func() {
		if _, err := c.Kubectl(context.Background(), nil, "delete", "namespace", name, "--timeout=60s"); err != nil {
			t.Error(err)
		}
	})
	return name
}

func kubectl(t *testing.T, c *ControlPlane, stdin string, args ...string) string {
	t.Helper()
	out, err := c.Kubectl(t.Context(), strings.NewReader(stdin), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// eventually repeats check until it returns nil, for a minute.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	tick, deadline := time.NewTicker(100*time.Millisecond), time.After(time.Minute)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("after a minute: %v", err)
		case <-tick.C:
		}
	}
}

func pods(c *ControlPlane, namespace, selector string) ([]corev1.Pod, error) {
	out, err := c.Kubectl(context.Background(), nil, "get", "pods", "-n", namespace, "-l", selector, "-o", "json")
	if err != nil {
		return nil, err
	}
	var list corev1.PodList
	return list.Items, json.Unmarshal([]byte(out), &list)
}

func podReady(pod corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

const deployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      initContainers:
      - {name: setup, image: example.org/setup:1}
      - {name: proxy, image: example.org/proxy:1, restartPolicy: Always}
      containers:
      - {name: web, image: "example.org/web:1", ports: [{containerPort: 8080}]}
`

func TestPodsOfADeploymentRun(t *testing.T) {
	c := sharedPlane(t)
	name := namespace(t, c)
	kubectl(t, c, deployment, "create", "-n", name, "-f", "-")
	kubectl(t, c, "", "expose", "deployment", "web", "--port=80", "--target-port=8080", "-n", name)
	kubectl(t, c, "", "rollout", "status", "deployment/web", "-n", name, "--timeout=60s")

	found, err := pods(c, name, "app=web")
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 2 {
		t.Fatalf("%d pods", len(found))
	}
	for _, pod := range found {
		if pod.Status.Phase != corev1.PodRunning || !podReady(pod) || pod.Spec.NodeName != "node-1" || pod.Status.PodIP == "" || pod.Status.HostIP == "" {
			t.Errorf("pod %s on %q: %+v", pod.Name, pod.Spec.NodeName, pod.Status)
		}
		var sources []string
		for _, volume := range pod.Spec.Volumes {
			if volume.Projected == nil || !strings.HasPrefix(volume.Name, "kube-api-access-") {
				continue
			}
			for _, source := range volume.Projected.Sources {
				switch {
				case source.ServiceAccountToken != nil:
					sources = append(sources, "token")
				case source.ConfigMap != nil:
					sources = append(sources, source.ConfigMap.Name)
				case source.DownwardAPI != nil:
					sources = append(sources, "namespace")
				}
			}
		}
		if diff := cmp.Diff([]string{"token", "kube-root-ca.crt", "namespace"}, sources); diff != "" {
			t.Errorf("sources of the ServiceAccount's volume (-want +got):\n%s", diff)
		}
	}
	if found[0].Status.PodIP == found[1].Status.PodIP {
		t.Errorf("both pods have the address %s", found[0].Status.PodIP)
	}
	for _, line := range strings.Split(strings.TrimSpace(kubectl(t, c, "", "get", "pods", "-n", name, "--no-headers")), "\n") {
		if fields := strings.Fields(line); fields[1] != "2/2" || fields[2] != "Running" {
			t.Errorf("kubectl shows %q, want 2/2 Running", line)
		}
	}
	eventually(t, func() error {
		out, err := c.Kubectl(t.Context(), nil, "get", "endpointslices", "-n", name, "-l", "kubernetes.io/service-name=web", "-o", "jsonpath={.items[*].endpoints[*].addresses[0]}")
		if addresses := strings.Fields(out); err == nil && len(addresses) != 2 {
			err = fmt.Errorf("addresses of the Service: %v", addresses)
		}
		return err
	})

	kubectl(t, c, "", "delete", "deployment", "web", "-n", name)
	eventually(t, func() error {
		left, err := pods(c, name, "app=web")
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%d pods are left", len(left))
		}
		return err
	})
}

func TestReadinessFollowsTheAnnotation(t *testing.T) {
	c := sharedPlane(t)
	name := namespace(t, c)
	becomes := func(want bool) {
		t.Helper()
		eventually(t, func() error {
			found, err := pods(c, name, "run=one")
			if err != nil {
				return err
			}
			if len(found) != 1 || found[0].Status.Phase != corev1.PodRunning || podReady(found[0]) != want || found[0].Status.ContainerStatuses[0].Ready != want {
				return fmt.Errorf("want a running pod with ready=%t, got %+v", want, found)
			}
			return nil
		})
	}
	kubectl(t, c, "", "run", "one", "--image=example.org/one:1", "-n", name, "--annotations="+ReadyAnnotation+"=false")
	becomes(false)
	kubectl(t, c, "", "annotate", "pod", "one", "-n", name, ReadyAnnotation+"-")
	becomes(true)
	kubectl(t, c, "", "annotate", "pod", "one", "-n", name, ReadyAnnotation+"=false")
	becomes(false)
	kubectl(t, c, "", "annotate", "pod", "one", "-n", name, "--overwrite", ReadyAnnotation+"=true")
	becomes(true)
}

func TestJobCompletes(t *testing.T) {
	c := sharedPlane(t)
	name := namespace(t, c)
	kubectl(t, c, "", "create", "job", "once", "--image=example.org/once:1", "-n", name)
	kubectl(t, c, "", "wait", "--for=condition=Complete", "job/once", "-n", name, "--timeout=60s")
}

func TestOtherKubeletsAreLeftAlone(t *testing.T) {
	c := sharedPlane(t)
	name := namespace(t, c)
	if err := c.AddKwokNode(t.Context(), "old", "v1.32.0"); err != nil {
		t.Fatal(err)
	}
	kubectl(t, c, `{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "local"}}`, "create", "-f", "-")
	for _, node := range []string{"old", "local"} {
		t.Cleanup(func() {
			if _, err := c.Kubectl(context.Background(), nil, "delete", "node", node); err != nil {
				t.Error(err)
			}
		})
		kubectl(t, c, fmt.Sprintf(`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "on-%s"}, "spec": {"nodeName": %[1]q, "containers": [{"name": "one", "image": "example.org/one:1"}]}}`, node),
			"create", "-n", name, "-f", "-")
	}
	if got := kubectl(t, c, "", "get", "node", "old", "-o", "jsonpath={.status.nodeInfo.kubeletVersion}"); got != "v1.32.0" {
		t.Errorf("kubelet version %q", got)
	}
	if got := kubectl(t, c, "", "get", "lease", "old", "-n", "kube-node-lease", "-o", "jsonpath={.spec.leaseDurationSeconds}"); got != "40" {
		t.Errorf("the node's lease, without which it would not stay Ready, lasts %q seconds", got)
	}
	kubectl(t, c, "", "wait", "--for=condition=Ready", "pod/on-old", "-n", name, "--timeout=60s")
	// kwok hears of both pods in their order; it has had its chance.
	if got := kubectl(t, c, "", "get", "pod", "on-local", "-n", name, "-o", "jsonpath={.status.phase}"); got != "Pending" {
		t.Errorf("the pod on a node that is not kwok's is %s", got)
	}
	if got := kubectl(t, c, "", "get", "node", "local", "-o", "jsonpath={.status.addresses}"); got != "" {
		t.Errorf("the node that is not kwok's has addresses %s", got)
	}
	// Pods go before their nodes: without a kubelet nobody ends them.
	kubectl(t, c, "", "delete", "pod", "on-old", "-n", name)
	kubectl(t, c, "", "delete", "pod", "on-local", "-n", name, "--force", "--grace-period=0")
}

func TestHelmTouchesNothingOfTheUsers(t *testing.T) {
	c := sharedPlane(t)
	out, err := c.Helm(t.Context(), nil, "env")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(out, "\n") {
		if name, value, _ := strings.Cut(line, "="); strings.HasSuffix(name, "_HOME") && !strings.HasPrefix(value, `"`+c.Dir) {
			t.Errorf("%s is not below %s", line, c.Dir)
		}
	}
	if _, err := c.Helm(t.Context(), nil, "status", "nothing"); err == nil || !strings.Contains(err.Error(), "helm status nothing") || !strings.Contains(err.Error(), "not found") {
		t.Errorf("a failing command: %v", err)
	}
}

// processes returns the ids of all that runs for the control plane in that folder.
func processes(t *testing.T, dir string) map[string]int {
	t.Helper()
	out := map[string]int{}
	records, err := os.ReadDir(filepath.Join(dir, "run"))
	if err != nil {
		t.Fatal(err)
	}
	for _, record := range records {
		data, err := os.ReadFile(filepath.Join(dir, "run", record.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if out[record.Name()], err = strconv.Atoi(string(data)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"} {
		if pid := out[name]; pid == 0 || !runs(pid) {
			t.Fatalf("%s (process %d) does not run; recorded are %v", name, pid, out)
		}
	}
	return out
}

// runs says whether a process is there and no zombie, which is one that nobody has waited for yet.
func runs(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)) // its third field, after the name in brackets, is the state
	if err != nil {
		return runtime.GOOS != "linux"
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z")
}

func gone(t *testing.T, dir string, all map[string]int) {
	t.Helper()
	eventually(t, func() error {
		for name, pid := range all {
			if runs(pid) {
				return fmt.Errorf("%s (process %d) still runs", name, pid)
			}
		}
		_, err := os.Stat(dir)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return errors.Join(fmt.Errorf("%s is still there", dir), err)
	})
}

func TestStopLeavesNothing(t *testing.T) {
	logs := t.TempDir()
	c, err := Start(t.Context(), Options{Nodes: []Node{}, LogDir: logs, APIServerArgs: map[string][]string{"request-timeout": {"42s"}}})
	if err != nil {
		t.Fatal(err)
	}
	all := processes(t, c.Dir)
	all["guard"] = c.guard.command.Process.Pid
	if runtime.GOOS == "linux" {
		commandLine, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", all["kube-apiserver"]))
		if err != nil {
			t.Fatal(err)
		}
		if args := strings.Split(string(commandLine), "\x00"); !slices.Contains(args, "--request-timeout=42s") {
			t.Errorf("kube-apiserver runs without the flag asked for: %q", args)
		}
	}
	if out := kubectl(t, c, "", "get", "nodes", "-o", "name"); out != "" {
		t.Errorf("nodes that nobody asked for: %s", out)
	}
	for range 2 { // the second has nothing to do
		if err := c.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	for name, pid := range all {
		if runs(pid) {
			t.Errorf("%s (process %d) still runs", name, pid)
		}
	}
	if _, err := os.Stat(c.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", c.Dir, err)
	}
	if _, err := os.Stat(filepath.Join(logs, "kube-scheduler.log")); err != nil {
		t.Errorf("the logs that were asked for: %v", err)
	}
}

func TestADeadOwnerLeavesNothing(t *testing.T) {
	for name, signal := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "interrupted": syscall.SIGINT} {
		t.Run(name, func(t *testing.T) {
			owner := exec.Command(os.Args[0])
			owner.Env = append(os.Environ(), ownerVariable+"=1")
			owner.Stderr = os.Stderr
			stdout, err := owner.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := owner.Start(); err != nil {
				t.Fatal(err)
			}
			dir, err := bufio.NewReader(stdout).ReadString('\n')
			if err != nil {
				t.Fatalf("%v; the owner ended with: %v", err, owner.Wait())
			}
			dir = strings.TrimSpace(dir)
			all := processes(t, dir)
			if err := owner.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			_ = owner.Wait() // it died of the signal
			gone(t, dir, all)
		})
	}
}

func TestAFailedStartSaysWhyAndLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	_, err := Start(t.Context(), Options{APIServerArgs: map[string][]string{"no-such-flag": {"1"}}})
	if err == nil || !strings.Contains(err.Error(), "kube-apiserver") || !strings.Contains(err.Error(), "unknown flag: --no-such-flag") {
		t.Errorf("error: %v", err)
	}
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestAFailedControllerSaysWhy(t *testing.T) {
	assets, err := Build(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(t.TempDir(), "kube-scheduler")
	if err := os.WriteFile(broken, []byte("#!/bin/sh\necho 'no scheduling today' >&2\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	assets["kube-scheduler"] = broken
	_, err = Start(t.Context(), Options{Assets: assets})
	if err == nil || !strings.Contains(err.Error(), "kube-scheduler ended before it was healthy: exit status 3") || !strings.Contains(err.Error(), "no scheduling today") {
		t.Errorf("error: %v", err)
	}
}
