// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

// slowness is how long an answer of the API server takes to reach a replica.
const slowness = 12 * time.Second

// A replica starts while it cannot reach the API server. It waits, and says for what. Answers take 12 seconds then: it
// becomes ready and injects, and goes on when it is cut off again. It never ends by itself. Only the replica's connections
// are slow: the API server answers everyone else as always.
func TestAReplicaStartsBeforeItsAPIServer(t *testing.T) {
	needIstio(t)
	const address = "127.99.0.1" // the replica's own, on which no pod listens
	r := prepareRelease(t, "slow", map[string]any{
		"replicaCount": 0, "postInstallCheck": map[string]any{"enabled": false}, "webhook": map[string]any{"url": "https://" + address + ":10250/inject"},
	})
	r.installChart(t)
	toAPIServer, err := newLink(cluster.Config.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = toAPIServer.listener.Close() }()
	refused, open := toAPIServer.closed()
	replica := r.startReplica(t, address, toAPIServer)

	eventually(t, "the replica tries again to reach the API server", func() error {
		if got := refused(); got < 10 {
			return fmt.Errorf("%d connections were refused", got)
		}
		return replica.waits(t, "caches")
	})
	if err := replica.alive(t); err != nil {
		t.Errorf("it waits, and a probe of liveness would end it: %v", err)
	}

	toAPIServer.slow(slowness)
	open()
	opened := time.Now()
	for deadline := opened.Add(3 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		err := replica.ready(t)
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not ready within 3 minutes of an API server that takes %v: %v", slowness, err)
		}
	}
	took := time.Since(opened)
	t.Logf("ready after %v, with answers that take %v", took.Round(time.Second), slowness)
	if took < slowness {
		t.Errorf("it was ready after %v: its answers were not slow", took)
	}
	ns := r.namespace(t)
	if err := r.injectsFor(t, ns, 5*time.Second); err != nil {
		t.Errorf("while answers take %v: %v", slowness, err)
	}
	restore := toAPIServer.cut(t, reset)
	if err := r.injectsFor(t, ns, 5*time.Second); err != nil {
		t.Errorf("while it cannot reach the API server: %v", err)
	}
	restore()
	if err := replica.ready(t); err != nil { // it has not ended either
		t.Errorf("it was cut off, and is not ready any more: %v", err)
	}
}

// injectsFor creates pods one after the other, and says how many of them had no sidecar.
func (r *release) injectsFor(t *testing.T, ns string, duration time.Duration) error {
	t.Helper()
	traffic := keepCreatingEvery(t, ns, creationPause)
	time.Sleep(duration)
	count, faults := traffic.stop()
	t.Logf("%d pods were created, %d were refused or had no sidecar", count, len(faults))
	if len(faults) > 0 {
		return fmt.Errorf("%d of %d went wrong:\n%s", len(faults), count, strings.Join(faults[:min(5, len(faults))], "\n"))
	}
	if count < 10 {
		return fmt.Errorf("only %d pods were created: that shows nothing", count)
	}
	return nil
}

// replica is a process beside the pods, with the settings of a release.
type replica struct {
	health string
	ended  chan error
	log    bytes.Buffer // to be read when the process has ended
}

// startReplica starts a replica of the release that reaches the API server by a link, and ends it with the test.
func (r *release) startReplica(t *testing.T, address string, by *link) *replica {
	t.Helper()
	kubeconfig, err := clientcmd.LoadFromFile(cluster.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, reached := range kubeconfig.Clusters {
		reached.Server = by.URL()
	}
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	config := kubectl(t, "-n", outriggerNamespace, "get", "configmap", r.name+"-config", "-o", `jsonpath={.data.config\.yaml}`)
	if err := errors.Join(clientcmd.WriteToFile(*kubeconfig, file("kubeconfig")), os.WriteFile(file("config.yaml"), []byte(config), 0o600)); err != nil {
		t.Fatal(err)
	}
	started := &replica{health: "http://" + address + ":8081", ended: make(chan error, 1)}
	process := exec.Command(outrigger.Binary, "serve", "--config", file("config.yaml"), "--kubeconfig", file("kubeconfig"), "--namespace", outriggerNamespace, "--address", address)
	process.Stdout, process.Stderr = &started.log, &started.log
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { started.ended <- process.Wait() }()
	t.Cleanup(func() {
		_ = process.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-started.ended:
			if err != nil || t.Failed() {
				t.Errorf("the replica ended with %v; it wrote\n%s", err, started.log.String())
			}
		case <-time.After(patience):
			_ = process.Process.Kill()
			t.Errorf("the replica did not end (killed: %v); it wrote\n%s", <-started.ended, started.log.String())
		}
	})
	return started
}

// get returns what the replica answers, and an error unless that is 200. A replica that has ended fails the test.
func (r *replica) get(t *testing.T, path string) (string, error) {
	t.Helper()
	select {
	case err := <-r.ended:
		r.ended <- err
		t.Fatalf("the replica ended by itself: %v", err)
	default:
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.health+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, text)
	}
	return string(text), err
}

func (r *replica) ready(t *testing.T) error {
	t.Helper()
	_, err := r.get(t, "/readyz")
	return err
}

func (r *replica) alive(t *testing.T) error {
	t.Helper()
	_, err := r.get(t, "/healthz")
	return err
}

// waits says how the replica is not one that waits for something.
func (r *replica) waits(t *testing.T, what string) error {
	t.Helper()
	err := r.ready(t)
	if err == nil {
		return errors.New("it is ready")
	}
	if !strings.Contains(err.Error(), what) {
		return fmt.Errorf("it does not wait for %s: %w", what, err)
	}
	return nil
}
