// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"outrigger.dev/outrigger/api"
)

// A replica that cannot reach its API server is alive, logs what it waits for, and ends on request.
func TestAReplicaWaitsForAnAPIServerThatIsAway(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for connections to fail")
	}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {token: t}}]\n"
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	config := api.DefaultConfig()
	config.Webhook.Port, config.Health.Address, config.Metrics.Address = freePort(t), fmt.Sprintf(":%d", freePort(t)), "0"
	config.Shutdown.Linger = 10 * time.Millisecond
	p, err := newProcess(config, placement{kubeconfig: kubeconfig, namespace: "outrigger-system", address: "127.0.0.1"}, logr.Discard())
	if err != nil {
		t.Fatalf("it does not start: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	for status := 0; status != http.StatusOK; status, _ = get(t, config.Health.Address, "/healthz") {
		time.Sleep(time.Millisecond)
	}
	for begun := time.Now(); time.Since(begun) < 3*time.Second; time.Sleep(100 * time.Millisecond) {
		select {
		case err := <-ended:
			t.Fatalf("it ended: %v", err)
		default:
		}
		if status, body := get(t, config.Health.Address, "/readyz"); status == http.StatusOK || !strings.Contains(body, "caches") {
			t.Fatalf("readiness says %d %q; want what it waits for", status, body)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).Port
}

func get(t *testing.T, address, path string) (status int, body string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	response, err := client.Get("http://127.0.0.1" + address + path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}
