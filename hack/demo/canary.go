// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	_ "embed"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"outrigger.dev/outrigger/hack/install"
)

// checkout is the Service whose v2 returns errors, and its namespace.
const checkout = "checkout"

// The files of the step, which the commands name.
var (
	//go:embed checkout.yaml
	checkoutManifest string
	//go:embed metrics.yaml
	metricsSettings string
)

// metricsAddress is what metrics.yaml has in the place of the metrics server's address.
const metricsAddress = "127.0.0.1:9090"

// canary rolls out a version that returns errors. Its pods are processes of this machine, and no proxy runs here, so the demo sends the
// requests itself, in the shares of the route.
func canary(ctx context.Context, s *stage) error {
	s.say(`The pods of checkout run as processes on this machine, and v2 returns errors for 5%% of its requests. No proxy runs here, so the demo
		itself sends 100 requests per second, according to the weights in the VirtualService. A small metrics server scrapes the application,
		and metrics.yaml has queries for its metrics. In a mesh, you need no queries: the default ones use Istio's metrics.`)
	if err := s.serveMetrics(); err != nil {
		return err
	}
	err := s.run(ctx,
		do("helm upgrade outrigger charts/outrigger -n outrigger-system --reset-then-reuse-values -f metrics.yaml --wait", contains("STATUS: deployed")).show("STATUS"),
		do("kubectl create namespace "+checkout, contains("created")).show("created"),
		do("kubectl label namespace "+checkout+" outrigger.dev/routing=enabled", contains("labeled")).show("labeled"),
		do("kubectl apply -f checkout.yaml -n "+checkout, contains("service/checkout created")).show("created"),
		until("kubectl get pods -n "+checkout, pods(2, "1/1")),
		until("kubectl get virtualservice checkout -n "+checkout+" -o yaml", routes("checkout", "v1=100")),
	)
	if err != nil {
		return err
	}
	s.running.Go(func() { s.caller.run(s.background) })
	if err := s.caller.await(ctx, "v1", 100); err != nil {
		return err
	}
	err = s.run(ctx,
		fails("outrigger canary checkout v2 -n "+checkout+" --steps 20,50,100 --interval 10s --check 'error-rate<1%' --wait",
			contains("canary v2 1/3 20%", "was aborted at 20%: error-rate ", "(<1%)")).show("checkout: ", "canary v2"),
		do("kubectl get virtualservice checkout -n "+checkout+" -o yaml", routes("checkout", "v1=100")),
		until("outrigger status -n "+checkout, contains("CanaryAborted")).show("WEIGHT", " v1 ", " v2 "),
		until("kubectl get events -n "+checkout+" --field-selector reason=CanaryAborted -o custom-columns=OBJECT:.involvedObject.kind,MESSAGE:.message",
			contains("Service ", "Deployment ", "aborted at 20%: error-rate ")).show("aborted"),
	)
	if err != nil {
		return err
	}
	s.right("v2 was aborted in its first step. Of the responses so far: " + s.caller.String())
	return nil
}

// serveMetrics writes the files of the step, and starts the metrics server.
func (s *stage) serveMetrics() error {
	address, err := freeAddress()
	if err != nil {
		return err
	}
	for name, text := range map[string]string{"checkout.yaml": checkoutManifest, "metrics.yaml": strings.Replace(metricsSettings, metricsAddress, address, 1)} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	server := exec.CommandContext(s.background, s.application, "metrics", "-file", s.caller.targets, "-listen", address, "-label", "namespace="+checkout)
	if err := server.Start(); err != nil {
		return fmt.Errorf("start the metrics server: %w", err)
	}
	s.running.Go(func() { _ = server.Wait() }) // it ends with the demo
	return nil
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// buildApplication builds the application of the tests with real traffic, which is also the metrics server, and returns its path.
func buildApplication(ctx context.Context, dir string) (string, error) {
	root, err := install.Root()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "application")
	command := exec.CommandContext(ctx, "go", "build", "-o", path, "./app")
	command.Dir, command.Env = filepath.Join(root, "test", "traffic"), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build test/traffic/app: %w\n%s", err, out)
	}
	return path, nil
}
